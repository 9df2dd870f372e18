"""Pictures of learned curves: any number of activations and runs, where inputs lie, the terminal's sketch."""

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins import plotting
from taafs_plugins.cli import app
from taafs_plugins.cli import plot as command
from taafs_plugins.errors import TaafsError


def network(depth, seed=0, spec="taafs:chebyshev1"):
    """A network of ``depth`` activations with random coefficients."""
    torch.manual_seed(seed)
    model = nn.Sequential(*(part for _ in range(depth) for part in (nn.Linear(2, 2), taafs.make_activation(spec, width=2))))
    for act in taafs.trainable_activations(model).values():
        nn.init.normal_(act.delta, std=0.02)
    return model


def acts(depth, seed=0, spec="taafs:chebyshev1"):
    return taafs.trainable_activations(network(depth, seed, spec))


@pytest.mark.parametrize("depth", [1, 18, 100])
def test_a_picture_fits_on_a_screen_for_one_site_and_for_a_hundred(depth, tmp_path):
    import matplotlib.image

    plotting.curves(acts(depth), tmp_path / "curves.png")
    height, width, _ = matplotlib.image.imread(tmp_path / "curves.png").shape
    assert width <= 2400 and height <= 1600


def test_an_ending_chooses_the_format_and_text_stays_where_it_is_read(tmp_path):
    plotting.curves_of_runs({"a": acts(2), "b": acts(2, 1)}, tmp_path / "curves.svg", order=2)
    text = (tmp_path / "curves.svg").read_text()
    assert text.startswith("<?xml") and "</svg>" in text


def test_runs_with_other_activations_are_not_drawn_together(tmp_path):
    with pytest.raises(ValueError, match="in different places"):
        plotting.curves_of_runs({"a": acts(2), "b": acts(3)}, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_colours_are_told_apart_and_checkpoints_go_from_dark_to_bright():
    assert len(set(plotting.PALETTE)) == 6
    shades = [sum(color[:3]) for color in plotting.colors(5)]
    assert shades == sorted(shades)


@pytest.mark.parametrize("spec", ["taafs:chebyshev1", "taafs:bspline,share=neuron", "leaf"])
def test_what_an_activation_meets_is_what_is_drawn_behind_its_curve(spec, tmp_path):
    model = network(2, spec=spec)
    x = torch.randn(50, 2)
    found = plotting.inputs_of(taafs.trainable_activations(model), lambda: model(x))
    np.testing.assert_allclose(found["1"], model[0](x).detach().double().flatten(), rtol=1e-6)
    model(10 * x)
    assert len(found["1"]) == 100, "nothing is remembered afterwards"
    plotting.curves_of_runs({"": taafs.trainable_activations(model)}, tmp_path / "curves.png", inputs=found)


def test_a_sketch_has_its_size_and_the_range_of_the_curve():
    (act,) = acts(1).values()
    nn.init.zeros_(act.delta)
    lines = command.drawn(act, 4.0, columns=30, rows=6).splitlines()
    assert len(lines) == 6 and all(0x2800 <= ord(letter) < 0x2900 for line in lines for letter in line[:30])
    assert lines[0].endswith("0.999") and lines[-1].endswith("-0.999")
    assert lines[0][-8:].strip() and lines[-1][0] != "\u2800" and lines[0][0] == "\u2800", "tanh rises from the lower left"


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Model files that are read without a host."""
    models = {"first.pt": network(2), "second.pt": network(2, 1), "other.pt": network(3), "stock.pt": nn.Identity()}
    for name in models:
        (tmp_path / name).write_text("")
    monkeypatch.setattr("taafs_plugins.md.export.read_model", lambda path: (models[path.name], {}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_draws_two_runs_and_a_sketch(files):
    result = CliRunner().invoke(app, ["plot", "first.pt", "second.pt", "-o", "both.svg", "--sketch", "--curvature"])
    assert result.exit_code == 0 and "Wrote both.svg" in result.output and "\u2800" in result.output
    assert (files / "both.svg").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["first.pt", "-o", "curves.docx"], "write curves.png or curves.svg or curves.pdf"),
        (["stock.pt"], "has no trainable activation"),
        (["first.pt", "other.pt"], "in different places"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(files, arguments, words):
    result = CliRunner().invoke(app, ["plot", *arguments])
    assert result.exit_code == 1 and words in result.stderr and result.stderr.count("\n") == 1
    assert not list(files.glob("curves*"))


def test_frames_are_read_from_a_deepmd_system_and_evenly(tmp_path):
    system = tmp_path / "system"
    (system / "set.000").mkdir(parents=True)
    (system / "type_map.raw").write_text("O H")
    (system / "type.raw").write_text("0 1 1")
    np.save(system / "set.000" / "coord.npy", np.arange(50 * 9.0).reshape(50, 9))
    np.save(system / "set.000" / "box.npy", np.tile(10 * np.eye(3).ravel(), (50, 1)))
    frames = command.read_frames(system)
    assert len(frames) == command.MOST_FRAMES and frames[0].get_chemical_formula() == "H2O" and frames[0].pbc.all()
    assert frames[0].positions[0, 0] == 0 and frames[-1].positions[0, 0] == 49 * 9
    (tmp_path / "nothing.xyz").write_text("no frames")
    with pytest.raises(TaafsError, match="ASE cannot read"):
        command.read_frames(tmp_path / "nothing.xyz")
    with pytest.raises(command.PlotError, match="is no DeePMD system"):
        command.read_frames(tmp_path)


def test_the_sketch_fits_into_80_columns(files):
    console = Console(record=True, width=80)
    command.plot([files / "first.pt"], files / "a.png", 4.0, None, False, True, console)
    assert max(map(len, console.export_text().splitlines()[:-1])) <= 80
