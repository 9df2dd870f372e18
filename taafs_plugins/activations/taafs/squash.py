"""Squash functions: the normalisation z -> u before the basis, with their derivatives.

Each squash gives ``u`` and the derivatives d^n u/dz^n for n = 1..5, written so that they stay finite for every finite z.
``tanh`` and ``algebraic`` are smooth; the second derivative of ``softsign`` jumps at 0 (one-sided value from the right);
``linear`` is for inputs that already lie in [-1, 1] and does nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

MAX_ORDER = 5
Orders = list[Callable[[], torch.Tensor]]


def squash(z: torch.Tensor, kind: str) -> torch.Tensor:
    """u = squash(z), elementwise; |u| <= 1 except for ``linear``. Scriptable.

    Parameters
    ----------
    z : floating tensor of any shape, already divided by the scale
    kind : ``tanh``, ``softsign``, ``algebraic`` or ``linear``
    """
    if kind == "tanh":
        return torch.tanh(z)
    elif kind == "softsign":
        # z / (1 + |z|) without inf / inf: 1 - 1 / (1 + |z|) carries the sign afterwards, losing digits near 0, so divide.
        # Not abs, whose derivative at 0 is 0: the second derivative there is that from the right, as in `derivatives`.
        return torch.where(torch.isinf(z), torch.sign(z), z / (1.0 + torch.where(z < 0, -z, z)))
    elif kind == "algebraic":
        # 1 + z^2 overflows at 1e30 in float32; the reciprocal form is used beyond |z| = 1.
        big = torch.abs(z) > 1.0
        inverse = torch.where(big, 1.0 / torch.where(big, z, torch.ones_like(z)), torch.zeros_like(z))
        small = torch.where(big, torch.zeros_like(z), z)
        outer = torch.sign(z) / torch.sqrt(1.0 + inverse * inverse)
        return torch.where(big, outer, small / torch.sqrt(1.0 + small * small))
    else:
        return z


def derivatives(z: torch.Tensor, u: torch.Tensor, kind: str, order: int) -> list[torch.Tensor]:
    """[du/dz, d2u/dz2, ...] up to ``order`` (at most 5), each of the shape of z.

    Raises
    ------
    NotImplementedError
        Above fifth order: nothing in a force field needs it.
    """
    if order > MAX_ORDER:
        raise NotImplementedError(f"Derivatives above order {MAX_ORDER} of an activation are not implemented.")
    every = {"tanh": _tanh, "softsign": _softsign, "algebraic": _algebraic}.get(kind, _linear)(z, u)
    return [every[n]() for n in range(order)]


def _tanh(z: torch.Tensor, u: torch.Tensor) -> Orders:
    u2 = u * u
    s = 1.0 - u2
    return [
        lambda: s,
        lambda: -2.0 * u * s,
        lambda: s * (6.0 * u2 - 2.0),
        lambda: s * u * (16.0 - 24.0 * u2),
        lambda: s * (16.0 + u2 * (-120.0 + 120.0 * u2)),
    ]


def _softsign(z: torch.Tensor, u: torch.Tensor) -> Orders:
    a = 1.0 / (1.0 + torch.abs(z))
    side = torch.where(z < 0, -torch.ones_like(z), torch.ones_like(z))
    return [
        lambda: a**2,
        lambda: -2.0 * side * a**3,
        lambda: 6.0 * a**4,
        lambda: -24.0 * side * a**5,
        lambda: 120.0 * a**6,
    ]


def _algebraic(z: torch.Tensor, u: torch.Tensor) -> Orders:
    c2 = 1.0 / (1.0 + z * z)  # 0 where z^2 overflows, as it should be
    c = torch.sqrt(c2)
    u2 = u * u
    return [
        lambda: c * c2,
        lambda: -3.0 * u * c2 * c2,
        lambda: (12.0 * u2 - 3.0 * c2) * c2 * c2 * c,
        lambda: u * (45.0 * c2 - 60.0 * u2) * c2**3,
        lambda: (45.0 * c2 * c2 - 540.0 * u2 * c2 + 360.0 * u2 * u2) * c2**3 * c,
    ]


def _linear(z: torch.Tensor, u: torch.Tensor) -> Orders:
    return [lambda: torch.ones_like(z)] + [lambda: torch.zeros_like(z)] * 4


KINDS = ("tanh", "softsign", "algebraic", "linear")


def chain(steps: list[torch.Tensor], order: int) -> list[torch.Tensor | None]:
    """Factors S_j with d^n f(u(z))/dz^n = sum_j S_j f^(j)(u), j = 0..n (Faa di Bruno), n = ``order`` <= 5.

    ``steps`` are the squash's derivatives. Entries that are zero are ``None``.
    """
    if order == 0:
        return [None]
    s = steps
    if order == 1:
        return [None, s[0]]
    if order == 2:
        return [None, s[1], s[0] ** 2]
    if order == 3:
        return [None, s[2], 3.0 * s[0] * s[1], s[0] ** 3]
    if order == 4:
        return [None, s[3], 4.0 * s[0] * s[2] + 3.0 * s[1] ** 2, 6.0 * s[0] ** 2 * s[1], s[0] ** 4]
    return [
        None,
        s[4],
        5.0 * s[0] * s[3] + 10.0 * s[1] * s[2],
        10.0 * s[0] ** 2 * s[2] + 15.0 * s[0] * s[1] ** 2,
        10.0 * s[0] ** 3 * s[1],
        s[0] ** 5,
    ]
