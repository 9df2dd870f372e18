"""Forces and stress against central differences, and rotations, with random coefficients (float64)."""

import numpy as np
import pytest
import torch
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from schnetpack.interfaces import SpkCalculator
from schnetpack.transform import MatScipyNeighborList
from schnetpack_helpers import CUTOFF, REPRESENTATIONS, batch, differs, ethanol, potential, predict, randomise

import taafs_plugins as taafs

BASES = ("bspline", "chebyshev1", "fourier")


def converted(kind, basis, **keys):
    model = potential(kind, **keys)
    taafs.convert(model, f"taafs:{basis}", sites=["*"])
    return randomise(model)


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_forces_are_the_derivative_of_the_energy(kind, basis):
    model = converted(kind, basis)
    atoms = ethanol(1)[0]
    forces = predict(model, [atoms])["forces"].numpy()
    step = 1e-6 if kind == "field_schnet" else 1e-4  # with its large random filters this energy is strongly curved
    for atom, axis in ((0, 0), (2, 1), (8, 2)):
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            energies.append(predict(model, [moved])["energy"].item())
        assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(forces[atom, axis], rel=1e-5, abs=1e-6)


def test_stress_is_the_derivative_of_the_energy():
    """SchNetPack's stress is dE/d(strain) / volume."""
    model = converted("painn", "chebyshev1", stress=True)
    atoms = ethanol(1, periodic=True)[0]
    found = predict(model, [atoms])
    assert differs(found, predict(potential(stress=True), [atoms]), keys=("energy", "forces", "stress"), by=1e-7)
    step = 1e-5
    for a, b in ((0, 0), (1, 1), (0, 2)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            moved = atoms.copy()
            moved.set_cell(atoms.cell.array @ strain, scale_atoms=False)
            moved.positions = atoms.positions @ strain
            energies.append(predict(model, [moved])["energy"].item())
        expected = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
        stress = found["stress"].reshape(3, 3)
        assert float(stress[a, b] + stress[b, a]) / 2 == pytest.approx(expected, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_rotated_input_gives_rotated_forces(kind):
    """FieldSchNet's electric field turns with the atoms."""
    model = converted(kind, "bspline").double().eval()
    atoms = ethanol(1)[0]
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))[0]
    rotated = atoms.copy()
    rotated.positions = atoms.positions @ rotation.numpy().T
    inputs = batch([rotated])
    inputs["electric_field"] = inputs["electric_field"] @ rotation.T
    a, b = predict(model, [atoms]), model(inputs)
    assert a["forces"].abs().max() > 1e-3
    assert (a["energy"] - b["energy"]).abs().max() < 1e-8
    assert (a["forces"] @ rotation.T - b["forces"]).abs().max() < 1e-8


def test_energy_error_of_dynamics_falls_with_the_square_of_the_time_step():
    """Velocity Verlet conserves the total energy to second order when the forces are the energy's derivative."""
    model = converted("painn", "chebyshev1")
    spread = []
    for step in (0.4, 0.2):
        atoms = ethanol(1)[0]
        atoms.calc = SpkCalculator(model, MatScipyNeighborList(cutoff=CUTOFF), dtype=torch.float64)
        MaxwellBoltzmannDistribution(atoms, temperature_K=300, rng=np.random.default_rng(1))
        dynamics = VelocityVerlet(atoms, timestep=step * units.fs)
        totals = []
        dynamics.attach(lambda atoms=atoms, totals=totals: totals.append(atoms.get_total_energy()))
        dynamics.run(round(16 / step))
        spread.append(np.ptp(totals))
    assert 3 < spread[0] / spread[1] < 5
