"""Sites: the places in a host's model where activations are applied, how some are selected, and what is built for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch

from taafs_plugins.activations import SpecError, TrainableActivation, make_activation
from taafs_plugins.activations.notes import smoothness
from taafs_plugins.activations.spec import Spec, nearest


@dataclass
class Site:
    """One place in a host's model where an activation is applied.

    Attributes
    ----------
    name : dotted path, unique in the model; what ``sites=`` patterns match
    call : the host's code that applies it, for people (``MLPLayer.activate``)
    owner, attribute : where it hangs: ``getattr(owner, attribute)``
    replaces : the stock activation: name, function or module
    activation : its name, for people
    width : size of the last axis, or None when the site is called on several
    network : key of the net it belongs to (``share=network``)
    group : the host's word for the kind of site (``embedding``, ``message``, ...); ``sites=`` matches it too
    default : whether ``convert`` takes it when no sites are named
    dtype, device : of the layer's weights
    """

    name: str
    call: str
    owner: Any
    attribute: str
    replaces: Any
    activation: str
    width: int | None
    network: str
    group: str
    default: bool = True
    dtype: torch.dtype | None = None
    device: torch.device | None = None

    @property
    def current(self) -> Any:
        """What is at the site now."""
        return getattr(self.owner, self.attribute)

    @property
    def converted(self) -> bool:
        """Whether a trainable activation is at the site."""
        return isinstance(self.current, TrainableActivation)


class SiteTable(list[Site]):
    """The sites of a model; prints as a table.

    Attributes
    ----------
    trainable, parameters : how many numbers of the model are trained, and there are; None where the model was not given
    """

    def __init__(self, sites: Iterable[Site] = (), trainable: int | None = None, parameters: int | None = None) -> None:
        super().__init__(sites)
        self.trainable, self.parameters = trainable, parameters

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("site", "group", "call", "activation", "smooth", "shape", "coefficients", "by default")]
        rows += [self._row(site) for site in self]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if self.trainable is not None and self.trainable != self.parameters:
            lines.append(f"trainable: {self.trainable} of {self.parameters} parameters; the others are frozen")
        return "\n".join(lines)

    __repr__ = __str__

    @staticmethod
    def _row(site: Site) -> tuple[str, ...]:
        act = site.current if site.converted else None
        head = "" if act is None else ":".join(filter(None, (act.spec.family, act.spec.variant)))
        return (
            site.name, site.group, site.call, f"{head} over {act.base_name}" if act is not None else site.activation,
            "-" if act is None else smoothness(act), f"[..., {site.width}]" if site.width else "[...]",
            str(act.delta.numel() if act.coefficients() else 0) if act is not None else "-", "yes" if site.default else "no",
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class Report:
    """What a conversion did.

    Attributes
    ----------
    added : trainable numbers that were added
    before, after : the model's trainable and fixed parameters, counted once when shared
    sites : names of the converted sites
    spec : the resolved spec
    fit_error : largest error of ``init=fit`` over the sites, or None
    """

    added: int
    before: int
    after: int
    sites: tuple[str, ...]
    spec: Spec
    fit_error: float | None = None

    def __str__(self) -> str:
        text = f"{self.spec}: {len(self.sites)} sites, {self.before} + {self.added} = {self.after} parameters"
        return text if self.fit_error is None else f"{text}; largest error of the fit {self.fit_error:.2g}"

    __repr__ = __str__  # a notebook shows what a conversion did, and not the names of all its sites


def select(table: SiteTable, patterns: str | list[str] | None) -> list[Site]:
    """Sites whose name or group matches a pattern (shell wildcards), or the host's default ones.

    Raises
    ------
    SpecError
        A pattern that matches nothing, or a model without default sites.
    """
    if patterns is None:
        chosen = [site for site in table if site.default]
        if not chosen:
            raise SpecError(f"This model has no site that is converted by default; name some with sites=: {_listed(table)}.")
        return chosen
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, (list, tuple, set)) or any(not isinstance(pattern, str) for pattern in patterns):
        raise SpecError(f"sites= takes names, groups or patterns such as '*.0.*', not {patterns!r}; print(taafs.sites(model)) lists them.")
    if not patterns:
        raise SpecError("sites= is empty; name sites or groups, or leave it out for the host's default sites.")
    for pattern in patterns:
        if not any(fnmatchcase(site.name, pattern) or site.group == pattern for site in table):
            known = sorted({site.group for site in table}) + [site.name for site in table]
            raise SpecError(f"No site matches '{pattern}'. {nearest(pattern, known)}There are {_listed(table)}.")
    return [s for s in table if any(fnmatchcase(s.name, p) or s.group == p for p in patterns)]


def _listed(table: SiteTable) -> str:
    """Groups of sites, the first site, and how to see all."""
    groups = sorted({site.group for site in table})
    first = f"sites such as {table[0].name}, in the groups {', '.join(groups)}" if table else "no sites"
    return f"{first}; taafs.sites(model), or taafs sites FILE, shows them"


def shared_by(spec: Spec, network: str) -> str | None:
    """The key of the set of coefficients that a site of this network shares with others, or None when it has its own.

    >>> shared_by(Spec("molu", None, {"share": "network"}), "fitting")
    'fitting'
    """
    return {"global": "", "network": network}.get(spec["share"])


def build_shared(spec: Spec, chosen: list[Site], defaults: Mapping[str, Any] | None = None) -> list[TrainableActivation]:
    """One activation per site; sites that share coefficients (spec's ``share``) hold the same Parameter.

    Raises
    ------
    SpecError
        ``share=neuron`` at a site without one fixed width, or ``init=fit`` shared among different stock activations.
    """
    neuron = spec["share"] == "neuron"
    leaders: dict[str, TrainableActivation] = {}
    built = []
    for site in chosen:
        if neuron and site.width is None:
            raise SpecError(f"share=neuron cannot be used at {site.name}: it is called on inputs of several widths.")
        act = make_activation(
            spec, site.replaces, width=site.width if neuron else None, defaults=defaults, dtype=site.dtype, device=site.device
        )
        if (key := shared_by(spec, site.network)) is not None and (leader := leaders.setdefault(key, act)) is not act:
            act.share_with(leader)
        built.append(act)
    return built
