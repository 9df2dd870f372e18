"""The second half of alternating backpropagation: node outputs as variables, and the choice of each node's function (paper, 1.2-1.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taafs_plugins.symbolic.library import LIBRARY
from taafs_plugins.symbolic.propagation import backward, forward
from taafs_plugins.symbolic.substitution import substitute
from taafs_plugins.symbolic.tree import Op, Structure, Tree


@dataclass(frozen=True)
class Choice:
    """A function that follows the updated output of a node.

    Attributes
    ----------
    node : index of the node
    op : library function, or a variable
    distance : mean distance to the updated output, relative to that output's spread
    leaves : variables of the leaves that the substitution adds
    keep : the child that stays when a binary function becomes unary
    """

    node: int
    op: Op
    distance: float
    leaves: tuple[int, ...] = ()
    keep: int = 0

    def apply(self, structure: Structure) -> Structure:
        """The structure after this substitution."""
        return substitute(structure, self.node, self.op, self.leaves, self.keep)


def move_outputs(tree: Tree, x: np.ndarray, y: np.ndarray, rate: float) -> list[np.ndarray]:
    """Every node's output, moved down its gradient of the squared error (equations 5 and 10).

    Parameters
    ----------
    tree : the tree
    x, y : variables (features, samples), target (samples,)
    rate : learning rate in units of 1 / mean(slope^2) of the node, so that 1 is the Gauss-Newton length at every depth (ours)

    Returns
    -------
    For each node and leaf, an array of shape (samples,)
    """
    with np.errstate(all="ignore"):
        outputs = forward(tree.structure, x, tree.w[None], tree.b[None], project=True)
        slopes = backward(tree.structure, outputs, tree.w[None])
    residual = outputs.values[0][0] - y
    moved = []
    for value, slope in zip(outputs.values, slopes, strict=True):
        step = residual * slope[0] / max(float((slope[0] ** 2).mean()), 1e-30)
        moved.append(np.nan_to_num(value[0] - rate * step))
    return moved


def distance(candidate: np.ndarray, target: np.ndarray) -> float:
    """Mean absolute distance of ``w candidate + b`` (w, b by least squares: ours) to the updated output, by that output's spread."""
    if not np.isfinite(candidate).all():
        return np.inf
    spread = candidate.std()
    w = ((candidate - candidate.mean()) * (target - target.mean())).mean() / (spread * spread) if spread > 1e-12 else 0.0
    b = target.mean() - w * candidate.mean()
    return float(np.abs(w * candidate + b - target).mean() / max(target.std(), 1e-12))


def _candidates(structure: Structure, node: int, moved: list, x: np.ndarray, names: tuple[str, ...], variables) -> Iterator[tuple]:
    """(op, leaves, keep, arguments) of everything a node may become."""
    children = [moved[c] for c in structure.children[node]]
    for j in variables:
        yield j, (), 0, (x[j],)
    for name in names:
        if LIBRARY[name].arity == 1 and children:
            for keep, child in enumerate(children):
                yield name, (), keep, (child,)
        elif LIBRARY[name].arity == 1:
            for j in variables:
                yield name, (j,), 0, (x[j],)
        elif len(children) == 2:
            yield name, (), 0, tuple(children)
        else:
            yield from ((name, (j,), 0, (children[0], x[j])) for j in variables if children)


def select(tree: Tree, x: np.ndarray, y: np.ndarray, names: tuple[str, ...], variables, threshold: float,
           rate: float = 1.0) -> list[Choice]:  # fmt: skip
    """For every node, the functions whose output on the children's updated outputs is nearer to the node's than a threshold.

    Parameters
    ----------
    tree : the tree
    x, y : variables (features, samples), target (samples,)
    names : library functions that may be chosen
    variables : indices of the variables that leaves may take
    threshold : largest distance (the paper's default is 0.01)
    rate : see :func:`move_outputs`

    Returns
    -------
    Choices other than what each node is, nearest first
    """
    moved, found = move_outputs(tree, x, y, rate), []
    for node, op in enumerate(tree.structure.ops):
        for name, leaves, keep, arguments in _candidates(tree.structure, node, moved, x, names, variables):
            if name == op:
                continue
            with np.errstate(all="ignore"):
                far = distance(arguments[0] if isinstance(name, int) else _values(name, arguments), moved[node])
            if far < threshold:
                found.append(Choice(node, name, far, leaves, keep))
    return sorted(found, key=lambda choice: choice.distance)


def _values(name: str, arguments: tuple[np.ndarray, ...]) -> np.ndarray:
    """Values of a function, all NaN where an argument lies outside its domain (the domain rule, paper 1.5)."""
    function = LIBRARY[name]
    if function.inside is not None and not function.inside(*arguments):
        return np.full_like(arguments[0], np.nan)
    return function.numpy(*arguments)
