"""X-Net's choice of a function for a node whose inputs and outputs were recorded: which one follows the updated output (paper, 1.2-1.3).

The paper's rule for a tree, in units that a site of a network has: every input and output is moved down its gradient, and a function is
judged by what it makes of the moved inputs. Ours: the length of the step (``rate`` of the spread, root mean square over the samples), and
that a factor and an offset of the function are fitted before the distance is taken (:func:`.selection.distance` does so too).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Smooth functions that stock activations are, or that X-Net's library has, finite for every input; each may get a factor and an offset.
STOCK = {
    "tanh": "tanh(z)", "silu": "silu(z)", "gelu": "0.5*z*(1+erf(z/2^0.5))", "mish": "z*tanh(log(1+exp(z)))", "softplus": "log(1+exp(z))",
    "sigmoid": "sigmoid(z)", "atan": "atan(z)", "asinh": "asinh(z)", "erf": "erf(z)", "sin": "sin(z)", "cos": "cos(z)",
    "gauss": "exp(-z^2)", "square": "z^2", "cube": "z^3", "identity": "z",
}  # fmt: skip


@dataclass(frozen=True)
class Moved:
    """Inputs and outputs of a node after the step, float64 [samples] each, and which neuron (last axis) each is of."""

    inputs: np.ndarray
    outputs: np.ndarray
    neurons: np.ndarray


def move(values: np.ndarray, slopes: np.ndarray, rate: float) -> np.ndarray:
    """Values moved down their gradient by ``rate`` times their spread, root mean square.

    Parameters
    ----------
    values, slopes : [samples], the slopes those of the loss
    """
    length = np.sqrt((slopes**2).mean())
    return values if length == 0 else values - rate * values.std() * slopes / length


def follow(found: np.ndarray, outputs: np.ndarray, fitted: bool = True) -> tuple[float, float, float]:
    """Mean distance of ``w found + b`` to the moved outputs, as a part of their spread, with w and b.

    Parameters
    ----------
    found : what a function makes of the moved inputs, float64 [n]
    outputs : the moved outputs, [n]
    fitted : w and b by least squares; else 1 and 0

    Returns
    -------
    distance, w, b; infinity where the function is not finite
    """
    if not np.isfinite(found).all():
        return np.inf, 1.0, 0.0
    w, b = (1.0, 0.0) if not fitted else _line(found, outputs)
    return float(np.abs(w * found + b - outputs).mean() / max(outputs.std(), 1e-300)), w, b


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    spread = x.std()
    w = float(((x - x.mean()) * (y - y.mean())).mean() / spread**2) if spread > 1e-12 else 0.0
    return w, float(y.mean() - w * x.mean())
