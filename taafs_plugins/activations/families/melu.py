"""MeLU, ``PReLU(z) + sum_j c_j max(w_j - abs(z - m_j), 0)``: C0, k numbers (TAAFS paper, eqs. 9 and 10, citing Maguolo et al.).

The tents' middles m and half widths w are fixed: one over all of -span ... span, two over its halves, four over its quarters, ...,
as in the MeLU paper, which has inputs from 0 on.
"""

from __future__ import annotations

import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.parts import keys_of, negative_slope
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Spec, integer, number, with_default


def tents(count: int, span: float) -> tuple[list[float], list[float]]:
    """Middles and half widths of the first ``count`` tents."""
    middles, widths, level = [], [], 0
    while len(middles) < count:
        width = span / 2**level
        middles += [-span + width * (2 * j + 1) for j in range(2**level)]
        widths += [width] * 2**level
        level += 1
    return middles[:count], widths[:count]


class MeLU(FormulaActivation):
    """The numbers are PReLU's slope and c_1 ... c_(k - 1); at a kink the slope is the one from the right.

    ``middles`` and ``widths`` are the fixed ones, set when it is built.
    """

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """PReLU and the tents."""
        y = torch.where(z >= 0, z, p[0] * z)
        nothing = torch.zeros_like(z)
        for j in range(len(p) - 1):
            d, w = z - self.middles[j], self.widths[j]
            inside = torch.where(d < 0, d + w, w - d)
            y = y + p[j + 1] * torch.where((d < -w) | (d >= w), nothing, inside)
        return y


def _build(spec: Spec, place: Place) -> MeLU:
    start = torch.zeros(spec["k"], dtype=torch.float64, device="cpu")
    start[0] = negative_slope(spec, place)
    act = MeLU(spec, place, start)
    act.middles, act.widths = tents(max(spec["k"] - 1, 1), spec["span"])
    return act


_OWN = {"k": with_default(integer(1, 64), 4), "span": with_default(number(0, 1e3, open_low=True), 4.0), "slope": number(-1e6, 1e6)}
register_family(Family(
    "melu", _build, keys_of("melu", (), _OWN, "neuron"), formula="PReLU(z) + sum_j c_j max(w_j - abs(z - m_j), 0)",
    smoothness=lambda spec: "C0", exact_start=lambda spec: False, neighbour=lambda spec: "leaf or taafs:chebyshev1",
))  # fmt: skip
