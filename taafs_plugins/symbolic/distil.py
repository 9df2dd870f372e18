"""A learned curve as a closed formula: an elementwise torch module, sampled where it is used, fitted by X-Net."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy
import torch

from taafs_plugins.activations import SpecError, TrainableActivation, make_activation, parse_spec
from taafs_plugins.activations.families.expression import SOFT
from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.symbolic.estimator import XNetRegressor
from taafs_plugins.symbolic.formulas import number, to_text
from taafs_plugins.symbolic.tree import Tree

# ReLU is left out: a formula with a kink makes forces jump.
SMOOTH = ("sin", "cos", "exp", "log", "sqrt", "square", "cube", "tanh", "sigmoid", "identity", "negative")
EVERYWHERE = (("sin", "cos", "square", "cube", "tanh", "sigmoid"), ("+", "-", "*"))  # finite for every input


@dataclass(frozen=True)
class Distilled:
    """What a curve became.

    Attributes
    ----------
    tree : the fitted tree
    expression : SymPy expression in z
    spec : the formula as a spec of the family ``formula``, for a config of any host; the errors are those of this activation
    rms, largest : root mean square (weighted by how often inputs occur) and largest error over the range, in units of the output
    spread : standard deviation of the curve over the range, same weights: what the errors are to be compared with
    slope_rms : root mean square error of the derivative, same weights: what forces see
    low, high : the range
    nodes, parameters : size, counted as the paper counts
    """

    tree: Tree
    expression: sympy.Expr
    spec: str
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
    def module(self) -> TrainableActivation:
        """The formula as a fixed activation, float64."""
        return make_activation(self.spec, dtype=torch.float64)

    @property
    def latex(self) -> str:
        """The expression in LaTeX, numbers of six digits."""
        return sympy.latex(self.expression.xreplace({value: sympy.Float(value, 6) for value in self.expression.atoms(sympy.Float)}))

    def facts(self) -> dict:
        """All but the tree, for JSON."""
        keys = ("spec", "low", "high", "rms", "largest", "spread", "slope_rms", "nodes", "parameters")
        return {"expression": str(self.expression), "latex": self.latex, **{key: getattr(self, key) for key in keys}}


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
    options = {"unary": SMOOTH, "max_nodes": 6, "random_state": random_state, **options}
    tree, expression, spec = _fitted(module, points, options)
    act = make_activation(spec, dtype=torch.float64)
    grid = np.linspace(low, high, 2001)
    found, found_slopes = _read(act, points)
    share = _weigh(points, low, high, weights)
    centre = (share * values).sum()
    return Distilled(tree, expression, spec, float(np.sqrt((share * (found - values) ** 2).sum())),
                     float(np.abs(_read(act, grid)[0] - _read(module, grid)[0]).max()),
                     float(np.sqrt((share * (values - centre) ** 2).sum())),
                     float(np.sqrt((share * (found_slopes - slopes) ** 2).sum())), float(low), float(high))  # fmt: skip


def _fitted(module: Callable, points: np.ndarray, options: dict) -> tuple[Tree, sympy.Expr, str]:
    """Tree, expression and spec, first of all functions, then, where that formula has a pole beside the points, of harmless ones."""
    low, high = points[0], points[-1]
    beyond = np.linspace(0, SOFT * (high - low), 9)[1:]  # where the activation comes to rest, see families/expression.py
    outside = [points]
    for extra in (low - beyond, high + beyond):
        try:
            _read(module, extra)
        except XNetError:
            continue
        outside.append(extra)
    wide = np.sort(np.concatenate(outside))
    for unary, binary in ((options.pop("unary"), options.pop("binary", None)), EVERYWHERE):
        model = XNetRegressor(unary=unary, binary=binary, **options).fit(wide[:, None], _read(module, wide)[0])
        spec = f"formula:{to_text(model.trees_[0])},low={number(low)},high={number(high)}"
        try:
            return model.trees_[0], model.expressions(["z"])[0], str(parse_spec(spec))
        except SpecError as error:
            problem = error
    raise XNetError(f"No formula was found that is finite over the range ({problem}); give a smaller range.")


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
