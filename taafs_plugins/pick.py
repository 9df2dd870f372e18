"""AdAct's pick: each site gets its strongest member, and the model has stock activations only (AdAct, "ConvNet-Optimized").

It then runs, exports and compresses as stock; train it briefly afterwards. A host's files may hold one activation for several sites
(:meth:`taafs_plugins.adapters.base.Adapter.pick_unit`): those get one member, the strongest of all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from taafs_plugins.activations import SpecError
from taafs_plugins.activations.families.adact import AdAct, member_names
from taafs_plugins.activations.members import LEAKY, MEMBERS, RANDOM
from taafs_plugins.adapters import Adapter, HostError, Site, adapter_for

# members that are activations of torch
TORCHS = ("relu", "elu", "leakyrelu", "prelu", "rrelu", "silu", "mish", "gelu", "tanh")


@dataclass(frozen=True)
class Picked:
    """One site's pick.

    Attributes
    ----------
    site : its name in the model, or that of the part of it that has one activation in the host's files
    member : the strongest that the host has, by the mean softmax weight over all units
    weight : that weight, in (0, 1)
    weights : all members' mean weights, by name
    """

    site: str
    member: str
    weight: float
    weights: dict[str, float]

    @property
    def strongest(self) -> str:
        """The member with the largest weight, whether the host has it or not."""
        return max(self.weights, key=self.weights.__getitem__)


class Leaning(nn.Module):
    """slope z + (1 - slope) GELU(z), or of ReLU: the leaky members as a fixed activation."""

    def __init__(self, smooth: bool, slope: float) -> None:
        super().__init__()
        self.smooth, self.slope = smooth, slope

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Same shape and dtype as z."""
        core = F.gelu(z, approximate="tanh") if self.smooth else F.relu(z)
        return self.slope * z + (1.0 - self.slope) * core


def strongest(site: str, acts: list[AdAct], among: Collection[str] = tuple(MEMBERS)) -> Picked | None:
    """The member with the largest mean weight over all units of these activations, of those in ``among``; None where none is."""
    total: dict[str, float] = {}
    units = 0
    for act in acts:
        names = member_names(act.spec)
        with torch.no_grad():
            w = torch.softmax(act.theta.double()[..., : len(names)], -1).reshape(-1, len(names))
        units += len(w)
        for name, weight in zip(names, w.sum(0).tolist(), strict=True):
            total[name] = total.get(name, 0.0) + weight
    weights = {name: weight / units for name, weight in total.items()}
    best = max((name for name in weights if name in among), key=weights.__getitem__, default=None)
    return None if best is None else Picked(site, best, weights[best], weights)


def trained_slope(acts: list[AdAct]) -> float:
    """The mean of the trained slopes over all units; 0.25, the start, where no member has one."""
    values = [act.theta.detach().double()[..., -1].reshape(-1) for act in acts if act.theta.shape[-1] > len(member_names(act.spec))]
    return float(torch.cat(values).mean()) if values else 0.25


def stock_member(name: str, slope: float = 0.25) -> nn.Module:
    """A member as a stock module; ``slope`` for the one whose slope was trained."""
    plain = {"relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU, "mish": nn.Mish, "tanh": nn.Tanh, "gelu": lambda: nn.GELU(approximate="tanh")}
    if name in plain:
        return plain[name]()
    core, own = MEMBERS[name]
    value = {LEAKY: LEAKY, RANDOM: RANDOM}.get(own, slope)
    return nn.LeakyReLU(value) if core == "relu" else Leaning(True, value)


def pick(model: nn.Module) -> list[Picked]:
    """Replace every AdAct of a model, in place, by its strongest member. A trained slope becomes its mean over the units.

    In a model of a known host only torch's own activations that the host can keep in its files are taken.

    Returns
    -------
    what was chosen, one entry for each site, or each part that has one activation in the host's files

    Raises
    ------
    SpecError
        The model has no AdAct.
    HostError
        The host has none of the members, or one activation for sites of which some hold no AdAct.
    """
    if not any(isinstance(module, AdAct) for module in model.modules()):
        raise SpecError("The model has no adact activation to pick from; convert it with 'adact' and train it first.")
    try:
        host = adapter_for(model)
    except HostError:  # any other torch module
        return _pick_anywhere(model)
    return _pick_in_host(host, model)


def _pick_anywhere(model: nn.Module) -> list[Picked]:
    picked, made = [], {}
    for name, act in [(n, m) for n, m in model.named_modules(remove_duplicate=False) if isinstance(m, AdAct)]:
        if id(act) not in made:
            choice = strongest(name, [act])
            picked.append(choice)
            made[id(act)] = stock_member(choice.member, trained_slope([act]))
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, made[id(act)])
    return picked


def _pick_in_host(host: Adapter, model: nn.Module) -> list[Picked]:
    units: dict[str, list[Site]] = {}
    for site in host.sites(model):
        units.setdefault(host.pick_unit(site), []).append(site)
    units = {unit: sites for unit, sites in units.items() if any(isinstance(site.current, AdAct) for site in sites)}
    chosen = [_choose(host, unit, sites) for unit, sites in units.items()]  # all of them, before anything is changed
    for (_, replaces), sites in zip(chosen, units.values(), strict=True):
        for site in sites:
            site.replaces = replaces
            host.uninstall(site)
    host.finish(model, None, [site for sites in units.values() for site in sites])
    host.finish_pick(model, {choice.site: choice.member for choice, _ in chosen})
    return [choice for choice, _ in chosen]


def _choose(host: Adapter, unit: str, sites: list[Site]) -> tuple[Picked, Any]:
    if other := [site.name for site in sites if not isinstance(site.current, AdAct)]:
        raise HostError(
            f"{host.host} keeps one activation for all of {unit}, and {other[0]} holds no adact: nothing was picked. Convert all its sites."
        )
    acts = [site.current for site in sites]
    known = {name: held for name in TORCHS if (held := host.pickable(stock_member(name, trained_slope(acts)), sites[0])) is not None}
    choice = strongest(unit, acts, known)
    if choice is None:
        names = ", ".join(dict.fromkeys(name for act in acts for name in member_names(act.spec)))
        raise HostError(f"{host.host} can keep none of {names} at {unit}: nothing was picked. It has: {', '.join(known) or 'none there'}.")
    return choice, known[choice.member]
