"""NVE by pair style taafs with trained models of the three hosts: the rule of the drift, TAAFS against stock.

The stored run (benchmarks/lammps_nve.py, 5,000 steps) must hold the rule. Here the same is done in short: fewer steps, and atoms so cold
that Verlet's own ups and downs of the energy leave a slope over so few steps readable. With forces that are not the energy's gradient
the rule does not hold.
"""

import json
import os
from pathlib import Path

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from nve_checks import lammps_with_wrong_forces  # noqa: E402

import taafs_plugins as taafs  # noqa: E402
from taafs_plugins import plotting  # noqa: E402
from taafs_plugins.experiments import exported, lammps  # noqa: E402
from taafs_plugins.md import contract  # noqa: E402

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
TRAINING = exported.TRAINING | {"chgnet": 8}  # with fewer steps a molecule has no minimum to swing around
MOLECULES = {"temperature": 10.0, "equilibration": lammps.Equilibration(300, time_constant=0.005, minimise=True)}
IRON = {"temperature": 100.0, "timestep": 0.0005, "equilibration": lammps.Equilibration(150, timestep=0.001)}
SETTINGS = {"schnetpack": MOLECULES, "torchani": MOLECULES, "chgnet": IRON}
STEPS = {"schnetpack": 600, "torchani": 600, "chgnet": 300}


class WithoutCurvesInForces(torch.nn.Module):
    """The energy of one model and the forces of another, as if the coefficients were left out of the gradient."""

    def __init__(self, energy: torch.nn.Module, forces: torch.nn.Module):
        super().__init__()
        self.energy, self.forces = energy, forces

    def forward(self, pos: torch.Tensor, Z: torch.Tensor, idx_i: torch.Tensor, idx_j: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        other = self.forces(pos, Z, idx_i, idx_j, offsets)
        return self.energy(pos, Z, idx_i, idx_j, offsets).detach() + other - other.detach()


def run(host: str, model: Path, folder: Path) -> np.ndarray:
    """[n, 3]: ps, eV/atom, K."""
    folder.mkdir()
    return exported.nve(host, model, folder, STEPS[host], **SETTINGS[host])[0]


def trained(host: str, spec: str | None, path: Path) -> torch.nn.Module:
    """A trained model, exported."""
    model = exported.trained(host, spec, TRAINING[host])
    assert exported.moved(model) > 1e-3 if spec else exported.moved(model) == 0
    exported.export(model, host, path)
    return model


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("host", exported.HOSTS)
def test_energy_is_conserved(host, tmp_path):
    runs = {}
    for name, spec in (("stock", None), ("taafs", exported.SPECS[host])):
        trained(host, spec, tmp_path / f"{name}.pt")
        runs[name] = run(host, tmp_path / f"{name}.pt", tmp_path / name)
    assert all(len(energy) == STEPS[host] // 10 + 1 for energy in runs.values())
    plotting.energies(runs, tmp_path / "nve.png", f"NVE of {host}, pair_style taafs")
    assert (tmp_path / "nve.png").stat().st_size > 10_000
    drifts = {name: lammps.drift(energy) for name, energy in runs.items()}
    print(host, drifts)
    assert lammps.drift_passes(drifts["taafs"], drifts["stock"], exported.PRECISION[host]), drifts
    wrong = lammps.drift(lammps_with_wrong_forces(runs["taafs"], len(exported.gas(host)), by=1e-2))
    assert not lammps.drift_passes(wrong, drifts["stock"], exported.PRECISION[host]), wrong
    for energy in runs.values():  # it moves, as warm as it was made
        assert 0.5 < energy[:, 2].mean() / SETTINGS[host]["temperature"] < 2
    # two potentials, not one
    assert not np.allclose(runs["stock"][:, 1] - runs["stock"][0, 1], runs["taafs"][:, 1] - runs["taafs"][0, 1])


@pytest.mark.slow
@pytest.mark.long
def test_forces_that_leave_the_curves_out_do_not_conserve_energy(tmp_path):
    files = {name: tmp_path / f"{name}.pt" for name in ("whole", "without", "wrong")}
    model = trained("torchani", exported.SPECS["torchani"], files["whole"])
    for act in taafs.trainable_activations(model).values():
        act.delta.data.zero_()
    exported.export(model, "torchani", files["without"])
    (whole, facts), (without, _) = (contract.read(files[name], fused=False) for name in ("whole", "without"))
    contract.write(torch.jit.script(WithoutCurvesInForces(whole, without)), files["wrong"], facts)
    drift = lammps.drift(run("torchani", files["wrong"], tmp_path / "run"))
    assert not lammps.drift_passes(drift, 0.0), drift


def test_the_stored_run_of_5000_steps_holds():
    stored = json.loads((RESULTS / "lammps_nve.json").read_text())["runs"]
    assert [(run["host"], run["spec"]) for run in stored] == [
        (host, spec) for host in exported.HOSTS for spec in (None, exported.SPECS[host])
    ]
    for stock, ours in zip(stored[::2], stored[1::2], strict=True):
        host = ours["host"]
        assert stock["md steps"] == ours["md steps"] == 5000 and ours["training steps"] == exported.TRAINING[host]
        assert stock["largest coefficient"] == 0 and ours["largest coefficient"] > 1e-3
        assert ours["rule holds"] and lammps.drift_passes(ours["drift eV/atom/ps"], stock["drift eV/atom/ps"], exported.PRECISION[host])
        for run in (stock, ours):
            assert 0.5 < run["mean temperature K"] / exported.TEMPERATURE[host] < 1.6
    assert (RESULTS / "lammps_nve.png").stat().st_size > 10_000
