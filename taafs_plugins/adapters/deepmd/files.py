"""Live models from DeePMD-kit's checkpoints, and back."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taafs_plugins.adapters.deepmd.input import WORD, activation_names
from taafs_plugins.adapters.patching import HostError
from taafs_plugins.adapters.sites import Site
from taafs_plugins.files import replacing, save

_SITE = re.compile(
    r"(?:(?P<head>(?!backbone_model)[^.]+)\.)?(?:backbone_model\.)?atomic_model\.(?:models\.(?P<term>\d+)\.)?(?P<section>descriptor|fitting_net)"
    r"(?:\.descrpt_list\.(?P<part>\d+))?"
)


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


def write_checkpoint(model: nn.Module, path: Path, source: Path, sites: Sequence[Site]) -> str:
    """Write a checkpoint with a model's present activations and weights; all else is that of ``source``, without the optimiser's state.

    Parameters
    ----------
    model : read from ``source`` and changed
    sites : of the model; those of one place of the input (:func:`place`) have one activation

    Returns
    -------
    a sentence that says how it is trained on

    Raises
    ------
    HostError
        Sites of one place with different activations, which an input cannot say, or a description that does not name one.
    """
    whole = torch.load(source, map_location="cpu", weights_only=True)
    extra = copy.deepcopy((whole.get("model") or whole)["_extra_state"])
    params = extra["model_params"]
    names: dict[str, set[str]] = {}
    for site in sites:
        own = str(site.current.spec) if site.converted else getattr(site.current, "activation", site.activation)
        unit = place(site.name)
        known = any(where.startswith(unit.split(".list")[0]) for _, where in activation_names(params))
        names.setdefault(unit if known else unit.replace("models[0].", ""), set()).add(own)
    for part, where in activation_names(params):
        found = set().union(*(names[unit] for unit in names if where == unit or where.startswith((f"{unit}.", f"{unit}["))))
        if len(found) > 1:
            raise HostError(f"model.{where} has {' and '.join(sorted(found))}; a checkpoint of DeePMD-kit names one activation there.")
        part[WORD] = found.pop() if found else part[WORD]
    heads = model.items() if isinstance(model, nn.ModuleDict) else [("Default", model)]
    state: dict[str, Any] = {}
    for head, one in heads:
        described = _described(params.get("model_dict", {head: params})[head], one, source)
        state.update({f"model.{head}.{key}": value for key, value in described.items()})
    with replacing(path) as written:
        # DeePMD-kit asks for an optimiser's state and reads it with --restart only
        save({"model": {**state, "_extra_state": extra}, "optimizer": {}}, written)
    listed = ", ".join(f"{WORD} '{part[WORD]}' in model.{where}" for part, where in activation_names(params))
    return f"Train it on: write {listed} of your input.json and run: dp --pt train input.json --init-model {path.name}"


def _described(params: dict[str, Any], model: nn.Module, source: Path) -> dict[str, Any]:
    """The weights of ``model`` as a model built from its description holds them."""
    from deepmd.pt.model.model import get_model

    again = get_model(copy.deepcopy(params))
    try:
        again.load_state_dict(model.state_dict())
    except RuntimeError:
        raise HostError(f"The description in {source} does not name every activation of the model; write them in its input.json.") from None
    return again.state_dict()


def place(site: str) -> str:
    """Where an input's model section names the activation of a site: ``descriptor``, ``descriptor.list[0]``, ``models[1].fitting_net``.

    The trained term of a model with a pair table is ``models[0]`` here, and its input has no such level.

    >>> place("atomic_model.descriptor.sea.networks.0.layers.1.activate"), place("water.atomic_model.fitting_net.filter_layers.x")
    ('descriptor', 'model_dict.water.fitting_net')
    >>> place("backbone_model.atomic_model.descriptor.x"), place("atomic_model.models.1.fitting_net.filter_layers.x")
    ('descriptor', 'models[1].fitting_net')

    Raises
    ------
    HostError
        A site elsewhere.
    """
    found = _SITE.match(site)
    if found is None:
        raise HostError(f"{site} is outside of descriptor and fitting net, which a checkpoint of DeePMD-kit can name activations for.")
    head = f"model_dict.{found['head']}." if found["head"] else ""
    term = f"models[{found['term']}]." if found["term"] else ""
    return head + term + found["section"] + (f".list[{found['part']}]" if found["part"] else "")
