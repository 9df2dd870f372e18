"""The numbers by which Python, C++ (``native/csrc/curve.h``) and Triton (:mod:`.gpu_kernels`) name shapes, squashes and bases.

One table here; a test reads ``curve.h`` and compares.
"""

from __future__ import annotations

import numpy as np

from taafs_plugins.activations.taafs.shapes import Basis

SHAPES = {"polynomial": 0, "piecewise": 1, "fourier": 2, "gaussian": 3, "rational": 4}
SQUASHES = {"tanh": 0, "softsign": 1, "algebraic": 2, "linear": 3}
# stock activations that the kernels compute themselves, by curve.h's enum Base
BASES = {"none": 0, "tanh": 1, "silu": 2, "celu(0.1)": 3}
FROM_U = 4  # added to the base: the sweeps are given u instead of z
MOST_POWERS = 8  # of a piecewise basis that the C++ takes


def shape_of(basis: Basis) -> str:
    """The basis's shape where the kernels of that shape give its curve, else ``other``.

    A subclass keeps its shape's kernels as long as it leaves the shape's own methods alone.
    """
    kind = type(basis)
    owner = next((cls for cls in kind.__mro__ if "shape" in vars(cls)), Basis)
    same = all(getattr(kind, name) is getattr(owner, name) for name in ("curve", "evaluate", "project"))
    return owner.shape if same and owner.shape in SHAPES else "other"


def kernel_numbers(basis: Basis) -> tuple[int, int, int, np.ndarray] | None:
    """shape, a, b and matrix of ``curve.h``, or ``None`` for a basis that the C++ does not take."""
    shape, nothing = shape_of(basis), np.zeros(0)
    if shape == "polynomial":
        a, b, matrix = basis.numbers, basis.matrix.shape[1], basis.matrix
    elif shape == "piecewise" and basis.terms <= MOST_POWERS:
        a, b, matrix = basis.pieces, basis.terms, basis.tables
    elif shape == "fourier":
        a, b, matrix = basis.n, 0, nothing
    elif shape == "gaussian":
        a, b, matrix = basis.numbers, int(basis.hat), nothing
    elif shape == "rational":
        a, b, matrix = basis.num, basis.den, nothing
    else:
        return None
    return SHAPES[shape], a, b, matrix
