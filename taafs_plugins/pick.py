"""AdAct's pick: each site gets its strongest member, and the model has stock activations only (AdAct, "ConvNet-Optimized").

It then runs, exports and compresses as stock; train it briefly afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from taafs_plugins.activations import SpecError
from taafs_plugins.activations.families.adact import AdAct, member_names
from taafs_plugins.activations.members import LEAKY, MEMBERS, RANDOM


@dataclass(frozen=True)
class Picked:
    """One site's pick.

    Attributes
    ----------
    site : its name in the model
    member : the strongest, by the mean softmax weight over the site's units
    weight : that weight, in (0, 1)
    weights : all members' mean weights, by name
    """

    site: str
    member: str
    weight: float
    weights: dict[str, float]


class Leaning(nn.Module):
    """slope z + (1 - slope) GELU(z), or of ReLU: the leaky members as a fixed activation."""

    def __init__(self, smooth: bool, slope: float) -> None:
        super().__init__()
        self.smooth, self.slope = smooth, slope

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Same shape and dtype as z."""
        core = F.gelu(z, approximate="tanh") if self.smooth else F.relu(z)
        return self.slope * z + (1.0 - self.slope) * core


def strongest(site: str, act: AdAct) -> Picked:
    """The member with the largest weight; of one set per unit, the mean over the units."""
    names = member_names(act.spec)
    with torch.no_grad():
        w = torch.softmax(act.theta.double()[..., : len(names)], -1).reshape(-1, len(names)).mean(0)
    weights = dict(zip(names, w.tolist(), strict=True))
    best = max(weights, key=weights.__getitem__)
    return Picked(site, best, weights[best], weights)


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

    Returns
    -------
    what was chosen, one entry for each site

    Raises
    ------
    SpecError
        The model has no AdAct.
    """
    found = [(name, module) for name, module in model.named_modules(remove_duplicate=False) if isinstance(module, AdAct)]
    if not found:
        raise SpecError("The model has no adact activation to pick from; convert it with 'adact' and train it first.")
    picked, made = [], {}
    for name, act in found:
        if id(act) not in made:
            choice = strongest(name, act)
            picked.append(choice)
            made[id(act)] = stock_member(choice.member, float(act.theta.detach()[..., -1].mean()))
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, made[id(act)])
    return picked
