"""Families that are one formula of z and a few numbers: everything but the formula, its numbers and their start.

>>> class Gate(FormulaActivation):
...     def formula(self, z, p):
...         slope, = p
...         return z * torch.sigmoid(slope * z)
>>> gate = formula_family("gate", Gate, {"slope": 1.0}, formula="z sigmoid(slope z)")
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from taafs_plugins.activations.base import Place, TrainableActivation
from taafs_plugins.activations.choice import chosen_engine, needs_plain_operators
from taafs_plugins.activations.registry import Family
from taafs_plugins.activations.spec import Key, Spec, common_keys, number, with_default
from taafs_plugins.native.formulas import library

_DTYPES, _TYPES = (torch.float32, torch.float64), (torch.Tensor, torch.nn.Parameter)
MOST = 4096  # numbers of one kind that the kernels keep at hand, see native/formulas/kernels.h


class FormulaActivation(TrainableActivation):
    """An activation whose subclass says one thing, :meth:`formula`.

    Parameters
    ----------
    spec, place, start : as :class:`TrainableActivation`

    Attributes
    ----------
    kernel : name under which it has compiled kernels, made of its :meth:`expression`; empty for none
    kernel_numbers : how many numbers those take
    """

    kernel = ""
    kernel_numbers = 0
    __jit_unused_properties__ = TrainableActivation.__jit_unused_properties__

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if cls.kernel:
            library.add_formula(cls.kernel, cls.kernel_numbers, cls.expression)

    @staticmethod
    def expression(z: Any, numbers: Sequence[Any]) -> Any:
        """The formula for the compiled kernels: a :class:`taafs_plugins.native.formulas.generate.Formula` of SymPy symbols.

        A staticmethod of a class that names a ``kernel``; what it needs it imports itself.
        """
        raise NotImplementedError("A class that names a kernel needs expression(z, numbers).")

    @torch.jit.unused
    def prepared(self, theta: torch.Tensor) -> torch.Tensor:
        """What the kernels take, [kernel_numbers] or [C, kernel_numbers], of theta; differentiable."""
        return theta

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """The activation of z [..., C] with the numbers p, each of shape [] or [C]: plain operators that TorchScript takes."""
        raise NotImplementedError(f"{type(self).__name__} needs a method formula(z, p).")

    def plain(self, z: torch.Tensor) -> torch.Tensor:
        """The formula at z, computed in the numbers' dtype, those of half precision in float32."""
        theta = torch.add(self.theta_start, self.delta, alpha=self.rate)
        if theta.dtype == torch.bfloat16 or theta.dtype == torch.float16:
            theta = theta.float()
        return self.formula(z.to(theta.dtype), list(theta.unbind(-1))).to(z.dtype)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Activation of z, same shape and dtype.

        Raises
        ------
        ValueError
            ``share=neuron`` and inputs of another width.
        """
        if torch.jit.is_scripting():
            return self.plain(z)
        return self._eager(z)

    @torch.jit.unused
    def _eager(self, z: torch.Tensor) -> torch.Tensor:
        self._check_width(z)
        if self.kernel and z.is_cpu and z.dtype in _DTYPES and z.dtype == self.delta.dtype and type(z) in _TYPES:
            if chosen_engine() in (None, "fused") and not needs_plain_operators() and (found := library.operator()) is not None:
                apply, index = found
                if self.kernel in index and math.lcm(self.width or 1, 16) <= MOST:
                    y: torch.Tensor = apply(z, self.prepared(torch.add(self.theta_start, self.delta, alpha=self.rate)), index[self.kernel])
                    return y
        return self.plain(z)

    @torch.jit.unused
    def _check_width(self, z: torch.Tensor) -> None:
        if self.width is not None and z.shape[-1] != self.width:
            raise ValueError(f"share=neuron was built for width {self.width} but is called on width {z.shape[-1]}.")


def formula_family(
    name: str,
    module: type[FormulaActivation],
    start: Mapping[str, float] | Callable[[Spec], Mapping[str, float]],
    *,
    keys: Mapping[str, Key] | None = None,
    share: str = "layer",
    **rest: Any,
) -> Family:
    """The :class:`Family` of a formula, to be given to :func:`register_family`.

    Parameters
    ----------
    name : first word of its specs
    module : its class
    start : the numbers by name, in the order of ``formula``'s p, with their start; each is also a key of the spec that sets it.
        Or a function of the resolved spec that gives them
    keys : further keys
    share : default of the key ``share``
    rest : further fields of :class:`Family`
    """
    named = {} if callable(start) else {word: with_default(number(float("-inf")), value) for word, value in start.items()}

    def all_keys(variant: str | None) -> dict[str, Key]:
        return {**named, **(keys or {}), **common_keys(), "share": with_default(common_keys()["share"], share)}

    def build(spec: Spec, place: Place) -> FormulaActivation:
        values = start(spec) if callable(start) else {word: spec[word] for word in start}
        return module(spec, place, torch.tensor(list(values.values()), dtype=torch.float64, device="cpu"))

    return Family(name, build, all_keys, **rest)
