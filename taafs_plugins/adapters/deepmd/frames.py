"""A live model of DeePMD-kit on ``ase.Atoms``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from taafs_plugins.adapters.patching import HostError


def run(model: nn.Module, atoms: Any) -> dict[str, torch.Tensor]:
    """DeePMD-kit's output (eV, Angstrom, first axis: one frame), with the graph of forces; open directions are taken as open.

    Raises
    ------
    HostError
        A multi-task model, elements that the model does not know, or a cell that is periodic in some directions only.
    """
    from deepmd.pt.utils import env

    if not hasattr(model, "get_type_map"):
        raise HostError("This is a multi-task model; give a checkpoint of one task.")
    kinds = model.get_type_map()
    if unknown := sorted(set(atoms.get_chemical_symbols()) - set(kinds)):
        raise HostError(f"The model does not know {', '.join(unknown)}; it knows {', '.join(kinds)}.")
    if atoms.pbc.any() and not atoms.pbc.all():
        raise HostError("DeePMD-kit takes structures that are periodic in all directions or in none.")
    coord = torch.tensor(atoms.positions[None], dtype=torch.float64, device=env.DEVICE)
    types = torch.tensor([[kinds.index(name) for name in atoms.get_chemical_symbols()]], device=env.DEVICE)
    box = torch.tensor(np.asarray(atoms.cell).reshape(1, 9), dtype=torch.float64, device=env.DEVICE) if atoms.pbc.all() else None
    training = model.training
    model.train()  # keeps the graph of forces
    try:
        return model(coord, types, box=box)
    finally:
        model.train(training)


def reference(model: nn.Module, atoms: Any) -> dict[str, Any]:
    """See :meth:`taafs_plugins.adapters.base.Adapter.reference`."""
    found = {key: value.detach().cpu().double().numpy() for key, value in run(model, atoms).items()}
    result = {"energy": float(found["energy"].ravel()[0]), "forces": found["force"].reshape(-1, 3)}
    if atoms.pbc.all() and "virial" in found:
        result["stress"] = -found["virial"].reshape(3, 3) / atoms.get_volume()
    return result
