"""LAMMPS NVE of water with a trained model conserves energy as well as with tanh; benchmarks/deepmd_nve.py is the long version."""

import numpy as np
import pytest

from taafs_plugins import plotting
from taafs_plugins.experiments import lammps, water_nve

TRAINING_STEPS, MD_STEPS = 2500, 1500


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_energy_is_conserved_as_well_as_with_tanh(tmp_path):
    energies = {name: water_nve.run(name, tmp_path / str(i), TRAINING_STEPS, MD_STEPS) for i, name in enumerate(("tanh", "taafs:bspline"))}
    assert all(len(e) == MD_STEPS // 10 + 1 and np.isfinite(e).all() for e in energies.values())
    plotting.energies(energies, tmp_path / "nve.png", "NVE of 64 water molecules")
    assert (tmp_path / "nve.png").stat().st_size > 10000
    drifts = {name: lammps.drift(energy) for name, energy in energies.items()}
    print({name: f"{value:+.2e}" for name, value in drifts.items()})
    assert lammps.drift_passes(drifts["taafs:bspline"], drifts["tanh"])


def test_the_drift_rule():
    ramp = np.stack([np.arange(10.0), 1 + 2e-5 * np.arange(10.0)], axis=1)
    assert lammps.drift(ramp) == pytest.approx(2e-5)
    assert lammps.drift_passes(2e-5, 2e-5) and lammps.drift_passes(-2e-5, 2e-5) and not lammps.drift_passes(2.5e-5, 2e-5)
    assert lammps.drift_passes(9e-7, 0.0) and not lammps.drift_passes(2e-6, 0.0) and lammps.drift_passes(9e-6, 0.0, "float32")
