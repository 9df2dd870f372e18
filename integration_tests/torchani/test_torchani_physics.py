"""Forces, Hessians, frequencies and batches of models with random coefficients: derivatives against central differences."""

import pytest
import torch
import torchani
from torchani.grad import energies_forces_and_hessians, vibrational_analysis
from torchani.utils import get_atomic_masses
from torchani_small import batch, energies_forces, frames, randomise, small_model, with_all_elements

import taafs_plugins as taafs

SPECS = ["taafs:bspline", "taafs:bspline,share=network", "taafs:chebyshev1,share=neuron", "taafs:fourier,share=global,residual=scaled"]
STEP = 1e-4  # Angstrom


def converted(spec, members=1):
    model = small_model(members=members)
    taafs.convert(model, spec)
    return randomise(model, size=0.3)


def small_molecule():
    """The first molecule of the test part with at most eight atoms."""
    return next(m for m in frames("test") if 5 <= len(m[0]) <= 8)


@pytest.mark.parametrize("spec", SPECS)
def test_forces_of_a_scripted_model_are_central_differences(spec):
    model = torch.jit.script(converted(spec, members=2))
    molecule = with_all_elements()
    forces = energies_forces(model, [molecule])[1][0]
    species, x = batch([molecule])
    moved = x.expand(len(forces) * 6, -1, -1).clone()  # atom, axis, sign
    for k in range(len(forces) * 3):
        moved[2 * k, k // 3, k % 3] += STEP
        moved[2 * k + 1, k // 3, k % 3] -= STEP
    energies = model((species.expand(len(moved), -1), moved))[1]
    numerical = -(energies[::2] - energies[1::2]) / (2 * STEP)
    assert torch.allclose(numerical.reshape(-1, 3), forces, rtol=0, atol=1e-7)
    assert forces.abs().max() > 1e-2


@pytest.mark.parametrize("spec", SPECS)
def test_hessian_and_frequencies(spec):
    """TorchANI's Hessian against differences of forces, and its frequencies from both."""
    model = converted(spec)
    molecule = small_molecule()
    species, x = batch([molecule])
    n = x.shape[1]
    hessian = energies_forces_and_hessians(model, species, x.clone().requires_grad_(True)).hessians.reshape(3 * n, 3 * n)
    moved = x.expand(6 * n, -1, -1).clone()
    for k in range(3 * n):
        moved[2 * k, k // 3, k % 3] += STEP
        moved[2 * k + 1, k // 3, k % 3] -= STEP
    moved.requires_grad_(True)
    (slope,) = torch.autograd.grad(model((species.expand(6 * n, -1), moved)).energies.sum(), moved)
    numerical = (slope[::2] - slope[1::2]).reshape(3 * n, 3 * n) / (2 * STEP)
    assert torch.allclose(hessian, numerical, rtol=0, atol=2e-6 * float(hessian.abs().max()) + 1e-7)
    assert torch.allclose(hessian, hessian.T, rtol=0, atol=1e-9)
    masses = get_atomic_masses(species, dtype=torch.float64)
    ours = vibrational_analysis(masses, hessian[None]).freqs
    theirs = vibrational_analysis(masses, (0.5 * (numerical + numerical.T))[None]).freqs
    vibrations = ours.abs() > 100  # the six rigid motions are sqrt(rounding) of zero
    assert vibrations.sum() >= 3 * n - 12
    assert torch.allclose(ours[vibrations], theirs[vibrations], rtol=0, atol=0.05)  # cm^-1
    stock = energies_forces_and_hessians(small_model(), species, x.clone().requires_grad_(True)).hessians.reshape(3 * n, 3 * n)
    assert not torch.allclose(hessian, stock, rtol=1e-2)


@pytest.mark.parametrize("spec", SPECS)
def test_batched_equals_one_by_one_and_padding_counts_nothing(spec):
    model = converted(spec, members=2)
    molecules = [*frames(limit=4), small_molecule()]
    energies, forces = energies_forces(model, molecules)
    for i, molecule in enumerate(molecules):
        alone = energies_forces(model, [molecule])
        n = len(molecule[0])
        assert torch.allclose(energies[i], alone[0][0], rtol=0, atol=1e-10)
        assert torch.allclose(forces[i, :n], alone[1][0], rtol=0, atol=1e-10)
        assert not forces[i, n:].any()
    species, x = batch(molecules)
    x[species == -1] = 3.3  # where padding atoms are does not matter
    assert torch.equal(model((species, x)).energies, energies)
    atomic = model.atomic_energies((species, x)).energies
    assert not atomic[species == -1].any()
    assert torch.allclose(atomic.sum(1), energies, rtol=0, atol=1e-9)


def test_single_point_utility():
    """torchani.single_point returns what energies and autograd return."""
    model = converted("taafs:bspline")
    molecule = with_all_elements()
    species, x = batch([molecule])
    result = torchani.single_point(model, species, x, forces=True)
    expected = energies_forces(model, [molecule])
    assert torch.allclose(result["energies"], expected[0], rtol=0, atol=1e-12)
    assert torch.allclose(result["forces"], expected[1], rtol=0, atol=1e-12)


def test_float32_is_close_to_float64():
    model = converted("taafs:bspline")
    species, x = batch(frames(limit=3))
    exact = model((species, x)).energies
    assert torch.allclose(model.float()((species, x.float())).energies.double(), exact, rtol=1e-5)
