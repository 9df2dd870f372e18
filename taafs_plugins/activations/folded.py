"""What a file for molecular dynamics holds of a trained activation: its coefficients folded into one polynomial, once, at export.

Forces need the first derivative only, and with fixed coefficients it costs less to compute it beside the value than to have autograd follow
every operator: ``y = f(v) + (u - v) f'(v)`` with v the value of u, cut off from autograd. u - v is 0 and hands the gradient on, so
that the backward pass is one product. Exact in value and first derivative; **the second derivative is not that of the activation**,
so only exporters whose files are differentiated once use this (``TAAFS_EXPORT=plain`` otherwise).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from taafs_plugins.activations.shapes import PiecewiseBasis, PolynomialBasis

# Below it the cost of calling an operator counts, above it that of going over the elements.
FEW = 16384


class FoldedPolynomial(nn.Module):
    """Value and slope of a polynomial in u.

    Parameters
    ----------
    c : [n], or [C, n] with a polynomial for each entry of the last axis of u; monomial coefficients, lowest first
    dtype : of the constants
    """

    def __init__(self, c: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__()
        slope = np.zeros_like(c)
        slope[..., :-1] = c[..., 1:] * np.arange(1, c.shape[-1])
        self.width: int = c.shape[0] if c.ndim == 2 else 0
        # [n, 2 (value, slope), 1, C or 1]
        rows = np.stack([c, slope]).reshape(2, max(self.width, 1), -1)
        self.rows: list[torch.Tensor] = _tensors(np.moveaxis(rows, -1, 0)[:, :, None], dtype)
        self.value: list[float] = c.flatten().tolist()
        self.slope: list[float] = slope.flatten()[:-1].tolist()
        self.few: int = FEW

    def forward(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """v [..., C] without gradient -> value, slope, of its shape."""
        if self.width == 0 and v.numel() > self.few:
            return self.sweep(v, self.value), self.sweep(v, self.slope)
        flat = v.reshape(-1, max(self.width, 1))
        rows = _as(self.rows, v)
        both = rows[-1].expand(2, flat.shape[0], flat.shape[1]) if len(rows) == 1 else torch.addcmul(rows[-2], rows[-1], flat)
        for m in range(len(rows) - 3, -1, -1):
            both = torch.addcmul(rows[m], both, flat)
        value, slope = both.reshape([2] + v.shape).unbind(0)
        return value, slope

    def sweep(self, v: torch.Tensor, c: list[float]) -> torch.Tensor:
        """Horner's rule in one array."""
        y = v * c[-1] if len(c) > 1 else torch.zeros_like(v)
        for m in range(len(c) - 2, 0, -1):
            y.add_(c[m]).mul_(v)
        return y.add_(c[0])


class FoldedPieces(nn.Module):
    """Value and slope of a piecewise polynomial on equal intervals of [-1, 1]; see :class:`PiecewiseBasis`.

    Parameters
    ----------
    table : [intervals, terms] or [C, intervals, terms], powers of the local coordinate, lowest first
    dtype : of the constants
    """

    def __init__(self, table: np.ndarray, dtype: torch.dtype) -> None:
        super().__init__()
        self.width: int = table.shape[0] if table.ndim == 3 else 0
        self.pieces: int = table.shape[-2]
        self.terms: int = table.shape[-1]
        self.half: float = 0.5 * self.pieces
        # the local coordinate is counted in u, so that the slope needs no factor
        powers = (table * self.half ** np.arange(self.terms)).reshape(-1, self.terms).T
        left = np.tile(np.arange(self.pieces) / self.half - 1.0, max(self.width, 1))
        self.table: list[torch.Tensor] = _tensors(np.concatenate([powers, left[None]]), dtype)

    def forward(self, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """v [..., C] without gradient -> value, slope, of its shape."""
        flat = v.reshape(-1)
        index = (flat * self.half).add_(self.half).to(torch.int64).clamp_(0, self.pieces - 1)
        if self.width > 0:
            index.add_((torch.arange(self.width, device=v.device) * self.pieces).repeat(v.numel() // self.width))
        table = _as(self.table, v)
        t = flat - table[self.terms].index_select(0, index)
        y = table[self.terms - 1].index_select(0, index)
        slope = y
        for m in range(self.terms - 2, -1, -1):  # Horner's rule and its derivative
            if m < self.terms - 2:
                slope = torch.addcmul(y, slope, t)
            y = torch.addcmul(table[m].index_select(0, index), y, t)
        return y.reshape(v.shape), slope.reshape(v.shape)


def _tensors(rows: np.ndarray, dtype: torch.dtype) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(row)).to(dtype) for row in rows]


def _as(rows: list[torch.Tensor], like: torch.Tensor) -> list[torch.Tensor]:
    """The constants in another dtype or on another device than they were written; calls are saved where they fit."""
    if rows[0].dtype == like.dtype and rows[0].device == like.device:
        return rows
    return [row.to(like) for row in rows]


def fold(module: nn.Module) -> tuple[nn.Module, bool] | None:
    """The folded curve of a TAAFS, its weight and, where it is the squash, its base included; and whether the base is in it.

    ``None`` for a basis that is not polynomial or piecewise polynomial.
    """
    basis = module.basis
    if type(basis) not in (PolynomialBasis, PiecewiseBasis):
        return None
    with torch.no_grad():
        theta = module.theta.detach().double().cpu().numpy()
        weights = None if module.weights is None else module.weights.detach().double().cpu().numpy()
    inside = module.with_base and module.base_is_squash
    # of the base, of the sum: numbers, or [C, 1]
    of_base, of_sum = (1.0, 1.0) if weights is None else (weights[..., :1], weights[..., 1:])
    theta = theta * of_sum
    if type(basis) is PolynomialBasis:
        c = theta @ basis.matrix
        if inside:
            if c.shape[-1] == 1:
                c = np.concatenate([c, np.zeros_like(c)], -1)
            c[..., 1:2] += of_base
        return FoldedPolynomial(c, module.delta.dtype), inside
    table = np.einsum("...k,kpm->...pm", theta, basis.tables)
    if inside:  # u = -1 + 2 (i + t) / intervals
        table[..., 0] += of_base * (2.0 * np.arange(basis.pieces) / basis.pieces - 1.0)
        table[..., 1] += of_base * (2.0 / basis.pieces)
    return FoldedPieces(table, module.delta.dtype), inside
