"""Fit w and b of one structure: starts that suit the functions, the root solved linearly, Levenberg-Marquardt for all starts at once.

The paper takes stochastic gradient descent or L-BFGS (see :mod:`taafs_plugins.symbolic.descent`). For trees of a dozen numbers a
second-order method on many starts finds the minimum that one descent misses; this is our addition.
"""

from __future__ import annotations

import numpy as np

from taafs_plugins.symbolic.library import LIBRARY
from taafs_plugins.symbolic.problem import Problem
from taafs_plugins.symbolic.propagation import backward, forward, jacobian
from taafs_plugins.symbolic.tree import Structure, Tree

EXACT = 1e-26  # mean squared error, of a target of unit variance, below which only rounding is left


def draw_starts(structure: Structure, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, count: int):
    """Random w and b for which every function meets arguments where it is interesting and inside its domain.

    Parameters
    ----------
    structure : the tree's structure
    x : variables, shape (features, samples)
    y : target, shape (samples,), for the linear solution at the root
    rng : generator
    count : number of starts

    Returns
    -------
    w, b : each of shape (count, nodes and leaves)
    """
    size = len(structure)
    w, b = np.ones((count, size)), np.zeros((count, size))
    values: list = [None] * size
    for i in reversed(range(size)):
        op = structure.ops[i]
        raw = x[op][None, :] if isinstance(op, int) else LIBRARY[op].numpy(*(values[c] for c in structure.children[i]))
        if i == 0:
            break
        parent, slot = structure.parents[i]
        low, high = LIBRARY[structure.ops[parent]].arguments[slot].draw(rng, count)
        bottom, top = raw.min(-1), raw.max(-1)
        w[:, i] = (high - low) / np.maximum(top - bottom, 1e-9)
        flip = rng.random(count) < 0.5
        b[:, i] = np.where(flip, high + w[:, i] * bottom, low - w[:, i] * bottom)
        w[:, i] = np.where(flip, -w[:, i], w[:, i])
        values[i] = w[:, i, None] * raw + b[:, i, None]
    return solve_root(structure, x, y, w, b)


def solve_root(structure: Structure, x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray):
    """Least-squares w and b of the root (of its terms where it is a sum), everything below as it is."""
    w, b = w.copy(), b.copy()
    terms = list(structure.children[0]) if structure.ops[0] == "+" else [0]
    outputs = forward(structure, x, w, b)
    columns = [np.broadcast_to(outputs.raw[i], (len(w), len(y))) for i in terms] + [np.ones((len(w), len(y)))]
    design = np.nan_to_num(np.stack(columns, 1), posinf=0, neginf=0)
    scale = np.sqrt((design**2).mean(-1, keepdims=True)) + 1e-30
    design = design / scale
    gram = design @ design.transpose(0, 2, 1) + 1e-10 * len(y) * np.eye(len(columns))
    solution = np.linalg.solve(gram, design @ y[:, None])[..., 0] / scale[..., 0]
    if len(terms) > 1:
        w[:, 0] = 1.0
        b[:, terms] = 0.0
    w[:, terms] = solution[:, :-1]
    b[:, 0] = solution[:, -1]
    return w, b


def _evaluate(structure: Structure, x: np.ndarray, y: np.ndarray, theta: np.ndarray):
    """Residuals (sets, samples), mean squared error (sets,; infinite outside a domain) and Jacobian."""
    size = len(structure)
    w, b = theta[:, :size], theta[:, size:]
    outputs = forward(structure, x, w, b)
    residual = outputs.values[0] - y
    loss = np.einsum("rn,rn->r", residual, residual) / len(y)
    loss = np.where(outputs.inside & np.isfinite(loss), loss, np.inf)
    return residual, loss, jacobian(structure, outputs, backward(structure, outputs, w))


def _damped_inverse(slopes: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """(J J^T + damping) of each set, inverted; redundant directions (w of a node and of its only term) are damped, not moved."""
    curvature = slopes @ slopes.transpose(0, 2, 1)
    diagonal = np.einsum("rii->ri", curvature)
    added = damping[:, None] * (diagonal + 1e-6 * diagonal.mean(-1, keepdims=True)) + 1e-200
    try:
        return np.linalg.inv(curvature + added[:, :, None] * np.eye(curvature.shape[-1]))
    except np.linalg.LinAlgError:
        return np.zeros_like(curvature)


def _finite(step: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(step), step, 0.0)


def _step(structure: Structure, x: np.ndarray, y: np.ndarray, state: tuple, accelerate: bool) -> np.ndarray:
    """Damped Gauss-Newton step with geodesic acceleration (Transtrum & Sethna 2012): it follows the curved valleys of these models."""
    theta, residual, _, slopes, damping = state
    inverse = _damped_inverse(slopes, damping)
    velocity = -_finite(inverse @ (slopes @ residual[..., None]))[..., 0]
    if not accelerate:
        return velocity
    ahead, size, probe = theta + 0.1 * velocity, len(structure), 0.1
    moved = forward(structure, x, ahead[:, :size], ahead[:, size:]).values[0] - y
    along = np.einsum("rpn,rp->rn", slopes, velocity)
    second = _finite(2.0 / probe * ((moved - residual) / probe - along))
    acceleration = -_finite(inverse @ (slopes @ second[..., None]))[..., 0]
    taken = 2.0 * np.linalg.norm(acceleration, axis=1) <= 0.75 * np.linalg.norm(velocity, axis=1)
    return velocity + 0.5 * acceleration * taken[:, None]


def levenberg_marquardt(structure: Structure, x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray, iterations: int,
                        hopeless: float = np.inf):  # fmt: skip
    """Minimise the mean squared error from several starts; the slow starts are given up on the way.

    Parameters
    ----------
    structure, x, y : as for :func:`draw_starts`
    w, b : starts, shape (sets, nodes and leaves)
    iterations : at most this many
    hopeless : give the structure up where no start has come below this error after six iterations

    Returns
    -------
    w, b of the best start and its mean squared error (infinite where every start lies outside a domain)
    """
    theta, size = np.concatenate([w, b], 1), len(structure)
    with np.errstate(all="ignore"):
        residual, loss, slopes = _evaluate(structure, x, y, theta)
        state = _keep((theta, residual, loss, slopes, np.full(len(theta), 1e-2)), np.flatnonzero(np.isfinite(loss)))
        if not len(state[0]):
            return w[0], b[0], np.inf
        history = [np.inf]
        for iteration in range(iterations):
            state = _iterate(structure, x, y, state, iteration >= 3)
            best = state[2].min()
            history.append(best)
            if best < EXACT or (iteration >= 8 and best > 0.98 * history[-6]) or (iteration == 5 and best > hopeless):
                break
            if iteration in (5, 15):
                state = _keep(state, np.argsort(state[2], kind="stable")[: max(1, len(state[0]) // 3)])
    best = int(np.argmin(state[2]))
    return state[0][best, :size], state[0][best, size:], float(state[2][best])


def _keep(state: tuple, which: np.ndarray) -> tuple:
    return tuple(part[which] for part in state)


def _iterate(structure: Structure, x: np.ndarray, y: np.ndarray, state: tuple, accelerate: bool) -> tuple:
    """One damped step of every set, taken where the error falls."""
    theta, residual, loss, slopes, damping = state
    trial = theta + _step(structure, x, y, state, accelerate)
    new_residual, new_loss, new_slopes = _evaluate(structure, x, y, trial)
    better = new_loss < loss
    pick = better[:, None]
    damping = np.clip(np.where(better, damping * 0.2, damping * 5.0), 1e-14, 1e10)
    return (np.where(pick, trial, theta), np.where(pick, new_residual, residual), np.where(better, new_loss, loss),
            np.where(pick[..., None], new_slopes, slopes), damping)  # fmt: skip


def plain_starts(structure: Structure, problem: Problem, rng: np.random.Generator, count: int):
    """Starts whose numbers are plain in the user's units: every w is 1, every b 0, some b what formulas often have.

    Formulas of nature and of textbooks are full of sin(x), x**2, log(x + 1); the fit then has little left to find. The first start has
    no b at all; in the others a b is 1 (pi / 2 under a sine) for a random third of the nodes.
    """
    size = len(structure)
    w, b = np.ones((count, size)), np.zeros((count, size))
    for i, op in enumerate(structure.ops):
        parent = structure.ops[structure.parents[i][0]] if i else None
        if parent is not None and parent not in ("+", "-"):
            extra = np.pi / 2 if parent in ("sin", "cos") else 1.0
            b[1:, i] = extra * (rng.random(count - 1) < 1 / 3) * np.where(rng.random(count - 1) < 0.7, 1.0, -1.0)
        if isinstance(op, int):
            w[:, i], b[:, i] = problem.half[op], problem.centre[op] + b[:, i]
    return solve_root(structure, problem.x, problem.y, w, b)


def fit_structure(structure: Structure, problem: Problem, rng: np.random.Generator, starts: int, iterations: int,
                  warm: Tree | None = None, hopeless: float = np.inf) -> tuple[Tree, float]:  # fmt: skip
    """Best tree of a structure and its mean squared error on the problem's training part.

    Parameters
    ----------
    structure : which function stands where
    problem : the data, near unit scale
    rng : generator of the starts
    starts : number of starts, half of them plain
    iterations : Levenberg-Marquardt iterations at most
    warm : numbers to start from as well
    hopeless : see :func:`levenberg_marquardt`
    """
    half = (starts + 1) // 2
    with np.errstate(all="ignore"):
        sets = [plain_starts(structure, problem, rng, half), draw_starts(structure, problem.x, problem.y, rng, starts - half)]
    if warm is not None:
        with np.errstate(all="ignore"):
            sets.append(solve_root(structure, problem.x, problem.y, warm.w[None], warm.b[None]))
    w, b = (np.concatenate([numbers[k] for numbers in sets]) for k in (0, 1))
    w, b, loss = levenberg_marquardt(structure, problem.x, problem.y, w, b, iterations, hopeless)
    return Tree(structure, w, b), loss
