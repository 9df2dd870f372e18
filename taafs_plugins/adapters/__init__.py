"""One package per host, all with the same verbs (:mod:`taafs_plugins.adapters.base`); each imports its host only when used.

Other packages add a host under the entry-point group ``taafs_plugins.adapters``: its name is the root of the host's modules, its value
a module that holds an ``ADAPTER``.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any

from taafs_plugins.activations.spec import nearest
from taafs_plugins.adapters.base import Adapter
from taafs_plugins.adapters.patching import HostError
from taafs_plugins.adapters.sites import Site

ENTRY_POINTS = "taafs_plugins.adapters"


@cache
def hosts() -> dict[str, str]:
    """Host -> module that holds its ``ADAPTER``: those of this package, then those of others."""
    own = {name: f"taafs_plugins.adapters.{name}" for name in ("deepmd", "chgnet", "torchani", "schnetpack")}
    return {**{entry.name: entry.value for entry in entry_points(group=ENTRY_POINTS)}, **own}


@cache
def adapter(host: str) -> Adapter:
    """The adapter of a host by name.

    Raises
    ------
    HostError
        No adapter of this name, or its host is not installed.
    """
    if not isinstance(host, str):
        raise HostError(f"A host is named by a word, such as 'chgnet', not by {type(host).__name__}; there are: {', '.join(hosts())}.")
    if host not in hosts():
        raise HostError(f"There is no adapter for '{host}'. {nearest(host.lower(), list(hosts()))}There are: {', '.join(hosts())}.")
    found: Adapter = importlib.import_module(hosts()[host]).ADAPTER
    return found


def adapter_for(model: Any) -> Adapter:
    """The adapter that knows this model: by the modules its class and its parts come from.

    Raises
    ------
    HostError
        The model belongs to no known host.
    """
    if isinstance(model, (str, os.PathLike)):
        raise HostError(
            f"'{model}' is a name and no model: load the file with its host first, or use the command taafs (taafs convert FILE ...)."
        )
    if isinstance(model, Mapping):
        raise HostError("This is a dict and no model: build the model with its host, load the dict into it, and give that.")
    if isinstance(model, type):
        raise HostError(f"{model.__name__} is a class and no model: build one of it, and give that.")
    parts = model.modules() if hasattr(model, "modules") else [model]
    roots = {base.__module__.split(".")[0] for part in parts for base in type(part).__mro__}
    for host in hosts():
        if host in roots:
            candidate = adapter(host)
            if candidate.matches(model):
                return candidate
    raise HostError(
        f"{type(model).__module__}.{type(model).__name__} is not a model of a known host ({', '.join(hosts())}); "
        "use make_activation to build an activation for your own code."
    )


__all__ = ["Adapter", "HostError", "Site", "adapter", "adapter_for", "hosts"]
