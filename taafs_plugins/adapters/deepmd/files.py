"""Live models from DeePMD-kit's checkpoints."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import nn

from taafs_plugins.adapters.patching import HostError


def read_checkpoint(path: Path, packages: frozenset[str] = frozenset()) -> nn.Module | None:
    """The model of a checkpoint of ``dp --pt train``, with its trained coefficients; a ``ModuleDict`` of the tasks of a multi-task one.

    Parameters
    ----------
    packages : the packages whose classes the file names; a frozen model names ``deepmd``

    Returns
    -------
    None when the file is not a checkpoint of DeePMD-kit

    Raises
    ------
    HostError
        A frozen model, or a checkpoint that does not fit its own description.
    """
    if "deepmd" in packages:
        raise HostError(
            f"{path} is a frozen model of DeePMD-kit: LAMMPS runs it as it is (pair_style deepmd); to look at its activations give the "
            "checkpoint it was made from (model.ckpt-....pt)."
        )
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError):
        return None
    state = state.get("model", state) if isinstance(state, dict) else {}
    extra = state.get("_extra_state") if isinstance(state, dict) else None
    if not isinstance(extra, dict) or "model_params" not in extra:
        return None
    import deepmd.pt  # noqa: F401 - loads the plugin
    from deepmd.pt.model.model import get_model

    params = extra["model_params"]
    models = {}
    for head, branch in params.get("model_dict", {"Default": params}).items():
        prefix = f"model.{head}."
        models[head] = get_model(branch)
        try:
            models[head].load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        except RuntimeError as error:
            raise HostError(f"{path} does not fit the model it describes ({str(error).splitlines()[-1].strip()}).") from None
    return nn.ModuleDict(models) if "model_dict" in params else models["Default"]
