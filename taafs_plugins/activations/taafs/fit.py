"""Least-squares fit of the bare sum to a stock activation (``residual=none,init=fit``)."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from taafs_plugins.activations.taafs.shapes import Basis, RationalBasis
from taafs_plugins.activations.taafs.squash import squash

KIND = {"dtype": torch.float64, "device": "cpu"}


def fit(basis: Basis, squash_kind: str, scale: float, target: nn.Module, span: float = 6.0) -> tuple[np.ndarray, float]:
    """Numbers of the bare sum closest to ``target`` on |z| <= ``span``.

    The points are uniform in z and, so that the middle counts too, at Chebyshev points of the squashed range.

    Returns
    -------
    numbers : float64 array [K]
    error : the largest deviation on the points
    """
    reach = float(squash(torch.tensor(span / scale, **KIND), squash_kind))
    reach = min(reach, 1.0) if squash_kind != "linear" else 1.0
    u = torch.as_tensor(np.cos(np.linspace(0, np.pi, 2001)) * reach, **KIND)
    z = torch.cat([torch.linspace(-span, span, 2001, **KIND), unsquash(u, squash_kind) * scale])
    with torch.no_grad():
        y = copy.deepcopy(target).to(**KIND)(z).numpy()
        u = squash(z / scale, squash_kind).numpy()
    if isinstance(basis, RationalBasis):
        numbers = np.zeros(basis.numbers)
        numbers[: basis.num + 1] = np.linalg.lstsq(np.vander(u, basis.num + 1, increasing=True), y, rcond=None)[0]
    else:
        numbers = np.linalg.lstsq(basis.functions(u), y, rcond=None)[0]
    with torch.no_grad():
        curve = basis.curve()(torch.from_numpy(u), torch.from_numpy(numbers)).numpy()
    return numbers, float(np.abs(curve - y).max())


def unsquash(u: torch.Tensor, kind: str) -> torch.Tensor:
    """z with squash(z) = u, for |u| < 1."""
    if kind == "tanh":
        return torch.atanh(u)
    if kind == "softsign":
        return u / (1 - u.abs())
    if kind == "algebraic":
        return u / torch.sqrt(1 - u * u)
    return u
