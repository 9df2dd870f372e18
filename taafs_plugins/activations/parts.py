"""What several families share: variants, starts taken from the stock activation, and a gate that is finite for every input."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.spec import Key, Spec, SpecError, choice, common_keys, nearest, with_default
from taafs_plugins.activations.stock import fixed_activation

log = logging.getLogger(__name__)

RELU_SLOPE = 65536.0  # LEAF and AHAF as ReLU, LEAF section IV: 2^16 stands for infinity
SPAN = 6.0
GATE_STARTS = {"silu": (1.0, 1.0), "relu": (1.0, RELU_SLOPE)}
GATE_FITTED = ("gelu", "gelu_tanh", "mish")  # others look nothing like it: SiLU then


def gate(z: torch.Tensor, a: torch.Tensor, b: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """(a z + b) sigmoid(slope z), in plain operators.

    Where abs(slope z) > 80 sigmoid is 0 or 1 to 1e-35: taken as that, so that no derivative meets infinity times 0.
    """
    u = slope * z
    far = torch.abs(u) > 80.0
    near = torch.where(far, torch.zeros_like(z), z)
    return torch.where(far, torch.where(u > 0, a * z + b, torch.zeros_like(z)), (a * near + b) * torch.sigmoid(slope * near))


def keys_of(family: str, variants: Sequence[str], own: Mapping[str, Key], share: str) -> Callable[[str | None], dict[str, Key]]:
    """``Family.keys`` for these variants (none: a family without), with keys of its own and a default of ``share``."""

    def keys(variant: str | None) -> dict[str, Key]:
        if variant is not None and variant not in variants:
            known = f"Known: {', '.join(variants)}." if variants else f"{family} has no variants; write '{family}'."
            raise SpecError(f"Unknown variant '{family}:{variant}'. {nearest(variant, list(variants))}{known}")
        common = common_keys()
        return {**own, **common, "share": with_default(choice("global", "network", "layer", "neuron"), share)}

    return keys


def stock_of(spec: Spec, place: Place) -> tuple[str, torch.nn.Module]:
    """Name and module of the stock activation that is replaced."""
    return fixed_activation(place.replaces if spec.get("base") is None or not isinstance(place.replaces, str) else spec["base"])


def sampled(stock: torch.nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Points on abs(z) <= 6 and the stock activation there, float64."""
    z = torch.linspace(-SPAN, SPAN, 601, dtype=torch.float64, device="cpu")
    with torch.no_grad():
        return z.numpy(), copy.deepcopy(stock).to("cpu", torch.float64)(z).numpy()


def sigmoid(u: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-u))."""
    return 0.5 * (1.0 + np.tanh(0.5 * u))


def fit_gate(stock: torch.nn.Module, columns: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> tuple[list[float], float, float]:
    """Least squares of ``columns(z, sigmoid(slope z)) @ numbers`` to the stock activation on abs(z) <= 6, slope by search.

    Returns
    -------
    numbers, slope, largest deviation
    """
    return _fit(*(tuple(values) for values in sampled(stock)), columns)


@lru_cache(maxsize=32)
def _fit(z_values: tuple, y_values: tuple, columns: Callable) -> tuple[list[float], float, float]:
    z, y = np.array(z_values), np.array(y_values)

    def solved(slope: float) -> tuple[float, np.ndarray]:
        matrix = columns(z, sigmoid(slope * z))
        numbers = np.linalg.lstsq(matrix, y, rcond=None)[0]
        return float(np.square(matrix @ numbers - y).sum()), numbers

    slopes = np.geomspace(0.2, 50.0, 60)
    best = int(np.argmin([solved(slope)[0] for slope in slopes]))
    low, high = slopes[max(best - 1, 0)], slopes[min(best + 1, len(slopes) - 1)]
    for _ in range(50):  # a third of the bracket goes each time
        left, right = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, right) if solved(left)[0] < solved(right)[0] else (left, high)
    slope = 0.5 * (low + high)
    numbers = solved(slope)[1]
    return [float(v) for v in numbers], float(slope), float(np.abs(columns(z, sigmoid(slope * z)) @ numbers - y).max())


def negative_slope(spec: Spec, place: Place) -> float:
    """The slope at the start: the spec's, or that of the stock activation where it is a ReLU, or 0.25."""
    if spec.get("slope") is not None:
        return spec["slope"]
    name, stock = stock_of(spec, place)
    if isinstance(stock, torch.nn.LeakyReLU):
        return float(stock.negative_slope)
    return 0.0 if name == "relu" else 0.25


def gate_start(spec: Spec, place: Place) -> tuple[tuple[float, float], float | None]:
    """(b, g) of ``b z sigmoid(g z)``, and the largest deviation of a start that is fitted to the stock activation."""
    name, stock = stock_of(spec, place)
    chosen = name if spec.variant == "stock" else spec.variant
    if chosen not in GATE_FITTED:
        return GATE_STARTS.get(chosen, GATE_STARTS["silu"]), None
    (b,), g, error = fit_gate(stock, _columns)
    log.info("%s starts at a fit to %s, off by at most %.2g for abs(z) <= 6", spec.family, name, error)
    return (b, g), error


def _columns(z: np.ndarray, s: np.ndarray) -> np.ndarray:
    return (z * s)[:, None]
