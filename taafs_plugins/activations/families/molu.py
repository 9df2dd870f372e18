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
    """The numbers are alpha and beta. Nothing overflows: arguments are held where tanh has its limit to all digits."""

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """z tanh(alpha exp(beta z)); from 40 on tanh is 1 to the last bit, and exp(20)^3 fits float32."""
        alpha, beta = p
        argument = alpha * torch.exp(torch.clamp(beta * z, max=20.0))
        return z * torch.tanh(torch.clamp(argument, min=-40.0, max=40.0))


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
