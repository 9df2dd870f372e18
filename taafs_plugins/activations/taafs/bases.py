"""The bases a TAAFS curve is summed from, by name: ``sum_k theta_k B_k(u)``, u in [-1, 1].

Formulas: Abramowitz & Stegun ch. 22 (orthogonal polynomials), Krall & Frink 1949 (Bessel polynomials), de Boor 1978 (B-splines).
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.polynomial import Polynomial, chebyshev, hermite, legendre

from taafs_plugins.activations.spec import Key, SpecError, integer, nearest, number, with_default
from taafs_plugins.activations.taafs.shapes import (
    Basis,
    FourierBasis,
    GaussianBasis,
    PiecewiseBasis,
    PolynomialBasis,
    RationalBasis,
)


def _largest(row: Polynomial) -> float:
    """max |row| on [-1, 1]: at an end or where the derivative vanishes."""
    inside = [r.real for r in row.deriv().roots() if abs(r.imag) < 1e-9 and abs(r.real) < 1] if row.degree() > 0 else []
    return float(np.abs(row(np.array([-1.0, 1.0, *inside]))).max())


def _scaled_rows(rows: list[Polynomial], degree: int, scale: bool) -> np.ndarray:
    matrix = np.zeros((degree + 1, degree + 1))
    for k, row in enumerate(rows):
        matrix[k, : len(row.coef)] = row.coef / (_largest(row) if scale else 1.0)
    return matrix


def _jacobi_rows(degree: int, a: float, b: float) -> list[Polynomial]:
    u = Polynomial([0.0, 1.0])
    rows = [Polynomial([1.0]), Polynomial([(a - b) / 2, (a + b + 2) / 2])]
    for n in range(2, degree + 1):  # Abramowitz & Stegun 22.7.1
        c = 2 * n + a + b
        lead = 2 * n * (n + a + b) * (c - 2)
        rows.append(((c - 1) * ((a * a - b * b) + c * (c - 2) * u) * rows[-1] - 2 * (n + a - 1) * (n + b - 1) * c * rows[-2]) / lead)
    return rows[: degree + 1]


def _bessel_rows(degree: int) -> list[Polynomial]:
    return [
        Polynomial([math.factorial(n + k) / (math.factorial(n - k) * math.factorial(k) * 2.0**k) for k in range(n + 1)])
        for n in range(degree + 1)
    ]


def _numpy_rows(degree: int, convert) -> list[Polynomial]:
    return [Polynomial(convert([0.0] * n + [1.0])) for n in range(degree + 1)]


def _chebyshev2_rows(degree: int) -> list[Polynomial]:
    # U_n = T'_{n+1} / (n + 1)
    return [Polynomial(chebyshev.cheb2poly([0.0] * (n + 1) + [1.0])).deriv() / (n + 1) for n in range(degree + 1)]


@cache
def cardinal_spline(order: int) -> np.ndarray:
    """The cardinal B-spline of degree ``order`` on [0, order + 1]: [order + 1 intervals, order + 1 powers of the local t]."""
    pieces = np.zeros((1, order + 1))
    pieces[0, 0] = 1.0
    for p in range(1, order + 1):  # N_p(x) = (x N_{p-1}(x) + (p + 1 - x) N_{p-1}(x - 1)) / p, de Boor's recursion
        new = np.zeros((p + 1, order + 1))
        t = np.zeros(order + 1)
        t[1] = 1.0
        for i in range(p + 1):
            for j, sign, constant in ((i, 1.0, float(i)), (i - 1, -1.0, float(p + 1 - i))):
                if 0 <= j < p:
                    new[i] += (constant * pieces[j] + sign * np.convolve(t, pieces[j])[: order + 1]) / p
        pieces = new
    return pieces


def spline_tables(grid: int, order: int) -> np.ndarray:
    """[grid + order functions, grid intervals, order + 1 powers]: uniform knots on [-1, 1] continued past both ends."""
    pieces = cardinal_spline(order)
    tables = np.zeros((grid + order, grid, order + 1))
    for k in range(grid + order):
        for i in range(grid):
            j = i - k + order
            if 0 <= j <= order:
                tables[k, i] = pieces[j]
    return tables


class BasisKind:
    """A registered basis: its name, its keys, and how to build it. Subclass-free: ``build(**options) -> Basis``."""

    def __init__(self, name: str, keys: dict[str, Key], build) -> None:
        self.name, self.keys, self._build = name, keys, cache(build)

    def build(self, **options) -> Basis:
        """The basis at the given size; keys that are left out take their defaults."""
        return self._build(**{key: options.get(key, entry.default) for key, entry in self.keys.items()})


# Monomials lose about 0.4 digits a degree: 12 leaves 1e-11 in float64 and 1e-3 in float32.
_DEGREE = {"degree": with_default(integer(1, 12), 7)}

_REGISTRY: dict[str, BasisKind] = {}


def register_basis(name: str, keys: dict[str, Key], build) -> None:
    """Add a basis that specs can name.

    Parameters
    ----------
    name : lower-case word used as ``taafs:<name>``
    keys : its own keys (see :mod:`taafs_plugins.activations.spec`), each with a default
    build : called with one value per key, returns a :class:`Basis`

    Raises
    ------
    ValueError
        The name is taken, not a lower-case word, or a key has no default.
    """
    if name in _REGISTRY:
        raise ValueError(f"A basis named '{name}' is already registered.")
    if not name.isidentifier() or name != name.lower():
        raise ValueError(f"'{name}' cannot name a basis: use one lower-case word.")
    if missing := [key for key, entry in keys.items() if entry.default is None]:
        raise ValueError(f"Basis '{name}': the keys {', '.join(missing)} need defaults.")
    _REGISTRY[name] = BasisKind(name, keys, build)


def basis_names() -> list[str]:
    """All registered bases, in the order they were registered."""
    return list(_REGISTRY)


def basis_kind(name: str) -> BasisKind:
    """The registered basis of this name.

    Raises
    ------
    SpecError
        Unknown name; the message gives the nearest one and the full list.
    """
    if name not in _REGISTRY:
        raise SpecError(f"Unknown basis '{name}'. {nearest(name, basis_names())}Known: {', '.join(basis_names())}.")
    return _REGISTRY[name]


def _register_polynomials(name: str, rows, scale: bool = False) -> None:
    register_basis(name, _DEGREE, lambda degree: PolynomialBasis(_scaled_rows(rows(degree), degree, scale)))


register_basis(
    "bspline",
    {"grid": with_default(integer(1, 64), 5), "order": with_default(integer(2, 7), 3)},
    lambda grid, order: PiecewiseBasis(spline_tables(grid, order)),
)
register_basis("fourier", {"n": with_default(integer(1, 16), 4)}, FourierBasis)
register_basis("grbf", {"grid": with_default(integer(2, 64), 8)}, lambda grid: GaussianBasis(grid, hat=False))
_register_polynomials("legendre", lambda d: _numpy_rows(d, legendre.leg2poly))
_register_polynomials("hermite", lambda d: _numpy_rows(d, hermite.herm2poly), scale=True)
_register_polynomials("chebyshev1", lambda d: _numpy_rows(d, chebyshev.cheb2poly))
_register_polynomials("chebyshev2", _chebyshev2_rows)
_register_polynomials("bessel", _bessel_rows, scale=True)
register_basis(
    "jacobi",
    {**_DEGREE, "alpha": with_default(number(-1, 20, open_low=True), 1.0), "beta": with_default(number(-1, 20, open_low=True), 1.0)},
    lambda degree, alpha, beta: PolynomialBasis(_scaled_rows(_jacobi_rows(degree, alpha, beta), degree, False)),
)
register_basis("rational", {"num": with_default(integer(1, 12), 5), "den": with_default(integer(1, 6), 2)}, RationalBasis)
register_basis("wavelet", {"grid": with_default(integer(2, 64), 8)}, lambda grid: GaussianBasis(grid, hat=True))
