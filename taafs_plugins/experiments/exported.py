"""Briefly trained models of the three hosts that run in LAMMPS by ``pair_style taafs``, and their dynamics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms, units
from ase.build import bulk
from torch import nn

import taafs_plugins as taafs
from taafs_plugins import data
from taafs_plugins.adapters.schnetpack.data import FILES
from taafs_plugins.experiments import lammps
from taafs_plugins.md.calculator import ENERGY, pairs

HOSTS = ("schnetpack", "torchani", "chgnet")
SPECS = {"schnetpack": "taafs:chebyshev1", "torchani": "taafs:bspline", "chgnet": "taafs:chebyshev1,scale=auto"}
UNITS = {"schnetpack": "kcal/mol", "torchani": "hartree", "chgnet": "eV"}
PRECISION = {"schnetpack": "float64", "torchani": "float64", "chgnet": "float32"}
TRAINING = {"schnetpack": 200, "torchani": 200, "chgnet": 32}  # steps; CHGNet: frames
# of an NVE whose drift is told from stock's: Verlet's error moves by timestep^2 x temperature as energy flows between vibrations
TEMPERATURE = {"schnetpack": 50.0, "torchani": 50.0, "chgnet": 300.0}  # K
TIMESTEP = {"schnetpack": 0.0001, "torchani": 0.0001, "chgnet": 0.001}  # ps; with hydrogen a tenth of what is usual elsewhere
EQUILIBRATION = lammps.Equilibration(2000, minimise=True)


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
    _keep(live, fitted, host)
    return float(loss(held_out, False).detach().sqrt())


def _keep(live: list[nn.Parameter], fitted: list[nn.Parameter], host: str) -> None:
    """Copy back what was fitted, where the module works on copies."""
    if len(live) != len(fitted) or any(a.shape != b.shape for a, b in zip(live, fitted, strict=True)):
        raise RuntimeError(f"The exported module of {host} does not hold the parameters of its model in their order.")
    with torch.no_grad():
        for a, b in zip(live, fitted, strict=True):
            a.copy_(b)


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
    return max((float((act.rate * act.delta.detach()).abs().max()) for act in taafs.trainable_activations(model).values()), default=0.0)


def start(host: str, copies: int = 1, spacing: float = 4.595) -> Atoms:
    """Where dynamics starts: 2 copies^3 atoms of iron; or copies^3 ethanols, turned at random, ``spacing`` (Angstrom) apart; one is alone.

    The default spacing is the density of the liquid, 0.789 g/cm3.
    """
    if host == "chgnet":
        return bulk("Fe", cubic=True, a=2.86).repeat(copies)
    numbers, positions, _ = ethanol("test")
    molecule = Atoms(numbers, positions[0] - positions[0].mean(0))
    if copies == 1:
        return Atoms(numbers, molecule.positions + 9.0, cell=[18.0] * 3, pbc=True)
    packed = Atoms(cell=[copies * spacing] * 3, pbc=True)
    generator = np.random.default_rng(0)
    for corner in np.ndindex(copies, copies, copies):
        turned = molecule.copy()
        turned.euler_rotate(*generator.uniform(0, 360, 3))
        turned.translate(spacing * (np.array(corner) + 0.5))
        packed += turned
    return packed


def gas(host: str) -> Atoms:
    """For an NVE: eight ethanols that do not see each other, since one alone is too few atoms for a slope; or 4 atoms of iron."""
    return start(host).repeat((2, 1, 1)) if host == "chgnet" else start(host, 2, spacing=14.0)


def write_frame(atoms: Atoms, folder: Path) -> list[str]:
    """``frame.data`` in ``folder``; the elements in the order of its types."""
    names = list(dict.fromkeys(atoms.get_chemical_symbols()))
    types = np.array([names.index(symbol) for symbol in atoms.get_chemical_symbols()])
    lammps.write_data(folder / "frame.data", atoms.positions, np.asarray(atoms.cell), types, names)
    return names


def export(model: nn.Module, host: str, path: Path) -> None:
    """``taafs.export`` with what it must be told."""
    elements = {"schnetpack": ["H", "C", "O"], "torchani": None, "chgnet": ["Fe"]}[host]
    taafs.export(model, path, energy_unit=UNITS[host], elements=elements)


def nve(host: str, model: Path, folder: Path, steps: int, **changes: Any) -> tuple[np.ndarray, float]:
    """NVE by ``pair_style taafs`` of :func:`gas`, after a minimisation and Langevin dynamics.

    Parameters
    ----------
    host : of the model
    model : exported
    folder : to run in
    steps : of NVE
    changes : of ``TIMESTEP`` (``timestep``, ps), ``TEMPERATURE`` (``temperature``, K) or ``EQUILIBRATION`` (``equilibration``)

    Returns
    -------
    as :func:`taafs_plugins.experiments.lammps.nve`: [n, 3] time in ps, total energy in eV/atom and temperature in K; wall seconds
    """
    names = write_frame(gas(host), folder)
    settings = {"timestep": TIMESTEP[host], "temperature": TEMPERATURE[host], "equilibration": EQUILIBRATION} | changes
    return lammps.nve(str(model.resolve()), folder, names, steps=steps, style="taafs", **settings)
