"""Trees of a classifier beside those of the search: straight ones, and both added; which is kept is judged inside the training data.

One class against the rest by least squares hides a class that lies between two others; trees with all variables in them don't.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.model_selection import StratifiedKFold

from taafs_plugins.symbolic.tree import Structure, Tree

FOLDS = 3


def linear_tree(x: np.ndarray, y: np.ndarray) -> Tree:
    """The least-squares sum of all variables that vary, as a tree.

    Parameters
    ----------
    x, y : (samples, features), (samples,)
    """
    used = np.flatnonzero(np.ptp(x, axis=0) > 0)
    slopes, *_ = np.linalg.lstsq(x[:, used] - x[:, used].mean(0), y - y.mean(), rcond=None)
    ops: list[str | int] = []
    w: list[float] = []
    for k, (variable, slope) in enumerate(zip(used, slopes, strict=True)):
        if k + 1 < len(used):
            ops.append("+")
            w.append(1.0)
        ops.append(int(variable))
        w.append(float(slope))
    b = np.zeros(len(ops))
    b[0] = y.mean() - x[:, used].mean(0) @ slopes
    return Tree(Structure(tuple(ops)), np.array(w), b)


def added(first: Tree, second: Tree) -> Tree:
    """The sum of two trees, each at half its size."""
    w = [np.ones(1), first.w, second.w]
    b = [np.zeros(1), first.b, second.b]
    tree = Tree(Structure(("+", *first.structure.ops, *second.structure.ops)), np.concatenate(w), np.concatenate(b))
    for top in (1, 1 + len(first.structure)):
        tree.w[top] *= 0.5
        tree.b[top] *= 0.5
    return tree


def alternatives(trees: list[Tree], x: np.ndarray, targets: np.ndarray, max_nodes: int) -> list[list[Tree]]:
    """The trees, straight ones, and their sums, without those that have more nodes than allowed.

    Parameters
    ----------
    trees : one for each class
    x, targets : (samples, features), (samples, classes)
    max_nodes : of each tree
    """
    varying = int((np.ptp(x, axis=0) > 0).sum())
    if not 1 <= varying <= max_nodes + 1:
        return [trees]
    straight = [linear_tree(x, target) for target in targets.T]
    sums = [added(one, line) for one, line in zip(trees, straight, strict=True)]
    found = [trees, straight]
    return [*found, sums] if all(tree.structure.nodes <= max_nodes for tree in sums) else found


def best_of(found: list[list[Tree]], x: np.ndarray, index: np.ndarray, fit: Callable, loss: Callable) -> list[Tree]:
    """The set of trees with the smallest loss on held-out parts of the training data; of equal ones the first.

    Parameters
    ----------
    found : sets of trees, one for each class
    x, index : (samples, features), class of each sample
    fit : ``(trees, x, index) -> trees`` with numbers fitted
    loss : ``(trees, x, index) -> float``
    """
    smallest = int(np.bincount(index).min())
    if len(found) == 1 or smallest < 2:
        return found[0]
    folds = list(StratifiedKFold(min(FOLDS, smallest), shuffle=True, random_state=0).split(x, index))
    losses = [np.mean([loss(fit(trees, x[train], index[train]), x[held], index[held]) for train, held in folds]) for trees in found]
    return found[int(np.argmin(losses))]
