"""The shapes that bases come in: polynomial, piecewise polynomial, Fourier, Gaussian, rational.

Each shape knows three things about its functions of u: the curve in plain operators (for scripting and export), the j-th
derivative of the curve (``evaluate``) and its adjoint (``project``). Nothing of shape [..., K] is kept. Formulas: de Boor 1978
(B-splines), TAAFS paper eq. 13 (Fourier, period 2 pi).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import nn

from taafs_plugins.activations.spec import SpecError


def _reduce(x: torch.Tensor, per_neuron: bool) -> torch.Tensor:
    """Sum over everything, or over all but the last axis when each neuron has its own coefficients."""
    return x.reshape(-1, x.shape[-1]).sum(0) if per_neuron else x.sum()


def _like(array: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(array, dtype=like.dtype, device=like.device)


def _constant(array: np.ndarray) -> torch.Tensor:
    """Float64 constants of a curve. A plain attribute, not a buffer: no state dict names it and ``module.float()`` cannot round it."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))


class Basis(ABC):
    """One basis at one size. Stateless; equal sizes are the same object.

    Attributes
    ----------
    numbers : int
        How many trainable numbers a curve has (K).
    linear : bool
        Whether the curve is linear in them. If not, only ``curve`` is used and autograd differentiates it.
    shape : str
        ``polynomial``, ``piecewise``, ``fourier``, ``gaussian`` or ``other``: which fused kernel can take it.
    """

    numbers: int
    linear = True
    shape = "other"

    @abstractmethod
    def curve(self) -> nn.Module:
        """A scriptable module ``forward(u, w)`` of plain operators, differentiable to any order by autograd.

        u has any shape [..., C]; w is [K], or [C, K] with one row per neuron. Returns the shape of u.
        """

    def evaluate(self, u: torch.Tensor, w: torch.Tensor, order: int) -> torch.Tensor:
        """d^order/du^order of ``sum_k w_k B_k(u)``, the shape of u. Not differentiable itself: the engine is."""
        raise NotImplementedError

    def project(self, u: torch.Tensor, h: torch.Tensor, order: int, per_neuron: bool) -> torch.Tensor:
        """``sum_i h_i B_k^(order)(u_i)``: [K], or [C, K] with ``per_neuron`` (the sum then leaves the last axis of u)."""
        raise NotImplementedError

    def functions(self, u: np.ndarray, order: int = 0) -> np.ndarray:
        """B_k^(order)(u) as a float64 array [len(u), K], for fits and plots."""
        if not self.linear:
            raise SpecError("This basis is not linear in its numbers.")
        ut = torch.as_tensor(u, dtype=torch.float64, device="cpu")
        eye = torch.eye(self.numbers, dtype=torch.float64, device="cpu")
        return np.stack([self.evaluate(ut, eye[k], order).numpy() for k in range(self.numbers)], axis=-1)


class _PolynomialCurve(nn.Module):
    def __init__(self, matrix: np.ndarray) -> None:
        super().__init__()
        self.matrix = _constant(matrix)

    def forward(self, u: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        c = torch.matmul(w, self.matrix.to(w)).unbind(-1)
        y = c[-1] + torch.zeros_like(u) if len(c) == 1 else torch.addcmul(c[-2], c[-1], u)
        for m in range(len(c) - 3, -1, -1):
            y = torch.addcmul(c[m], y, u)
        return y


class PolynomialBasis(Basis):
    """Polynomials given by monomial coefficients, ``matrix`` [K, degree + 1]. One Horner sweep evaluates them all."""

    shape = "polynomial"

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix
        self.numbers = matrix.shape[0]

    def _derivative(self, order: int) -> np.ndarray:
        m = self.matrix
        for _ in range(order):
            m = m[:, 1:] * np.arange(1, m.shape[1]) if m.shape[1] > 1 else np.zeros((m.shape[0], 1))
        return m

    def curve(self) -> nn.Module:
        return _PolynomialCurve(self.matrix)

    def evaluate(self, u: torch.Tensor, w: torch.Tensor, order: int) -> torch.Tensor:
        c = (w @ _like(self._derivative(order), w)).unbind(-1)
        y = c[-1].expand(u.shape)
        for m in range(len(c) - 2, -1, -1):
            y = torch.addcmul(c[m], y, u)
        return y

    def project(self, u: torch.Tensor, h: torch.Tensor, order: int, per_neuron: bool) -> torch.Tensor:
        matrix = self._derivative(order)
        moments = [_reduce(h, per_neuron)]
        for _ in range(matrix.shape[1] - 1):
            h = h * u
            moments.append(_reduce(h, per_neuron))
        return torch.stack(moments, -1) @ _like(matrix.T.copy(), u)


class _PiecewiseCurve(nn.Module):
    def __init__(self, tables: np.ndarray) -> None:
        super().__init__()
        self.pieces: int = tables.shape[1]
        self.terms: int = tables.shape[2]
        self.tables = _constant(tables.reshape(tables.shape[0], -1))

    def forward(self, u: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        x = (u + 1.0) * (0.5 * self.pieces)
        piece = torch.clamp(torch.floor(x.detach()), 0, self.pieces - 1)
        piece = torch.nan_to_num(piece, nan=0.0)
        t = x - piece
        index = piece.to(torch.int64)
        table = torch.matmul(w, self.tables.to(w))
        if w.dim() == 2:
            index = index + torch.arange(w.shape[0], device=u.device) * self.pieces
        table = table.reshape(-1, self.terms).t().contiguous()
        index = index.flatten()
        y = table[self.terms - 1].index_select(0, index).reshape(t.shape)
        for m in range(self.terms - 2, -1, -1):
            y = torch.addcmul(table[m].index_select(0, index).reshape(t.shape), y, t)
        return y


class PiecewiseBasis(Basis):
    """Piecewise polynomials on equal intervals of [-1, 1], ``tables`` [K, intervals, order + 1] in the local coordinate.

    Local coordinate t = (u + 1) * intervals / 2 - i, in [0, 1). A knot belongs to the interval on its right, u = 1 to the last.
    """

    shape = "piecewise"

    def __init__(self, tables: np.ndarray) -> None:
        self.tables = tables
        self.numbers, self.pieces, self.terms = tables.shape

    def _derivative(self, order: int) -> np.ndarray:
        t = self.tables
        for _ in range(order):
            t = t[..., 1:] * np.arange(1, t.shape[-1]) if t.shape[-1] > 1 else np.zeros((*t.shape[:2], 1))
        return t * (0.5 * self.pieces) ** order

    def _locate(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = (u + 1.0) * (0.5 * self.pieces)
        piece = torch.nan_to_num(torch.clamp(torch.floor(x), 0, self.pieces - 1), nan=0.0)
        return x - piece, piece.to(torch.int64)

    def curve(self) -> nn.Module:
        return _PiecewiseCurve(self.tables)

    def evaluate(self, u: torch.Tensor, w: torch.Tensor, order: int) -> torch.Tensor:
        tables = self._derivative(order)
        terms = tables.shape[-1]
        t, index = self._locate(u)
        if w.dim() == 2:
            index = index + torch.arange(w.shape[0], device=u.device) * self.pieces
        table = (w @ _like(tables.reshape(self.numbers, -1), w)).reshape(-1, terms).t().contiguous()
        index = index.flatten()  # index_select takes a quarter of take's time
        y = table[-1].index_select(0, index).reshape(t.shape)
        for m in range(terms - 2, -1, -1):
            y = torch.addcmul(table[m].index_select(0, index).reshape(t.shape), y, t)
        return y + 0.0 * u  # NaN in, NaN out also where the derivative is piecewise constant

    def project(self, u: torch.Tensor, h: torch.Tensor, order: int, per_neuron: bool) -> torch.Tensor:
        tables = self._derivative(order)
        t, index = self._locate(u)
        width = u.shape[-1] if per_neuron else 1
        if per_neuron:
            index = index + torch.arange(width, device=u.device) * self.pieces
        index = index.reshape(-1)
        sums = []
        for m in range(tables.shape[-1]):
            if m:
                h = h * t
            sums.append(torch.zeros(width * self.pieces, dtype=u.dtype, device=u.device).index_add_(0, index, h.reshape(-1)))
        moments = torch.stack(sums, -1).reshape(width, -1)
        out = moments @ _like(tables.reshape(self.numbers, -1).T.copy(), u)
        return out if per_neuron else out[0]


class _FourierCurve(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.n: int = n

    def forward(self, u: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return fourier_sum(u, w, self.n)


def fourier_sum(u: torch.Tensor, w: torch.Tensor, n: int) -> torch.Tensor:
    """w_0 + sum_k (w_{2k-1} cos ku + w_{2k} sin ku), by Horner's rule in exp(iu): one cosine and one sine. Scriptable."""
    c, s = torch.cos(u), torch.sin(u)
    w_k = w.unbind(-1)
    real, imag = w_k[2 * n - 1] * c + w_k[2 * n] * s, w_k[2 * n - 1] * s - w_k[2 * n] * c
    for k in range(n - 1, 0, -1):
        real, imag = (
            (real + w_k[2 * k - 1]) * c - (imag - w_k[2 * k]) * s,
            (real + w_k[2 * k - 1]) * s + (imag - w_k[2 * k]) * c,
        )
    return real + w_k[0]


class FourierBasis(Basis):
    """1, cos ku, sin ku for k = 1..n, in this order: 1, cos u, sin u, cos 2u, ... (paper eq. 13: argument ku)."""

    shape = "fourier"

    def __init__(self, n: int) -> None:
        self.n = n
        self.numbers = 2 * n + 1

    def _rotate(self, w: torch.Tensor, order: int, sign: float) -> torch.Tensor:
        """Coefficients of the derivative (sign +1), or of the adjoint of taking it (sign -1)."""
        k = torch.arange(1, self.n + 1, dtype=w.dtype, device=w.device)
        for _ in range(order):
            a, b = w[..., 1::2], w[..., 2::2]
            pairs = torch.stack([sign * k * b, -sign * k * a], -1).flatten(-2)
            w = torch.cat([torch.zeros_like(w[..., :1]), pairs], -1)
        return w

    def curve(self) -> nn.Module:
        return _FourierCurve(self.n)

    def evaluate(self, u: torch.Tensor, w: torch.Tensor, order: int) -> torch.Tensor:
        return fourier_sum(u, self._rotate(w, order, 1.0), self.n)

    def project(self, u: torch.Tensor, h: torch.Tensor, order: int, per_neuron: bool) -> torch.Tensor:
        sums = [_reduce(h, per_neuron)]
        for k in range(1, self.n + 1):
            sums += [_reduce(h * torch.cos(k * u), per_neuron), _reduce(h * torch.sin(k * u), per_neuron)]
        return self._rotate(torch.stack(sums, -1), order, -1.0)


class _GaussianCurve(nn.Module):
    def __init__(self, centres: list[float], width: float, hat: bool) -> None:
        super().__init__()
        self.centres: list[float] = centres
        self.inverse: float = 1.0 / width
        self.hat: bool = hat

    def forward(self, u: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        w_k = w.unbind(-1)
        y = torch.zeros_like(u)
        for k in range(len(self.centres)):
            t = (u - self.centres[k]) * self.inverse
            t2 = t * t
            if self.hat:
                y = y + w_k[k] * (1.0 - t2) * torch.exp(-0.5 * t2)
            else:
                y = y + w_k[k] * torch.exp(-t2)
        return y


class GaussianBasis(Basis):
    """``grid`` fixed uniform centres on [-1, 1], width h = spacing, t = (u - c_k) / h.

    ``hat=False``: exp(-t^2) (``grbf``). ``hat=True``: the Mexican hat (1 - t^2) exp(-t^2 / 2) (``wavelet``).
    """

    shape = "gaussian"

    def __init__(self, grid: int, hat: bool) -> None:
        self.numbers = grid
        self.hat = hat
        self.centres = np.linspace(-1.0, 1.0, grid)
        self.width = 2.0 / (grid - 1)

    def curve(self) -> nn.Module:
        return _GaussianCurve(self.centres.tolist(), self.width, self.hat)

    def _function(self, u: torch.Tensor, k: int, order: int) -> torch.Tensor:
        t = (u - float(self.centres[k])) / self.width
        # exp(-t^2) has derivatives (-1)^j H_j(t) exp(-t^2); the hat is -d2/dt2 exp(-t^2/2): -(-1)^j He_{j+2}(t) exp(-t^2/2).
        n, step = (order + 2, 1.0) if self.hat else (order, 2.0)
        before, poly = torch.zeros_like(t), torch.ones_like(t)
        for j in range(n):
            before, poly = poly, step * (t * poly - j * before)
        sign = (-1.0) ** order * (-1.0 if self.hat else 1.0) / self.width**order
        return sign * poly * torch.exp(-t * t * (0.5 if self.hat else 1.0))

    def evaluate(self, u: torch.Tensor, w: torch.Tensor, order: int) -> torch.Tensor:
        y = torch.zeros_like(u)
        for k, w_k in enumerate(w.unbind(-1)):
            y = torch.addcmul(y, w_k, self._function(u, k, order))
        return y

    def project(self, u: torch.Tensor, h: torch.Tensor, order: int, per_neuron: bool) -> torch.Tensor:
        return torch.stack([_reduce(h * self._function(u, k, order), per_neuron) for k in range(self.numbers)], -1)


class _RationalCurve(nn.Module):
    def __init__(self, num: int) -> None:
        super().__init__()
        self.num: int = num

    def forward(self, u: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        p = w.unbind(-1)
        top = p[self.num] * u + p[self.num - 1]
        for m in range(self.num - 2, -1, -1):
            top = top * u + p[m]
        low = p[len(p) - 1] * u
        for m in range(len(p) - 2, self.num, -1):
            low = (low + p[m]) * u
        return top / (1.0 + low * low)


class RationalBasis(Basis):
    """P(u) / (1 + Q(u)^2): P of degree ``num``, Q of degree ``den`` without constant. Order of the numbers: P's, then Q's."""

    linear = False
    shape = "rational"

    def __init__(self, num: int, den: int) -> None:
        self.num, self.den = num, den
        self.numbers = num + 1 + den

    def curve(self) -> nn.Module:
        return _RationalCurve(self.num)
