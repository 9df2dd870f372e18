"""The differentiable engine: two primitives, each the other's adjoint, right to any order that is asked for.

``evaluate(z, w, n)`` is the n-th derivative with respect to z of ``sum_k w_k B_k(squash(z / scale))``;
``project(z, g, n)`` is ``sum_i g_i d^n B_k/dz^n (z_i)``, one number per k. They close the system:

    d evaluate_n / dz = evaluate_{n+1}      d evaluate_n / dw = project_n
    d project_n / dg = evaluate_n           d project_n / dz = g evaluate_{n+1}

Three engines give the same numbers: ``fused`` (compiled kernels), ``python`` (this module, torch operators, any device) and
``plain`` (the curve in plain operators, differentiated by autograd; what scripting uses).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from taafs_plugins.activations.choice import ENGINES, chosen_engine, needs_plain_operators, use_engine  # noqa: F401 - where 0.1 had them
from taafs_plugins.activations.taafs import transforms
from taafs_plugins.activations.taafs.shapes import Basis
from taafs_plugins.activations.taafs.squash import chain, derivatives, squash


@dataclass(frozen=True)
class Curve:
    """What the engine needs to know of an activation beside its numbers: a basis behind a squash."""

    basis: Basis
    squash: str
    scale: float = 1.0

    def evaluate(self, z: torch.Tensor, w: torch.Tensor, order: int) -> torch.Tensor:
        """The order-th z-derivative of the curve; z is [..., C], w is [K] or [C, K]. Not differentiable: see :func:`evaluate`."""
        x = z / self.scale
        u = squash(x, self.squash)
        if order == 0:
            return self.basis.evaluate(u, w, 0)
        y = torch.zeros_like(u)
        factors = chain(derivatives(x, u, self.squash, order), order)
        for j in range(1, order + 1):
            y = torch.addcmul(y, factors[j], self.basis.evaluate(u, w, j))
        return y / self.scale**order

    def project(self, z: torch.Tensor, g: torch.Tensor, order: int, per_neuron: bool) -> torch.Tensor:
        """The adjoint of ``evaluate`` in w: [K], or [C, K] with ``per_neuron``. Not differentiable: see :func:`project`."""
        x = z / self.scale
        u = squash(x, self.squash)
        if order == 0:
            return self.basis.project(u, g, 0, per_neuron)
        factors = chain(derivatives(x, u, self.squash, order), order)
        parts = [self.basis.project(u, g * factors[j], j, per_neuron) for j in range(1, order + 1)]
        return sum(parts[1:], parts[0]) / self.scale**order


def _wanted(ctx, i: int) -> bool:
    """Whether this backward pass will use the gradient of input i.

    ``needs_input_grad`` only knows what requires a gradient. In the force pass the coefficients do, but nobody asks for
    theirs; the graph task knows, and a reduction over every element is saved.
    """
    if not ctx.needs_input_grad[i]:
        return False
    node = ctx.next_functions[i][0] if hasattr(ctx, "next_functions") else None
    if node is None:
        return True
    try:
        return torch._C._will_engine_execute_node(node)
    except RuntimeError:  # an input of torch.autograd.grad that is a leaf: it is asked for by name
        return True


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, w, curve, order):
        ctx.save_for_backward(z, w)
        ctx.curve, ctx.order = curve, order
        return curve.evaluate(z, w, order)

    @staticmethod
    def backward(ctx, g):
        z, w = ctx.saved_tensors
        evaluate, project = _rules(g)
        gz = g * evaluate(z, w, ctx.curve, ctx.order + 1) if ctx.needs_input_grad[0] else None
        gw = project(z, g, ctx.curve, ctx.order, w.dim() == 2) if _wanted(ctx, 1) else None
        return gz, gw, None, None


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, g, curve, order, per_neuron):
        ctx.save_for_backward(z, g)
        ctx.curve, ctx.order = curve, order
        return curve.project(z, g, order, per_neuron)

    @staticmethod
    def backward(ctx, gw):
        z, g = ctx.saved_tensors
        evaluate, _ = _rules(gw)
        gz = g * evaluate(z, gw, ctx.curve, ctx.order + 1) if ctx.needs_input_grad[0] else None
        gg = evaluate(z, gw, ctx.curve, ctx.order) if ctx.needs_input_grad[1] else None
        return gz, gg, None, None, None


def _rules(g: torch.Tensor):
    """``evaluate`` and ``project`` for a backward pass that is handed g."""
    if transforms.transformed(g):
        return transforms.evaluate, transforms.project
    return _Evaluate.apply, _Project.apply


def evaluate(z: torch.Tensor, w: torch.Tensor, curve: Curve, order: int = 0) -> torch.Tensor:
    """``d^order/dz^order sum_k w_k B_k(squash(z / scale))``, differentiable in z and w to any order up to 5 in total.

    Parameters
    ----------
    z : tensor [..., C], float32 or float64
    w : tensor [K], or [C, K] with one row per entry of z's last axis; dtype of z
    curve : basis, squash and scale
    order : which derivative
    """
    return (transforms.evaluate if transforms.transforming() else _Evaluate.apply)(z, w, curve, order)


def project(z: torch.Tensor, g: torch.Tensor, curve: Curve, order: int = 0, per_neuron: bool = False) -> torch.Tensor:
    """``sum_i g_i d^order B_k/dz^order (z_i)``: [K], or [C, K] with ``per_neuron``; the adjoint of :func:`evaluate` in w."""
    return (transforms.project if transforms.transforming() else _Project.apply)(z, g, curve, order, per_neuron)
