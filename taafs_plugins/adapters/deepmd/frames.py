"""A live model of DeePMD-kit on ``ase.Atoms``."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from taafs_plugins.adapters.patching import HostError
from taafs_plugins.native.operators import BuildError, library


def run(model: nn.Module, atoms: Any, graph: bool = True) -> dict[str, torch.Tensor]:
    """DeePMD-kit's output (eV, Angstrom, first axis: one frame); open directions are taken as open.

    Parameters
    ----------
    graph : whether forces keep theirs, so that a loss of them can be differentiated

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
    model.train(graph)
    try:
        return model(coord, types, box=box)
    finally:
        model.train(training)


def reference(model: nn.Module, atoms: Any) -> dict[str, Any]:
    """See :meth:`taafs_plugins.adapters.base.Adapter.reference`."""
    found = {key: value.detach().cpu().double().numpy() for key, value in run(model, atoms, graph=False).items()}
    result = {"energy": float(found["energy"].ravel()[0]), "forces": found["force"].reshape(-1, 3)}
    if atoms.pbc.all() and "virial" in found:
        result["stress"] = -found["virial"].reshape(3, 3) / atoms.get_volume()
    return result


def load_frozen(path: Path) -> nn.Module:
    """A model of ``dp --pt freeze``, of any form.

    Raises
    ------
    HostError
        TorchScript cannot load it.
    """
    import deepmd.pt  # noqa: F401 - DeePMD-kit's own operators

    with contextlib.suppress(BuildError, OSError):
        torch.ops.load_library(str(library()))  # which files of form "operator" call
    try:
        return torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise HostError(f"{path} could not be loaded ({str(error).strip().splitlines()[0]}); freeze it again.") from None


def in_double(model: nn.Module) -> tuple[nn.Module, str]:
    """The model built again with ``precision: float64`` and its own weights; a frozen one stays as it is."""
    dtypes = {parameter.dtype for parameter in model.parameters()} or {buffer.dtype for buffer in model.buffers()}
    if torch.float32 not in dtypes or isinstance(model, torch.jit.ScriptModule):
        return model, "float32" if torch.float32 in dtypes else "float64"
    from deepmd.pt.model.model import get_model

    def double(section: Any) -> Any:
        if isinstance(section, list):
            return [double(part) for part in section]
        if not isinstance(section, dict):
            return section
        nets = {"neuron", "embedding_neuron", "type"} & set(section)
        inner = {key: double(value) for key, value in section.items()}
        return {**inner, "precision": "float64"} if "precision" in section and nets else inner

    params = double(json.loads(model.get_model_def_script()))
    again = get_model(copy.deepcopy(params))
    again.load_state_dict(model.state_dict())
    return again.eval(), "float64"
