"""A fitted tree as a SymPy expression and as a torch module."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import sympy
import torch
from torch import nn

from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.symbolic.library import LIBRARY
from taafs_plugins.symbolic.propagation import LIMIT
from taafs_plugins.symbolic.tree import Structure, Tree


def number(value: float, digits: int) -> sympy.Expr:
    """An integer or fraction where the number is one, a multiple of pi / 12 likewise, else a float of so many digits."""
    exact = sympy.nsimplify(value, [sympy.pi], tolerance=1e-13, rational=None) if abs(value) < 1e4 else sympy.Float(value, digits)
    plain = exact.is_Rational and exact.q <= 24 or (exact / sympy.pi).is_Rational and (exact / sympy.pi).q <= 24
    return exact if plain else sympy.Float(value, digits)


def to_sympy(tree: Tree, names: Sequence[str], digits: int = 15) -> sympy.Expr:
    """The tree's formula.

    Parameters
    ----------
    tree : in the user's units
    names : of the variables
    digits : of numbers that are not simple

    Returns
    -------
    SymPy expression in real symbols of these names; clipping and the moving of arguments into domains are not part of it
    """
    stack: list[sympy.Expr] = []
    for i in reversed(range(len(tree.structure))):
        op = tree.structure.ops[i]
        if isinstance(op, int):
            raw = sympy.Symbol(names[op], real=True)
        else:
            raw = LIBRARY[op].sympy(*(stack.pop() for _ in tree.structure.children[i]))
        stack.append(number(float(tree.w[i]), digits) * raw + number(float(tree.b[i]), digits))
    return stack.pop()


class TreeModule(nn.Module):
    """A tree as a torch module, differentiable as often as its functions are (ReLU: once; all others of the library: always).

    Parameters
    ----------
    tree : in the user's units
    dtype : of the trainable `w` and `b`, each of shape (nodes and leaves,)
    """

    def __init__(self, tree: Tree, dtype: torch.dtype = torch.float64):
        super().__init__()
        self.structure: Structure = tree.structure
        self.w = nn.Parameter(torch.as_tensor(tree.w, dtype=dtype))
        self.b = nn.Parameter(torch.as_tensor(tree.b, dtype=dtype))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs of shape (...,) from variables of shape (..., features).

        Arguments are moved into domains and outputs clipped as :func:`~taafs_plugins.symbolic.propagation.predict` does.
        """
        stack: list[torch.Tensor] = []
        for i in reversed(range(len(self.structure))):
            op = self.structure.ops[i]
            if isinstance(op, int):
                raw = x[..., op]
            else:
                function = LIBRARY[op]
                arguments = tuple(stack.pop() for _ in self.structure.children[i])
                arguments = function.project(*arguments) if function.project is not None else arguments
                raw = function.torch(*arguments).clamp(-LIMIT, LIMIT)
            stack.append(self.w[i] * raw + self.b[i])
        return stack.pop()


class TreesModule(nn.Module):
    """Several trees side by side: shape (..., outputs)."""

    def __init__(self, trees: Sequence[Tree], dtype: torch.dtype = torch.float64):
        super().__init__()
        self.trees = nn.ModuleList(TreeModule(tree, dtype) for tree in trees)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Outputs (..., outputs) from variables (..., features)."""
        return torch.stack([tree(x) for tree in self.trees], -1)


def expanded(expression: sympy.Expr, names: Sequence[str], x: np.ndarray) -> sympy.Expr:
    """The expression multiplied out with near-simple coefficients made simple, where that is shorter and the same on the samples.

    Parameters
    ----------
    expression : from :func:`to_sympy`
    names : of the variables
    x : samples, shape (samples, features)
    """
    symbols = [sympy.Symbol(name, real=True) for name in names]
    other = sympy.expand(expression)
    near = {}
    for value in other.atoms(sympy.Float):
        simple = sympy.Rational(str(round(float(value) * 120) / 120)).limit_denominator(120)
        if abs(float(simple) - float(value)) < 1e-8 * max(1.0, abs(float(value))):
            near[value] = simple
    other = other.xreplace(near)
    if other.count_ops() > expression.count_ops():
        return expression
    with np.errstate(all="ignore"):
        mine, theirs = (np.broadcast_to(sympy.lambdify(symbols, e, "numpy")(*x.T), len(x)) for e in (expression, other))
    same = np.abs(mine - theirs).max() <= 1e-7 * max(np.abs(mine).max(), 1e-300)
    return other if same else expression


def check_names(names: Sequence[str], features: int) -> list[str]:
    """Names for the variables: given ones, else x0, x1, ...

    Raises
    ------
    XNetError
        A wrong number of names.
    """
    if names is None:
        return [f"x{j}" for j in range(features)]
    if len(names) != features:
        raise XNetError(f"{len(names)} names were given for {features} variables: give one for each.")
    return [str(name) for name in names]
