"""Pictures of trainings, of predictions beside labels, animations and the file to look around in."""

import builtins
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from PIL import Image
from test_plot import acts, network
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins import plotting
from taafs_plugins.cli import app
from taafs_plugins.cli import parity as command

LCURVE = """#  step      rmse_val    rmse_trn    rmse_e_val  rmse_e_trn    rmse_f_val  rmse_f_trn         lr
# If there is no available reference data, rmse_*_{val,trn} will print nan
      1      3.16e+01    3.17e+01      1.54e-01    1.55e-01      9.99e-01    1.00e+00    5.0e-03
    100      1.16e+01    1.17e+01      5.40e-02    5.50e-02           nan    4.00e-01    1.0e-03
"""
LIGHTNING = """epoch,step,train_loss,val_energy_MAE,val_loss,test_loss
0,9,2.0,,,
0,9,,0.5,1.5,
1,19,1.0,,,
1,19,,0.25,0.75,
2,20,,,,3.0
"""


def columns(log):
    return {(one.quantity, one.part): (one.steps.tolist(), one.values.tolist()) for one in log.series}


def test_deepmd_kits_log_has_units_and_leaves_out_what_it_calls_nan(tmp_path):
    (tmp_path / "lcurve.out").write_text(LCURVE)
    log = plotting.read_log(tmp_path / "lcurve.out")
    found = columns(log)
    assert log.steps == "step" and found["energy RMSE [eV/atom]", "validation"] == ([1, 100], [0.154, 0.054])
    assert found["force RMSE [eV/Å]", "validation"] == ([1], [0.999]) and found["learning rate", ""][1] == [5e-3, 1e-3]


def test_lightnings_log_is_read_though_no_row_is_full(tmp_path):
    (tmp_path / "metrics.csv").write_text(LIGHTNING)
    found = columns(plotting.read_log(tmp_path / "metrics.csv"))
    assert found == {
        ("loss", "training"): ([9, 19], [2, 1]), ("energy MAE", "validation"): ([9, 19], [0.5, 0.25]),
        ("loss", "validation"): ([9, 19], [1.5, 0.75]),
    }  # fmt: skip


def test_chgnets_history_is_read_without_unpickling_code(tmp_path):
    torch.save({"training_history": {"e": {"train": [0.2, 0.1], "val": [0.3, 0.2], "test": []}}}, tmp_path / "model.pth.tar")
    found = columns(plotting.read_log(tmp_path / "model.pth.tar"))
    assert found["energy MAE [eV/atom]", "validation"] == ([1, 2], [0.3, 0.2])


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "step,loss\n", LCURVE.partition("\n")[0] + "\n"])
def test_what_is_no_log_is_one_sentence(text, tmp_path):
    (tmp_path / "log.csv").write_text(text)
    result = CliRunner().invoke(app, ["plot", "--training", str(tmp_path / "log.csv"), "-o", str(tmp_path / "a.png")])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and re.search("no training log|no numbers yet", result.stderr)
    assert not (tmp_path / "a.png").exists()


def test_the_command_draws_both_sides_of_a_training_by_the_names_of_their_folders(tmp_path):
    for side in ("tanh", "taafs"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "lcurve.out").write_text(LCURVE)
    logs = [str(tmp_path / side / "lcurve.out") for side in ("tanh", "taafs")]
    result = CliRunner().invoke(app, ["plot", "--training", *logs, "-o", str(tmp_path / "training.svg")])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "training.svg").read_text()
    assert "<!-- tanh, validation -->" in text and "<!-- taafs, training -->" in text and "<!-- energy RMSE [eV/atom] -->" in text


def test_an_animation_has_a_frame_for_each_checkpoint_and_keeps_its_axes(tmp_path):
    runs = {"first": acts(2), "second": acts(2, 1), "third": acts(2, 2)}
    plotting.animated(runs, tmp_path / "a.gif", inputs={"1": np.random.default_rng(0).normal(size=50)})
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3
        pixels = []
        for frame in range(3):
            gif.seek(frame)
            pixels.append(np.asarray(gif.convert("RGB"), int))
    edge = slice(0, 50)  # the names of the vertical axis and its numbers
    assert (pixels[0] != pixels[1]).any() and np.abs(pixels[0][40:, edge] - pixels[2][40:, edge]).max() < 40


def test_the_file_to_look_around_in_holds_everything_and_needs_no_network(tmp_path):
    plotting.interactive({"a": acts(3), "b": acts(3, 1)}, tmp_path / "a.html", inputs={"1": np.linspace(-1, 1, 40)})
    text = (tmp_path / "a.html").read_text()
    assert "curvature d" in text and "<script src=" not in text and "bdata" not in text.rpartition("Plotly.newPlot(")[2]
    traces = json.loads(re.search(r"Plotly\.newPlot\(\s*\"[^\"]+\",\s*(\[.*?\]),\s*\{", text.rpartition("<script")[2], re.DOTALL)[1])
    assert [trace["visible"] for trace in traces] == [True] * 4 + [False] * 6 and traces[0]["name"] == "where inputs lie"


def test_of_many_neurons_some_are_drawn_and_the_legend_says_so(tmp_path):
    act = taafs.make_activation("taafs:bspline,share=neuron", width=40)
    plotting.interactive({"": {"0": act}}, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text().count('"name":"bspline (8 of 40 neurons)"') == 8


def test_without_plotly_a_sentence_says_what_brings_it(tmp_path, monkeypatch):
    original = builtins.__import__

    def missing(name, *rest):
        if name.partition(".")[0] == "plotly":
            raise ModuleNotFoundError("No module named 'plotly'", name="plotly")
        return original(name, *rest)

    (tmp_path / "a.pt").write_text("")
    monkeypatch.setattr("taafs_plugins.md.export.read_model", lambda path: (network(1), {}))
    monkeypatch.setattr(builtins, "__import__", missing)
    result = CliRunner().invoke(app, ["plot", str(tmp_path / "a.pt"), "-o", str(tmp_path / "a.html")])
    assert result.exit_code == 1 and "pip install '.[interactive]'" in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "a.html").exists()


def test_an_animation_of_one_model_is_refused_with_the_way_out(tmp_path, monkeypatch):
    (tmp_path / "a.pt").write_text("")
    result = CliRunner().invoke(app, ["plot", str(tmp_path / "a.pt"), "-o", str(tmp_path / "a.gif")])
    assert result.exit_code == 1 and "several checkpoints" in result.stderr


class Known:
    """A host that predicts every energy and force by a number."""

    host = "torchani"
    energy_unit = "hartree"

    def reference(self, model, atoms):
        return {"energy": model * len(atoms), "forces": np.full((len(atoms), 3), model)}


@pytest.fixture
def labelled(tmp_path, monkeypatch):
    """Two labelled frames, and model files of 1 and 2 hartree per atom."""
    frames = [Atoms("H2", np.eye(3)[:2]), Atoms("HO", np.eye(3)[:2])]
    for atoms in frames:
        atoms.calc = SinglePointCalculator(atoms, energy=2 * 27.211386245988, forces=np.zeros((2, 3)))
    write(tmp_path / "frames.xyz", frames, format="extxyz")
    for name in ("one", "two"):
        (tmp_path / name).write_text("")
    monkeypatch.setattr("taafs_plugins.md.export.read_model", lambda path: ({"one": 1.0, "two": 2.0}[path.name], {}))
    monkeypatch.setattr(command, "adapter_for", lambda model: Known())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_parity_is_in_electronvolts_and_says_the_errors(labelled):
    arguments = ["plot", "one", "two", "--parity", "--frames", "frames.xyz", "-o", "parity.png"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "one: energy [eV/atom], mean absolute error 0.0000" in result.output
    assert "two: energy [eV/atom], mean absolute error 27.2114" in result.output and "error 54.4228" in result.output
    result = CliRunner().invoke(app, [*arguments, "--shift", "--overwrite"])
    assert "two: energy [eV/atom], mean absolute error 0.0000" in result.output


def test_parity_needs_labelled_frames(labelled):
    write("bare.xyz", Atoms("H"), format="extxyz")
    for arguments, words in (([], "--frames"), (["--frames", "bare.xyz"], "has no energy")):
        result = CliRunner().invoke(app, ["plot", "one", "--parity", *arguments])
        assert result.exit_code == 1 and words in result.stderr and result.stderr.count("\n") == 1


def test_forgetting_is_drawn_for_few_known_structures_and_for_many(tmp_path):
    for count in (3, 80):
        outcome = SimpleNamespace(
            moved_energies=np.linspace(-0.1, 0.2, count), new_before={"e": 2.0, "f": 1.0}, new_after={"e": 1.0, "f": 1.0},
            known_before={"e": 1.0}, known_after={"e": 1.5},
        )  # fmt: skip
        plotting.forgetting(outcome, [f"X{i}" for i in range(count)], tmp_path / f"{count}.svg")
        text = (tmp_path / f"{count}.svg").read_text()
        assert "<!-- new data -->" in text and ("<!-- X1 -->" in text) == (count == 3)
