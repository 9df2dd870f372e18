"""MoLU, ``z tanh(alpha exp(beta z))``: analytic, z to all digits for z > 2 and near 0 for z < -4.

Moderate Adaptive Linear Units (MoLU), 2023, eq. 1, alpha = beta = 2. ``molu`` is fixed as in the paper, ``molu:trained`` trains
both numbers.
"""

from __future__ import annotations

import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Key, Spec, SpecError, common_keys, nearest, number, with_default

VARIANTS = ("fixed", "trained")


class MoLU(FormulaActivation):
    """The numbers are alpha and beta. Nothing overflows: what is far out is taken as the limit that it has there to all digits."""

    kernel, kernel_numbers = "molu", 2

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """z tanh(alpha exp(beta z)); from 40 on tanh is 1 to the last bit, exp(20)^3 fits float32, exp(-80) is 0 beside 1."""
        alpha, beta = p
        u = beta * z
        far = torch.abs(u + 30.0) > 50.0
        near = torch.where(far, torch.zeros_like(z), z)
        inner = near * torch.tanh(torch.clamp(alpha * torch.exp(beta * near), min=-40.0, max=40.0))
        outer = torch.where(u > 0, z * torch.tanh(torch.clamp(alpha * 4.851651954097903e8, min=-40.0, max=40.0)), torch.zeros_like(z))
        return torch.where(far, outer, inner)

    @staticmethod
    def expression(z, r):
        """The same for the compiled kernels."""
        from taafs_plugins.native.formulas.generate import Formula, exp, sign, tanh

        return Formula(guard=r[1] * z, left=0 * z, near=z * tanh(r[0] * exp(r[1] * z)), right=z * sign(r[0]), high=20.0)


def keys(variant: str | None) -> dict[str, Key]:
    """``alpha`` and ``beta`` beside the keys of every family.

    Raises
    ------
    SpecError
        Unknown variant.
    """
    if variant not in VARIANTS:
        raise SpecError(f"Unknown variant 'molu:{variant}'. {nearest(variant or '', list(VARIANTS))}Known: {', '.join(VARIANTS)}.")
    # below 1e-6 tanh would not have reached 1 where the exponential is held
    return {"alpha": with_default(number(1e-6, 1e6), 2.0), "beta": with_default(number(-20, 20), 2.0), **common_keys()}


def _build(spec: Spec, place: Place) -> MoLU:
    start = torch.tensor([spec["alpha"], spec["beta"]], dtype=torch.float64, device="cpu")
    return MoLU(spec, place, start, trained=spec.variant == "trained")


register_family(Family(
    "molu", _build, keys, "fixed", formula="z tanh(alpha exp(beta z))", exact_start=lambda spec: False,
))  # fmt: skip
