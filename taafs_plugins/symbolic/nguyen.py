"""The Nguyen problems, the symbolic regression benchmark of the paper, with their standard sampling."""

from __future__ import annotations

import numpy as np
import sympy

from taafs_plugins.symbolic.errors import XNetError

# expression, variables, samples, (low, high) of every variable: DESIGN.md, after Uy et al. 2011
NGUYEN = {
    1: ("x**3 + x**2 + x", 1, 20, (-1, 1)),
    2: ("x**4 + x**3 + x**2 + x", 1, 20, (-1, 1)),
    3: ("x**5 + x**4 + x**3 + x**2 + x", 1, 20, (-1, 1)),
    4: ("x**6 + x**5 + x**4 + x**3 + x**2 + x", 1, 20, (-1, 1)),
    5: ("sin(x**2)*cos(x) - 1", 1, 20, (-1, 1)),
    6: ("sin(x) + sin(x + x**2)", 1, 20, (-1, 1)),
    7: ("log(x + 1) + log(x**2 + 1)", 1, 20, (0, 2)),
    8: ("sqrt(x)", 1, 20, (0, 4)),
    9: ("sin(x) + sin(y**2)", 2, 100, (0, 1)),
    10: ("2*sin(x)*cos(y)", 2, 100, (0, 1)),
    11: ("x**y", 2, 100, (0, 1)),
    12: ("x**4 - x**3 + y**2/2 - y", 2, 100, (0, 1)),
}


def truth(number: int) -> sympy.Expr:
    """The expression of a Nguyen problem in x and y.

    Raises
    ------
    XNetError
        A number outside 1 to 12.
    """
    if number not in NGUYEN:
        raise XNetError(f"There is no Nguyen-{number}: choose 1 to 12.")
    return sympy.sympify(NGUYEN[number][0], locals={"x": sympy.Symbol("x"), "y": sympy.Symbol("y")})


def sample(number: int, rng: np.random.Generator, samples: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Points drawn uniformly from the problem's domain.

    Parameters
    ----------
    number : 1 to 12
    rng : generator
    samples : how many; the benchmark's own number if None

    Returns
    -------
    X of shape (samples, variables), y of shape (samples,), float64
    """
    expression = truth(number)
    _, variables, standard, (low, high) = NGUYEN[number]
    x = rng.uniform(low, high, (samples or standard, variables))
    function = sympy.lambdify(sympy.symbols("x y")[:variables], expression, "numpy")
    return x, function(*x.T)
