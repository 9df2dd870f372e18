"""A learned curve as a closed formula: an elementwise torch module, sampled where it is used, fitted by X-Net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy
import torch
from torch import nn

from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.symbolic.estimator import XNetRegressor
from taafs_plugins.symbolic.expression import TreeModule
from taafs_plugins.symbolic.propagation import predict
from taafs_plugins.symbolic.tree import Tree

# ReLU is left out: a formula with a kink makes forces jump.
SMOOTH = ("sin", "cos", "exp", "log", "sqrt", "square", "cube", "tanh", "sigmoid", "identity", "negative")


class FormulaActivation(nn.Module):
    """A fixed elementwise activation given by a tree of one variable.

    Parameters
    ----------
    tree : the tree; it is stored in double precision and evaluated in the input's
    """

    def __init__(self, tree: Tree):
        super().__init__()
        self.formula = TreeModule(tree)
        for number in self.formula.parameters():
            number.requires_grad_(False)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Values of the same shape, dtype and device as z."""
        return torch.func.functional_call(self.formula, {"w": self.formula.w.to(z), "b": self.formula.b.to(z)}, (z[..., None],))


@dataclass(frozen=True)
class Distilled:
    """What a curve became.

    Attributes
    ----------
    tree : the fitted tree
    expression : SymPy expression in z
    rms, largest : root mean square (weighted by how often inputs occur) and largest error over the range, in units of the output
    spread : standard deviation of the curve over the range, same weights: what the errors are to be compared with
    slope_rms : root mean square error of the derivative, same weights: what forces see
    low, high : the range
    nodes, parameters : size, counted as the paper counts
    """

    tree: Tree
    expression: sympy.Expr
    rms: float
    largest: float
    spread: float
    slope_rms: float
    low: float
    high: float

    @property
    def nodes(self) -> int:
        """Nodes, leaves not counted."""
        return self.tree.structure.nodes

    @property
    def parameters(self) -> int:
        """Two for each node and leaf."""
        return self.tree.structure.parameters

    @property
    def module(self) -> FormulaActivation:
        """The formula as a fixed activation."""
        return FormulaActivation(self.tree)


def distil(module: Callable[[torch.Tensor], torch.Tensor], low: float, high: float, weights: np.ndarray | None = None, samples: int = 400,
           random_state: int = 0, **options) -> Distilled:  # fmt: skip
    """Fit a formula to an elementwise module over the range of inputs that it sees.

    Parameters
    ----------
    module : the trained activation, elementwise on a float64 tensor of shape (samples,)
    low, high : the range of its inputs
    weights : histogram of its inputs over equal bins from low to high, any scale; None weighs the range evenly
    samples : points at which the curve is read: half of them even over the range, half where inputs are frequent
    random_state : of the search
    options : further arguments of :class:`~taafs_plugins.symbolic.XNetRegressor`

    Returns
    -------
    Distilled

    Raises
    ------
    XNetError
        An empty range, a histogram that is negative or empty, or a module that is not elementwise or not finite there.
    """
    if not (np.isfinite([low, high]).all() and low < high):
        raise XNetError(f"The range {low} ... {high} is empty: give the smallest and the largest input that the activation sees.")
    points = _points(low, high, weights, samples)
    values, slopes = _read(module, points)
    model = XNetRegressor(**{"unary": SMOOTH, "max_nodes": 6, "random_state": random_state, **options}).fit(points[:, None], values)
    tree = model.trees_[0]
    grid = np.linspace(low, high, 2001)
    exact, _ = _read(module, grid)
    error, wrong = predict(tree, points[:, None]) - values, _read(FormulaActivation(tree), points)[1] - slopes
    share = _weigh(points, low, high, weights)
    centre = (share * values).sum()
    return Distilled(tree, model.expressions(["z"])[0], float(np.sqrt((share * error**2).sum())),
                     float(np.abs(predict(tree, grid[:, None]) - exact).max()), float(np.sqrt((share * (values - centre) ** 2).sum())),
                     float(np.sqrt((share * wrong**2).sum())), float(low), float(high))  # fmt: skip


def _histogram(weights: np.ndarray | None) -> np.ndarray:
    """A histogram of sum 1."""
    counts = np.ones(1) if weights is None else np.asarray(weights, np.float64)
    if counts.ndim != 1 or not len(counts) or not np.isfinite(counts).all() or counts.min() < 0 or not counts.sum():
        raise XNetError("The histogram of inputs must be a row of numbers of at least 0 that are not all 0.")
    return counts / counts.sum()


def _points(low: float, high: float, weights: np.ndarray | None, samples: int) -> np.ndarray:
    """Half of the points even, half at even quantiles of the histogram, ends included."""
    share = _histogram(weights)
    edges = np.linspace(low, high, len(share) + 1)
    quantiles = np.interp(np.linspace(0, 1, samples - samples // 2), np.concatenate([[0.0], np.cumsum(share)]), edges)
    return np.sort(np.concatenate([np.linspace(low, high, samples // 2), quantiles]))


def _weigh(points: np.ndarray, low: float, high: float, weights: np.ndarray | None) -> np.ndarray:
    """The share of inputs that each point stands for, sum 1: the histogram's density times the distance between points."""
    share = _histogram(weights)
    bins = np.minimum(((points - low) / (high - low) * len(share)).astype(int), len(share) - 1)
    shares = share[bins] * np.gradient(points)
    return shares / shares.sum()


def _read(module: Callable, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values and derivatives of an elementwise module."""
    z = torch.tensor(points, dtype=torch.float64, requires_grad=True)
    values = module(z)
    if values.shape != z.shape or not torch.isfinite(values).all():
        raise XNetError("The module must give one finite number for each input over the range: pass one curve, in float64.")
    (slopes,) = torch.autograd.grad(values.sum(), z)
    return values.detach().numpy(), slopes.numpy()
