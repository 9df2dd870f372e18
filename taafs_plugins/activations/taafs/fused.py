"""The fused engine: compiled kernels behind the same contract as :mod:`taafs_plugins.activations.taafs.engine`.

Three sweeps over the elements do a whole force-training step of one activation: forward, backward, and double backward with
the coefficients' gradient; nothing of shape [..., K] exists and no intermediate tensor is kept beside ``u = tanh(z)`` or z. A third
derivative is made of plain operators. The kernels are built on first use (:mod:`taafs_plugins.native.operators`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from taafs_plugins.activations.choice import chosen_engine
from taafs_plugins.activations.taafs import gpu
from taafs_plugins.activations.taafs.codes import BASES, FROM_U, SQUASHES, kernel_numbers
from taafs_plugins.activations.taafs.engine import Curve
from taafs_plugins.activations.taafs.shapes import Basis
from taafs_plugins.native.operators import BuildError, library

log = logging.getLogger(__name__)

_DTYPES = (torch.float32, torch.float64)


@cache
def operator() -> Callable | None:
    """``torch.ops.taafs.activation``, or ``None`` where the kernels cannot be built; that is said once, in one line."""
    try:
        torch.ops.load_library(str(library()))
    except (BuildError, OSError) as error:
        log.warning("The Python engine is used, several times slower: the fused kernels cannot be built, as %s.", error)
        return None
    return torch.ops.taafs.activation.default


@dataclass(frozen=True)
class Call:
    """The fused operator's constant arguments; ``base_inside`` says whether the kernel adds the base itself."""

    matrix: torch.Tensor
    kind: list[int]
    base_inside: bool


@dataclass(frozen=True)
class Plan:
    """What the engines need of an activation beside its numbers.

    Attributes
    ----------
    curve : basis, squash and scale
    call : of the fused operator, for contiguous inputs; None for a curve that it does not take
    strided : the same for other inputs: there torch's own base may differ in the last bit from that of a contiguous one, and stays
        torch's, so that a network starts as exactly the stock one
    """

    curve: Curve
    call: Call | None
    strided: Call | None


def plan(module, sigma: float) -> Plan:
    """The plan of a TAAFS whose scale is ``sigma``."""
    plain_tanh = module.squash == "tanh" and not module.auto and sigma == 1.0
    base = module.base_name if module.with_base and not module.scaled else "none"
    calls = (_call(module.basis, module.squash, name, plain_tanh) for name in (base, "none"))
    return Plan(Curve(module.basis, module.squash, sigma), *calls)


@cache
def _call(basis: Basis, squash: str, base: str, plain_tanh: bool) -> Call | None:
    """For a basis behind a squash (``plain_tanh``: tanh(z) itself), with the base of this name added where the kernels know it."""
    numbers = kernel_numbers(basis)
    if numbers is None or squash not in SQUASHES:
        return None
    shape, a, b, matrix = numbers
    if plain_tanh and base in ("tanh", "none"):
        inside = BASES[base] + FROM_U
    else:
        inside = 0 if base == "tanh" else BASES.get(base, 0)
    tensor = torch.from_numpy(np.ascontiguousarray(matrix, dtype=np.float64))
    return Call(tensor, [shape, a, b, basis.numbers, SQUASHES[squash], inside], inside not in (0, FROM_U))


def activation(module, z: torch.Tensor, plan: Plan) -> torch.Tensor | None:
    """The activation by the compiled kernels (CUDA: Triton's), or ``None`` when they cannot take it (then the Python engine does).

    Raises
    ------
    RuntimeError
        The fused engine is asked for by name and cannot be built.
    """
    if z.is_cuda and type(z) in (torch.Tensor, torch.nn.Parameter):
        return gpu.activation(module, z, plan.curve)
    if not z.is_cpu or z.dtype not in _DTYPES or type(z) not in (torch.Tensor, torch.nn.Parameter):
        return None
    call = plan.call if z.is_contiguous() else plan.strided
    if call is None:
        return None
    fused = operator()
    if fused is None:
        if chosen_engine() == "fused":
            raise RuntimeError("TAAFS_ENGINE=fused, but the fused kernels cannot be built here; unset it to use the Python engine.")
        return None
    y = fused(z, module.delta, module.theta_start, call.matrix, call.kind, module.rate, plan.curve.scale)
    return y if call.base_inside or not module.with_base else module.with_residual(module.base(z), y)
