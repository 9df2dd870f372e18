"""The library of functions that a node of X-Net chooses from; users can register more."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import sympy
import torch

from taafs_plugins.symbolic.errors import XNetError

TINY = 1e-12


@dataclass(frozen=True)
class Argument:
    """Where the argument of a function starts a fit: an interval drawn at random, in the units of the argument.

    Attributes
    ----------
    centre : centre of the interval, drawn uniformly between the two numbers (its lower edge if `edge`)
    width : half its width, drawn log-uniformly
    edge : `centre` is the lower edge: for functions whose domain ends (log, sqrt, a denominator)
    """

    centre: tuple[float, float] = (-1.0, 1.0)
    width: tuple[float, float] = (0.5, 2.0)
    edge: bool = False

    def draw(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends, each of shape (count,)."""
        half = np.exp(rng.uniform(np.log(self.width[0]), np.log(self.width[1]), count))
        centre = rng.uniform(*self.centre, count)
        low = centre if self.edge else centre - half
        return low, low + 2 * half


@dataclass(frozen=True)
class Function:
    """One member of the library.

    Attributes
    ----------
    name : its name, by which trees refer to it
    arity : 1 or 2
    numpy : values from one or two arrays
    derivative : tuple of partial derivatives from (value, argument, ...)
    torch, sympy : the same function in these libraries
    project : moves arguments into the domain (used on new data); None where every number is in it
    inside : whether all of the last axis is in the domain (used while fitting); None as above
    arguments : where fits start
    """

    name: str
    arity: int
    numpy: Callable[..., np.ndarray]
    derivative: Callable[..., tuple[np.ndarray, ...]]
    torch: Callable[..., torch.Tensor]
    sympy: Callable[..., sympy.Expr]
    project: Callable | None = None
    inside: Callable[..., np.ndarray] | None = None
    arguments: tuple[Argument, ...] = (Argument(),)


def _away_from_zero(u, v):
    """Denominators of at least TINY, sign kept; NumPy arrays and tensors."""
    if isinstance(v, torch.Tensor):
        return u, torch.where(v.abs() < TINY, torch.full_like(v, TINY), v)
    return u, np.where(np.abs(v) < TINY, TINY, v)


def _positive(u):
    """Arguments of at least TINY; NumPy arrays and tensors."""
    return (u.clamp(min=TINY),) if isinstance(u, torch.Tensor) else (np.maximum(u, TINY),)


def _all_positive(u: np.ndarray) -> np.ndarray:
    return u.min(-1) > TINY


def _one_sign(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A denominator that changes sign between two samples has a pole there: such trees are not fitted."""
    return (v.min(-1) > 1e-6) | (v.max(-1) < -1e-6)


def _sigmoid(u: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * u))


_WAVE = (Argument((-np.pi, np.pi), (0.3, 4.0)),)
_POWER = (Argument((-1.5, 1.5), (0.7, 1.5)),)
_STEP = (Argument((-1.0, 1.0), (0.5, 3.0)),)
_POSITIVE = (Argument((0.02, 1.0), (0.3, 2.5), edge=True),)
_FACTOR = Argument((-1.5, 1.5), (0.7, 1.5))
_TERM = Argument((0.0, 0.0), (0.3, 1.0))
_DENOMINATOR = Argument((0.2, 1.5), (0.3, 1.5), edge=True)

_BUILT_IN = [
    Function("sin", 1, np.sin, lambda f, u: (np.cos(u),), torch.sin, sympy.sin, arguments=_WAVE),
    Function("cos", 1, np.cos, lambda f, u: (-np.sin(u),), torch.cos, sympy.cos, arguments=_WAVE),
    Function("exp", 1, np.exp, lambda f, u: (f,), torch.exp, sympy.exp, arguments=(Argument((0.0, 0.0), (0.3, 3.0)),)),
    Function("log", 1, np.log, lambda f, u: (1.0 / u,), torch.log, sympy.log, _positive, _all_positive, _POSITIVE),
    Function("sqrt", 1, np.sqrt, lambda f, u: (0.5 / f,), torch.sqrt, sympy.sqrt, _positive, _all_positive, _POSITIVE),
    Function("square", 1, lambda u: u * u, lambda f, u: (2.0 * u,), torch.square, lambda u: u**2, arguments=_POWER),
    Function("cube", 1, lambda u: u * u * u, lambda f, u: (3.0 * u * u,), lambda u: u * u * u, lambda u: u**3, arguments=_POWER),
    Function("tanh", 1, np.tanh, lambda f, u: (1.0 - f * f,), torch.tanh, sympy.tanh, arguments=_STEP),
    Function("sigmoid", 1, _sigmoid, lambda f, u: (f * (1.0 - f),), torch.sigmoid, lambda u: 1 / (1 + sympy.exp(-u)), arguments=_STEP),
    Function("relu", 1, lambda u: np.maximum(u, 0.0), lambda f, u: ((u > 0) * 1.0,), torch.relu, lambda u: sympy.Max(0, u),
             arguments=_STEP),
    Function("identity", 1, lambda u: u, lambda f, u: (np.ones_like(u),), lambda u: u, lambda u: u, arguments=(_TERM,)),
    Function("negative", 1, lambda u: -u, lambda f, u: (-np.ones_like(u),), torch.neg, lambda u: -u, arguments=(_TERM,)),
    Function("+", 2, np.add, lambda f, u, v: (np.ones_like(u), np.ones_like(v)), torch.add, lambda u, v: u + v,
             arguments=(_TERM, _TERM)),
    Function("-", 2, np.subtract, lambda f, u, v: (np.ones_like(u), -np.ones_like(v)), torch.sub, lambda u, v: u - v,
             arguments=(_TERM, _TERM)),
    Function("*", 2, np.multiply, lambda f, u, v: (v, u), torch.mul, lambda u, v: u * v, arguments=(_FACTOR, _FACTOR)),
    Function("/", 2, np.divide, lambda f, u, v: (1.0 / v, -f / v), torch.div, lambda u, v: u / v, _away_from_zero, _one_sign,
             (_FACTOR, _DENOMINATOR)),
]  # fmt: skip
LIBRARY: dict[str, Function] = {function.name: function for function in _BUILT_IN}
# Every node has its own w and b, so these say nothing that sin, tanh, + or the node itself does not say: they can be chosen and
# computed with, but a search that lists trees leaves them out.
SYNONYMS = frozenset({"cos", "sigmoid", "identity", "negative", "-"})


def register_function(function: Function) -> None:
    """Add a function to the library (a name that exists is replaced), for every estimator made afterwards.

    Parameters
    ----------
    function : the new member; its NumPy and torch forms are compared on an interval of its arguments

    Raises
    ------
    XNetError
        Arity other than 1 or 2, or NumPy, derivative and torch forms that disagree.
    """
    if function.arity not in (1, 2) or len(function.arguments) != function.arity:
        raise XNetError(f"Function '{function.name}' needs arity 1 or 2 and one Argument for each; it has arity {function.arity} "
                        f"and {len(function.arguments)} Argument(s).")  # fmt: skip
    low_high = [argument.draw(np.random.default_rng(0), 1) for argument in function.arguments]
    points = [np.linspace(low[0], high[0], 9) for low, high in low_high]
    value = function.numpy(*points)
    tensors = [torch.tensor(p, requires_grad=True) for p in points]
    result = function.torch(*tensors)
    gradients = torch.autograd.grad(result.sum(), tensors)
    pairs = zip(function.derivative(value, *points), gradients, strict=True)
    same = np.allclose(value, result.detach().numpy(), rtol=1e-6) and all(np.allclose(a, b.numpy(), rtol=1e-5, atol=1e-8) for a, b in pairs)
    if not same:
        raise XNetError(f"Function '{function.name}' is not the same in NumPy and torch (value or derivative): make them agree.")
    LIBRARY[function.name] = function


def get_function(name: str) -> Function:
    """The member of that name.

    Raises
    ------
    XNetError
        Unknown name.
    """
    if name not in LIBRARY:
        near = difflib.get_close_matches(str(name), LIBRARY, 1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise XNetError(f"Unknown function '{name}'. {hint}Known: {', '.join(LIBRARY)}; add yours with register_function.")
    return LIBRARY[name]


def names(arity: int, chosen: tuple[str, ...] | None = None) -> tuple[str, ...]:
    """Names of the library's functions of an arity, or the chosen ones after a check.

    Raises
    ------
    XNetError
        A chosen name is unknown or of the other arity.
    """
    if chosen is None:
        return tuple(name for name, function in LIBRARY.items() if function.arity == arity)
    for name in chosen:
        if get_function(name).arity != arity:
            raise XNetError(f"'{name}' takes {LIBRARY[name].arity} argument(s): name it in the list for that arity.")
    return tuple(chosen)
