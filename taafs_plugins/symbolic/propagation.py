"""Forward and backward pass through one structure, for many sets of w and b at once.

Each sample's output depends on that sample's node outputs only, so one backward pass gives the derivative of every sample's
output by every node output and every parameter: the chain rule of the paper's equations 5-7 and 11-16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from taafs_plugins.symbolic.library import LIBRARY
from taafs_plugins.symbolic.tree import Structure, Tree

# The paper's bounds are not legible in our copy.
LIMIT = 1e10
GRADIENT_LIMIT = 1e10


@dataclass
class Outputs:
    """What one forward pass computed.

    Attributes
    ----------
    raw : for each node f(children), clipped to +-LIMIT, shape (sets, samples), or (1, samples) for a leaf
    values : for each node w f + b, shape (sets, samples)
    inside : (sets,) whether every function's arguments were in its domain, where a domain was asked for
    """

    raw: list[np.ndarray]
    values: list[np.ndarray]
    inside: np.ndarray


def forward(structure: Structure, x: np.ndarray, w: np.ndarray, b: np.ndarray, project: bool = False) -> Outputs:
    """Outputs of all nodes, from the leaves to the root.

    Parameters
    ----------
    structure : the tree's structure
    x : variables, shape (features, samples)
    w, b : shape (sets, nodes and leaves)
    project : move arguments into the domains (new data) instead of reporting that they lie outside (fitting)

    Returns
    -------
    Outputs; numbers outside a domain are NaN or infinite unless projected
    """
    size, columns = len(structure), (w.T[:, :, None], b.T[:, :, None])
    raw: list = [None] * size
    values: list = [None] * size
    inside = np.ones(len(w), bool)
    for i in reversed(range(size)):
        op = structure.ops[i]
        if isinstance(op, int):
            raw[i] = x[op][None, :]
        else:
            function = LIBRARY[op]
            arguments = [values[c] for c in structure.children[i]]
            if function.project is not None and project:
                arguments = function.project(*arguments)
            elif function.inside is not None:
                inside = inside & function.inside(*arguments)
            raw[i] = np.minimum(np.maximum(function.numpy(*arguments), -LIMIT), LIMIT)
        values[i] = columns[0][i] * raw[i] + columns[1][i]
    return Outputs(raw, values, inside)


def backward(structure: Structure, outputs: Outputs, w: np.ndarray) -> list[np.ndarray]:
    """Derivatives of the root's output by each node's output, clipped, each of shape (sets, samples)."""
    column = w.T[:, :, None]
    slopes: list = [None] * len(structure)
    slopes[0] = np.ones_like(outputs.values[0])
    for i, children in enumerate(structure.children):
        if not children:
            continue
        function = LIBRARY[structure.ops[i]]
        partials = function.derivative(outputs.raw[i], *(outputs.values[c] for c in children))
        through = slopes[i] * column[i]
        for child, partial in zip(children, partials, strict=True):
            slopes[child] = np.minimum(np.maximum(through * partial, -GRADIENT_LIMIT), GRADIENT_LIMIT)
    return slopes


def jacobian(structure: Structure, outputs: Outputs, slopes: list[np.ndarray]) -> np.ndarray:
    """Derivatives of the root's output by w (first half) and b (second half), shape (sets, 2 nodes, samples)."""
    size, (sets, samples) = len(structure), slopes[0].shape
    result = np.empty((sets, 2 * size, samples))
    for i in range(size):
        result[:, i] = slopes[i] * outputs.raw[i]
        result[:, size + i] = slopes[i]
    return result


def predict(tree: Tree, x: np.ndarray) -> np.ndarray:
    """Output of a tree on new data.

    Parameters
    ----------
    tree : the tree
    x : shape (samples, features); arguments outside a function's domain are moved to its edge

    Returns
    -------
    float64 array of shape (samples,), finite
    """
    with np.errstate(all="ignore"):
        values = forward(tree.structure, np.ascontiguousarray(x.T), tree.w[None], tree.b[None], project=True).values[0][0]
    return np.nan_to_num(np.broadcast_to(values, (len(x),)).copy())
