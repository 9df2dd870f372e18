"""LEAF, ``(r1 z + r2) sigmoid(r3 z) + r4``: analytic, holds tanh, sigmoid, SiLU, Swish and AHAF, and ReLU up to 4e-6.

Bodyanskiy and Kostiuk, Learnable Extended Activation Function, eq. 1 and Table 1, which prints r2 = 0 for the sigmoid: it must be 1.
"""

from __future__ import annotations

import logging

import numpy as np
import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.parts import RELU_SLOPE, fit_gate, gate, keys_of, stock_of
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Key, Spec, number, with_default

log = logging.getLogger(__name__)

STARTS = {
    "tanh": (0.0, 2.0, 2.0, -1.0),
    "sigmoid": (0.0, 1.0, 1.0, 0.0),
    "silu": (1.0, 0.0, 1.0, 0.0),
    "relu": (1.0, 0.0, RELU_SLOPE, 0.0),
}
VARIANTS = ("stock", *STARTS, "swish")


class LEAF(FormulaActivation):
    """The numbers are r1, r2, r3, r4; derivatives with respect to r2 and r3 as they are: the paper's eqs. 7 and 8 exchange them."""

    kernel, kernel_numbers = "leaf", 4

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """(r1 z + r2) sigmoid(r3 z) + r4."""
        return gate(z, p[0], p[1], p[2]) + p[3]

    @staticmethod
    def expression(z, r):
        """The same for the compiled kernels."""
        from taafs_plugins.native.formulas.generate import Formula, sigmoid

        return Formula(guard=r[2] * z, left=r[3], near=(r[0] * z + r[1]) * sigmoid(r[2] * z) + r[3], right=r[0] * z + r[1] + r[3])


def _columns(z: np.ndarray, s: np.ndarray) -> np.ndarray:
    return np.stack([z * s, s, np.ones_like(z)], axis=1)


def start(spec: Spec, place: Place) -> tuple[tuple[float, ...], float | None]:
    """The four numbers, and the largest deviation of a start that is fitted to the stock activation (``leaf`` alone)."""
    if spec.variant == "swish":
        return (1.0, 0.0, spec["beta"], 0.0), None
    name, stock = stock_of(spec, place)
    if spec.variant != "stock" or name in STARTS:
        return STARTS[name if spec.variant == "stock" else spec.variant], None
    (r1, r2, r4), r3, error = fit_gate(stock, _columns)
    log.info("leaf starts at a fit to %s, off by at most %.2g for abs(z) <= 6", name, error)
    return (r1, r2, r3, r4), error


_keys = keys_of("leaf", VARIANTS, {}, "neuron")


def keys(variant: str | None) -> dict[str, Key]:
    """The keys of every family, and ``beta`` of ``leaf:swish``."""
    own = {"beta": with_default(number(-1e6, 1e6), 1.0)} if variant == "swish" else {}
    return {**own, **_keys(variant)}


def _build(spec: Spec, place: Place) -> LEAF:
    values, error = start(spec, place) if spec.get("theta") is None else ((0.0,) * 4, None)
    act = LEAF(spec, place, torch.tensor(values, dtype=torch.float64, device="cpu"))
    act.fit_error = error
    return act


register_family(Family(
    "leaf", _build, keys, "stock", formula="(r1 z + r2) sigmoid(r3 z) + r4", exact_start=lambda spec: False,
))  # fmt: skip
