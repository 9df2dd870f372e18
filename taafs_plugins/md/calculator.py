"""Exported models in Python: an ASE calculator, for users without LAMMPS and as the judge of every other way to run such a file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.neighborlist import primitive_neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from taafs_plugins.md.contract import DTYPES, ExportError, Metadata, read
from taafs_plugins.md.units import EV as ENERGY


def pairs(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every directed pair within ``cutoff`` (Angstrom), images and an atom's own images included.

    Returns
    -------
    idx_i [p], idx_j [p], offsets [p, 3] in Angstrom: r_ij = pos[j] + offsets - pos[i]
    """
    cell = atoms.cell.complete()
    i, j, shifts = primitive_neighbor_list("ijS", atoms.pbc, cell, atoms.positions, cutoff, numbers=atoms.numbers, self_interaction=False)
    return i, j, shifts @ cell.array


def predict(module: torch.nn.Module, metadata: Metadata, atoms: Atoms, magmoms: bool = True) -> dict[str, Any]:
    """Evaluate an exported model in mode ``owner``.

    Parameters
    ----------
    module, metadata : from :func:`taafs_plugins.md.contract.read`
    magmoms : whether to ask for magnetic moments, when the model has them

    Returns
    -------
    In the model's energy unit and Angstrom: {"energy": float, "energies": [n], "forces": [n, 3], "virial" [3, 3] = minus the derivative
    by the strain, and "stress" [3, 3] for three periodic directions (ASE's sign: tension is positive), "magmoms" [n] in Bohr
    magnetons where the model has them}

    Raises
    ------
    ExportError
        An element that the model does not know.
    """
    inputs = _inputs(module, metadata, atoms)
    pos, offsets = inputs[0], inputs[4]
    energies = module(*inputs)
    total = energies.sum()
    # a model of isolated atoms alone depends on no position
    slopes = torch.autograd.grad(total, (pos, offsets), allow_unused=True) if total.requires_grad else (None, None)
    slope, offset_slope = (
        torch.zeros_like(x) if gradient is None else gradient for x, gradient in zip((pos, offsets), slopes, strict=True)
    )
    found = {
        "energy": float(energies.detach().double().sum()), "energies": energies.detach().double().cpu().numpy(),
        "forces": -slope.double().cpu().numpy(),
    }  # fmt: skip
    strain = pos.detach().double().T @ slope.double() + offsets.detach().double().T @ offset_slope.double()
    found["virial"] = (-0.5 * (strain + strain.T)).cpu().numpy()
    if atoms.pbc.all():
        found["stress"] = -found["virial"] / atoms.get_volume()
    if magmoms and hasattr(module, "magmoms"):
        with torch.no_grad():
            found["magmoms"] = module.magmoms(*(x.detach() for x in inputs)).double().cpu().numpy()
    return found


def _inputs(module: torch.nn.Module, metadata: Metadata, atoms: Atoms) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """What an exported module takes: positions, atomic numbers, pairs and offsets, with gradients wanted of the lengths."""
    unknown = sorted(set(atoms.numbers.tolist()) - set(metadata.elements))
    if unknown:
        names = ", ".join(map(str, unknown))
        raise ExportError(f"The model knows no element with atomic number {names}; it knows {list(metadata.elements)}.")
    dtype = DTYPES[metadata.dtype]
    device = next((tensor.device for tensor in [*module.parameters(), *module.buffers()]), torch.device("cpu"))
    i, j, offsets = pairs(atoms, metadata.cutoff)

    def tensor(values: np.ndarray, dtype: torch.dtype) -> Tensor:
        return torch.as_tensor(values, dtype=dtype, device=device)

    pos, shifts = tensor(atoms.positions, dtype).requires_grad_(), tensor(offsets, dtype).requires_grad_()
    return pos, tensor(atoms.numbers, torch.int64), tensor(i, torch.int64), tensor(j, torch.int64), shifts


class ExportedCalculator(Calculator):
    """ASE calculator for a file of ``taafs export``; needs neither the host nor this package's adapters.

    Parameters
    ----------
    path : the exported file
    device : of torch, ``cpu`` or ``cuda``

    Raises
    ------
    ExportError
        As :func:`taafs_plugins.md.contract.read`; an unknown element when it is used.
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "magmoms", "magmom"]

    def __init__(self, path: str | os.PathLike, device: str | torch.device = "cpu", **keys: Any) -> None:
        super().__init__(**keys)
        self.module, self.metadata = read(path, device)
        self.has_magmoms = hasattr(self.module, "magmoms")
        if not self.has_magmoms:
            self.implemented_properties = [name for name in self.implemented_properties if not name.startswith("magmom")]

    def calculate(self, atoms: Atoms | None = None, properties: tuple[str, ...] = ("energy",), system_changes=all_changes) -> None:
        """Fill ``results``: eV, eV/Angstrom, eV/Angstrom^3, Bohr magnetons."""
        super().calculate(atoms, properties, system_changes)
        found = predict(self.module, self.metadata, self.atoms, magmoms=any(name.startswith("magmom") for name in properties))
        ev = ENERGY[self.metadata.energy_unit]
        self.results = {"energy": ev * found["energy"], "energies": ev * found["energies"], "forces": ev * found["forces"]}
        self.results["free_energy"] = self.results["energy"]
        if "stress" in found:
            self.results["stress"] = full_3x3_to_voigt_6_stress(ev * found["stress"])
        if "magmoms" in found:
            self.results["magmoms"] = found["magmoms"]
            self.results["magmom"] = float(found["magmoms"].sum())
