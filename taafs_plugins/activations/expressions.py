"""A formula of z as text, read into a short program of elementwise steps; the text is never evaluated as code.

>>> program("2*tanh(z) + 1")
Program(steps=('z', 'tanh', '*', '+'), numbers=(0.0, 0.0, 2.0, 1.0))
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch

from taafs_plugins.activations.spec import SpecError, nearest

# Smooth where they are finite: a kink would make forces jump.
FUNCTIONS = ("sin", "cos", "exp", "log", "sqrt", "tanh", "sigmoid", "silu", "atan", "erf", "sinh", "cosh", "asinh", "square", "cube")
LONGEST = 2000
LARGEST = 1e30  # of values and derivatives: below what float32 holds
GRID = 4001
_ALLOWED = re.compile(r"[a-z0-9_.+\-*/^() ]+")
_PAIRS = {ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div"}

Steps = list[tuple[str, float]]


@dataclass(frozen=True)
class Program:
    """Steps on a stack of tensors.

    Attributes
    ----------
    steps : ``z`` pushes the input; ``add``, ``sub``, ``mul``, ``div`` take two; ``+ * / over pow`` take one and a number; else a function
    numbers : the number of each step, 0 where it has none
    """

    steps: tuple[str, ...]
    numbers: tuple[float, ...]


@lru_cache(maxsize=128)  # hosts hand the same text to every layer
def program(text: str) -> Program:
    """Read a formula: ``z``, numbers, ``pi``, ``+ - * / ^``, powers of one number, and :data:`FUNCTIONS`.

    Raises
    ------
    SpecError
        Anything else.
    """
    if not _ALLOWED.fullmatch(text):
        wrong = next((c for c in text if not _ALLOWED.fullmatch(c)), "")
        raise SpecError(
            f"The formula '{text}' has a '{wrong}'; write z, numbers, + - * / ^, brackets and functions such as tanh(2*z) + 0.5."
        )
    if len(text) > LONGEST:
        raise SpecError(f"The formula is {len(text)} characters long and may have {LONGEST}; give numbers fewer digits.")
    try:
        found = _read(ast.parse(text.replace("^", "**").strip(), mode="eval").body, text)
    except (SyntaxError, MemoryError, RecursionError):
        raise SpecError(f"The formula '{text}' cannot be read; write it as in tanh(2*z) + 0.5, with all brackets closed.") from None
    except (OverflowError, ZeroDivisionError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(f"The formula '{text}' has a number that is not finite; write smaller ones.") from None
    if isinstance(found, float):
        raise SpecError(f"The formula '{text}' has no z; an activation is a function of its input, such as tanh(2*z) + 0.5.")
    return Program(tuple(step for step, _ in found), tuple(value for _, value in found))


def _read(node: ast.expr, text: str) -> float | Steps:
    """A number, or the steps of what depends on z."""
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return _finite(float(node.value))
    if isinstance(node, ast.Name):
        if node.id not in ("z", "pi"):
            raise SpecError(f"The formula '{text}' has an unknown word '{node.id}'. {nearest(node.id, ['z', 'pi', *FUNCTIONS])}"
                            f"It takes z, pi and {', '.join(FUNCTIONS)}.")  # fmt: skip
        return math.pi if node.id == "pi" else [("z", 0.0)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        return _scaled(_read(node.operand, text), -1.0 if isinstance(node.op, ast.USub) else 1.0)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return _power(_read(node.left, text), _read(node.right, text), text)
    if isinstance(node, ast.BinOp) and type(node.op) in _PAIRS:
        return _pair(_PAIRS[type(node.op)], _read(node.left, text), _read(node.right, text))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        return _call(node.func.id, _read(node.args[0], text), text)
    raise SpecError(f"The formula '{text}' cannot be read; write it as in tanh(2*z) + 0.5: functions take one argument in brackets.")


def _finite(value: float) -> float:
    if not abs(value) < LARGEST:
        raise OverflowError
    return value


def _scaled(found: float | Steps, factor: float) -> float | Steps:
    if isinstance(found, float):
        return factor * found
    return found if factor == 1.0 else [*found, ("*", factor)]


def _pair(name: str, left: float | Steps, right: float | Steps) -> float | Steps:
    """One of the four operations; with a number on one side it is one step."""
    if isinstance(left, float) and isinstance(right, float):
        return _finite(
            {"add": left + right, "sub": left - right, "mul": left * right, "div": left / (right if name == "div" else 1.0)}[name]
        )
    if isinstance(right, float):
        if name == "div" and right == 0.0:
            raise ZeroDivisionError
        step = {"add": ("+", right), "sub": ("+", -right), "mul": ("*", right), "div": ("/", right)}[name]
        return [*left, step]  # type: ignore[misc]
    if isinstance(left, float):
        first = {"add": [("+", left)], "sub": [("*", -1.0), ("+", left)], "mul": [("*", left)], "div": [("over", left)]}[name]
        return [*right, *first]
    return [*left, *right, (name, 0.0)]


def _power(base: float | Steps, exponent: float | Steps, text: str) -> float | Steps:
    if not isinstance(exponent, float):
        raise SpecError(f"The formula '{text}' has z in an exponent; write exp(...) for that, powers take one number.")
    if isinstance(base, float):
        value = base**exponent
        if isinstance(value, complex):
            raise OverflowError
        return _finite(value)
    return base if exponent == 1.0 else [*base, ("pow", exponent)]


def _call(name: str, argument: float | Steps, text: str) -> float | Steps:
    if name not in FUNCTIONS:
        raise SpecError(f"The formula '{text}' has an unknown function '{name}'. {nearest(name, list(FUNCTIONS))}"
                        f"Known: {', '.join(FUNCTIONS)}.")  # fmt: skip
    if isinstance(argument, float):
        value = run([name], [0.0], torch.tensor(argument, dtype=torch.float64, device="cpu"), [])
        return _finite(float(value))
    return [*argument, (name, 0.0)]


def run(steps: list[str], numbers: list[float], z: torch.Tensor, stack: list[torch.Tensor]) -> torch.Tensor:
    """The program at z, same shape and dtype: plain operators that TorchScript takes.

    Parameters
    ----------
    stack : empty for a whole program; with one step that takes no z, z is its argument
    """
    if len(steps) > 0 and steps[0] != "z":
        stack.append(z)
    for i in range(len(steps)):
        name = steps[i]
        if name == "z":
            stack.append(z)
        elif name == "add" or name == "sub" or name == "mul" or name == "div":
            right = stack.pop()
            stack.append(_two(name, stack.pop(), right))
        else:
            stack.append(_one(name, stack.pop(), numbers[i]))
    return stack.pop()


def _two(name: str, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    if name == "add":
        return left + right
    if name == "sub":
        return left - right
    if name == "mul":
        return left * right
    return left / right


def _one(name: str, u: torch.Tensor, number: float) -> torch.Tensor:
    if name == "*":
        return u * number
    if name == "+":
        return u + number
    if name == "/":
        return u / number
    if name == "over":
        return number / u
    if name == "pow":
        return torch.pow(u, number)
    return _function(name, u)


def _function(name: str, u: torch.Tensor) -> torch.Tensor:
    y = u
    if name == "tanh":
        y = torch.tanh(u)
    elif name == "sin":
        y = torch.sin(u)
    elif name == "cos":
        y = torch.cos(u)
    elif name == "exp":
        y = torch.exp(u)
    elif name == "log":
        y = torch.log(u)
    elif name == "sqrt":
        y = torch.sqrt(u)
    elif name == "sigmoid":
        y = torch.sigmoid(u)
    elif name == "silu":
        y = u * torch.sigmoid(u)
    elif name == "square":
        y = u * u
    elif name == "cube":
        y = u * u * u
    else:
        y = _rare(name, u)
    return y


def _rare(name: str, u: torch.Tensor) -> torch.Tensor:
    if name == "atan":
        return torch.atan(u)
    if name == "erf":
        return torch.erf(u)
    if name == "sinh":
        return torch.sinh(u)
    if name == "cosh":
        return torch.cosh(u)
    return torch.asinh(u)


def holds(formula: Program, low: float, high: float) -> bool:
    """Whether value and three derivatives are finite everywhere in [low, high], judged on a grid of :data:`GRID` points.

    Between the points too: what must not be 0 (a denominator, the argument of a logarithm or root) must at each point be larger than it
    changes to the next.
    """
    z = torch.linspace(low, high, GRID, dtype=torch.float64, device="cpu", requires_grad=True)
    with torch.enable_grad():
        if not all(_apart(name, u) for name, u in _poles(formula, z)):
            return False
        y = run(list(formula.steps), list(formula.numbers), z, [])
        for order in range(4):
            if not bool((y.abs() < LARGEST).all()):
                return False
            if order < 3:
                if not y.requires_grad:
                    return True
                (y,) = torch.autograd.grad(y.sum(), z, create_graph=True, materialize_grads=True)
    return True


def _poles(formula: Program, z: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    """Steps that are not finite everywhere, with their arguments."""
    for i, (name, number) in enumerate(zip(formula.steps, formula.numbers, strict=True)):
        if name in ("div", "over", "log", "sqrt") or name == "pow" and (number < 0 or not number.is_integer()):
            positive = name in ("log", "sqrt") or name == "pow" and not number.is_integer()
            yield ("positive" if positive else "nonzero"), _argument(formula, i, z).detach()


def _argument(formula: Program, i: int, z: torch.Tensor) -> torch.Tensor:
    """What step i takes (of two, the second): the steps before it that make one value."""
    need, first = 1, i
    while need:
        first -= 1
        name = formula.steps[first]
        need += {"z": -1, "add": 1, "sub": 1, "mul": 1, "div": 1}.get(name, 0)
    return run(list(formula.steps[first:i]), list(formula.numbers[first:i]), z, [])


def _apart(kind: str, u: torch.Tensor) -> bool:
    """Whether u stays off 0 between the points too."""
    if not bool(u.isfinite().all()):
        return False
    size = u if kind == "positive" else u * torch.sign(u[0])
    change = (u[1:] - u[:-1]).abs()
    return bool((size[1:] > change).all() and (size[:-1] > change).all())
