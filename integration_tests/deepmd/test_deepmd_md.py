"""LAMMPS NVE of water with trained activations: energy is conserved as well as with tanh.

The stored run (benchmarks/deepmd_nve.py: five activations, 5,000 steps at 330 K) must hold the rule. Here the same is done in short with
the basis whose third derivative jumps. All go on from the stored trained tanh model (models that are trained only for the minutes that
a test has find holes of their potential, with tanh as well, and the drift then says nothing of the forces). At 50 K Verlet's own ups and
downs of the energy are small enough for a slope over 500 steps, and forces that are wrong by a thousandth do not hold the rule.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest_deepmd import coefficient_keys, load_state
from nve_checks import lammps_with_wrong_forces

from taafs_plugins import plotting
from taafs_plugins.experiments import deepmd, lammps, water_nve

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
START = RESULTS / "water_tanh.pt"
TRAINING_STEPS, MD_STEPS, ATOMS = 60, 500, 192
SETTINGS = {"temperature": 50.0, "equilibration": lammps.Equilibration(300, timestep=0.00025, time_constant=0.02)}
HERE = ("tanh", "taafs:bspline")


def train_and_run(activation: str, folder: Path, held_out: str) -> dict:
    """Continue from the tanh model, freeze, equilibrate, NVE."""
    trained = water_nve.train(activation, folder, TRAINING_STEPS, learning_rate=water_nve.CONTINUE_RATE, start=START)
    errors = deepmd.errors(trained, [held_out], no_jit=True)
    return {"state": load_state(trained), "force": errors["force"], "energy": water_nve.run(activation, folder, MD_STEPS, **SETTINGS)}


@pytest.mark.long
@pytest.mark.slow
def test_energy_is_conserved_as_well_as_with_tanh(small_held_out, tmp_path):
    folders = {name: tmp_path / str(i) for i, name in enumerate(HERE)}
    runs = {name: train_and_run(name, folder, small_held_out) for name, folder in folders.items()}
    energies = {name: run["energy"] for name, run in runs.items()}
    drifts = {name: lammps.drift(energy) for name, energy in energies.items()}
    for name, energy in energies.items():
        low, high = energy[:, 2].min(), energy[:, 2].max()
        print(f"{name}: force error {runs[name]['force']:.4f} eV/A, drift {drifts[name]:+.2e} eV/atom/ps, {low:.0f} to {high:.0f} K")
    for name, run in runs.items():
        keys = coefficient_keys(run["state"])
        assert len(keys) == (0 if name == "tanh" else 4 * 2 + 2 * 2) and all(bool(run["state"][key].any()) for key in keys), name
        assert run["force"] < 1.05 * runs["tanh"]["force"], name
        assert len(run["energy"]) == MD_STEPS // 10 + 1 and 25 < run["energy"][:, 2].mean() < 100, name
    plotting.energies_one_by_one(energies, tmp_path / "nve.png", "NVE of 64 water molecules")
    assert (tmp_path / "nve.png").stat().st_size > 10000
    broken = {name: drift for name, drift in drifts.items() if not lammps.drift_passes(drift, drifts["tanh"])}
    assert not broken, drifts
    wrong = lammps.drift(lammps_with_wrong_forces(energies["taafs:bspline"], ATOMS))
    assert not lammps.drift_passes(wrong, drifts["tanh"]), wrong


def test_the_stored_run_is_of_the_stored_start_and_holds():
    stored = json.loads((RESULTS / "deepmd_nve.json").read_text())
    assert stored["start"] == {"file": START.name, "sha256": hashlib.sha256(START.read_bytes()).hexdigest()}
    assert list(stored["runs"]) == list(water_nve.ACTIVATIONS)
    tanh = stored["runs"]["tanh"]["drift eV/atom/ps"]
    assert all(run["holds"] and lammps.drift_passes(run["drift eV/atom/ps"], tanh) for run in stored["runs"].values())
    assert (RESULTS / "deepmd_nve.png").stat().st_size > 10000
    # a tanh model, without an optimiser's state
    assert not torch.load(START, weights_only=True)["optimizer"] and not coefficient_keys(load_state(START))


def test_the_drift_rule():
    ramp = np.stack([np.arange(10.0), 1 + 2e-5 * np.arange(10.0)], axis=1)
    assert lammps.drift(ramp) == pytest.approx(2e-5)
    assert lammps.drift_passes(2e-5, 2e-5) and lammps.drift_passes(-2e-5, 2e-5) and not lammps.drift_passes(2.5e-5, 2e-5)
    assert lammps.drift_passes(9e-7, 0.0) and not lammps.drift_passes(2e-6, 0.0) and lammps.drift_passes(9e-6, 0.0, "float32")


def test_hot_cold_and_broken_runs_are_not_sane():
    run = np.stack([np.arange(4.0), np.zeros(4), np.full(4, 330.0)], axis=1)
    assert water_nve.is_sane(run)
    for column, value in ((2, 460.0), (2, 240.0), (1, np.nan), (1, np.inf)):
        changed = run.copy()
        changed[2, column] = value
        assert not water_nve.is_sane(changed)
