"""Data of one fit near unit scale, and the way back to the user's units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taafs_plugins.symbolic.tree import Tree

MOST_SAMPLES = 500


@dataclass
class Problem:
    """One target as a search sees it.

    Leaves and root are affine, so a tree in scaled variables is a tree in the user's ones: nothing is lost by scaling.

    Attributes
    ----------
    x, y : training part, (features, samples) within -1 ... 1 and (samples,) of unit variance
    x_check, y_check : held-out part, empty for few samples
    centre, half : middle and half range of each feature
    mean, spread : of the target
    useful : features that vary
    relevance : (features,) weights by which variables are drawn, sum 1
    """

    x: np.ndarray
    y: np.ndarray
    x_check: np.ndarray
    y_check: np.ndarray
    centre: np.ndarray
    half: np.ndarray
    mean: float
    spread: float
    useful: np.ndarray
    relevance: np.ndarray

    @classmethod
    def build(cls, x: np.ndarray, y: np.ndarray, rng: np.random.Generator, check_fraction: float) -> Problem:
        """Scale the data and hold some of it out.

        Parameters
        ----------
        x : shape (samples, features)
        y : shape (samples,)
        rng : generator that draws the held-out samples, and the ones that are used where there are more than MOST_SAMPLES
        check_fraction : share of the samples that trees are judged by but not fitted to; none below 10 samples
        """
        low, high = x.min(0), x.max(0)
        centre, half = 0.5 * (low + high), 0.5 * (high - low)
        useful = np.flatnonzero(half > 1e-12 * np.maximum(np.abs(centre), 1e-300))
        half = np.where(np.isin(np.arange(len(half)), useful), half, 1.0)
        spread = float(y.std())
        spread = spread if spread > 1e-14 * np.abs(y).max(initial=0.0) else 0.0
        scaled_x, scaled_y = ((x - centre) / half).T, (y - y.mean()) / (spread or 1.0)
        order = rng.permutation(len(y))[:MOST_SAMPLES]
        held = int(check_fraction * len(order)) if len(order) >= 10 else 0
        check, use = order[:held], np.sort(order[held:])
        return cls(np.ascontiguousarray(scaled_x[:, use]), scaled_y[use], np.ascontiguousarray(scaled_x[:, check]), scaled_y[check], centre,
                   half, float(y.mean()), spread, useful, _relevance(scaled_x, scaled_y, useful))  # fmt: skip

    def to_user(self, tree: Tree) -> Tree:
        """The same tree in the user's units."""
        tree = tree.copy()
        for i, op in enumerate(tree.structure.ops):
            if isinstance(op, int):
                tree.w[i] /= self.half[op]
                tree.b[i] -= tree.w[i] * self.centre[op]
        tree.w[0] *= self.spread
        tree.b[0] = tree.b[0] * self.spread + self.mean
        return tree

    def to_scaled(self, tree: Tree) -> Tree:
        """Inverse of :meth:`to_user`."""
        tree = tree.copy()
        tree.w[0] /= self.spread
        tree.b[0] = (tree.b[0] - self.mean) / self.spread
        for i, op in enumerate(tree.structure.ops):
            if isinstance(op, int):
                tree.b[i] += tree.w[i] * self.centre[op]
                tree.w[i] *= self.half[op]
        return tree


def _relevance(x: np.ndarray, y: np.ndarray, useful: np.ndarray) -> np.ndarray:
    """Weights from the squared correlation of the target with each variable and its square, with a floor for all."""
    weights = np.zeros(len(x))
    for j in useful:
        design = np.stack([np.ones_like(y), x[j], x[j] ** 2], 1)
        weights[j] = max(0.0, 1.0 - ((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum() / max((y**2).sum(), 1e-300))
    weights[useful] += 0.1 * weights.sum() / max(len(useful), 1) + 1e-3
    return weights / max(weights.sum(), 1e-300)
