"""The Python engine's primitives under vmap (either kind of torch's), forward mode and torch.func.

Both primitives of :mod:`.engine` are linear in their second argument, so they can be written with torch's own operators, which every
transformation knows, and functions of z alone, ``F_kn(z) = d^n/dz^n B_k(squash(z / scale))``:

    evaluate(z, w, n) = sum_k w_k F_kn(z)        project(z, g, n)_k = sum_i g_i F_kn(z_i)

K times slower than the engine's own; only transformed tensors come here.
"""

from __future__ import annotations

import torch
from torch._C._functorch import is_legacy_batchedtensor, peek_interpreter_stack
from torch.autograd import forward_ad


def transforming() -> bool:
    """Whether a transformation of torch.func or forward mode is at work: an autograd.Function without rules for it is wrong or refused."""
    return forward_ad._current_level >= 0 or peek_interpreter_stack() is not None


def transformed(g: torch.Tensor) -> bool:
    """The same, or g is a tensor of the older vmap, which nothing but its tensors shows.

    ``is_grads_batched`` and the vectorised functions of ``torch.autograd.functional`` use that one.
    """
    return forward_ad._current_level >= 0 or peek_interpreter_stack() is not None or is_legacy_batchedtensor(g)


class _Function(torch.autograd.Function):
    """F_kn(z); elementwise in z, so that its rule for vmap is itself."""

    @staticmethod
    def forward(z, curve, k, order):
        w = torch.zeros(curve.basis.numbers, dtype=z.dtype, device=z.device)
        w[k] = 1
        return curve.evaluate(z, w, order)

    @staticmethod
    def setup_context(ctx, inputs, output):
        z, ctx.curve, ctx.k, ctx.order = inputs
        ctx.save_for_backward(z)
        ctx.save_for_forward(z)

    @staticmethod
    def backward(ctx, g):
        (z,) = ctx.saved_tensors
        return g * _Function.apply(z, ctx.curve, ctx.k, ctx.order + 1), None, None, None

    @staticmethod
    def jvp(ctx, tangent, *_):
        (z,) = ctx.saved_tensors
        return tangent * _Function.apply(z, ctx.curve, ctx.k, ctx.order + 1)

    @staticmethod
    def vmap(info, in_dims, z, curve, k, order):
        return _Function.apply(z, curve, k, order), in_dims[0]


def evaluate(z: torch.Tensor, w: torch.Tensor, curve, order: int) -> torch.Tensor:
    """As :func:`taafs_plugins.activations.taafs.engine.evaluate`, for transformed tensors."""
    terms = [w_k * _Function.apply(z, curve, k, order) for k, w_k in enumerate(w.unbind(-1))]
    return sum(terms[1:], terms[0])


def project(z: torch.Tensor, g: torch.Tensor, curve, order: int, per_neuron: bool) -> torch.Tensor:
    """As :func:`taafs_plugins.activations.taafs.engine.project`, for transformed tensors."""
    terms = [g * _Function.apply(z, curve, k, order) for k in range(curve.basis.numbers)]
    return torch.stack([t.reshape(-1, t.shape[-1]).sum(0) if per_neuron else t.sum() for t in terms], -1)
