"""``formula:<expression>``: any closed formula of z as a fixed activation, such as ``formula:tanh(1.5*z)+0.2*sin(3*z),low=-4,high=4``.

What the expression may hold: :mod:`taafs_plugins.activations.expressions`. From ``low`` to ``high`` the activation is the formula to the
last bit. Outside, its argument comes to rest within a twentieth of that range, by a bend whose first four derivatives are continuous
(C4), and the slope reached there goes on as a straight line: nothing overflows, whatever the formula does far out.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.expressions import holds, program, run
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Key, Spec, SpecError, common_keys, number, with_default

FAR = 50.0  # the range where none is given: tanh and its like are at their limits to the last bit
SOFT = 0.05  # of the range: how far outside of it the argument comes to rest
EXAMPLE = "formula:tanh(2*z)+0.5*z"


class ClosedFormula(FormulaActivation):
    """Nothing is trained; ``steps`` and ``values`` are its program, ``low`` ... ``high`` where it holds."""

    def set_expression(self, text: str, low: float, high: float) -> None:
        """Take a formula that holds in ``low`` ... ``high`` and the bend outside."""
        found = program(text)
        self.steps, self.values = list(found.steps), list(found.numbers)
        self.low, self.high, self.soft = low, high, SOFT * (high - low)
        ends = torch.tensor([low - self.soft, high + self.soft], dtype=torch.float64, device="cpu", requires_grad=True)
        with torch.enable_grad():
            slopes = torch.autograd.grad(run(self.steps, self.values, ends, []).sum(), ends, materialize_grads=True)[0]
        self.slope_low, self.slope_high = (float(slope) for slope in slopes)

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """The formula of the held argument, and the straight lines outside; strict comparisons, so that an end belongs to the inside."""
        zero = torch.zeros_like(z)
        inside = torch.where(z > self.high, torch.full_like(z, self.high), torch.where(z < self.low, torch.full_like(z, self.low), z))
        above, below = torch.where(z > self.high, z - self.high, zero), torch.where(z < self.low, z - self.low, zero)
        bent_above, bent_below = self.soft * bend(above / self.soft), self.soft * bend(below / self.soft)
        y = run(self.steps, self.values, inside + bent_above + bent_below, [])
        return y + self.slope_high * (above - bent_above) + self.slope_low * (below - bent_below)


def bend(u: torch.Tensor) -> torch.Tensor:
    """u (1 + u^4)^(-1/4): u - u^5 / 4 + ... near 0, 1 or -1 far out; from 1e4 on it is that to the last bit."""
    far = torch.abs(u) > 1e4
    near = torch.where(far, torch.zeros_like(u), u)
    square = near * near
    return torch.where(far, torch.sign(u), near * torch.pow(1.0 + square * square, -0.25))


@lru_cache(maxsize=128)
def _holds(text: str, low: float, high: float) -> bool:
    soft = SOFT * (high - low)
    return holds(program(text), low - soft, high + soft)


def keys(variant: str | None) -> dict[str, Key]:
    """``low`` and ``high`` beside the keys of every family.

    Raises
    ------
    SpecError
        No variant, or one that is not a formula.
    """
    if not variant:
        raise SpecError(f"'formula' needs a formula of z behind a colon; write for example '{EXAMPLE}'.")
    program(variant)
    return {"low": with_default(number(-1e6, 1e6), -FAR), "high": with_default(number(-1e6, 1e6), FAR), **common_keys()}


def _check(spec: Spec) -> None:
    text, low, high = str(spec.variant), spec.get("low", -FAR), spec.get("high", FAR)
    if not low < high:
        raise SpecError(f"'{spec}' has an empty range: low must be below high.")
    if not _holds(text, low, high):
        raise SpecError(
            f"The formula '{text}' is not finite, or not smooth, everywhere from {low:g} to {high:g} and {SOFT * (high - low):g} beyond: "
            "give the range in which it is used with low= and high=."
        )


def _build(spec: Spec, place: Place) -> ClosedFormula:
    act = ClosedFormula(spec, place, torch.zeros(0, dtype=torch.float64, device="cpu"), trained=False)
    act.set_expression(str(spec.variant), spec["low"], spec["high"])
    return act


register_family(Family(
    "formula", _build, keys, "", _check, formula=f"your own, as in {EXAMPLE}", smoothness=lambda spec: "C4",
    exact_start=lambda spec: False, example=EXAMPLE,
))  # fmt: skip
