"""A first look at many formulas with plain numbers: sums of two or three small terms and products of two, scored all at once.

Not in the paper. A term has w = 1 and b = 0 (sometimes 1) everywhere, so its values cost one pass, and how well a pair of terms explains
the target is a closed formula of correlations. The best pairs are where the rounds of the search begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taafs_plugins.symbolic.library import LIBRARY
from taafs_plugins.symbolic.tree import Op, Structure, Tree

MOST_IN_TRIPLES = 200
MOST_SAMPLES = 100
# root function -> its inverse, the target of what stands below it, and where that inverse holds
INVERSES = {"exp": (np.log, lambda y: y > 0), "log": (np.exp, lambda y: np.abs(y) < 20), "sqrt": (np.square, lambda y: y >= 0),
            "square": (np.sqrt, lambda y: y >= 0)}  # fmt: skip


@dataclass
class Term:
    """A small formula with plain numbers, and its values on the samples."""

    ops: tuple[Op, ...]
    w: tuple[float, ...]
    b: tuple[float, ...]
    values: np.ndarray

    def shifted(self, by: float) -> Term:
        """The same term plus a number."""
        return Term(self.ops, self.w, (self.b[0] + by, *self.b[1:]), self.values + by)

    def tree(self) -> Tree:
        """In the units of the samples."""
        return Tree(Structure(self.ops), np.array(self.w), np.array(self.b))


def apply(name: str, *terms: Term) -> Term | None:
    """A function of terms; None outside its domain or where nothing finite and varying comes out."""
    function = LIBRARY[name]
    arguments = [term.values for term in terms]
    if function.inside is not None and not function.inside(*arguments):
        return None
    values = function.numpy(*arguments)
    if not np.isfinite(values).all() or np.abs(values).max() > 1e6 or np.ptp(values) < 1e-9:
        return None
    ops = (name, *(op for term in terms for op in term.ops))
    return Term(ops, (1.0, *(w for term in terms for w in term.w)), (0.0, *(b for term in terms for b in term.b)), values)


def _next(below: list[Term], leaves: list[Term], unary: tuple[str, ...], binary: tuple[str, ...]) -> Iterator[Term | None]:
    for term in below:
        for name in unary:
            yield apply(name, term)
            if name in ("log", "sqrt", "square", "cube", "exp"):
                yield from (apply(name, term.shifted(by)) for by in ((1.0,) if name == "exp" else (1.0, -1.0)))
        for leaf in leaves:
            yield from (apply(name, term, leaf) for name in binary)
            if "/" in binary:
                yield apply("/", leaf, term)
            yield from (apply(name, term, leaf.shifted(1.0)) for name in binary if name in ("*", "/"))


def standardise(values: np.ndarray) -> np.ndarray:
    """Rows of zero mean and unit length."""
    centred = values - values.mean(-1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-300)


def terms(x: np.ndarray, variables: list[int], unary: tuple[str, ...], binary: tuple[str, ...], most: int) -> list[Term]:
    """Terms of up to two functions, one of each shape (terms that differ by w and b of their root are the same).

    Parameters
    ----------
    x : shape (features, samples), in the user's units
    variables : which of them to use
    unary, binary : functions to use
    most : terms to stop at, the shortest come first
    """
    leaves = [Term((j,), (1.0,), (0.0,), x[j]) for j in variables]
    found, seen, level = [], set(), list(leaves)
    with np.errstate(all="ignore"):
        for _ in range(3):
            kept = []
            for term in level:
                shape = standardise(term.values)
                key = tuple(np.round(shape * np.sign(shape[np.argmax(np.abs(shape))]), 7)[:12].tolist())
                if key not in seen and len(found) + len(kept) < most:
                    seen.add(key)
                    kept.append(term)
            found += kept
            level = [term for term in _next(kept, leaves, unary, binary) if term is not None]
    return found


def _sums(shapes: np.ndarray, target: np.ndarray) -> np.ndarray:
    """1 - R2 of the best a A + b B + c for each pair of terms, upper triangle."""
    along, between = shapes @ target, shapes @ shapes.T
    rest = np.maximum(1.0 - between**2, 1e-9)
    explained = (along[:, None] ** 2 + along[None] ** 2 - 2 * along[:, None] * along[None] * between) / rest
    explained = np.where(rest < 1e-6, np.maximum(along[:, None], along[None]) ** 2, explained)
    return np.where(np.triu(np.ones_like(between), 1) > 0, 1.0 - explained, np.inf)


def _products(values: np.ndarray, target: np.ndarray) -> np.ndarray:
    """1 - R2 of the best a A B + c for each pair of terms, upper triangle: mean, variance and covariance of A B are matrix products."""
    scaled = values / np.maximum(np.abs(values).max(1, keepdims=True), 1e-300)
    samples, squares = values.shape[1], scaled**2
    power = squares @ squares.T
    variance = power - (scaled @ scaled.T) ** 2 / samples
    covariance = (scaled * target) @ scaled.T
    explained = np.where(variance > 1e-8 * power, covariance**2 / np.maximum(variance, 1e-300), 0.0)
    return np.where(np.triu(np.ones_like(power)) > 0, np.maximum(1.0 - explained, 0.0), np.inf)


def _triples(shapes: np.ndarray, target: np.ndarray, sizes: np.ndarray, count: int) -> list[tuple[int, int, int]]:
    """The best sums of three of the shortest terms: pairs that explain what each first term leaves."""
    few = shapes[:MOST_IN_TRIPLES]
    gram, along, found = few @ few.T, few @ target, []
    for i in range(len(few)):
        left = np.maximum(1.0 - gram[i] ** 2, 0.0)
        norm = np.where(left > 1e-9, np.sqrt(left) + 1e-300, np.inf)
        between = (gram - np.outer(gram[i], gram[i])) / np.outer(norm, norm)
        rest = (along - gram[i] * along[i]) / norm
        open_ = np.maximum(1.0 - between**2, 1e-9)
        error = 1.0 - along[i] ** 2 - (rest[:, None] ** 2 + rest[None] ** 2 - 2 * rest[:, None] * rest[None] * between) / open_
        error = np.where((open_ < 1e-6) | (np.triu(np.ones_like(gram), 1) == 0), np.inf, error)[i:, i:]
        if error.size > 1:
            found += [(score + 0.3 * sizes[i], i, i + j, i + k) for score, j, k in _scored(error, sizes[i : len(few)], 2)]
    return [triple for _, *triple in sorted(found)[:count]]


def _scored(error: np.ndarray, sizes: np.ndarray, count: int) -> list[tuple[float, int, int]]:
    """(score, row, column) of the pairs with the best score: error, with a price for length; rounding of 1 - R2 is not told apart."""
    score = (np.log(np.maximum(error, 1e-12)) + 0.3 * (sizes[:, None] + sizes[None])).ravel()
    chosen = np.argpartition(score, min(count, len(score) - 1))[:count]
    chosen = [int(k) for k in chosen[np.argsort(score[chosen], kind="stable")] if np.isfinite(score[k])]
    return [(float(score[k]), *divmod(k, len(sizes))) for k in chosen]


def _sum(parts: list[Term], goal: np.ndarray) -> Tree:
    """A sum of terms, numbers by least squares to a goal."""
    solution = np.linalg.lstsq(np.stack([*(part.values for part in parts), np.ones_like(goal)], 1), goal, rcond=None)[0]
    scaled = [Term(t.ops, (a * t.w[0], *t.w[1:]), (a * t.b[0], *t.b[1:]), t.values) for t, a in zip(parts, solution, strict=False)]
    whole = scaled.pop()
    while scaled:
        first = scaled.pop()
        whole = Term(("+", *first.ops, *whole.ops), (1.0, *first.w, *whole.w), (0.0, *first.b, *whole.b), whole.values)
    return whole.shifted(solution[-1]).tree()


def _product(first: Term, second: Term, goal: np.ndarray) -> Tree:
    """A product of two terms, numbers of the root by least squares to a goal."""
    slope, offset = np.polyfit(first.values * second.values, goal, 1)
    return Term(("*", *first.ops, *second.ops), (slope, *first.w, *second.w), (offset, *first.b, *second.b), goal).tree()


def _under(name: str, tree: Tree) -> Tree:
    """A tree below another root."""
    return Tree(Structure((name, *tree.structure.ops)), np.concatenate([[1.0], tree.w]), np.concatenate([[0.0], tree.b]))


def screen(x: np.ndarray, y: np.ndarray, variables: list[int], unary: tuple[str, ...], binary: tuple[str, ...], count: int,
           most: int) -> list[Tree]:  # fmt: skip
    """The best two-term formulas for a target and for what would stand below exp, log, sqrt or a square.

    Parameters
    ----------
    x, y : variables (features, samples) and target (samples,), in the user's units
    variables : indices of the variables to use
    unary, binary : functions to use
    count : trees of each kind (sum and product, each target)
    most : terms in the library at most

    Returns
    -------
    Trees in the user's units, with numbers to start a fit from
    """
    x, y = x[:, :MOST_SAMPLES], y[:MOST_SAMPLES]
    library = terms(x, variables, unary, binary, most)
    if len(library) < 2:
        return []
    goals = [("", y)] + [(name, inverse(y)) for name, (inverse, holds) in INVERSES.items() if name in unary and holds(y).all()]
    values, sizes = np.stack([term.values for term in library]), np.array([len(term.ops) for term in library])
    shapes, targets, found = standardise(values), standardise(np.stack([goal for _, goal in goals])), []
    for k, (name, goal) in enumerate(goals):
        trees = []
        if "+" in binary:
            groups = [pair for _, *pair in _scored(_sums(shapes, targets[k]), sizes, count)] + _triples(shapes, targets[k], sizes, count)
            trees += [_sum([library[i] for i in group], goal) for group in groups]
        if "*" in binary:
            trees += [_product(library[i], library[j], goal) for _, i, j in _scored(_products(values, targets[k]), sizes, count)]
        found += [_under(name, tree) if name else tree for tree in trees]
    return found
