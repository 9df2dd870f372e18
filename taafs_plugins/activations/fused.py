"""The fused engine: compiled kernels behind the same contract as :mod:`taafs_plugins.activations.engine`.

Three sweeps over the elements do a whole force-training step of one activation: forward, backward, and double backward with
the coefficients' gradient; nothing of shape [..., K] exists and no intermediate tensor is kept beside ``u = tanh(z)`` or z. A third
derivative is made of plain operators. The kernels are built on first use (:mod:`taafs_plugins.activations.fused_build`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache

import numpy as np
import torch

from taafs_plugins.activations import gpu
from taafs_plugins.activations.engine import chosen_engine
from taafs_plugins.activations.folded import fold
from taafs_plugins.activations.fused_build import BuildError, library
from taafs_plugins.activations.shapes import Basis, FourierBasis, GaussianBasis, PiecewiseBasis, PolynomialBasis, RationalBasis

log = logging.getLogger(__name__)

# The numbers of csrc/curve.h.
_SQUASHES = {"tanh": 0, "softsign": 1, "algebraic": 2, "linear": 3}
_NONE, _TANH, _FROM_U = 0, 1, 4
_BASES = {"silu": 2, "celu(0.1)": 3}
_DTYPES = (torch.float32, torch.float64)
_MOST_POWERS = 8  # of a piecewise basis
EXPORT = "TAAFS_EXPORT"
FORMS = ("plain", "folded", "operator")


@cache
def operator() -> Callable | None:
    """``torch.ops.taafs.activation``, or ``None`` where the kernels cannot be built; that is said once, in one line."""
    try:
        torch.ops.load_library(str(library()))
    except (BuildError, OSError) as error:
        log.warning("The Python engine is used, several times slower: the fused kernels cannot be built, as %s.", error)
        return None
    return torch.ops.taafs.activation.default


def _shape(basis: Basis) -> tuple[int, int, int, np.ndarray] | None:
    """shape, a, b and matrix of csrc/curve.h, or ``None`` for a basis that the kernels do not know."""
    nothing = np.zeros(0)
    kind = type(basis)
    if kind is PolynomialBasis:
        return 0, basis.numbers, basis.matrix.shape[1], basis.matrix
    if kind is PiecewiseBasis and basis.terms <= _MOST_POWERS:
        return 1, basis.pieces, basis.terms, basis.tables
    if kind is FourierBasis:
        return 2, basis.n, 0, nothing
    if kind is GaussianBasis:
        return 3, basis.numbers, int(basis.hat), nothing
    if kind is RationalBasis:
        return 4, basis.num, basis.den, nothing
    return None


@cache
def describe(basis: Basis, squash: str, base: str, plain_tanh: bool) -> tuple[torch.Tensor, list[int], bool] | None:
    """The operator's ``matrix`` and ``kind`` for an activation, and whether its base is in it; ``None`` if it cannot be.

    Parameters
    ----------
    basis, squash : of the activation
    base : name of what is added to the curve; ``none`` for nothing
    plain_tanh : the squash is tanh(z) with scale 1
    """
    shape = _shape(basis)
    if shape is None or squash not in _SQUASHES:
        return None
    name, a, b, matrix = shape
    if plain_tanh and base in ("tanh", "none"):
        inside = (_TANH if base == "tanh" else _NONE) + _FROM_U
    else:
        inside = _BASES.get(base, _NONE)
    tensor = torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float64))
    return tensor, [name, a, b, basis.numbers, _SQUASHES[squash], inside], inside not in (_NONE, _FROM_U)


def _described(module, base_inside: bool = True) -> tuple[torch.Tensor, list[int], bool] | None:
    base = module.base_name if module.with_base and not module.scaled and base_inside else "none"
    return describe(module.basis, module.squash, base, module.squash == "tanh" and module._scale_value == 1.0)


def activation(module, z: torch.Tensor, curve) -> torch.Tensor | None:
    """The activation by the compiled kernels (CUDA: Triton's), or ``None`` when they cannot take it (then the Python engine does).

    Raises
    ------
    RuntimeError
        The fused engine is asked for by name and cannot be built.
    """
    if z.is_cuda and type(z) in (torch.Tensor, torch.nn.Parameter):
        return gpu.activation(module, z, curve)
    if not z.is_cpu or z.dtype not in _DTYPES or type(z) not in (torch.Tensor, torch.nn.Parameter):
        return None
    # Exact at the start also for a strided input: there torch's own base may differ in the last bit from that of a contiguous one.
    described = _described(module, base_inside=z.is_contiguous())
    if described is None:
        return None
    call = operator()
    if call is None:
        if chosen_engine() == "fused":
            raise RuntimeError("TAAFS_ENGINE=fused, but the fused kernels cannot be built here; unset it to use the Python engine.")
        return None
    matrix, kind, base_inside = described
    y = call(z, module.delta, module.theta_start, matrix, kind, module.rate, curve.scale)
    if base_inside or not module.with_base:
        return y
    stock = module.base(z)
    if module.scaled:
        weights = module.weights.to(z.dtype)
        return weights[..., 0] * stock + weights[..., 1] * y
    return stock + y


def can_call_operator(module) -> bool:
    """Whether the ``operator`` form of :func:`prepare_export` can be made of this activation, here."""
    return _described(module) is not None and operator() is not None


def prepare_export(module) -> None:
    """Choose what ``torch.jit.script`` makes of a TAAFS: by ``TAAFS_EXPORT``, ``plain``, ``folded`` or ``operator``.

    Where the variable is not set, the module's ``export_form`` counts. ``plain`` (default) and ``folded`` need nothing but torch where
    the model is used. ``plain`` follows its parameters and is differentiable to any order. ``folded`` is faster, has fixed
    coefficients and is differentiable once (default of ``dp freeze``); a module in training mode, or of a basis that cannot be folded,
    is written as ``plain``. ``operator`` is the fastest on the CPU, and needs the library of
    :func:`taafs_plugins.activations.fused_build.build_operator_library` loaded before the model (``DP_PLUGIN_PATH`` in LAMMPS).
    ``taafs export`` writes ``folded`` and ``operator`` into one file (:mod:`taafs_plugins.md.contract`).

    Raises
    ------
    ValueError
        Another value of ``TAAFS_EXPORT``, or an activation that the operator does not know.
    RuntimeError
        The library cannot be built here.
    """
    form = os.environ.get(EXPORT) or module.export_form
    if form not in FORMS:
        raise ValueError(f"{EXPORT}={form} is unknown; choose {', '.join(FORMS[:-1])} or {FORMS[-1]}.")
    module.by_operator = form == "operator"
    folded = fold(module) if form == "folded" and not module.training else None
    module.by_folded = folded is not None
    if module.by_folded:
        module.folded_curve, base_inside = folded
        module.base_outside = module.with_base and not base_inside
        module.folded_unscaled = module._scale_value == 1.0
    if not module.by_operator:
        return
    described = _described(module)
    if described is None:
        raise ValueError(f"{EXPORT}=operator: '{module.spec}' is not known to the fused operator; export it with {EXPORT}=plain.")
    if operator() is None:
        raise RuntimeError(f"{EXPORT}=operator needs the fused kernels, and they cannot be built here; use {EXPORT}=plain.")
    module.operator_matrix, module.operator_kind, base_inside = described
    module.base_outside = module.with_base and not base_inside
