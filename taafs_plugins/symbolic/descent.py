"""First-order and quasi-Newton fits of w and b: the optimisers that the paper names, with its clipped gradients.

The paper's equation 17, Ada-alpha, is blank in our copy; it says only that the learning rate follows the ratio of the previous and the
current loss, within a range that a hyper-parameter sets. :func:`ada_alpha` is our design of that sentence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.symbolic.fitting import draw_starts, plain_starts
from taafs_plugins.symbolic.problem import Problem
from taafs_plugins.symbolic.propagation import backward, forward, jacobian
from taafs_plugins.symbolic.tree import Structure, Tree

CLIP = 1.0  # largest component of a gradient that a step may use


def ada_alpha(rate: float, previous: float, current: float, reach: float = 2.0) -> float:
    """The next learning rate: times the ratio of losses, held within 1 / reach ... sqrt(reach).

    A loss that fell (previous > current) lets the rate grow, one that rose cuts it. Falls are usually small, so a floor of 2% growth keeps
    the rate from resting; growth is held below the cut so that a valley crossed back and forth ends in smaller steps.

    Parameters
    ----------
    rate : the present learning rate
    previous, current : losses of the last and of this iteration, both >= 0
    reach : the hyper-parameter that sets the range of one change
    """
    ratio = previous / max(current, 1e-300)
    if ratio >= 1.0:
        return rate * min(max(ratio, 1.02), reach**0.5)
    return rate * max(ratio, 1.0 / reach)


def loss_and_gradient(structure: Structure, x: np.ndarray, y: np.ndarray, theta: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean squared error of one set of (w, b), and its gradient; the error is infinite outside a domain.

    Parameters
    ----------
    structure, x, y : the tree's structure, variables (features, samples), target (samples,)
    theta : w and b, shape (2 nodes,)
    """
    size = len(structure)
    with np.errstate(all="ignore"):
        outputs = forward(structure, x, theta[None, :size], theta[None, size:])
        residual = outputs.values[0][0] - y
        loss = float((residual**2).mean())
        gradient = 2.0 * jacobian(structure, outputs, backward(structure, outputs, theta[None, :size]))[0] @ residual / len(y)
    if not outputs.inside[0] or not np.isfinite(loss):
        return np.inf, np.zeros_like(theta)
    return loss, np.nan_to_num(gradient)


def descend(structure: Structure, x: np.ndarray, y: np.ndarray, theta: np.ndarray, iterations: int, adam: bool) -> tuple[np.ndarray, float]:
    """SGD or Adam with clipped gradients and the learning rate of :func:`ada_alpha`; the best numbers met on the way.

    Parameters
    ----------
    structure, x, y : as for :func:`loss_and_gradient`
    theta : start, shape (2 nodes,)
    iterations : number of steps
    adam : Adam's moments rather than the plain gradient
    """
    rate, first, second = 0.01, np.zeros_like(theta), np.zeros_like(theta)
    loss, gradient = loss_and_gradient(structure, x, y, theta)
    best, lowest = theta, loss
    for step in range(1, iterations + 1):
        clipped = np.clip(gradient, -CLIP, CLIP)
        first, second = 0.9 * first + 0.1 * clipped, 0.999 * second + 0.001 * clipped**2
        move = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-12) if adam else clipped
        trial = theta - rate * move
        new, new_gradient = loss_and_gradient(structure, x, y, trial)
        rate = min(ada_alpha(rate, loss, new), 1.0)
        if np.isfinite(new):
            theta, loss, gradient = trial, new, new_gradient
        if loss < lowest:
            best, lowest = theta, loss
    return best, lowest


def quasi_newton(structure: Structure, x: np.ndarray, y: np.ndarray, theta: np.ndarray, iterations: int) -> tuple[np.ndarray, float]:
    """SciPy's L-BFGS-B from one start; arguments as for :func:`descend`."""

    def objective(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = loss_and_gradient(structure, x, y, numbers)
        return min(loss, 1e10), np.clip(gradient, -1e6, 1e6)

    found = minimize(objective, theta, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "ftol": 1e-30, "gtol": 1e-14})
    return found.x, float(found.fun)


def fit_by(name: str) -> Callable:
    """The counterpart of :func:`~taafs_plugins.symbolic.fitting.fit_structure` for "sgd", "adam" and "lbfgs".

    Raises
    ------
    XNetError
        Another name.
    """
    if name not in ("sgd", "adam", "lbfgs"):
        raise XNetError(f"Unknown optimizer '{name}': choose lm, lbfgs, adam or sgd.")

    def fit(structure: Structure, problem: Problem, rng: np.random.Generator, starts: int, iterations: int, warm: Tree | None = None,
            hopeless: float = np.inf):  # fmt: skip
        half = (starts + 1) // 2
        with np.errstate(all="ignore"):
            sets = [plain_starts(structure, problem, rng, half), draw_starts(structure, problem.x, problem.y, rng, starts - half)]
        thetas = [np.concatenate([w, b]) for pair in sets for w, b in zip(*pair, strict=True)]
        if warm is not None:
            thetas.append(np.concatenate([warm.w, warm.b]))
        results = []
        for theta in thetas:
            if name == "lbfgs":
                results.append(quasi_newton(structure, problem.x, problem.y, theta, 4 * iterations))
            else:
                results.append(descend(structure, problem.x, problem.y, theta, 10 * iterations, name == "adam"))
        theta, error = min(results, key=lambda result: result[1])
        return Tree(structure, theta[: len(structure)], theta[len(structure) :]), error

    return fit
