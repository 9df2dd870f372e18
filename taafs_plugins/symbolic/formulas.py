"""Trees of one variable as specs of the family ``formula``, and those as SymPy expressions."""

from __future__ import annotations

import sympy

from taafs_plugins.activations.expressions import Program, program
from taafs_plugins.symbolic.tree import Tree

DIGITS = 12
_BINARY = {"add": lambda u, v: u + v, "sub": lambda u, v: u - v, "mul": lambda u, v: u * v, "div": lambda u, v: u / v}
_UNARY = {"sigmoid": lambda u: 1 / (1 + sympy.exp(-u)), "silu": lambda u: u / (1 + sympy.exp(-u)), "square": lambda u: u**2,
          "cube": lambda u: u**3}  # fmt: skip
_SHORT = {"identity": "{}", "negative": "-({})", "square": "({})^2", "cube": "({})^3"}


def to_text(tree: Tree) -> str:
    """The formula of a tree of one variable as the family ``formula`` reads it, numbers of 12 digits.

    >>> import numpy as np
    >>> from taafs_plugins.symbolic.tree import Structure
    >>> to_text(Tree(Structure.parse("tanh x0"), np.array([2.0, 1.5]), np.array([0.25, 0.0])))
    '2*tanh(1.5*z)+0.25'
    """
    stack: list[str] = []
    for i in reversed(range(len(tree.structure))):
        op, arguments = tree.structure.ops[i], [stack.pop() for _ in tree.structure.children[i]]
        if isinstance(op, int):
            raw = "z"
        elif len(arguments) == 2:
            raw = f"({arguments[0]}){op}({arguments[1]})"
        else:
            raw = _SHORT.get(op, f"{op}({{}})").format(arguments[0])
        stack.append(_affine(float(tree.w[i]), raw, float(tree.b[i])))
    text = stack.pop()
    return text if "z" in text else f"0*z{'+' if text[0] != '-' else ''}{text}"


def _affine(w: float, raw: str, b: float) -> str:
    """``w raw + b`` without what changes nothing."""
    if w == 0.0:
        return number(b)
    bare = raw == "z" or raw.endswith(")") and raw.partition("(")[0].isalpha() and _one_call(raw)
    head = raw if w == 1.0 else f"{number(w)}*{raw if bare else f'({raw})'}"
    return head if b == 0.0 else f"{head}{'+' if b > 0 else ''}{number(b)}"


def _one_call(text: str) -> bool:
    """Whether the first bracket of a text closes at its end."""
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and c == ")":
            return i == len(text) - 1
    return False


def number(value: float) -> str:
    """Twelve digits, a whole number without a point."""
    return f"{value:.{DIGITS}g}"


def to_expression(formula: str | Program) -> sympy.Expr:
    """The SymPy expression in a real symbol ``z`` of a formula's text.

    >>> to_expression("2*tanh(1.5*z)+0.25")
    2*tanh(1.5*z) + 0.25

    Raises
    ------
    SpecError
        A text that is no formula.
    """
    found = program(formula) if isinstance(formula, str) else formula
    stack: list[sympy.Expr] = []
    for name, value in zip(found.steps, found.numbers, strict=True):
        if name == "z":
            stack.append(sympy.Symbol("z", real=True))
        elif name in _BINARY:
            right = stack.pop()
            stack.append(_BINARY[name](stack.pop(), right))
        else:
            stack.append(_one(name, stack.pop(), _exact(value)))
    return stack.pop()


def _exact(value: float) -> sympy.Expr:
    return sympy.Integer(int(value)) if value.is_integer() and abs(value) < 1e6 else sympy.Float(value, DIGITS)


def _one(name: str, u: sympy.Expr, value: sympy.Expr) -> sympy.Expr:
    steps = {"*": lambda: value * u, "+": lambda: u + value, "/": lambda: u / value, "over": lambda: value / u, "pow": lambda: u**value}
    if name in steps:
        return steps[name]()
    return _UNARY[name](u) if name in _UNARY else getattr(sympy, name)(u)
