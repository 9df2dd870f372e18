"""TorchANI on 1000 different HCNO molecules (kernelforge): data, training and errors for the study, its tests and the command line.

Networks see TorchANI's atomic environment vectors (AEVs). These and their derivatives by the positions do not change in training,
so they are computed once, and forces are ``-dE/dAEV dAEV/dx``: the numbers of TorchANI's own loop (a test compares them) at a
third of its time. Energies in Hartree, lengths in Angstrom, errors in kcal/mol.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.autograd.forward_ad as forward_ad
from torch import nn

from taafs_plugins import convert, data
from taafs_plugins.activations.stock import fixed_activation

SYMBOLS, NUMBERS = ("H", "C", "N", "O"), (1, 6, 7, 8)
KCAL = 627.5094738898777  # kcal/mol in a Hartree
BATCH = 10
FORCE_WEIGHT = 10.0  # Angstrom^2; with the 0.1 of TorchANI's example forces were hardly learned from 1000 molecules


@dataclass
class Molecule:
    """Element indices [A], AEVs [A, D], their derivatives [A * D, 3 A], energy less self-energies and forces [3 A]; float32."""

    elements: torch.Tensor
    aev: torch.Tensor
    jacobian: torch.Tensor
    energy: float
    forces: torch.Tensor


def aev_computer():
    """A shorter AEV than ANI-1x's (192 numbers instead of 384): 1000 molecules do not need more."""
    from torchani.aev import AEVComputer, ANIAngular, ANIRadial

    return AEVComputer(
        angular=ANIAngular.cover_linearly(start=0.9, cutoff=3.5, eta=12.5, zeta=14.1, num_shifts=4, num_sections=4),
        radial=ANIRadial.cover_linearly(start=0.9, cutoff=5.2, eta=19.7, num_shifts=8),
        num_species=len(SYMBOLS),
    )


def read(part: str) -> list[tuple[np.ndarray, np.ndarray, float, np.ndarray]]:
    """Element indices, positions, energy, forces of the molecules of ``train`` or ``test``; Hartree, Angstrom."""
    path = data.fetch(f"andersx/kernelforge/examples/small_mols_mini_{part}.npz")
    raw = np.load(path, allow_pickle=True)  # object arrays; fetch has just verified the file's checksum
    return [
        (np.searchsorted(NUMBERS, np.array(z, int)), np.array(x, float), float(e) / KCAL, np.array(f, float) / KCAL)
        for z, x, e, f in zip(raw["nuclear_charges"], raw["coords"], raw["energies"], raw["forces"], strict=True)
    ]


def self_energies(frames: list) -> np.ndarray:
    """Least-squares energy of each element [4] over the given molecules."""
    counts = np.array([np.bincount(f[0], minlength=len(SYMBOLS)) for f in frames], float)
    return np.linalg.lstsq(counts, np.array([f[2] for f in frames]), rcond=None)[0]


def prepare(frames: list, shifts: np.ndarray) -> list[Molecule]:
    """AEVs and their derivatives (forward-mode: one replica of the molecule per coordinate), energies less self-energies."""
    computer, out = aev_computer(), []
    for elements, positions, energy, forces in frames:
        n = len(elements)
        index = torch.as_tensor(elements).expand(3 * n, n).contiguous()
        with forward_ad.dual_level(), torch.no_grad():
            x = torch.as_tensor(positions, dtype=torch.float32).expand(3 * n, n, 3).contiguous()
            dual = forward_ad.unpack_dual(computer(index, forward_ad.make_dual(x, torch.eye(3 * n).reshape(3 * n, n, 3))))
        out.append(Molecule(
            index[0].clone(), dual.primal[0].clone(), dual.tangent.reshape(3 * n, -1).T.contiguous(),
            energy - float(shifts[elements].sum()), torch.as_tensor(forces, dtype=torch.float32).flatten(),
        ))  # fmt: skip
    return out


def parts(limit: int | None = None) -> dict[str, list[Molecule]]:
    """``train``, ``validation`` (every tenth training molecule) and ``test``; self-energies are fitted on ``train`` only."""
    frames, test = read("train")[:limit], read("test")[:limit]
    split = {"train": [f for i, f in enumerate(frames) if i % 10], "validation": frames[::10], "test": test}
    shifts = self_energies(split["train"])
    return {name: prepare(part, shifts) for name, part in split.items()}


def predict(networks: nn.Module, molecules: list[Molecule], train: bool = False) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Energies [N] and the forces [3 A] of each molecule; differentiable with ``train``."""
    sizes = [len(m.elements) for m in molecules]
    aev = torch.cat([m.aev for m in molecules]).requires_grad_(True)
    atomic = networks(torch.cat([m.elements for m in molecules])[None], aev[None], atomic=True)[0]
    (slope,) = torch.autograd.grad(atomic.sum(), aev, create_graph=train)
    energies = torch.zeros(len(sizes)).index_add(0, torch.repeat_interleave(torch.tensor(sizes)), atomic)
    return energies, [-(g.flatten() @ m.jacobian) for g, m in zip(slope.split(sizes), molecules, strict=True)]


def loss_of(networks: nn.Module, molecules: list[Molecule]) -> torch.Tensor:
    """TorchANI's loss: squared energy error by sqrt(atoms), and the mean squared force component."""
    energies, forces = predict(networks, molecules, train=True)
    atoms = torch.tensor([float(len(m.elements)) for m in molecules])
    energy = ((energies - torch.tensor([m.energy for m in molecules])) ** 2 / atoms.sqrt()).mean()
    force = torch.stack([((f - m.forces) ** 2).mean() for f, m in zip(forces, molecules, strict=True)]).mean()
    return energy + FORCE_WEIGHT * force


def errors(networks: nn.Module, molecules: list[Molecule]) -> dict[str, float]:
    """RMSE, and MAE, of the energy per atom (kcal/mol) and of the force components (kcal/mol/Angstrom)."""
    energy, force = [], []
    for start in range(0, len(molecules), 64):
        chunk = molecules[start : start + 64]
        energies, forces = predict(networks, chunk)
        energy += [(float(e) - m.energy) / len(m.elements) for e, m in zip(energies.detach(), chunk, strict=True)]
        force += [f.detach() - m.forces for f, m in zip(forces, chunk, strict=True)]
    off = {"energy": KCAL * np.array(energy), "force": KCAL * torch.cat(force).double().numpy()}
    rmse = {key: float(np.sqrt(np.mean(values**2))) for key, values in off.items()}
    return {**rmse, **{f"{key}_mae": float(np.abs(values).mean()) for key, values in off.items()}}


def build(activation: str, dims: tuple[int, ...], seed: int, width: int) -> nn.Module:
    """Networks by seed. ``activation``: ``celu``, ``gelu``, another stock name, or one with a spec behind a ``+``."""
    from torchani.nn import ANINetworks

    torch.manual_seed(seed)
    base, _, spec = activation.partition("+")
    known = base if base in ("celu", "gelu") else fixed_activation(base)[1]  # TorchANI knows two by name, and takes modules
    networks = ANINetworks.build(SYMBOLS, width, {}, activation=known, bias=True, default_dims=dims)
    if spec:
        convert(networks, spec)
    return networks


def train(
    networks: nn.Module,
    sets: dict[str, list[Molecule]],
    learning_rate: float,
    epochs: int,
    seed: int,
    update: Callable[[int], None] = lambda epoch: None,
) -> dict[str, float]:
    """Adam, rate falling to 1% on a cosine; keeps the best weights on validation molecules (looked at every 5 epochs)."""
    optimizer = torch.optim.Adam(networks.parameters(), lr=learning_rate)
    steps = epochs * math.ceil(len(sets["train"]) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(n / steps, 1.0))))
    generator = torch.Generator().manual_seed(seed)
    best, kept = float("inf"), networks.state_dict()
    for epoch in range(1, epochs + 1):
        for index in torch.randperm(len(sets["train"]), generator=generator).split(BATCH):
            optimizer.zero_grad()
            loss_of(networks, [sets["train"][i] for i in index]).backward()
            optimizer.step()
            schedule.step()
        update(epoch)
        if epoch % 5 == 0 or epoch == epochs:
            score = score_of(errors(networks, sets["validation"]))
            if score < best:
                best, kept = score, {k: v.clone() for k, v in networks.state_dict().items()}
    networks.load_state_dict(kept)
    return {f"{name}_{key}": value for name, part in sets.items() for key, value in errors(networks, part).items()}


def score_of(error: dict[str, float]) -> float:
    """Mean of the log energy and log force RMSE; a diverged run is infinitely bad."""
    values = np.array([error["energy"], error["force"]])
    return float(np.log(values).mean()) if np.isfinite(values).all() else float("inf")


def step_times(activations: list[str], steps: int, molecules: int) -> dict[str, list[float]]:
    """CPU seconds of whole training steps of the ANI-1x architecture, the activations taking turns after 3 steps to warm up.

    A step: AEVs, energies, forces, backward through both, Adam; float32.
    """
    from torchani.arch import simple_ani

    frames = read("train")[:molecules]
    atoms = max(len(elements) for elements, *_ in frames)
    species, x = torch.full((molecules, atoms), -1), torch.zeros(molecules, atoms, 3)
    for i, (elements, positions, *_) in enumerate(frames):
        species[i, : len(elements)] = torch.tensor(NUMBERS)[torch.as_tensor(elements)]
        x[i, : len(elements)] = torch.as_tensor(positions, dtype=torch.float32)
    cases, seconds = {}, {name: [] for name in activations}
    for name in activations:
        base, _, spec = name.partition("+")
        model = simple_ani(SYMBOLS, "wb97x-631gd", container_ctor="like_1x", activation=base, bias=True, repulsion=False)
        if spec:
            convert(model, spec)
        cases[name] = model, torch.optim.Adam(model.parameters(), lr=1e-4)
    for step in range(steps + 3):
        for name, (model, optimizer) in cases.items():
            start = time.process_time()
            optimizer.zero_grad()
            positions = x.clone().requires_grad_(True)
            energies = model((species, positions)).energies
            (slope,) = torch.autograd.grad(energies.sum(), positions, create_graph=True)
            (energies.square().mean() + slope.square().mean()).backward()
            optimizer.step()
            if step >= 3:
                seconds[name].append(time.process_time() - start)
    return seconds
