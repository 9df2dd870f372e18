"""Small TorchANI models and molecules for the tests. Energies in Hartree, lengths in Angstrom."""

from functools import partial

import numpy as np
import torch
from torchani.aev import AEVComputer, ANIAngular, ANIRadial
from torchani.arch import ANI
from torchani.nn import ANINetworks, Ensemble
from torchani.sae import SelfEnergy

from taafs_plugins import data, testing

randomise = partial(testing.randomise, size=0.5, seed=1)
SYMBOLS = ("H", "C", "N", "O")


def small_model(activation="celu", members=1, seed=0, dims=(12, 10, 8), dtype=torch.float64):
    """An ANI model of HCNO with small networks and a short AEV, weights by ``seed``."""
    torch.manual_seed(seed)
    aev = AEVComputer(
        angular=ANIAngular.cover_linearly(start=0.9, cutoff=3.5, eta=12.5, zeta=14.1, num_shifts=3, num_sections=3),
        radial=ANIRadial.cover_linearly(start=0.9, cutoff=5.2, eta=19.7, num_shifts=6),
        num_species=4,
    )
    nets = [ANINetworks.build(SYMBOLS, aev.out_dim, {}, activation=activation, bias=True, default_dims=dims) for _ in range(members)]
    return ANI(SYMBOLS, aev, Ensemble(nets) if members > 1 else nets[0], SelfEnergy(SYMBOLS, (-0.5, -38.0, -54.6, -75.1))).to(dtype)


def frames(part="train", limit=None):
    """kernelforge: (numbers [A], positions [A, 3], energy, forces [A, 3]) of different HCNO molecules; Hartree, Angstrom."""
    path = data.fetch(f"andersx/kernelforge/examples/small_mols_mini_{part}.npz")
    # object arrays; the file's checksum was just verified
    raw = np.load(path, allow_pickle=True)
    kcal = 1 / 627.5094738898777
    return [
        (np.array(z, dtype=int), np.array(x, dtype=float), float(e) * kcal, np.array(f, dtype=float) * kcal)
        for z, x, e, f in zip(
            raw["nuclear_charges"][:limit], raw["coords"][:limit], raw["energies"][:limit], raw["forces"][:limit], strict=True
        )
    ]


def batch(molecules, dtype=torch.float64):
    """Padded species [N, A] (-1) and positions [N, A, 3] of some frames."""
    atoms = max(len(m[0]) for m in molecules)
    species = torch.full((len(molecules), atoms), -1)
    positions = torch.zeros(len(molecules), atoms, 3, dtype=dtype)
    for i, (numbers, x, *_) in enumerate(molecules):
        species[i, : len(numbers)] = torch.as_tensor(numbers)
        positions[i, : len(numbers)] = torch.as_tensor(x, dtype=dtype)
    return species, positions


def with_all_elements():
    """The first molecule of the training part that has H, C, N and O."""
    return next(m for m in frames(limit=20) if set(m[0]) == {1, 6, 7, 8})


def energies_forces(model, molecules):
    """Energies [N] and forces [N, A, 3] of a padded batch."""
    species, positions = batch(molecules)
    positions.requires_grad_(True)
    energies = model((species, positions)).energies
    (gradient,) = torch.autograd.grad(energies.sum(), positions)
    return energies.detach(), -gradient
