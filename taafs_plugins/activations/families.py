"""The registry of families: kinds of activation that a spec can name. Open to third parties, also by entry point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points

from taafs_plugins.activations.spec import SpecError, nearest

ENTRY_POINTS = "taafs_plugins.activations"


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes
    ----------
    name : first word of its specs
    parse : ``(text, variant, pairs) -> Spec``, raising :class:`SpecError`
    resolve : ``(spec, defaults) -> Spec`` with every key set
    module : ``(spec, replaces, width=, defaults=, dtype=, device=) -> nn.Module``
    """

    name: str
    parse: Callable
    resolve: Callable
    module: Callable


_FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Add a family that specs can name.

    Raises
    ------
    ValueError
        The name is taken or is not one lower-case word.
    """
    if family.name in _FAMILIES:
        raise ValueError(f"A family named '{family.name}' is already registered.")
    if not family.name.isidentifier() or family.name != family.name.lower():
        raise ValueError(f"'{family.name}' cannot name a family: use one lower-case word.")
    _FAMILIES[family.name] = family


@lru_cache(maxsize=1)
def load_entry_points() -> None:
    """Import what other packages register under the entry-point group ``taafs_plugins.activations``, once."""
    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()


def family_names() -> list[str]:
    """All registered families."""
    load_entry_points()
    return list(_FAMILIES)


def find_family(name: str) -> Family:
    """The registered family of this name.

    Raises
    ------
    SpecError
        Unknown name, with the nearest one.
    """
    names = family_names()
    if name not in names:
        raise SpecError(f"Unknown family '{name}'. {nearest(name, names)}Known: {', '.join(names)}.")
    return _FAMILIES[name]
