"""Convert a built or pretrained model of any host in place, look at its sites, and take it back to stock."""

from __future__ import annotations

from torch import nn

from taafs_plugins.activations.spec import Spec
from taafs_plugins.adapters import adapter_for
from taafs_plugins.adapters.sites import Report, SiteTable


def sites(model: nn.Module) -> SiteTable:
    """Every place where the model applies an activation; nothing is changed. ``print(sites(model))`` shows a table.

    Raises
    ------
    HostError
        The model belongs to no known host.
    """
    found = adapter_for(model).sites(model)
    numbers = {id(p): p for p in model.parameters()}.values()
    return SiteTable(found, sum(p.numel() for p in numbers if p.requires_grad), sum(p.numel() for p in numbers))


def convert(model: nn.Module, spec: str | Spec, sites: str | list[str] | None = None) -> Report:
    """Replace a model's activations by trainable ones, in place. Everything is checked and built before anything is changed.

    Parameters
    ----------
    model : a model of a known host, built or pretrained
    spec : for example ``"taafs:chebyshev1"``
    sites : names, groups or shell patterns of sites (see :func:`sites`); default: the host's default sites

    Raises
    ------
    SpecError
        A spec that cannot be used, or a pattern that matches no site.
    HostError
        The model belongs to no known host, or is converted already.
    """
    return adapter_for(model).convert(model, spec, sites)


def restore(model: nn.Module) -> int:
    """Back to stock: every trainable activation is replaced by the activation it replaced. Returns how many.

    Raises
    ------
    HostError
        The model belongs to no known host.
    """
    return adapter_for(model).restore(model)
