"""Briefly trained models of the three hosts that run in LAMMPS by ``pair_style taafs``, and their dynamics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from torch import nn

import taafs_plugins as taafs
from taafs_plugins import data
from taafs_plugins.adapters.schnetpack_data import FILES
from taafs_plugins.experiments import lammps
from taafs_plugins.md.calculator import ENERGY, pairs

HOSTS = ("schnetpack", "torchani", "chgnet")
SPECS = {"schnetpack": "taafs:chebyshev1", "torchani": "taafs:bspline", "chgnet": "taafs:chebyshev1,scale=auto"}
UNITS = {"schnetpack": "kcal/mol", "torchani": "hartree", "chgnet": "eV"}
PRECISION = {"schnetpack": "float64", "torchani": "float64", "chgnet": "float32"}
TIMESTEP = {"schnetpack": 0.00025, "torchani": 0.00025, "chgnet": 0.001}  # ps; half of it for hydrogen


def painn(seed: int = 0) -> nn.Module:
    """PaiNN of SchNetPack, 32 features, 2 interactions, float64."""
    import schnetpack as spk

    torch.manual_seed(seed)
    representation = spk.representation.PaiNN(
        n_atom_basis=32, n_interactions=2, radial_basis=spk.nn.GaussianRBF(n_rbf=16, cutoff=5.0), cutoff_fn=spk.nn.CosineCutoff(5.0)
    )
    outputs = [spk.atomistic.Atomwise(n_in=32, output_key="energy"), spk.atomistic.Forces()]
    return spk.model.NeuralNetworkPotential(representation, [spk.atomistic.PairwiseDistances()], outputs).double()


def ani(seed: int = 0) -> nn.Module:
    """ANI of H, C and O with short AEVs and small networks, float64."""
    from torchani.aev import AEVComputer, ANIAngular, ANIRadial
    from torchani.arch import ANI
    from torchani.nn import ANINetworks
    from torchani.sae import SelfEnergy

    torch.manual_seed(seed)
    symbols = ("H", "C", "O")
    aev = AEVComputer(
        angular=ANIAngular.cover_linearly(start=0.9, cutoff=3.5, eta=12.5, zeta=14.1, num_shifts=4, num_sections=4),
        radial=ANIRadial.cover_linearly(start=0.9, cutoff=5.2, eta=19.7, num_shifts=12), num_species=3,
    )  # fmt: skip
    networks = ANINetworks.build(symbols, aev.out_dim, {}, activation="celu", bias=True, default_dims=(32, 24, 16))
    return ANI(symbols, aev, networks, SelfEnergy(symbols, (0.0, 0.0, 0.0))).double()


def ethanol(part: str = "train") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """rMD17 ethanol: atomic numbers [9], positions [m, 9, 3] in Angstrom, forces [m, 9, 3] in eV/Angstrom."""
    frames = np.load(data.fetch(FILES.format(molecule="ethanol", part=part)))
    return frames["nuclear_charges"], frames["coords"], frames["forces"] * units.kcal / units.mol


def train(
    model: nn.Module, host: str, steps: int, *, lr: float = 2e-3, batch: int = 16, seed: int = 0, tick: Callable = lambda: None
) -> float:
    """Fit ``model`` to ethanol's forces, by Adam with a falling rate; returns the force RMSE of held-out frames, eV/Angstrom."""
    module, facts = taafs.adapter(host).export_module(model, UNITS[host])
    live, fitted = list(model.parameters()), list(module.parameters())
    numbers, positions, forces = ethanol()
    links = [pairs(Atoms(numbers, frame), facts["cutoff"])[:2] for frame in positions[: batch * 40]]

    def loss(index: np.ndarray, keep: bool) -> torch.Tensor:
        first = np.concatenate([links[k][0] + 9 * n for n, k in enumerate(index)])
        second = np.concatenate([links[k][1] + 9 * n for n, k in enumerate(index)])
        pos = torch.tensor(positions[index].reshape(-1, 3), dtype=torch.float64, requires_grad=True)
        species = torch.tensor(np.tile(numbers, len(index)), dtype=torch.int64)
        offsets = torch.zeros(len(first), 3, dtype=torch.float64)
        energy = module(pos, species, torch.tensor(first), torch.tensor(second), offsets).sum()
        slope = torch.autograd.grad(energy, pos, create_graph=keep)[0]
        return (ENERGY[facts["energy_unit"]] * slope + torch.tensor(forces[index].reshape(-1, 3))).square().mean()

    module.train()
    optimizer = torch.optim.Adam([p for p in fitted if p.requires_grad], lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = np.random.default_rng(seed)
    held_out = np.arange(len(links) - 64, len(links))
    for _ in range(steps):
        optimizer.zero_grad()
        loss(generator.choice(len(links) - 64, batch, replace=False), True).backward()
        optimizer.step()
        schedule.step()
        tick()
    if len(live) != len(fitted) or any(a.shape != b.shape for a, b in zip(live, fitted, strict=True)):
        raise RuntimeError(f"The exported module of {host} does not hold the parameters of its model in their order.")
    with torch.no_grad():  # where the module works on copies
        for a, b in zip(live, fitted, strict=True):
            a.copy_(b)
    return float(loss(held_out, False).detach().sqrt())


def trained(host: str, spec: str | None, steps: int, tick: Callable = lambda: None) -> nn.Module:
    """A model of ``host`` with the activation ``spec`` (``None``: stock) after ``steps`` of training.

    CHGNet is pretrained; its coefficients alone are fitted to ``steps`` frames of iron.
    """
    if host == "chgnet":
        from taafs_plugins.experiments import chgnet

        if spec is None:
            return chgnet.pretrained()
        fit, validate, _, _ = chgnet.iron(steps, 8, 8)
        model = chgnet.prepare(fit, "coefficients", spec)
        chgnet.fine_tune(model, fit, validate, lr=1e-2, epochs=2, seed=0, tick=tick)
        return model.eval()
    model = painn() if host == "schnetpack" else ani()
    if spec is not None:
        taafs.convert(model, spec)
    train(model, host, steps, tick=tick)
    return model.eval()


def moved(model: nn.Module) -> float:
    """The largest change of a coefficient from its start; 0 for a stock model."""
    return max((float((act.rate * act.delta.detach()).abs().max()) for act in taafs.activations(model).values()), default=0.0)


def start(host: str) -> Atoms:
    """Where dynamics starts: ethanol in a box, or 16 atoms of iron."""
    if host == "chgnet":
        return bulk("Fe", cubic=True, a=2.86).repeat(2)
    numbers, positions, _ = ethanol("test")
    return Atoms(numbers, positions[0] - positions[0].min(0) + 6.0, cell=[18.0] * 3, pbc=True)


def export(model: nn.Module, host: str, path: Path) -> None:
    """``taafs.export`` with what it must be told."""
    elements = {"schnetpack": ["H", "C", "O"], "torchani": None, "chgnet": ["Fe"]}[host]
    taafs.export(model, path, energy_unit=UNITS[host], elements=elements)


def nve(host: str, model: Path, folder: Path, steps: int, temperature: float = 300.0) -> tuple[np.ndarray, float]:
    """NVE by ``pair_style taafs``: [n, 2] time in ps and total energy in eV/atom; wall seconds."""
    atoms = start(host)
    names = list(dict.fromkeys(atoms.get_chemical_symbols()))
    types = np.array([names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    lammps.write_data(folder / "frame.data", atoms.positions, np.asarray(atoms.cell), types, names)
    return lammps.nve(str(model.resolve()), folder, names, steps=steps, timestep=TIMESTEP[host], temperature=temperature, style="taafs")
