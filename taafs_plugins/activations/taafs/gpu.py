"""The fused engine for CUDA tensors: Triton kernels (:mod:`.gpu_kernels`) behind the contract of :mod:`.engine`.

Forward, backward and double backward with the coefficients' gradient are one kernel each; what comes after is made of the Python
engine's differentiable primitives, right to any further order. The base of the activation is torch's own kernel, and for tanh over
a tanh squash its value is the curve's u. Rational curves and splines of more than 64 numbers (intervals times powers) use the Python
engine. On first use each kind of kernel is compared with the Python engine, which is used where they differ.
"""

from __future__ import annotations

import logging
import math
from functools import cache
from types import ModuleType

import numpy as np
import torch

from taafs_plugins.activations.choice import chosen_engine
from taafs_plugins.activations.taafs import transforms
from taafs_plugins.activations.taafs.codes import SHAPES, SQUASHES, shape_of
from taafs_plugins.activations.taafs.engine import Curve, _Evaluate, _Project, _wanted, evaluate
from taafs_plugins.activations.taafs.shapes import Basis, FourierBasis, GaussianBasis, PiecewiseBasis, PolynomialBasis

log = logging.getLogger(__name__)

_FLAT = 128  # columns that a tensor without neurons is cut into
_MOST_SUMS = 64


@cache
def kernels() -> ModuleType | None:
    """The Triton kernels, or ``None`` without Triton; that is said once, in one line."""
    try:
        from taafs_plugins.activations.taafs import gpu_kernels
    except ImportError as error:
        log.warning("The Python engine is used on the GPU: Triton cannot be imported (%s).", error)
        return None
    return gpu_kernels


def kernel_shape(basis: Basis) -> tuple[int, int, int, bool] | None:
    """SHAPE, A, TERMS and HAT of the kernels, or ``None`` for a basis that they do not take."""
    shape = shape_of(basis)
    if shape == "polynomial":
        return SHAPES[shape], 0, basis.matrix.shape[1], False
    if shape == "piecewise" and basis.pieces * basis.terms <= _MOST_SUMS:
        return SHAPES[shape], basis.pieces, basis.terms, False
    if shape == "fourier":
        return SHAPES[shape], basis.n, 1, False
    if shape == "gaussian":
        return SHAPES[shape], basis.numbers, 1, basis.hat
    return None


def _numbers(basis: Basis, w: torch.Tensor, order: int) -> torch.Tensor:
    """What a kernel reads for the order-th u-derivative: [rows] or [rows, C], contiguous."""
    if isinstance(basis, FourierBasis):
        rows = basis._rotate(w, order, 1.0)
    elif isinstance(basis, GaussianBasis):
        rows = w / basis.width**order
    else:
        rows = w @ torch.as_tensor(_map(basis, order), dtype=w.dtype, device=w.device)
    return rows.t().contiguous() if w.dim() == 2 else rows.contiguous()


def _map(basis: Basis, order: int) -> np.ndarray:
    """[K, rows]: how the coefficients make a kernel's numbers, and, transposed, how raw sums make their gradient."""
    matrix = basis._derivative(order)
    if isinstance(basis, PiecewiseBasis):  # row = power * pieces + piece
        matrix = matrix.transpose(0, 2, 1).reshape(basis.numbers, -1)
    return np.ascontiguousarray(matrix)


def _fold(basis: Basis, sums: torch.Tensor, order: int) -> torch.Tensor:
    """The coefficients' gradient [..., K] of raw sums [..., raw]."""
    if isinstance(basis, FourierBasis):
        return basis._rotate(sums, order, -1.0)
    if isinstance(basis, GaussianBasis):
        return sums / basis.width**order
    return sums @ torch.as_tensor(_map(basis, order).T.copy(), dtype=sums.dtype, device=sums.device)


def _raw(basis: Basis, order: int) -> int:
    return _map(basis, order).shape[1] if isinstance(basis, PolynomialBasis | PiecewiseBasis) else basis.numbers


def _launch(curve: Curve, mode: int, w: torch.Tensor, z: torch.Tensor, gy=None, hz=None, sums: bool = False):
    """Run a sweep over contiguous tensors: (out, out2 or None, gradient of w or None)."""
    module = kernels()
    shape, a, terms, hat = kernel_shape(curve.basis)
    neurons = w.dim() == 2
    width = z.shape[-1] if neurons else _FLAT
    columns = 1 << (min(width, _FLAT) - 1).bit_length()
    lines = 4096 // columns
    out = torch.empty_like(z)
    out2 = torch.empty_like(z) if mode == module.DOUBLE else None
    order = 1 if mode == module.DOUBLE else 0
    size = z.numel()
    tiles = math.ceil(math.ceil(size / width) / lines)
    raw = _raw(curve.basis, order) if sums else 0
    parts = z.new_empty((tiles, raw, width)) if sums else out
    if size:
        orders = (0, 0) if mode == module.FORWARD else (1, 2)
        first = _numbers(curve.basis, w, orders[0])
        second = _numbers(curve.basis, w, orders[1]) if mode == module.DOUBLE else first
        # The kernels cannot be handed a float64 number, but a tensor of one.
        inverse = torch.full((1,), 1.0 / curve.scale, dtype=z.dtype, device=z.device)
        module.sweep[(tiles, math.ceil(width / columns))](
            z, z if gy is None else gy, z if hz is None else hz, out, out if out2 is None else out2, first, second, parts, inverse,
            size, width, raw, MODE=mode, SUMS=sums, SHAPE=shape, SQUASH=SQUASHES[curve.squash], A=a, TERMS=terms, HAT=hat,
            COLUMN_STEP=int(neurons), ROWS=lines, COLUMNS=columns, num_warps=8,
        )  # fmt: skip
    if not sums:
        return out, out2, None
    total = parts.sum(0).t() if neurons else parts.sum((0, 2))
    return out, out2, _fold(curve.basis, total, order)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, w, curve):
        ctx.save_for_backward(z, w)
        ctx.curve = curve
        return _launch(curve, 0, w, z.contiguous())[0]

    @staticmethod
    def backward(ctx, gy):
        z, w = ctx.saved_tensors
        if transforms.transformed(gy):
            gw = transforms.project(z, gy, ctx.curve, 0, w.dim() == 2) if _wanted(ctx, 1) else None
            return gy * transforms.evaluate(z, w, ctx.curve, 1), gw, None
        gz, gw = _FusedGradient.apply(z, gy, w, ctx.curve, _wanted(ctx, 1))
        return gz, gw, None


class _FusedGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, gy, w, curve, want):
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(z, gy, w)
        ctx.curve = curve
        gz, _, gw = _launch(curve, 1, w, z.contiguous(), gy.contiguous(), sums=want)
        return gz, gw

    @staticmethod
    def backward(ctx, hz, hw):
        z, gy, w = ctx.saved_tensors
        if hz is None and hw is None:
            return None, None, None, None, None
        moved = any(h is not None and transforms.transformed(h) for h in (hz, hw))
        evaluate, project = (transforms.evaluate, transforms.project) if moved else (_Evaluate.apply, _Project.apply)
        if hw is None and not moved and not torch.is_grad_enabled():
            dgy, dz, dw = _launch(ctx.curve, 2, w, z.contiguous(), gy.contiguous(), hz.contiguous(), sums=ctx.needs_input_grad[2])
            return dz, dgy, dw, None, None
        dz = dgy = dw = None
        if hz is not None:
            dz = hz * gy * evaluate(z, w, ctx.curve, 2)
            dgy = hz * evaluate(z, w, ctx.curve, 1)
            dw = project(z, hz * gy, ctx.curve, 1, w.dim() == 2)
        if hw is not None:
            of_z, of_gy = gy * evaluate(z, hw, ctx.curve, 1), evaluate(z, hw, ctx.curve, 0)
            dz, dgy = of_z if dz is None else dz + of_z, of_gy if dgy is None else dgy + of_gy
        return dz, dgy, dw, None, None


def curve_by_triton(z: torch.Tensor, w: torch.Tensor, curve: Curve) -> torch.Tensor:
    """``sum_k w_k B_k(squash(z / scale))`` by the kernels, differentiable in z and w to any order up to 5 in total.

    Parameters
    ----------
    z : tensor [..., C], float32 or float64, on a CUDA device
    w : tensor [K], or [C, K] with one row per entry of z's last axis; dtype and device of z
    curve : a basis that :func:`kernel_shape` knows, squash and scale
    """
    return _Fused.apply(z, w, curve)


def _steps(by, z: torch.Tensor, w: torch.Tensor) -> list[torch.Tensor]:
    """Value, force-like gradient and the gradients of a loss on both, of ``by(z, w)``."""
    z, w = z.clone().requires_grad_(), w.clone().requires_grad_()
    y = by(z, w)
    (gz,) = torch.autograd.grad(y.sin().sum(), z, create_graph=True)
    return [y, gz, *torch.autograd.grad(gz.square().sum() + y.square().sum(), (z, w))]


@cache
def check(basis: Basis, squash: str, neurons: bool, dtype: torch.dtype, device: torch.device) -> str | None:
    """Compare the kernels with the Python engine on a few numbers, once for each kind of use; what is wrong, or ``None``."""
    curve = Curve(basis, squash, 1.0)
    kind = {"generator": torch.Generator("cpu").manual_seed(0), "dtype": torch.float64, "device": "cpu"}
    z = (torch.rand(200, 7, **kind) * 1.9 - 0.95).to(device, dtype)
    w = torch.randn((7, basis.numbers) if neurons else basis.numbers, **kind).to(device, dtype)
    try:
        ours = _steps(lambda z, w: curve_by_triton(z, w, curve), z, w)
    except Exception as error:  # a compiler that does not know the card, no C compiler for the launcher, ...
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    for a, b in zip(ours, _steps(lambda z, w: evaluate(z, w, curve), z, w), strict=True):
        if not (a - b).abs().max() <= (1e-4 if dtype == torch.float32 else 1e-11) * b.abs().max():
            return "their numbers are not those of the Python engine"
    return None


@cache
def _say(reason: str) -> None:
    log.warning("The Python engine is used on the GPU, slower: the Triton kernels do not work here (%s).", reason)


def activation(module, z: torch.Tensor, curve: Curve) -> torch.Tensor | None:
    """The activation by the Triton kernels, or ``None`` when they cannot take it (then the Python engine does).

    Raises
    ------
    RuntimeError
        The fused engine is asked for by name and the kernels do not work here.
    """
    if z.dtype not in (torch.float32, torch.float64) or kernel_shape(curve.basis) is None or curve.squash not in SQUASHES:
        return None
    base_is_u = curve.squash == "tanh" and curve.scale == 1.0 and not module.auto
    if base_is_u:
        curve = Curve(curve.basis, "linear", 1.0)
    wrong = "no Triton" if kernels() is None else check(curve.basis, curve.squash, module.width is not None, z.dtype, z.device)
    if wrong is not None:
        if chosen_engine() == "fused":
            raise RuntimeError(f"TAAFS_ENGINE=fused, but the Triton kernels do not work here ({wrong}); unset it.")
        if kernels() is not None:
            _say(wrong)
        return None
    u = torch.tanh(z) if base_is_u else z
    y = curve_by_triton(u, module.theta.to(z.dtype), curve)
    if not module.with_base:
        return y
    return module.with_residual(u if base_is_u and module.base_name == "tanh" else module.base(z), y)
