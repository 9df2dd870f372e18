"""LAMMPS NVE of water, 5,000 steps: B-spline, Fourier, Chebyshev and Hermite as trained here conserve energy as well as tanh.

benchmarks/deepmd_nve.py is the long version. A tanh model is trained, then all five go on from it with ``--init-model`` for the same
number of steps; ``water_nve`` says why the run is cold.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from conftest_deepmd import checkpoint, coefficient_keys, load_state

from taafs_plugins import plotting
from taafs_plugins.experiments import lammps, water_nve

TRAINING_STEPS, MORE_STEPS, MD_STEPS = 1500, 200, 5000


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Models of the five activations, all started from one of tanh."""
    root = tmp_path_factory.mktemp("nve")
    start = water_nve.train("tanh", root / "start", TRAINING_STEPS)
    found = {}
    for name in water_nve.ACTIVATIONS:
        found[name] = root / name.split(":")[-1]
        water_nve.train(name, found[name], MORE_STEPS, start=start, learning_rate=1e-3)
    return found


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_energy_is_conserved_as_well_as_with_tanh(folders, tmp_path):
    for name, folder in folders.items():
        state = load_state(checkpoint(folder, MORE_STEPS))
        keys = coefficient_keys(state)
        assert len(keys) == (0 if name == "tanh" else 4 * 2 + 2 * 2)
        assert all(float(state[key].abs().max()) > 1e-4 for key in keys), name  # rate 10: theta moved by 1e-3
    with ThreadPoolExecutor(2) as pool:  # two lmp at a time
        energies = dict(zip(folders, pool.map(lambda item: water_nve.run(*item, MD_STEPS), folders.items()), strict=True))
    picture = tmp_path / "nve.png"
    plotting.energies(energies, picture, "NVE of 64 water molecules")
    assert picture.stat().st_size > 10000
    drifts = {name: lammps.drift(energy) for name, energy in energies.items()}
    temperatures = {name: energy[len(energy) // 2 :, 2].mean() for name, energy in energies.items()}
    print({name: f"{drifts[name]:+.2e} eV/atom/ps, {temperatures[name]:.0f} K" for name in folders})
    for name, energy in energies.items():
        assert len(energy) == MD_STEPS // 10 + 1 and np.isfinite(energy).all()
        assert 20 < temperatures[name] < 150, "it did not stay where it was relaxed to"
        assert lammps.drift_passes(drifts[name], drifts["tanh"]), name
    # five different potentials, not one
    assert len({f"{energy[0, 1]:.6f}" for energy in energies.values()}) == len(energies)


def test_the_drift_rule():
    ramp = np.stack([np.arange(10.0), 1 + 2e-5 * np.arange(10.0)], axis=1)
    assert lammps.drift(ramp) == pytest.approx(2e-5)
    assert lammps.drift_passes(2e-5, 2e-5) and lammps.drift_passes(-2e-5, 2e-5) and not lammps.drift_passes(2.5e-5, 2e-5)
    assert lammps.drift_passes(9e-7, 0.0) and not lammps.drift_passes(2e-6, 0.0) and lammps.drift_passes(9e-6, 0.0, "float32")
