"""The bases against an independent NumPy/SciPy evaluation of the textbook formulas."""

import numpy as np
import pytest
import scipy.interpolate
import scipy.optimize
import scipy.special
import torch

import taafs_plugins as taafs
from taafs_plugins.activations import basis_names
from taafs_plugins.activations.taafs.bases import basis_kind

DEGREE = 7
U = np.concatenate([np.linspace(-1, 1, 203), [-0.2, 0.2, 0.6]])
NUMBERS = {"bspline": 8, "fourier": 9, "grbf": 8, "wavelet": 8, "rational": 8}


def largest(function):
    """max |function| on [-1, 1], by a fine grid and a local search."""
    fine = np.linspace(-1, 1, 20001)
    at = fine[np.abs(function(fine)).argmax()]
    bounds = max(-1, at - 1e-3), min(1, at + 1e-3)
    found = scipy.optimize.minimize_scalar(lambda u: -abs(function(u)), bounds=bounds, method="bounded", options={"xatol": 1e-12})
    return max(-found.fun, *np.abs(function(np.array([-1.0, 1.0]))))


def scaled(rows):
    return [lambda u, f=f, top=largest(f): f(u) / top for f in rows]


def bessel_polynomial(n):
    return lambda u: sum(
        scipy.special.factorial(n + k) / (scipy.special.factorial(n - k) * scipy.special.factorial(k)) * (u / 2) ** k for k in range(n + 1)
    )


def textbook(name, grid=None, order=3, n=4, degree=DEGREE, alpha=1.0, beta=1.0):
    """The functions of a basis, written down again from their definitions."""
    if name == "bspline":
        grid = grid or 5
        h = 2 / grid
        knots = -1 + h * np.arange(-order, grid + order + 1)
        return [
            lambda u, k=k: np.nan_to_num(
                scipy.interpolate.BSpline.basis_element(knots[k : k + order + 2], extrapolate=False)(np.where(u == 1, 1 - 1e-15, u))
            )
            for k in range(grid + order)
        ]
    if name == "fourier":
        return [np.ones_like] + [f for k in range(1, n + 1) for f in (lambda u, k=k: np.cos(k * u), lambda u, k=k: np.sin(k * u))]
    if name in ("grbf", "wavelet"):
        grid = grid or 8
        h = 2 / (grid - 1)
        centres = -1 + h * np.arange(grid)
        if name == "grbf":
            return [lambda u, c=c: np.exp(-(((u - c) / h) ** 2)) for c in centres]
        return [lambda u, c=c: (1 - ((u - c) / h) ** 2) * np.exp(-(((u - c) / h) ** 2) / 2) for c in centres]
    functions = {
        "legendre": lambda n: lambda u: scipy.special.eval_legendre(n, u),
        "hermite": lambda n: lambda u: scipy.special.eval_hermite(n, u),
        "chebyshev1": lambda n: lambda u: scipy.special.eval_chebyt(n, u),
        "chebyshev2": lambda n: lambda u: scipy.special.eval_chebyu(n, u),
        "jacobi": lambda n: lambda u: scipy.special.eval_jacobi(n, alpha, beta, u),
        "bessel": bessel_polynomial,
    }[name]
    rows = [functions(k) for k in range(degree + 1)]
    return scaled(rows) if name in ("hermite", "bessel") else rows


@pytest.mark.parametrize("name", [n for n in basis_names() if n != "rational"])
def test_functions_are_those_of_the_textbook(name):
    basis = basis_kind(name).build()
    expected = np.stack([f(U) for f in textbook(name)], axis=-1)
    assert basis.numbers == NUMBERS.get(name, 8) == expected.shape[1]
    assert np.abs(basis.functions(U) - expected).max() < 1e-12


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("bspline", {"grid": 7, "order": 3}), ("bspline", {"grid": 3, "order": 2}), ("bspline", {"grid": 9, "order": 5}),
        ("fourier", {"n": 7}), ("grbf", {"grid": 5}), ("wavelet", {"grid": 11}), ("jacobi", {"degree": 5, "alpha": -0.5, "beta": 2.0}),
        ("chebyshev1", {"degree": 3}), ("chebyshev2", {"degree": 12}), ("legendre", {"degree": 10}), ("hermite", {"degree": 4}),
        ("bessel", {"degree": 9}),
    ],
)  # fmt: skip
def test_other_sizes_too(name, keys):
    basis = basis_kind(name).build(**keys)
    expected = np.stack([f(U) for f in textbook(name, **keys)], axis=-1)
    assert basis.numbers == expected.shape[1]
    assert np.abs(basis.functions(U) - expected).max() < 1e-12 * max(1.0, np.abs(expected).max())


def test_rational_is_a_quotient(engine):
    p, q = np.array([0.3, -0.2, 0.5, 0.1, -0.4, 0.2]), np.array([0.7, -0.6])
    theta = "/".join(map(repr, [*p.tolist(), *q.tolist()]))
    act = taafs.make_activation(f"taafs:rational,residual=none,init=random,theta={theta}", dtype=torch.float64)
    z = np.linspace(-3, 3, 101)
    u = np.tanh(z)
    expected = np.polynomial.polynomial.polyval(u, p) / (1 + np.polynomial.polynomial.polyval(u, [0, *q]) ** 2)
    assert np.abs(act(torch.tensor(z)).detach().numpy() - expected).max() < 1e-12


@pytest.mark.parametrize("name", [n for n in basis_names() if n != "rational"])
@pytest.mark.parametrize("squash", ["tanh", "softsign", "algebraic", "linear"])
def test_module_is_base_plus_textbook_sum(name, squash, engine):
    rng = np.random.default_rng(0)
    act = taafs.make_activation(f"taafs:{name},squash={squash},scale=1.7", replaces="silu", dtype=torch.float64)
    theta = rng.normal(size=act.delta.shape)
    act.delta.data = torch.tensor(theta)
    z = rng.uniform(-1.7, 1.7, 300) if squash == "linear" else rng.normal(size=300) * 3
    x = z / 1.7
    u = {"tanh": np.tanh(x), "softsign": x / (1 + np.abs(x)), "algebraic": x / np.sqrt(1 + x * x), "linear": x}[squash]
    expected = z * scipy.special.expit(z) + sum(t * f(u) for t, f in zip(theta, textbook(name), strict=True))
    assert np.abs(act(torch.tensor(z)).detach().numpy() - expected).max() < 1e-12 * max(1.0, np.abs(expected).max())


def test_fourier_can_follow_tanh_as_designed():
    act = taafs.make_activation("taafs:fourier,residual=none", replaces="tanh", dtype=torch.float64)
    assert act.fit_error < 1e-5


def test_a_fit_that_is_far_off_warns(caplog):
    act = taafs.make_activation("taafs:chebyshev1,residual=none", replaces="silu", dtype=torch.float64)
    assert act.fit_error > 1 and "is off by up to" in caplog.text
