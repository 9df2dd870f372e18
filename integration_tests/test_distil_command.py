"""``taafs distil`` on models of the hosts: formulas with their errors, which are right where the model runs."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins.cli import app
from taafs_plugins.md.export import read_model

STORED = Path(__file__).parents[1] / "tests" / "data" / "v0_1"
DEEPMD = STORED / "deepmd" / "layer.pt"
FIRST = "atomic_model.descriptor.sea.filter_layers.networks.0.layers.0.activate"


def run(*arguments):
    return CliRunner().invoke(app, ["distil", *map(str, arguments)])


@pytest.fixture(scope="module")
def water(tmp_path_factory) -> Path:
    """The frame that the stored model's references are of."""
    system = STORED / "deepmd" / "system"
    names = (system / "type_map.raw").read_text().split()
    symbols = [names[int(t)] for t in (system / "type.raw").read_text().split()]
    coord, box = (np.load(system / "set.000" / f"{key}.npy")[0] for key in ("coord", "box"))
    path = tmp_path_factory.mktemp("water") / "water.xyz"
    write(path, Atoms(symbols, coord.reshape(-1, 3), cell=box.reshape(3, 3), pbc=True))
    return path


def test_a_curve_of_a_deepmd_checkpoint_becomes_a_formula_over_the_inputs_of_the_frames(water, tmp_path):
    out = tmp_path / "formula.json"
    done = run(DEEPMD, "--site", FIRST, "--frames", water, "--nodes", 1, "--rounds", 1, "-o", out)
    assert done.exit_code == 0, done.output
    ((name, found),) = json.loads(out.read_text()).items()
    assert name == FIRST and found["spec"] in done.output and f"Wrote {out}" in done.output
    model = read_model(DEEPMD)[0].double()
    curve, formula = model.get_submodule(FIRST), taafs.make_activation(found["spec"], dtype=torch.float64)
    z = torch.linspace(found["low"], found["high"], 2001, dtype=torch.float64)
    assert float((curve(z) - formula(z)).abs().max().detach()) == pytest.approx(found["largest"], rel=1e-2)
    assert found["rms"] < found["spread"]
    again = run(DEEPMD, "--site", FIRST, "--frames", water, "--nodes", 1, "--rounds", 1, "-o", out)
    assert again.exit_code == 1 and "exists already" in again.output


def test_an_embedding_net_of_deepmd_becomes_a_formula_of_its_one_input(water, tmp_path):
    done = run(
        DEEPMD,
        "--module",
        "*descriptor*networks.0",
        "--neuron",
        0,
        "--frames",
        water,
        "--nodes",
        1,
        "--rounds",
        1,
        "-o",
        tmp_path / "net.json",
    )
    assert done.exit_code == 0, done.output
    (found,) = json.loads((tmp_path / "net.json").read_text()).values()
    assert found["nodes"] <= 1 and found["rms"] < found["spread"]


@pytest.mark.parametrize(("arguments", "words"), [
    (("none.pt",), "There is no file none.pt"), ((DEEPMD, "--site", "nothing"), "No trainable activation matches 'nothing'"),
    ((DEEPMD, "--module", "*descriptor*networks.0", "--neuron", 0), "give --frames, or --low and --high"),
    ((DEEPMD, "--site", FIRST, "--low", 3, "--high", 2), "--low below --high"), ((DEEPMD, "--frames", "no.xyz"), "There is no file no.xyz"),
    ((DEEPMD, "--frames", DEEPMD), "ASE cannot read"), ((DEEPMD, "-o", DEEPMD, "--overwrite"), "is the file that is read"),
    ((STORED / "chgnet" / "stock.pt",), "no trainable activation"),
])  # fmt: skip
def test_mistakes_are_one_sentence(arguments, words):
    done = run(*arguments)
    assert done.exit_code == 1 and words in done.output.replace("\n", " ") and "Traceback" not in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_elements_that_the_model_does_not_know_are_named(tmp_path):
    write(tmp_path / "xenon.xyz", Atoms("Xe2", [[0, 0, 0], [0, 0, 2.5]]))
    done = run(DEEPMD, "--frames", tmp_path / "xenon.xyz")
    assert done.exit_code == 1 and "does not know Xe; it knows" in done.output
