"""Export of TorchANI models: any ``ANI`` (single networks, ensembles, self energies, further pair potentials), both modes."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchani.arch import ANI
from torchani.ase import Calculator
from torchani.neighbors import narrow_down

from taafs_plugins.adapters.patching import HostError

ON_AXIS = 1e-3  # Angstrom; smaller components of an offset are rounding


class ExportedANI(nn.Module):
    """An ``ANI`` model behind the contract of exported files; energies in the model's unit, self energies included.

    Energies are float64: to self energies of some 40 hartree float32 would lose digits that molecular dynamics needs.

    TorchANI takes each pair once and both its vectors from that: of i, j and j, i the one with i < j is kept, and of an atom's bonds to its
    own images the one whose first component beyond rounding is positive.
    """

    def __init__(self, model: ANI) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.model.set_enabled("energy_shifter", False)
        shifts = model.energy_shifter.self_energies.double()
        self.register_buffer("self_energies", shifts if model.energy_shifter._enabled else torch.zeros_like(shifts))
        self.cutoff = float(model.cutoff)
        self.on_axis = ON_AXIS

    def forward(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> Tensor:
        """Energies [n]; see :mod:`taafs_plugins.md.contract`."""
        where = offsets.detach()
        where = torch.where(where.abs() < self.on_axis, torch.zeros_like(where), where)
        x, y, z = where[:, 0], where[:, 1], where[:, 2]
        forward = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
        once = ((idx_i < idx_j) | ((idx_i == idx_j) & forward)).nonzero().flatten()
        pairs = torch.stack([idx_i.index_select(0, once), idx_j.index_select(0, once)])
        elements = self.model.species_converter(Z.unsqueeze(0))
        positions = pos.unsqueeze(0)
        # TorchANI's vector is pos[0] - pos[1] + shift
        neighbors = narrow_down(self.cutoff, elements, positions, pairs, -offsets.index_select(0, once))
        energies = self.model.compute_from_neighbors(elements, positions, neighbors, 0, True).energies
        return energies[0].double() + self.self_energies.index_select(0, elements[0])


def export_module(model: nn.Module, energy_unit: str | None) -> tuple[nn.Module, dict[str, Any]]:
    """See :meth:`Adapter.export_module`; TorchANI's energies are hartree unless told otherwise."""
    if not isinstance(model, ANI):
        raise HostError(
            f"Of TorchANI, whole models of the class ANI can be exported, as simple_ani and torchani.models make them; this is a "
            f"{type(model).__name__}."
        )
    if not math.isfinite(model.cutoff):
        raise HostError("A part of this model has no cutoff, so no list of pairs can serve it; build its potentials with cutoff=.")
    if model.aev_computer.strategy != "pyaev":
        raise HostError(f"The strategy {model.aev_computer.strategy} needs CUDA; call model.set_strategy('pyaev') before the export.")
    dtype = next(model.parameters()).dtype
    return ExportedANI(model), {
        "cutoff": float(model.cutoff), "hops": 1, "modes": ("owner", "ghost"), "energy_unit": energy_unit or "hartree",
        "elements": tuple(model.atomic_numbers.tolist()), "dtype": str(dtype).removeprefix("torch."),
    }  # fmt: skip


def reference(model: nn.Module, atoms: Any) -> dict[str, Any]:
    """See :meth:`Adapter.reference`: TorchANI's ASE calculator."""
    from ase.units import Hartree

    atoms = atoms.copy()
    atoms.calc = Calculator(model)
    found = {"energy": atoms.get_potential_energy() / Hartree, "forces": atoms.get_forces() / Hartree}
    if atoms.pbc.all():
        found["stress"] = atoms.get_stress(voigt=False) / Hartree
    return found


def forces(model: nn.Module, atoms: Any) -> torch.Tensor:
    """See :meth:`Adapter.forces`."""
    from ase.units import Hartree

    kinds = {name: i for i, name in enumerate(model.symbols)}
    if unknown := sorted(set(atoms.get_chemical_symbols()) - set(kinds)):
        raise HostError(f"The model does not know {', '.join(unknown)}; it knows {', '.join(kinds)}.")
    dtype = next(p.dtype for p in model.parameters() if p.is_floating_point())
    numbers = torch.as_tensor(atoms.numbers)[None]
    x = torch.tensor(atoms.positions, dtype=dtype)[None].requires_grad_()
    cell = torch.tensor(np.asarray(atoms.cell), dtype=dtype) if atoms.pbc.any() else None
    pbc = torch.tensor(atoms.pbc) if atoms.pbc.any() else None
    energy = model((numbers, x), cell, pbc).energies.sum()
    (slope,) = torch.autograd.grad(energy, x, create_graph=True)
    return -Hartree * slope[0]


def read_model(path: Path) -> nn.Module:
    """A model saved whole with ``torch.save(model, path)``. It is unpickled, which runs what the file says: trusted files only.

    Raises
    ------
    HostError
        Something else was saved.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError, RuntimeError) as error:
        raise HostError(f"{path} could not be loaded ({error}).") from None
    if isinstance(found, torch.jit.ScriptModule) or not isinstance(found, nn.Module):
        kind = "scripted model" if isinstance(found, nn.Module) else type(found).__name__
        raise HostError(
            f"{path} holds a {kind}, not a whole TorchANI model; save the model with torch.save(model, path), or call "
            "taafs.export(model, path) where it is built."
        )
    return found
