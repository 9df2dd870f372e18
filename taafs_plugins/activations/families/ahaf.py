"""AHAF, ``b z sigmoid(g z)``, and Swish, ``z sigmoid(b z)``: analytic; SiLU at 1, GELU nearly at 1.7, ReLU in the limit.

AHAF is LEAF with r2 = r4 = 0 (LEAF, Table 1; there by one set per neuron), Swish also has r1 = 1.
"""

from __future__ import annotations

import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.parts import GATE_STARTS, gate, gate_start, keys_of
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Spec

VARIANTS = ("stock", *GATE_STARTS)


class AHAF(FormulaActivation):
    """The numbers are b (the paper's beta) and g (gamma)."""

    kernel, kernel_numbers = "ahaf", 2

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """b z sigmoid(g z)."""
        return p[0] * gate(z, torch.ones_like(p[0]), torch.zeros_like(p[0]), p[1])

    @staticmethod
    def expression(z, r):
        """The same for the compiled kernels."""
        from taafs_plugins.native.formulas.generate import Formula, sigmoid

        return Formula(guard=r[1] * z, left=0 * z, near=r[0] * z * sigmoid(r[1] * z), right=r[0] * z)


def _build(spec: Spec, place: Place) -> AHAF:
    values, error = gate_start(spec, place) if spec.get("theta") is None else ((0.0, 0.0), None)
    act = AHAF(spec, place, torch.tensor(values, dtype=torch.float64, device="cpu"))
    act.fit_error = error
    return act


register_family(Family(
    "ahaf", _build, keys_of("ahaf", VARIANTS, {}, "neuron"), "stock", formula="b z sigmoid(g z)", exact_start=lambda spec: False,
))  # fmt: skip
