"""``taafs reproduce summary`` and ``taafs recipe``: every ratio on the page is that of the stored lines, and defaults are the recipes'."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins.activations import parse_spec, resolve_spec
from taafs_plugins.adapters import hosts
from taafs_plugins.cli import app
from taafs_plugins.experiments.recipes import RECIPES
from taafs_plugins.experiments.summary import facts, markdown, over, shown, summary, systems

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
PAGE = (ROOT / "docs" / "results.md").read_text()
sys.path.insert(0, str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def rows():
    return summary(RESULTS)


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def numbers(text):
    """Every number of a text, as written."""
    return re.findall(r"\d+\.\d+", text)


def test_the_table_of_all_ratios_on_the_page_is_that_of_the_stored_lines(rows):
    import summary_page

    assert summary_page.shown() == markdown(rows), "write it anew: python benchmarks/summary_page.py"


# the first words of a line of the table that the page begins with -> (spec, stock, size) of its row
FIRST = {
    "DeePMD-kit, Cu": ("taafs:chebyshev1,degree=7,rate=10", "tanh", "[25, 25, 25]/[50, 50, 50]"),
    "CHGNet 0.3.0, magnetic Fe, coefficients alone": ("coefficients: taafs:chebyshev1,scale=auto", "pretrained", "0.3.0"),
    "CHGNet 0.3.0, all weights": ("all weights + TAAFS: taafs:chebyshev1,scale=auto", "all weights, stock", "0.3.0"),
    "SchNetPack PaiNN, rMD17": ("taafs:chebyshev1", "silu", "PaiNN, width 32, 300 epochs"),
    "TorchANI, kernelforge": ("celu+taafs:bspline,share=layer", "celu", "24-20-16"),
}


@pytest.mark.parametrize("words", FIRST)
def test_every_line_of_the_first_table_has_the_ratios_of_its_row(words, rows):
    (row,) = [row for row in rows if (row.spec, row.stock, row.size) == FIRST[words] and not row.file.startswith("systems")]
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {words}")]
    cells = line.split("|")
    for cell, value in zip(cells[3:5], (row.energy, row.force), strict=True):
        assert same(numbers(cell), value), (cell, shown(value))


def same(written, value):
    """Whether numbers as written on the page are a ratio and its interval, each to its last digit; a ratio may stand alone."""
    return all(abs(float(text) - number) <= 0.501 * 10 ** -len(text.split(".")[1]) for text, number in zip(written, value, strict=False))


def table(heading, columns):
    """Lines of the first table below a heading whose rows have so many cells, as lists of cells without marks."""
    part = PAGE.split(f"## {heading}")[1].split("\n## ")[0]
    lines = [[cell.strip(" *`") for cell in line.strip("|").split("|")] for line in part.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if len(cells) == columns][1:]


def close(cell, value):
    """Whether a cell shows a value to its last digit."""
    digits = len(cell.split(".")[1]) if "." in cell else 0
    return abs(float(cell) - value) <= 0.501 * 10**-digits


def test_the_errors_of_deepmd_on_the_page_are_means_of_the_stored_runs():
    import deepmd_gain

    stored = [r for r in deepmd_gain.load() if r["steps"] == 8000]
    lines = table("DeePMD-kit, Cu of Zuo", 7)
    assert len(lines) == 10
    for activation, rate, seeds, *cells in lines:
        own = [r for r in stored if (r["activation"], r["learning_rate"]) == (activation, float(rate))]
        assert sorted(r["seed"] for r in own) == [int(seed) for seed in seeds.split(",")]
        keys = ("validation_energy", "validation_force", "test_energy", "test_force")
        means = [np.mean([r[key] for r in own]) * (1e3 if "energy" in key else 1) for key in keys]
        assert all(map(close, cells, means)), (activation, rate, means)


def test_the_errors_of_torchani_on_the_page_are_means_of_the_stored_runs():
    import torchani_gain

    stored = torchani_gain.load("small", 60)
    lines = table("TorchANI, kernelforge", 9)
    assert len(lines) == 6
    for name, rate, _, *cells in lines:
        base, _, share = name.lower().partition(" + taafs per ")
        side = base + (f"+taafs:bspline,share={share}" if share else "")
        own = [r for r in stored if (r["side"], r["learning_rate"]) == (side, float(rate))]
        keys = [f"{part}_{key}" for part in ("train", "validation", "test") for key in ("energy", "force")]
        assert len(own) == 4 and all(map(close, cells, [np.mean([r[key] for r in own]) for key in keys])), name


def test_the_errors_of_chgnet_on_the_page_are_means_of_the_stored_runs():
    import chgnet_finetune

    stored = [r for r in chgnet_finetune.load(10) if chgnet_finetune.judged(r)]
    sides = ("coefficients", "last MLP, stock", "all weights, stock", "all weights + TAAFS")
    lines = [cells for cells in table("CHGNet 0.3.0, magnetic iron", 10) if cells[0] != "nothing"]
    assert len(lines) == len(sides)
    for side, (_, count, rate, *cells, over_energy, over_force, moved) in zip(sides, lines, strict=True):
        own = [r for r in stored if r["side"] == side]
        assert {r["parameters"] for r in own} == {int(count)} and {r["lr"] for r in own} == {float(rate)} and len(own) == 4
        means = [np.mean([r["test"][key] for r in own]) * (1e3 if key in "ef" else 1) for key in "efsm"]
        assert all(map(close, cells, means)), (side, means)
        ratios = [np.exp(np.mean([np.log(r["test"][key] / r["test_before"][key]) for r in own])) for key in "ef"]
        assert close(over_energy.split()[0], ratios[0]) and close(over_force.split()[0], ratios[1])
        mean, largest = moved.split(", ")
        assert close(mean, 1e3 * np.mean([r["moved_mean"]["e"] for r in own])), side
        assert close(largest, 1e3 * max(r["moved_largest"]["e"] for r in own)), side


def test_the_errors_of_painn_on_the_page_are_means_of_the_stored_runs():
    runs = json.loads((RESULTS / "schnetpack_gain.json").read_text())["runs"].values()
    checked = 0
    for width, rate, _, *cells in table("SchNetPack PaiNN, rMD17 ethanol", 7):
        for spec, cell in zip(("silu", "taafs:chebyshev1", "taafs:chebyshev1,rate=3"), (cells[0], cells[1], cells[3]), strict=True):
            own = [r["test"]["forces_mae"] for r in runs if (r["width"], r["rate"], r["spec"]) == (int(width), float(rate), spec)]
            if cell == "diverges":
                assert not own or not np.isfinite(own).all() or np.mean(own) > 5, (width, rate, spec, own)
            elif cell:
                assert close(cell.split()[0].strip("*"), np.mean(own)), (width, rate, spec, own)
                checked += 1
    assert checked == 19


def test_the_command_prints_rows_as_json_and_says_what_it_does_not_understand(rows, tmp_path):
    found = json.loads(run("reproduce", "summary", "--json").stdout)
    assert found == json.loads(json.dumps([facts(row) for row in rows]))
    fields = {"host", "system", "optimizer", "size", "spec", "stock", "seeds", "energy", "force", "time", "learning_rates", "file"}
    assert set(found[0]) == fields and set(found[0]["energy"]) == {"ratio", "low", "high"}
    assert run("reproduce", "summary", "--markdown").stdout == markdown(rows)
    mistakes = {"--jsn": "is not understood", f"--results {tmp_path}": "holds no results", "--results": "needs a folder"}
    for arguments, words in mistakes.items():
        done = run("reproduce", "summary", *arguments.split())
        assert done.exit_code == 1 and words in done.stderr and done.stderr.count("\n") == 1
    assert "summary: " in run("reproduce").output


def test_systems_choose_the_learning_rate_with_seed_1_on_validation_frames_alone(tmp_path):
    def line(side, rate, seed, validation, test):
        about = {"system": "Ni", "optimizer": "Adam", "size": "small", "steps": 10, "side": side, "activation": side, "learning_rate": rate}
        errors = {"validation_energy": validation, "validation_force": validation, "test_energy": test, "test_force": 2 * test}
        return json.dumps({**about, "seed": seed, **errors})

    stored = [line("tanh", 1e-2, 1, 1.0, 8.0), line("tanh", 1e-2, 2, 1.0, 4.0), line("tanh", 2e-2, 1, 2.0, 1.0),
              line("taafs", 1e-3, 1, 0.5, 4.0), line("taafs", 1e-3, 2, 9.0, 1.0), line("taafs", 2e-3, 1, 0.6, 0.1)]  # fmt: skip
    (tmp_path / "systems.jsonl").write_text("\n".join(stored) + "\n")
    (row,) = systems(tmp_path)
    assert row.seeds == (1, 2) and row.learning_rates == (1e-3, 1e-2) and row.energy[0] == pytest.approx(0.125**0.5)
    assert row.energy[1] < row.energy[0] < row.energy[2] and (row.system, row.spec, row.stock) == ("Ni", "taafs", "tanh")
    one = over({1: {"a": 1, "b": 1, "learning_rate": 0}}, {1: {"a": 2, "b": 4, "learning_rate": 0}}, ("a", "b"))
    assert one["energy"] == (0.5, None, None)


@pytest.mark.parametrize("host", RECIPES)
def test_the_adapters_defaults_are_those_of_the_recipe(host):
    found, adapter = RECIPES[host], taafs.adapter(host)
    spec = parse_spec(found.spec)
    resolved = resolve_spec(spec, adapter.defaults_for(spec))
    assert (resolved["share"], float(resolved["rate"]), f"{resolved['scale']}".removesuffix(".0")) == (found.share, found.rate, found.scale)
    assert found.spec.split(",")[0] in found.where or found.spec.split(",")[0].replace(":", "=") in found.where


@pytest.mark.parametrize("host", RECIPES)
def test_a_recipe_is_printed_with_its_evidence(host, rows):
    done = run("recipe", host)
    own = [row for row in rows if RECIPES[host].evidence(row)]
    assert done.exit_code == 0 and own and markdown(own) in done.stdout and RECIPES[host].leave in done.stdout
    assert len(json.loads(run("recipe", host, "--json").stdout)["evidence"]) == len(own)


def test_every_host_has_a_recipe_and_a_wrong_name_is_one_sentence():
    assert set(RECIPES) == set(hosts())
    done = run("recipe", "depmd")
    assert done.exit_code == 1 and "Did you mean 'deepmd'" in done.stderr


def test_what_a_host_says_against_a_spec_is_what_was_measured(rows):
    cautions = {host: taafs.adapter(host).caution for host in RECIPES}
    assert {host for host, text in cautions.items() if text} == {"chgnet", "schnetpack"}
    for host, words, what in (("schnetpack", "SchNetPack PaiNN, rMD17", "force"), ("chgnet", "CHGNet 0.3.0, all weights", "energy")):
        (row,) = [row for row in rows if (row.spec, row.stock, row.size) == FIRST[words]]
        assert shown(getattr(row, what)) in cautions[host]
