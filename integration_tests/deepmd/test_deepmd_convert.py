"""``taafs convert``: a stock model file gets trainable activations and predicts what it did."""

import copy

import numpy as np
import pytest
import torch
from conftest_deepmd import live_values, model_of, water_input
from torchani.nn import ANINetworks, AtomicNetwork
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins.cli import app
from taafs_plugins.md.export import read_model


def run(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


@pytest.fixture
def checkpoint(small_water, tmp_path):
    """A checkpoint of a fresh model, as dp train writes one."""
    config = water_input("tanh", small_water)
    config["model"]["descriptor"]["type_one_side"] = False  # what dp train sets
    model = model_of(config)
    state = {f"model.Default.{key}": value for key, value in model.state_dict().items()}
    extra = {"model_params": copy.deepcopy(config["model"]), "train_infos": {"lr": 1e-3, "step": 0}}
    torch.save({"model": {**state, "_extra_state": extra}, "optimizer": {}}, tmp_path / "stock.pt")
    return tmp_path / "stock.pt"


@pytest.mark.parametrize(("sites", "count"), [((), 12), (("--site", "fitting"), 4)])
def test_a_checkpoint_of_deepmd_kit_starts_at_its_own_predictions(checkpoint, small_water, tmp_path, sites, count):
    out = tmp_path / "converted.pt"
    done = run(checkpoint, "-o", out, "--spec", "taafs:chebyshev1", *sites)
    assert done.exit_code == 0 and "--init-model converted.pt" in done.output, done.output
    stock, ours = read_model(checkpoint)[0], read_model(out)[0]
    acts = taafs.trainable_activations(ours)
    assert len(acts) == count and all(act.spec.family == "taafs" for act in acts.values())
    before, after = live_values(stock, small_water[0]), live_values(ours, small_water[0])
    assert all(np.abs(before[key] - after[key]).max() < 1e-12 for key in before)


def test_mistakes_are_one_sentence_and_write_nothing(checkpoint, tmp_path):
    out = tmp_path / "converted.pt"
    for arguments, words in (
        ((checkpoint, "-o", checkpoint, "--spec", "taafs:chebyshev1"), "is the file that is read"),
        ((checkpoint, "-o", out, "--spec", "taafs:chebishev1"), "Did you mean 'chebyshev1'"),
        ((checkpoint, "-o", out, "--spec", "taafs:chebyshev1", "--site", "fiting"), "fiting"),
        ((tmp_path / "no.pt", "-o", out, "--spec", "taafs:chebyshev1"), "There is no file"),
    ):
        done = run(*arguments)
        assert done.exit_code == 1 and words in done.output + done.stderr and isinstance(done.exception, SystemExit)
        assert not out.exists()


def test_a_model_of_torchani_that_was_saved_whole(tmp_path):
    model = ANINetworks({symbol: AtomicNetwork((16, 8, 1)) for symbol in ("H", "C")})
    torch.save(model, tmp_path / "stock.pt")
    done = run(tmp_path / "stock.pt", "-o", tmp_path / "ours.pt", "--spec", "taafs:bspline")
    assert done.exit_code == 0 and "torch.load('ours.pt', weights_only=False)" in done.output, done.output
    assert len(taafs.trainable_activations(read_model(tmp_path / "ours.pt")[0])) == 2
