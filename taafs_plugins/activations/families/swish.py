"""Swish, ``z sigmoid(b z)``: analytic; SiLU at b = 1, nearly GELU at 1.7 (Ramachandran, Zoph and Le, 2017)."""

from __future__ import annotations

import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.parts import gate, gate_start, keys_of, sampled, sigmoid, stock_of
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Spec, number


class Swish(FormulaActivation):
    """The number is b."""

    kernel, kernel_numbers = "swish", 1

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """z sigmoid(b z)."""
        return gate(z, torch.ones_like(p[0]), torch.zeros_like(p[0]), p[0])

    @staticmethod
    def expression(z, r):
        """The same for the compiled kernels."""
        from taafs_plugins.native.formulas.generate import Formula, sigmoid

        return Formula(guard=r[0] * z, left=0 * z, near=z * sigmoid(r[0] * z), right=z)


def _build(spec: Spec, place: Place) -> Swish:
    beta, error = spec.get("beta"), None
    if beta is None and spec.get("theta") is None:
        (_, beta), error = gate_start(Spec("swish", "stock", spec.options), place)
        if error is not None:
            z, y = sampled(stock_of(spec, place)[1])
            error = float(abs(z * sigmoid(beta * z) - y).max())
    act = Swish(spec, place, torch.tensor([beta or 0.0], dtype=torch.float64, device="cpu"))
    act.fit_error = error
    return act


register_family(Family(
    "swish", _build, keys_of("swish", (), {"beta": number(-1e6, 1e6)}, "layer"), formula="z sigmoid(b z)", exact_start=lambda spec: False,
))  # fmt: skip
