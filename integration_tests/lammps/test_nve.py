"""NVE of 5,000 steps by pair style taafs with trained models of the three hosts: the rule of the drift, TAAFS against stock."""

import os
from pathlib import Path

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

from taafs_plugins import plotting  # noqa: E402
from taafs_plugins.experiments import exported, lammps  # noqa: E402

STEPS = 5000


def run(host: str, spec: str | None, folder: Path) -> np.ndarray:
    """[n, 3]: ps, eV/atom, K."""
    folder.mkdir()
    model = exported.trained(host, spec, exported.TRAINING[host])
    assert exported.moved(model) > 1e-3 if spec else exported.moved(model) == 0
    exported.export(model, host, folder / "model.pt")
    return exported.nve(host, folder / "model.pt", folder, STEPS)[0]


@pytest.mark.slow
@pytest.mark.parametrize("host", exported.HOSTS)
def test_energy_is_conserved(host, tmp_path):
    runs = {name: run(host, spec, tmp_path / name) for name, spec in (("stock", None), ("taafs", exported.SPECS[host]))}
    assert all(len(energy) == STEPS // 10 + 1 for energy in runs.values())
    plotting.energies(runs, tmp_path / "nve.png", f"NVE of {host}, pair_style taafs")
    assert (tmp_path / "nve.png").stat().st_size > 10_000
    drifts = {name: lammps.drift(energy) for name, energy in runs.items()}
    assert lammps.drift_passes(drifts["taafs"], drifts["stock"], exported.PRECISION[host]), drifts
    for energy in runs.values():  # it moves, as warm as it was made
        assert 0.5 < energy[:, 2].mean() / exported.TEMPERATURE[host] < 1.6
    # two potentials, not one
    assert not np.allclose(runs["stock"][:, 1] - runs["stock"][0, 1], runs["taafs"][:, 1] - runs["taafs"][0, 1])
