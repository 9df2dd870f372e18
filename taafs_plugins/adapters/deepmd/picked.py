"""Checkpoints of models whose specs gave way to stock activations (``taafs pick``)."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from taafs_plugins.activations import is_spec
from taafs_plugins.adapters.deepmd.input import WORD, activation_names
from taafs_plugins.adapters.patching import HostError
from taafs_plugins.adapters.sites import Site

_SITE = re.compile(r"(?:(?P<head>[^.]+)\.)?atomic_model\.(?P<section>descriptor|fitting_net)(?:\.descrpt_list\.(?P<part>\d+))?")


def place(site: str) -> str:
    """Where an input's model section names the activation of a site: ``descriptor``, ``descriptor.list[0]``, ``fitting_net``.

    >>> place("atomic_model.descriptor.sea.networks.0.layers.1.activate"), place("water.atomic_model.fitting_net.filter_layers.x")
    ('descriptor', 'model_dict.water.fitting_net')
    """
    found = _SITE.match(site)
    if found is None:
        raise HostError(f"{site} is outside of descriptor and fitting net, which a checkpoint of DeePMD-kit can name activations for.")
    head = f"model_dict.{found['head']}." if found["head"] else ""
    return head + found["section"] + (f".list[{found['part']}]" if found["part"] else "")


def write(sites: Sequence[Site], model: nn.Module, path: Path, source: Path) -> str:
    """Write ``model``, which was read from the checkpoint ``source``, with the stock activations of its sites in its description.

    Raises
    ------
    HostError
        A place has several activations, which a checkpoint cannot name.
    """
    whole = torch.load(source, map_location="cpu", weights_only=True)
    extra = copy.deepcopy((whole.get("model") or whole)["_extra_state"])
    names: dict[str, set[str]] = {}
    for site in sites:
        if not site.converted:
            names.setdefault(place(site.name), set()).add(site.activation)
    for part, where in activation_names(extra["model_params"]):
        found = set().union(*(names[unit] for unit in names if where == unit or where.startswith((f"{unit}.", f"{unit}["))))
        if is_spec(part[WORD]) and found:
            if len(found) > 1:
                raise HostError(f"model.{where} has {' and '.join(sorted(found))}; a checkpoint of DeePMD-kit names one activation there.")
            part[WORD] = found.pop()
    heads = model.items() if isinstance(model, nn.ModuleDict) else [("Default", model)]
    state = {f"model.{head}.{key}": value for head, one in heads for key, value in one.state_dict().items()}
    torch.save({"model": {**state, "_extra_state": extra}, "optimizer": {}}, path)
    listed = ", ".join(f"{WORD} '{part[WORD]}' in model.{where}" for part, where in activation_names(extra["model_params"]))
    return f"Train it on: write {listed} of your input.json and run: dp --pt train input.json --init-model {path.name}"
