"""``taafs choose`` on a checkpoint of DeePMD-kit: a choice for the descriptor and one for the fitting net, trained on by ``dp train``."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.io import write
from conftest_deepmd import dp, frame, live_values, model_of, python_values, water_input
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins.cli import app
from taafs_plugins.md.export import read_model


@pytest.fixture(scope="module")
def source(small_water, tmp_path_factory) -> Path:
    """A checkpoint of a fresh model, as dp train writes one."""
    config = water_input("tanh", small_water)
    config["model"]["descriptor"]["type_one_side"] = False  # what dp train sets
    model = model_of(config)
    extra = {"model_params": copy.deepcopy(config["model"]), "train_infos": {"lr": 1e-3, "step": 0}}
    path = tmp_path_factory.mktemp("source") / "model.ckpt-0.pt"
    torch.save({"model": {**{f"model.Default.{key}": value for key, value in model.state_dict().items()}, "_extra_state": extra}}, path)
    return path


@pytest.fixture(scope="module")
def labelled(small_water, tmp_path_factory) -> Path:
    coord, box, types = frame(small_water[0])
    names = (Path(small_water[0]) / "type_map.raw").read_text().split()
    atoms = Atoms([names[t] for t in types], coord.reshape(-1, 3), cell=box.reshape(3, 3), pbc=True)
    path = tmp_path_factory.mktemp("frames") / "water.xyz"
    atoms.arrays["forces"] = np.random.default_rng(0).normal(size=(len(atoms), 3))
    write(path, atoms)
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["choose", *map(str, arguments)])


@pytest.mark.long
@pytest.mark.slow
def test_the_written_checkpoint_is_the_model_of_the_table_and_trains_on(source, small_water, labelled, tmp_path):
    out, table = tmp_path / "chosen.pt", tmp_path / "table.json"
    few = ("--library", "sin", "--library", "atan", "--threshold", 0, "--rate", 2)
    done = run(source, labelled, "-o", out, "--table", table, *few)
    assert done.exit_code == 0, done.output
    choices = json.loads(table.read_text())
    assert len(choices) == 2 and {choice["present"] for choice in choices} == {"tanh"}
    used = {name: choice["spec"] for choice in choices if choice["gain"] > 0 for name in choice["sites"]}
    assert used, done.output
    model, stock = read_model(out)[0], read_model(source)[0]
    for site in taafs.sites(model):
        assert site.converted == (site.name in used)
        assert not site.converted or str(site.current.spec).startswith(used[site.name])
    live = live_values(model, small_water[0])
    deep = python_values(out, small_water[0], no_jit=True)
    assert all(np.abs(live[key] - deep[key]).max() < 1e-9 for key in live)
    assert np.abs(live["force"] - live_values(stock, small_water[0])["force"]).max() > 1e-6
    specs = {where: spec for spec, where in re.findall(r"activation_function '(.*?)' in model\.(\w+)", done.output.replace("\n", ""))}
    config = water_input("tanh", small_water, steps=2)
    config["model"]["descriptor"]["activation_function"] = specs["descriptor"]
    config["model"]["fitting_net"]["activation_function"] = specs["fitting_net"]
    (tmp_path / "input.json").write_text(json.dumps(config))
    dp("train", "input.json", "--skip-neighbor-stat", "--init-model", str(out), cwd=tmp_path)
    first = torch.load(tmp_path / "model.ckpt-2.pt", weights_only=True)["model"]
    before = torch.load(out, weights_only=True)["model"]
    weights = [key for key in before if key.endswith("matrix")]
    moved = max(float((first[key] - before[key]).abs().max()) for key in weights)
    assert 0 < moved < 0.05, moved  # went on from there: fresh weights would differ by far more


def test_a_finer_choice_than_the_config_can_say_is_refused(source, labelled):
    done = run(source, labelled, "--by", "site")
    assert done.exit_code == 1 and "one for the fitting net: leave --by out" in done.output.replace("\n", " ")
