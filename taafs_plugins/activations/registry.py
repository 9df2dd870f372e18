"""Families of trainable activations, and the registry of them: what the first word of a spec names.

A new family is one file that calls :func:`register_family`; other packages do so in a module that they list under the entry-point
group ``taafs_plugins.activations``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from taafs_plugins.activations.spec import Key, Spec, SpecError, nearest, read_options

if TYPE_CHECKING:
    from taafs_plugins.activations.base import Place, TrainableActivation

ENTRY_POINTS = "taafs_plugins.activations"


@dataclass(frozen=True)
class Family:
    """A kind of trainable activation that specs can name.

    Attributes
    ----------
    name : first word of its specs
    build : ``(resolved spec, place) -> TrainableActivation``
    keys : ``(variant) -> {key: Key}``, in the order they are printed; with ``base``, ``share``, ``rate`` and ``theta`` among them.
        Raises :class:`SpecError` for an unknown variant
    default_variant : what a spec without ``:variant`` means; None for a family without variants, empty for one that must have one
        (``keys`` then says what is missing)
    check : ``(spec)``, raises :class:`SpecError` for keys that do not go together
    complete : ``(options)``, sets defaults that depend on other keys
    formula : for people
    smoothness : ``(spec) -> "C0" | "C1" | "C2" | ... | "analytic"``: how many derivatives are continuous
    exact_start : ``(spec) -> bool``: whether it starts as the stock activation that it replaces, to the last bit
    example : a spec of it, for lists and tests; default: its name
    neighbour : ``(spec) -> str``: a smooth spec in the place of one that is C0 or C1, or empty
    """

    name: str
    build: Callable[[Spec, Place], TrainableActivation]
    keys: Callable[[str | None], Mapping[str, Key]]
    default_variant: str | None = None
    check: Callable[[Spec], None] = lambda spec: None
    complete: Callable[[dict[str, Any]], None] = lambda options: None
    formula: str = ""
    smoothness: Callable[[Spec], str] = lambda spec: "analytic"
    exact_start: Callable[[Spec], bool] = lambda spec: True
    neighbour: Callable[[Spec], str] = lambda spec: ""
    example: str = ""

    def parse(self, text: str, variant: str | None, pairs: list[tuple[str, str]]) -> Spec:
        """A spec with the keys that its text sets.

        Raises
        ------
        SpecError
            An unknown variant or key, a value that its key does not take, or keys that do not go together.
        """
        if variant and self.default_variant is None:
            raise SpecError(f"'{text}': {self.name} has no variants; leave ':{variant}' out.")
        variant = variant or self.default_variant
        spec = Spec(self.name, variant, read_options(text, pairs, self.keys(variant)))
        self.check(spec)
        return spec

    def resolve(self, spec: Spec, defaults: Mapping[str, Any] | None = None) -> Spec:
        """The spec with every key set: what it says, then a host's ``defaults`` that this family has, then the general ones."""
        if spec.resolved:
            return spec
        entries = self.keys(spec.variant)
        options: dict[str, Any] = {}
        for key, entry in entries.items():
            value = spec.get(key, (defaults or {}).get(key, entry.default))
            if value is not None:
                options[key] = value
        self.complete(options)
        resolved = Spec(self.name, spec.variant, {key: options[key] for key in entries if key in options}, resolved=True)
        self.check(resolved)
        return resolved


_FAMILIES: dict[str, Family] = {}


def register_family(family: Family) -> None:
    """Add a family that specs can name.

    Raises
    ------
    ValueError
        Not a :class:`Family`; the name is taken or is not one lower-case word.
    """
    if not isinstance(family, Family):
        raise SpecError(f"register_family takes a Family, not {family!r}; formula_family makes one (CONTRIBUTING.md).")
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

    >>> find_family("molu").formula
    'z tanh(alpha exp(beta z))'

    Raises
    ------
    SpecError
        Unknown name, with the nearest one.
    """
    names = family_names()
    if name not in names:
        raise SpecError(f"Unknown family '{name}'. {nearest(name, names)}Known: {', '.join(names)}.")
    return _FAMILIES[name]
