"""From input.json to LAMMPS by the stock commands: train, restart, init-model, finetune, test, freeze, DeepPot, ASE, lmp."""

import json
import os
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest_deepmd import (
    checkpoint,
    coefficient_keys,
    dp,
    frame,
    largest_difference,
    live_values,
    load_state,
    model_of,
    python,
    python_values,
    randomise,
    water_input,
)  # fmt: skip
from lammps_runs import lmp_available, single_point

import taafs_plugins as taafs
from taafs_plugins.experiments import deepmd

# dp train: an embedding net for each of 4 type pairs, a fitting net for each of 2 types, two active layers each
SITES = 4 * 2 + 2 * 2


def test_lammps_is_there():
    result = lmp_available()
    assert result.returncode == 0, result.stderr[-500:]


@pytest.fixture(scope="session")
def randomised(trained, tmp_path_factory) -> Path:
    """A trained checkpoint whose coefficients were replaced by random ones, and its frozen file."""
    folder = tmp_path_factory.mktemp("randomised")
    assert randomise(checkpoint(trained["taafs"], 20), folder / "random.pt") == SITES
    dp("freeze", "-c", "random.pt", "-o", "frozen.pth", cwd=folder)
    return folder


def test_every_path_gives_the_same_numbers_and_not_those_of_tanh(randomised, trained, small_water, tmp_path):
    system = small_water[0]
    state = load_state(randomised / "random.pt")
    model = model_of({"model": state["_extra_state"]["model_params"]})
    model.load_state_dict({k.removeprefix("model.Default."): v for k, v in state.items() if k != "_extra_state"}, strict=False)
    live = live_values(model, system)
    paths = {
        "checkpoint": python_values(randomised / "random.pt", system),
        "frozen": python_values(randomised / "frozen.pth", system),
        "lammps": single_point([randomised / "frozen.pth"], system, tmp_path / "one"),
        "lammps on 2 ranks": single_point([randomised / "frozen.pth"], system, tmp_path / "two", ranks=2),
    }
    for name, values in paths.items():
        assert largest_difference(live, values) < 1e-8, name
    dp("freeze", "-o", "stock.pth", cwd=trained["tanh"])
    stock = python_values(trained["tanh"] / "stock.pth", system)
    for key in ("energy", "force", "virial"):
        assert np.abs(stock[key] - live[key]).max() > 1e-4, key


def test_the_operator_form_gives_the_same_numbers_in_python_and_lammps(randomised, small_water, tmp_path, monkeypatch):
    """TAAFS_EXPORT=operator at freeze time, the library through DP_PLUGIN_PATH in LAMMPS."""
    from taafs_plugins.native.operators import build_operator_library

    library = build_operator_library()
    monkeypatch.setenv("TAAFS_EXPORT", "operator")
    dp("freeze", "-c", randomised / "random.pt", "-o", tmp_path / "operator.pth", cwd=tmp_path)
    monkeypatch.setenv("DP_PLUGIN_PATH", str(library))
    plain = python_values(randomised / "frozen.pth", small_water[0])
    torch.ops.load_library(str(library))
    values = {
        "python": python_values(tmp_path / "operator.pth", small_water[0]),
        "lammps": single_point([tmp_path / "operator.pth"], small_water[0], tmp_path / "one"),
        "lammps on 2 ranks": single_point([tmp_path / "operator.pth"], small_water[0], tmp_path / "two", ranks=2),
    }
    for name, value in values.items():
        assert largest_difference(plain, value) < 1e-8, name
    monkeypatch.delenv("DP_PLUGIN_PATH")
    with pytest.raises(deepmd.RunError):  # without the library the file cannot be opened: the operator really is called
        single_point([tmp_path / "operator.pth"], small_water[0], tmp_path / "none")


def test_freezing_folds_the_coefficients(randomised):
    """What docs/speed.md says of the default; unfolded, a step in LAMMPS costs a sixth more."""
    with zipfile.ZipFile(randomised / "frozen.pth") as archive:
        code = "".join(archive.read(name).decode() for name in archive.namelist() if name.endswith(".py"))
    assert "folded_rows" in code


def test_frozen_model_needs_nothing_of_this_package(randomised, small_water):
    code = (
        "import sys; sys.modules['taafs_plugins'] = None\n"
        "import torch, numpy as np\n"
        f"model = torch.jit.load({str(randomised / 'frozen.pth')!r})\n"
        "x = torch.zeros(1, 3, 3, dtype=torch.float64); x[0, 1, 0] = x[0, 2, 1] = 1.0\n"
        "out = model(x, torch.tensor([[0, 1, 1]]), None)\n"
        "print(float(out['energy'].detach()))"
    )
    result = python(code, randomised)
    assert result.returncode == 0, result.stderr[-1000:]
    assert np.isfinite(float(result.stdout.split()[-1]))


def test_ase_calculator_from_checkpoint_and_frozen_file(randomised, small_water):
    from ase import Atoms
    from deepmd.calculator import DP

    coord, box, types = frame(small_water[0])
    energies, force = [], python_values(randomised / "random.pt", small_water[0], no_jit=True)["force"]
    for file in ("random.pt", "frozen.pth"):
        atoms = Atoms([("O", "H")[t] for t in types], positions=coord.reshape(-1, 3), cell=box.reshape(3, 3), pbc=True)
        atoms.calc = DP(model=str(randomised / file))
        energies.append(atoms.get_potential_energy())
        assert np.abs(atoms.get_forces() - force).max() < 1e-10
    assert abs(energies[0] - energies[1]) < 1e-10


def test_converting_to_the_neutral_format_and_back_keeps_the_coefficients(randomised, small_water, tmp_path):
    dp("convert-backend", randomised / "frozen.pth", tmp_path / "model.dp", cwd=tmp_path)
    dp("convert-backend", tmp_path / "model.dp", tmp_path / "again.pth", cwd=tmp_path)
    ours, again = (python_values(path, small_water[0]) for path in (randomised / "frozen.pth", tmp_path / "again.pth"))
    assert largest_difference(ours, again) < 1e-10


def test_dp_test_runs_on_checkpoint_and_frozen_file(randomised, small_water):
    for file in ("random.pt", "frozen.pth"):
        assert "Force  RMSE" in (out := dp("test", "-m", file, "-s", small_water[0], "-n", "2", cwd=randomised)).stdout + out.stderr


def test_model_deviation_in_lammps(randomised, trained, small_water, tmp_path):
    dp("freeze", "-o", "plain.pth", cwd=trained["taafs"])
    models = [randomised / "frozen.pth", trained["taafs"] / "plain.pth"]
    first = single_point(models, small_water[0], tmp_path)
    values = [float(v) for v in (tmp_path / "deviation.out").read_text().splitlines()[-1].split()]
    forces = [python_values(m, small_water[0])["force"] for m in models]
    spread = np.sqrt(((forces[0] - forces[1]) ** 2).sum(1) / 4).max()  # deviation of two models: half their distance
    assert abs(values[4] - spread) < 1e-6 * max(1.0, spread)
    assert np.abs(first["force"] - forces[0]).max() < 1e-8


def test_coefficients_move_in_training_and_resetting_them_hurts(trained, small_water, tmp_path):
    whole = torch.load(checkpoint(trained["taafs"], 20), weights_only=True)
    assert len(names := coefficient_keys(whole["model"])) == SITES
    assert all(bool(whole["model"][key].any()) for key in names)
    before = deepmd.errors(checkpoint(trained["taafs"], 20), small_water, no_jit=True)
    for key in whole["model"]:
        if key.endswith(".delta"):
            whole["model"][key].zero_()
    torch.save(whole, tmp_path / "reset.pt")
    after = deepmd.errors(tmp_path / "reset.pt", small_water, no_jit=True)
    assert after["energy"] > 1.05 * before["energy"] or after["force"] > 1.05 * before["force"]


def test_taafs_sites_and_plot_on_a_checkpoint(randomised, trained, tmp_path):
    from typer.testing import CliRunner

    from taafs_plugins.cli import app

    table = CliRunner().invoke(app, ["sites", str(randomised / "random.pt")]).output.splitlines()
    assert len(table) == 1 + SITES and all("taafs:chebyshev1 over tanh" in line and " 8 " in line for line in table[1:])
    picture = tmp_path / "curves.png"
    assert CliRunner().invoke(app, ["plot", str(randomised / "random.pt"), "-o", str(picture)]).exit_code == 0
    assert picture.stat().st_size > 10000
    for arguments, words in (
        (["sites", str(randomised / "frozen.pth")], "is a frozen model"),
        (["plot", str(checkpoint(trained["tanh"], 20))], "has no trainable activation"),
        (["export", str(randomised / "random.pt"), "-o", str(tmp_path / "x.pt")], "run 'dp --pt freeze'"),
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 1 and words in result.output + result.stderr


def test_the_resolved_spec_is_shown_and_stored(trained):
    resolved = "taafs:chebyshev1,degree=7,base=tanh,share=layer,residual=plain,squash=tanh,scale=1,init=zero,rate=10"
    stored = load_state(checkpoint(trained["taafs"], 20))["_extra_state"]["model_params"]
    assert stored["descriptor"]["activation_function"] == stored["fitting_net"]["activation_function"] == resolved
    assert f"TAAFS: {SITES} sites, {8 * SITES} coefficients, {resolved}" in (trained["taafs"] / "printed").read_text()
    written = json.loads((trained["taafs"] / "out.json").read_text())["model"]
    assert written["descriptor"]["activation_function"] == written["fitting_net"]["activation_function"] == resolved
    stock = load_state(checkpoint(trained["tanh"], 20))["_extra_state"]["model_params"]
    assert stock["descriptor"]["activation_function"] == "tanh"


def test_restart_is_bitwise(trained, small_water, tmp_path):
    whole = torch.load(checkpoint(trained["taafs"], 10), weights_only=True)
    torch.save(whole, tmp_path / "model.ckpt-10.pt")
    (tmp_path / "input.json").write_text((trained["taafs"] / "input.json").read_text())
    code = (
        "import torch, deepmd.pt.train.training as t\n"
        "from deepmd.pt.entrypoints.main import train\n"
        "def run(self): torch.save({'model': self.wrapper.state_dict(), 'optimizer': self.optimizer.state_dict()}, 'restored.pt')\n"
        "t.Trainer.run = run\n"
        "train('input.json', None, 'model.ckpt-10.pt', None, None, '', skip_neighbor_stat=True)\n"
    )
    result = python(code, tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    restored = torch.load(tmp_path / "restored.pt", weights_only=True)
    for key, value in whole["model"].items():
        assert key == "_extra_state" or torch.equal(value, restored["model"][key]), key
    states = whole["optimizer"]["state"], restored["optimizer"]["state"]
    assert states[0].keys() == states[1].keys() and states[0]
    for parameter in states[0]:
        for key, value in states[0][parameter].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(states[1][parameter][key]))
    assert dp("train", "input.json", "--restart", "model.ckpt-10", "--skip-neighbor-stat", cwd=tmp_path)
    assert checkpoint(tmp_path, 20).is_file()


@pytest.mark.parametrize("option", ["--init-model", "--finetune"])
def test_start_from_a_stock_checkpoint(option, trained, small_water, tmp_path):
    """At a vanishing learning rate the trained model still predicts what the stock checkpoint does (finetune shifts the energy)."""
    stock = checkpoint(trained["tanh"], 20)
    config = water_input("taafs:bspline,residual=scaled", small_water, steps=1, learning_rate=1e-30, stop_rate=1e-31)
    (tmp_path / "input.json").write_text(json.dumps(config))
    dp("train", "input.json", option, str(stock), "--skip-neighbor-stat", cwd=tmp_path)
    ours, theirs = (python_values(path, small_water[0], no_jit=True) for path in (checkpoint(tmp_path, 1), stock))
    assert np.abs(ours["force"] - theirs["force"]).max() < 1e-12
    assert np.abs(ours["virial"] - theirs["virial"]).max() < 1e-10
    if option == "--init-model":
        assert np.abs(ours["energy"] - theirs["energy"]).max() < 1e-10
    assert len(coefficient_keys(load_state(checkpoint(tmp_path, 1)))) == SITES


BAD = {
    "taafs:foo": "Known: bspline",
    "taafs:chebishev1": "Did you mean 'chebyshev1'",
    "taafs:bspline,grid=0": "grid takes a whole number from 1 to 64",
    "taafs:bspline,order=-1": "order takes",
    "taafs:fourier,n=abc": "n takes",
    "": "is empty",
    "taafs:chebyshev1,": "Did you mean 'taafs:chebyshev1'",
    "taaf:chebyshev1": "Did you mean 'taafs'",
    "taafs:chebyshev1,shear=layer": "Did you mean 'share'",
    "taafs:chebyshev1,scale=atuo": "scale takes 'auto' or a number",
}


def test_bad_specs_stop_dp_train_before_anything_is_read_or_written(tmp_path):
    for i, (spec, words) in enumerate(BAD.items()):
        folder = tmp_path / str(i)
        folder.mkdir()
        config = water_input(spec, ["no/such/data"])
        (folder / "input.json").write_text(json.dumps(config))
        if i > 2:  # the command itself for the first ones, its input check for all
            from deepmd.utils import compat

            with pytest.raises(taafs.SpecError, match=words):
                compat.update_deepmd_input(config)
            continue
        result = dp("train", "input.json", cwd=folder, check=False)
        assert result.returncode == 1
        assert words in result.stderr and "Traceback" not in result.stderr
        assert "no/such/data" not in result.stderr
        assert os.listdir(folder) == ["input.json"]


def test_killed_training_loses_no_more_than_the_save_interval(small_water, tmp_path):
    config = water_input("taafs:chebyshev1", small_water, steps=100000, save=10)
    (tmp_path / "input.json").write_text(json.dumps(config))
    process = subprocess.Popen(
        [deepmd.command("dp"), "--pt", "train", "input.json", "--skip-neighbor-stat"],
        cwd=tmp_path, env=deepmd.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.time() + 240
    while time.time() < deadline and not checkpoint(tmp_path, 30).is_file():
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # DeePMD-kit writes this file in place, after the checkpoint: killed between, it is empty and the one before counts
    named = (tmp_path / "checkpoint").read_text()
    saved = int(named.split("-")[1].split(".")[0]) if named else 20
    assert saved >= 20 and saved % 10 == 0
    config["training"]["numb_steps"] = saved + 5
    (tmp_path / "input.json").write_text(json.dumps(config))
    dp("train", "input.json", "--restart", f"model.ckpt-{saved}", "--skip-neighbor-stat", cwd=tmp_path)
    assert checkpoint(tmp_path, saved + 5).is_file()
