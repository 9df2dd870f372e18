"""LAMMPS NVE of water with a trained model conserves energy as well as with tanh; benchmarks/deepmd_nve.py is the long version.

It has all of B-spline, Fourier, Chebyshev and Hermite and 5,000 steps. Models that are trained for the minutes that a test has do not
live that long at 330 K, with tanh as well: they find holes of the potential, and the drift then says nothing of the forces.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest_deepmd import checkpoint, coefficient_keys, load_state

from taafs_plugins import plotting
from taafs_plugins.experiments import lammps, water_nve

TRAINING_STEPS, MD_STEPS = 2500, 1500


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_energy_is_conserved_as_well_as_with_tanh(tmp_path):
    folders = {name: tmp_path / str(i) for i, name in enumerate(("tanh", "taafs:bspline"))}
    for name, folder in folders.items():
        water_nve.train(name, folder, TRAINING_STEPS)
        state = load_state(checkpoint(folder, TRAINING_STEPS))
        keys = coefficient_keys(state)
        assert len(keys) == (0 if name == "tanh" else 4 * 2 + 2 * 2) and all(bool(state[key].any()) for key in keys)
    with ThreadPoolExecutor(2) as pool:
        energies = dict(zip(folders, pool.map(lambda item: water_nve.run(*item, MD_STEPS), folders.items()), strict=True))
    assert all(len(e) == MD_STEPS // 10 + 1 and np.isfinite(e).all() for e in energies.values())
    plotting.energies(energies, tmp_path / "nve.png", "NVE of 64 water molecules")
    assert (tmp_path / "nve.png").stat().st_size > 10000
    drifts = {name: lammps.drift(energy) for name, energy in energies.items()}
    print({name: f"{drifts[name]:+.2e} eV/atom/ps, at the end {energies[name][-1, 2]:.0f} K" for name in folders})
    assert lammps.drift_passes(drifts["taafs:bspline"], drifts["tanh"])


def test_the_drift_rule():
    ramp = np.stack([np.arange(10.0), 1 + 2e-5 * np.arange(10.0)], axis=1)
    assert lammps.drift(ramp) == pytest.approx(2e-5)
    assert lammps.drift_passes(2e-5, 2e-5) and lammps.drift_passes(-2e-5, 2e-5) and not lammps.drift_passes(2.5e-5, 2e-5)
    assert lammps.drift_passes(9e-7, 0.0) and not lammps.drift_passes(2e-6, 0.0) and lammps.drift_passes(9e-6, 0.0, "float32")
