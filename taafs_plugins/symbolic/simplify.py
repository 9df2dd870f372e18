"""Plain numbers for a fitted tree: redundant w and b moved to one place, near-simple numbers made simple, nothing else changed."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np

from taafs_plugins.symbolic.propagation import predict
from taafs_plugins.symbolic.tree import Structure, Tree

SAME = 1e-9  # relative change of the outputs that simplifying may cause


def _push_sum(tree: Tree, i: int) -> None:
    """w of a sum goes into its terms, b of the terms into the sum."""
    left, right = tree.structure.children[i]
    sign = 1.0 if tree.structure.ops[i] == "+" else -1.0
    tree.b[i] += tree.w[i] * (tree.b[left] + sign * tree.b[right])
    for child in (left, right):
        tree.w[child] *= tree.w[i]
        tree.b[child] = 0.0
    tree.w[i] = 1.0


def _push_factors(tree: Tree, i: int) -> None:
    """w of the factors of a product or quotient goes to the node."""
    for child, power in zip(tree.structure.children[i], (1, 1 if tree.structure.ops[i] == "*" else -1), strict=True):
        factor = tree.w[child]
        if factor != 0.0:
            tree.w[i] *= factor**power
            tree.b[child] /= factor
            tree.w[child] = 1.0


def _push_power(tree: Tree, i: int, power: float) -> None:
    """w of what is raised to a power goes to the node; a root keeps the sign inside."""
    (child,) = tree.structure.children[i]
    factor = tree.w[child] if power > 1 else abs(tree.w[child])
    if factor != 0.0:
        tree.w[i] *= factor**power
        tree.w[child] /= factor
        tree.b[child] /= factor


def _push_exp(tree: Tree, i: int) -> None:
    """exp(u + b) = exp(b) exp(u)."""
    (child,) = tree.structure.children[i]
    if abs(tree.b[child]) < 300:
        tree.w[i] *= np.exp(tree.b[child])
        tree.b[child] = 0.0


def _push_log(tree: Tree, i: int) -> None:
    """log(w u + b) = log(abs(w)) + log(u + b / w), the sign kept inside."""
    (child,) = tree.structure.children[i]
    factor = abs(tree.w[child])
    if factor != 0.0:
        tree.b[i] += tree.w[i] * np.log(factor)
        tree.w[child] /= factor
        tree.b[child] /= factor


def _push_wave(tree: Tree, i: int) -> None:
    """A sine or cosine of a positive w and a phase of at most pi / 4 off 0."""
    (child,) = tree.structure.children[i]
    if tree.w[child] < 0:
        tree.w[child], tree.b[child] = -tree.w[child], -tree.b[child]
        tree.w[i] *= -1.0 if tree.structure.ops[i] == "sin" else 1.0
    if not abs(tree.b[child]) < 1e6:
        return
    quarters = int(np.round(tree.b[child] / (np.pi / 2)))
    tree.b[child] -= quarters * np.pi / 2
    wave = quarters % 4 if tree.structure.ops[i] == "sin" else (quarters + 1) % 4  # cos(u) = sin(u + pi / 2)
    tree.w[i] *= 1.0 if wave in (0, 1) else -1.0
    ops = list(tree.structure.ops)
    ops[i] = "sin" if wave in (0, 2) else "cos"
    tree.structure = Structure(tuple(ops))


_PUSH: dict[str, Callable[[Tree, int], None]] = {
    "+": _push_sum, "-": _push_sum, "*": _push_factors, "/": _push_factors, "exp": _push_exp, "log": _push_log,
    "sin": _push_wave, "cos": _push_wave, "square": lambda t, i: _push_power(t, i, 2), "cube": lambda t, i: _push_power(t, i, 3),
    "sqrt": lambda t, i: _push_power(t, i, 0.5), "relu": lambda t, i: _push_power(t, i, 1.0),
}  # fmt: skip


def normalise(tree: Tree) -> Tree:
    """The same function with redundant numbers moved to one place: sums push w down, products pull it up, sines have small phases."""
    tree = tree.copy()
    for sweep in (False, True):
        for i in range(len(tree.structure)) if sweep else reversed(range(len(tree.structure))):
            push = _PUSH.get(tree.structure.ops[i])
            if push is not None and (sweep is False or tree.structure.ops[i] in ("+", "-")):
                push(tree, i)
    return tree


def simple_values(value: float) -> list[float]:
    """Simple numbers near a number: 0, fractions with small denominators, multiples of pi / 12; nearest last."""
    near = {float(Fraction(value).limit_denominator(d)) for d in (1, 2, 3, 4, 6, 8, 10, 12)} | {round(value * 12 / np.pi) * np.pi / 12, 0.0}
    close = [one for one in near if abs(one - value) <= 1e-5 * max(1.0, abs(value))]
    return sorted(close, key=lambda one: -abs(one - value))


def simplify(tree: Tree, x: np.ndarray) -> Tree:
    """Normalised tree with near-simple numbers made simple, where its outputs stay the same to 1e-9 of their size.

    Parameters
    ----------
    tree : in the user's units
    x : samples, shape (samples, features)

    Returns
    -------
    A tree; the one given where simplifying would change its outputs
    """
    with np.errstate(all="ignore"):
        before = predict(tree, x)
        allowed = SAME * max(np.abs(before).max(), 1e-300)
        after = normalise(tree)
        if not _same(after, x, before, allowed):
            return tree
        for numbers in (after.w, after.b):
            for i in range(len(numbers)):
                _make_simple(after, numbers, i, lambda: _same(after, x, before, allowed))
    return after


def _same(tree: Tree, x: np.ndarray, before: np.ndarray, allowed: float) -> bool:
    return bool(np.isfinite(tree.w).all() and np.isfinite(tree.b).all() and np.abs(predict(tree, x) - before).max() <= allowed)


def _make_simple(tree: Tree, numbers: np.ndarray, i: int, same: Callable[[], bool]) -> None:
    """Try the simple values near one number, the nearest first."""
    kept = numbers[i]
    if not np.isfinite(kept) or abs(kept) > 1e6:
        return
    for value in reversed(simple_values(kept)):
        numbers[i] = value
        if same():
            return
    numbers[i] = kept
