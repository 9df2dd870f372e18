"""The core: specs, bases, the engine and the trainable activation modules. It knows no host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from taafs_plugins.activations import taafs as _taafs
from taafs_plugins.activations.bases import basis_names, register_basis
from taafs_plugins.activations.engine import evaluate, project, use_engine
from taafs_plugins.activations.families import Family, family_names, find_family, register_family
from taafs_plugins.activations.shapes import Basis
from taafs_plugins.activations.spec import Spec, SpecError, split
from taafs_plugins.activations.taafs import TAAFS

register_family(Family("taafs", _taafs.parse, _taafs.resolve, TAAFS))


def parse_spec(text: str) -> Spec:
    """Read a spec such as ``"taafs:bspline,grid=7"``.

    Returns
    -------
    Spec with only the keys that the text sets; ``parse_spec(str(spec)) == spec``

    Raises
    ------
    SpecError
        (a ``ValueError``) with the nearest valid spelling and the allowed values.
    """
    if isinstance(text, Spec):
        text = str(text)
    family, variant, pairs = split(text)
    return find_family(family).parse(text, variant, pairs)


def is_spec(text: Any) -> bool:
    """Whether a config's value is meant for this package: its first word is a registered family, right or wrong after it."""
    if not isinstance(text, str):
        return False
    head = text.strip().lower().split(",")[0].split(":")[0].strip()
    return head in family_names()


def resolve_spec(text: str | Spec, defaults: Mapping[str, Any] | None = None) -> Spec:
    """The spec with every key set, a host's ``defaults`` before the general ones."""
    spec = parse_spec(str(text))
    return find_family(spec.family).resolve(spec, defaults)


def make_activation(
    spec: str | Spec,
    replaces: str | Callable | nn.Module = "tanh",
    width: int | None = None,
    defaults: Mapping[str, Any] | None = None,
    dtype=None,
    device=None,
) -> nn.Module:
    """A trainable activation as an ``nn.Module``; see :class:`TAAFS` for the parameters.

    >>> act = make_activation("taafs:bspline,grid=5", replaces="silu")

    Raises
    ------
    SpecError
        A spec that cannot be used, or ``share=neuron`` without ``width``.
    """
    parsed = parse_spec(str(spec))
    return find_family(parsed.family).module(parsed, replaces, width=width, defaults=defaults, dtype=dtype, device=device)


__all__ = [
    "TAAFS", "Basis", "Family", "Spec", "SpecError", "basis_names", "evaluate", "family_names", "is_spec", "make_activation",
    "parse_spec", "project", "register_basis", "register_family", "resolve_spec", "use_engine",
]  # fmt: skip
