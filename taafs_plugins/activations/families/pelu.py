"""PELU, ``b z / g`` for z >= 0 and ``b (exp(z / g) - 1)`` below, b and g > 0: C1 (TAAFS paper, eq. 6, citing Trottier et al.).

ELU is b = g = 1 and CELU(a) b = g = a. The second derivative jumps at 0, where it is the one from the right, 0.
"""

from __future__ import annotations

import math

import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.parts import keys_of, stock_of
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Spec


class PELU(FormulaActivation):
    """The numbers are log b and log g, so that b and g stay above 0 wherever training takes them."""

    kernel, kernel_numbers = "pelu", 2

    def prepared(self, theta: torch.Tensor) -> torch.Tensor:
        """(b, 1 / g) of the numbers [..., 2], which the compiled kernels take."""
        return torch.exp(theta * torch.tensor([1.0, -1.0], dtype=theta.dtype, device=theta.device))

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """1 / g multiplies: a division's derivative would be infinity times 0 far out. exp(-80) is 0 beside 1 in every dtype."""
        b, inverse = torch.exp(p[0]), torch.exp(-p[1])
        below = b * torch.expm1(torch.clamp(inverse * z, min=-80.0, max=0.0))
        return torch.where(z >= 0, (b * inverse) * z, below)

    @staticmethod
    def expression(z, r):
        """The same for the compiled kernels, of what :meth:`prepared` gives."""
        from taafs_plugins.native.formulas.generate import Formula, expm1

        return Formula(guard=r[1] * z, left=-r[0], near=r[0] * expm1(r[1] * z), right=r[0] * r[1] * z, high=0.0)


def _build(spec: Spec, place: Place) -> PELU:
    name, stock = stock_of(spec, place)
    alpha = math.log(stock.alpha) if name.startswith("celu") and isinstance(stock, torch.nn.CELU) and stock.alpha > 0 else 0.0
    return PELU(spec, place, torch.tensor([alpha, alpha], dtype=torch.float64, device="cpu"))


register_family(Family(
    "pelu", _build, keys_of("pelu", (), {}, "layer"), formula="b z / g for z >= 0, b (exp(z / g) - 1) below",
    smoothness=lambda spec: "C1", exact_start=lambda spec: False, neighbour=lambda spec: "leaf",
))  # fmt: skip
