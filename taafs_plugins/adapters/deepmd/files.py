"""Live models from DeePMD-kit's checkpoints, and back."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import torch
from torch import nn

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.adapters.deepmd.input import WORD, activation_names
from taafs_plugins.adapters.patching import HostError
from taafs_plugins.adapters.sites import Site
from taafs_plugins.files import replacing


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


def write_checkpoint(model: nn.Module, path: Path, source: Path, sites: list[Site]) -> str:
    """Write a checkpoint with a model's present activations and weights; all else is that of ``source``, without the optimiser's state.

    Parameters
    ----------
    sites : of the model; those of one group (descriptor, fitting net) have one spec

    Returns
    -------
    a sentence that says how it is trained on

    Raises
    ------
    HostError
        A multi-task model, or sites of one group with different activations, which a config cannot say.
    """
    from deepmd.pt.model.model import get_model

    whole = torch.load(source, weights_only=True, map_location="cpu")
    params = copy.deepcopy(whole["model"]["_extra_state"]["model_params"])
    if "model_dict" in params:
        raise HostError("A multi-task checkpoint cannot be written; give one of a single task.")
    names = {group: _one_name([site for site in sites if site.group == group]) for group in {site.group for site in sites}}
    for part, place in activation_names(params):
        group = "fitting" if place.split(".")[0] == "fitting_net" else "embedding"
        if group in names:
            part[WORD] = names[group]
    again = get_model(copy.deepcopy(params))
    again.load_state_dict(model.state_dict())
    state = {f"model.Default.{key}": value for key, value in again.state_dict().items()}
    extra = {**whole["model"]["_extra_state"], "model_params": params}
    with replacing(path) as written:
        # DeePMD-kit asks for an optimiser's state and reads it with --restart only
        torch.save({"model": {**state, "_extra_state": extra}, "optimizer": {}}, written)
    specs = "; ".join(f"{group}: {name}" for group, name in sorted(names.items()))
    return f"Train on with dp --pt train input.json --init-model and, as activation_function in input.json, {specs}."


def _one_name(sites: list[Site]) -> str:
    """What the config of these sites says."""
    found = {str(site.current.spec) if isinstance(site.current, TrainableActivation) else site.current.activation for site in sites}
    if len(found) > 1:
        raise HostError(f"DeePMD-kit's config has one activation for {sites[0].group} nets, not {' and '.join(sorted(found))}.")
    return found.pop()
