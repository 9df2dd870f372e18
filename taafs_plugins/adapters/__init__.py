"""One adapter per host, all with the same verbs (:mod:`taafs_plugins.adapters.base`); each imports its host only when used."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from taafs_plugins.adapters.base import Adapter, HostError, Site

# host -> module holding its ADAPTER; imported when the host is already loaded or asked for by name
HOSTS = {
    "deepmd": "taafs_plugins.adapters.deepmd",
    "chgnet": "taafs_plugins.adapters.chgnet",
    "torchani": "taafs_plugins.adapters.torchani",
    "schnetpack": "taafs_plugins.adapters.schnetpack",
}


@cache
def adapter(host: str) -> Adapter:
    """The adapter of a host by name.

    Raises
    ------
    HostError
        No adapter of this name, or its host is not installed.
    """
    if host not in HOSTS:
        raise HostError(f"There is no adapter for '{host}'; there are: {', '.join(HOSTS)}.")
    try:
        return importlib.import_module(HOSTS[host]).ADAPTER
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("taafs_plugins"):
            raise HostError(f"The adapter for {host} is not part of this version of taafs-plugins.") from error
        raise


def adapter_for(model: Any) -> Adapter:
    """The adapter that knows this model: by the modules its class and its parts come from.

    Raises
    ------
    HostError
        The model belongs to no known host.
    """
    parts = model.modules() if hasattr(model, "modules") else [model]
    roots = {base.__module__.split(".")[0] for part in parts for base in type(part).__mro__}
    for host in HOSTS:
        if host in roots:
            candidate = adapter(host)
            if candidate.matches(model):
                return candidate
    raise HostError(
        f"{type(model).__module__}.{type(model).__name__} is not a model of a known host ({', '.join(HOSTS)}); "
        "use make_activation to build an activation for your own code."
    )


__all__ = ["HOSTS", "Adapter", "HostError", "Site", "adapter", "adapter_for"]
