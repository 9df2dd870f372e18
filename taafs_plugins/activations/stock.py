"""The stock activations that a trainable one replaces: names, functions and modules are all accepted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from taafs_plugins.activations.spec import SpecError, nearest


class ShiftedSoftplus(nn.Module):
    """ln(1 + exp z) - ln 2, as SchNet uses it."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """The activation of z, same shape and dtype."""
        return F.softplus(z) - math.log(2.0)


_NAMES: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU(approximate="tanh"),
    "celu": nn.CELU,
    "celu(0.1)": lambda: nn.CELU(alpha=0.1),
    "elu": nn.ELU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "softplus": nn.Softplus,
    "shifted_softplus": ShiftedSoftplus,
    "sigmoid": nn.Sigmoid,
    "mish": nn.Mish,
    "softsign": nn.Softsign,
}
_FUNCTIONS = {torch.tanh: "tanh", F.tanh: "tanh", F.silu: "silu", F.gelu: "gelu", F.celu: "celu", F.elu: "elu", F.relu: "relu",
              F.softplus: "softplus", torch.sigmoid: "sigmoid", F.sigmoid: "sigmoid", F.mish: "mish", F.softsign: "softsign"}  # fmt: skip


def fixed_names() -> list[str]:
    """Names of the stock activations that :func:`fixed_activation` knows."""
    return list(_NAMES)


def fixed_activation(activation: str | Callable[..., Any] | nn.Module) -> tuple[str, nn.Module]:
    """Name and module of a stock activation.

    >>> fixed_activation(torch.tanh)
    ('tanh', Tanh())
    >>> fixed_activation(nn.CELU(0.1))
    ('celu(0.1)', CELU(alpha=0.1))

    Parameters
    ----------
    activation : a name (``"silu"``), a function (``torch.nn.functional.silu``) or a module (``nn.SiLU()``)

    Returns
    -------
    name, module; the module is returned as it is, so ``nn.CELU(0.1)`` keeps its constant

    Raises
    ------
    SpecError
        Unknown name.
    TypeError
        Neither a string nor callable.
    """
    if isinstance(activation, str):
        name = activation.strip().lower()
        if name not in _NAMES:
            raise SpecError(f"Unknown stock activation '{name}'. {nearest(name, fixed_names())}Known: {', '.join(_NAMES)}.")
        return name, _NAMES[name]()
    if isinstance(activation, nn.Module):
        return module_name(activation), activation
    if activation in _FUNCTIONS:
        name = _FUNCTIONS[activation]
        return name, _NAMES[name]()
    if callable(activation):
        return getattr(activation, "__name__", type(activation).__name__), Wrapped(activation)
    raise TypeError(f"An activation is a name, a function or a module, not {type(activation).__name__}.")


# class name -> name, of hosts' own classes
_CLASS_NAMES: dict[str, str] = {}


def name_class(class_name: str, name: str) -> None:
    """Say what a host's own activation class computes, by a name of this module: engines then know it."""
    _CLASS_NAMES[class_name] = name


def module_name(module: nn.Module) -> str:
    """Short name of an activation module; ``celu(0.1)`` for CELU with a constant of its own."""
    if hasattr(module, "taafs_name"):  # a host's own activation, named by its adapter
        return str(module.taafs_name)
    if type(module).__name__ in _CLASS_NAMES:
        return _CLASS_NAMES[type(module).__name__]
    if isinstance(module, nn.CELU | nn.ELU) and module.alpha != 1.0:
        return f"{type(module).__name__.lower()}({module.alpha:g})"
    if isinstance(module, nn.GELU) and module.approximate == "tanh":
        return "gelu_tanh"
    if isinstance(module, ShiftedSoftplus):
        return "shifted_softplus"
    return type(module).__name__.lower()


class Wrapped(nn.Module):
    """A plain function as a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """The function of z."""
        return self.function(z)
