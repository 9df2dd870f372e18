"""What a file for molecular dynamics holds of a trained activation: its coefficients folded into one polynomial, once, at export.

Forces need the first derivative only, and with fixed coefficients it costs less to compute it beside the value than to have autograd follow
every operator: ``y = f(v) + (u - v) f'(v)`` with v the value of u, cut off from autograd. u - v is 0 and hands the gradient on, so
that the backward pass is one product. Exact in value and first derivative; **the second derivative is not that of the activation**,
so only exporters whose files are differentiated once use this (``TAAFS_EXPORT=plain`` otherwise), and they put what a file returns through
:func:`differentiable_once`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from taafs_plugins.activations.taafs.codes import shape_of

# Below it the cost of calling an operator counts, above it that of going over the elements.
SWEEP_ABOVE = 16384


def differentiable_once(y: torch.Tensor) -> torch.Tensor:
    """``y`` with its first derivatives, and NaN for every second: ``|x|^1.5`` has value and slope 0 at 0, and no finite curvature."""
    return y + torch.abs(y - y.detach()).pow(1.5)


def folded_polynomial(
    v: torch.Tensor, rows: list[torch.Tensor], value: list[float], slope: list[float], width: int, sweep_above: int = SWEEP_ABOVE
) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and slope of a polynomial in u, or of one for each of ``width`` neurons. Scriptable.

    Parameters
    ----------
    v : [..., C] without gradient
    rows : for each power, lowest first, [2 (value, slope), 1, C or 1]
    value, slope : monomial coefficients, for ``width = 0``
    width : C with coefficients for each entry of the last axis, else 0
    """
    if width == 0 and v.numel() > sweep_above:
        return _horner(v, value), _horner(v, slope)
    flat = v.reshape(-1, max(width, 1))
    rows = _as(rows, v)
    both = rows[-1].expand(2, flat.shape[0], flat.shape[1]) if len(rows) == 1 else torch.addcmul(rows[-2], rows[-1], flat)
    for m in range(len(rows) - 3, -1, -1):
        both = torch.addcmul(rows[m], both, flat)
    y, dy = both.reshape([2] + v.shape).unbind(0)
    return y, dy


def _horner(v: torch.Tensor, c: list[float]) -> torch.Tensor:
    """Horner's rule in one array."""
    y = v * c[-1] if len(c) > 1 else torch.zeros_like(v)
    for m in range(len(c) - 2, 0, -1):
        y.add_(c[m]).mul_(v)
    return y.add_(c[0])


def folded_pieces(v: torch.Tensor, rows: list[torch.Tensor], pieces: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Value and slope of a piecewise polynomial on ``pieces`` equal intervals of [-1, 1]. Scriptable.

    Parameters
    ----------
    v : [..., C] without gradient
    rows : for each power of u - left, lowest first, [intervals] or [C * intervals]; last the left ends
    width : C with coefficients for each entry of the last axis, else 0
    """
    half = 0.5 * pieces
    flat = v.reshape(-1)
    index = (flat * half).add_(half).to(torch.int64).clamp_(0, pieces - 1)
    if width > 0:
        index.add_((torch.arange(width, device=v.device) * pieces).repeat(v.numel() // width))
    table = _as(rows, v)
    terms = len(table) - 1
    t = flat - table[terms].index_select(0, index)
    y = table[terms - 1].index_select(0, index)
    slope = y
    for m in range(terms - 2, -1, -1):  # Horner's rule and its derivative
        if m < terms - 2:
            slope = torch.addcmul(y, slope, t)
        y = torch.addcmul(table[m].index_select(0, index), y, t)
    return y.reshape(v.shape), slope.reshape(v.shape)


@dataclass(frozen=True)
class Folded:
    """The arguments of :func:`folded_polynomial` (``pieces`` = 0) or :func:`folded_pieces`, and whether the base is in them."""

    rows: list[torch.Tensor]
    value: list[float]
    slope: list[float]
    pieces: int
    width: int
    base_inside: bool


def _polynomial(c: np.ndarray, dtype: torch.dtype, base_inside: bool) -> Folded:
    """Of monomial coefficients [n] or [C, n], lowest first."""
    slope = np.zeros_like(c)
    slope[..., :-1] = c[..., 1:] * np.arange(1, c.shape[-1])
    width = c.shape[0] if c.ndim == 2 else 0
    rows = np.stack([c, slope]).reshape(2, max(width, 1), -1)
    rows = np.moveaxis(rows, -1, 0)[:, :, None]
    return Folded(_tensors(rows, dtype), c.flatten().tolist(), slope.flatten()[:-1].tolist() or [0.0], 0, width, base_inside)


def _pieces(table: np.ndarray, dtype: torch.dtype, base_inside: bool) -> Folded:
    """Of [intervals, terms] or [C, intervals, terms], powers of the local coordinate, lowest first."""
    width, (pieces, terms) = table.shape[0] if table.ndim == 3 else 0, table.shape[-2:]
    half = 0.5 * pieces
    # the local coordinate is counted in u, so that the slope needs no factor
    powers = (table * half ** np.arange(terms)).reshape(-1, terms).T
    left = np.tile(np.arange(pieces) / half - 1.0, max(width, 1))
    return Folded(_tensors(np.concatenate([powers, left[None]]), dtype), [0.0], [0.0], pieces, width, base_inside)


def _tensors(rows: np.ndarray, dtype: torch.dtype) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(row)).to(dtype) for row in rows]


def _as(rows: list[torch.Tensor], like: torch.Tensor) -> list[torch.Tensor]:
    """The constants in another dtype or on another device than they were written; calls are saved where they fit."""
    if rows[0].dtype == like.dtype and rows[0].device == like.device:
        return rows
    return [row.to(like) for row in rows]


def fold(module: nn.Module) -> Folded | None:
    """The folded curve of a TAAFS, its weight and, where it is the squash, its base included.

    ``None`` for a basis that is not polynomial or piecewise polynomial.
    """
    basis, shape = module.basis, shape_of(module.basis)
    if shape not in ("polynomial", "piecewise"):
        return None
    with torch.no_grad():
        theta = module.theta.detach().double().cpu().numpy()
        weights = None if module.weights is None else module.weights.detach().double().cpu().numpy()
    inside = module.with_base and module.base_is_squash
    # of the base, of the sum: numbers, or [C, 1]
    of_base, of_sum = (1.0, 1.0) if weights is None else (weights[..., :1], weights[..., 1:])
    theta = theta * of_sum
    if shape == "polynomial":
        c = theta @ basis.matrix
        if inside:
            if c.shape[-1] == 1:
                c = np.concatenate([c, np.zeros_like(c)], -1)
            c[..., 1:2] += of_base
        return _polynomial(c, module.delta.dtype, inside)
    table = np.einsum("...k,kpm->...pm", theta, basis.tables)
    if inside:  # u = -1 + 2 (i + t) / intervals
        table[..., 0] += of_base * (2.0 * np.arange(basis.pieces) / basis.pieces - 1.0)
        table[..., 1] += of_base * (2.0 / basis.pieces)
    return _pieces(table, module.delta.dtype, inside)
