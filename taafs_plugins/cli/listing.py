"""``taafs families`` and ``taafs bases``: what a spec can name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.table import Table

SHOWN = 3  # which function of a basis is drawn
DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # of Braille
# u = squash(z / scale), in [-1, 1] for tanh; sources are in activations/taafs/bases.py
FUNCTIONS = {
    "bspline": "B-splines of degree order on grid equal intervals",
    "fourier": "1, cos(k u), sin(k u), k = 1 ... n",
    "grbf": "exp(-t^2), t = (u - c_k) / h: grid centres, h = their spacing",
    "legendre": "P_k(u), k = 0 ... degree",
    "hermite": "H_k(u) / max |H_k|, k = 0 ... degree",
    "chebyshev1": "T_k(u), k = 0 ... degree",
    "chebyshev2": "U_k(u), k = 0 ... degree",
    "bessel": "y_k(u) / max |y_k|, k = 0 ... degree",
    "jacobi": "P_k^(alpha, beta)(u), k = 0 ... degree",
    "rational": "P(u) / (1 + Q(u)^2), of degrees num and den",
    "wavelet": "(1 - t^2) exp(-t^2 / 2), t = (u - c_k) / h: grid centres",
}


def families() -> Table:
    """A row for each registered family: formula, numbers of a set and smoothness with its defaults, starts as stock, a picture."""
    from taafs_plugins.activations import family_names, find_family, make_activation

    table = _table("family", "formula", "numbers", "smooth", "starts as stock", "start")
    for name in family_names():
        family = find_family(name)
        act = make_activation(family.example or name, width=1)  # numbers of one set or one neuron
        numbers = sum(p.numel() for p in act.coefficients().values())
        start = "exactly" if family.exact_start(act.spec) else "no"
        table.add_row(
            *map(
                _plain,
                (
                    name,
                    family.formula,
                    str(numbers),
                    family.smoothness(act.spec),
                    start,
                    picture(act if act.width is None else lambda z: act(z[:, None])),
                ),
            )
        )
    table.caption = "Write one in a config: taafs:chebyshev1 or molu. Pictures: from -3 to 3, in the place of tanh"
    return table


def bases() -> Table:
    """A row for each registered basis: functions, own keys with their defaults, numbers of a set, smoothness, a picture of one function."""
    import torch

    from taafs_plugins.activations import basis_names, find_family, make_activation, resolve_spec
    from taafs_plugins.activations.taafs.bases import basis_kind

    table = _table("basis", "functions of u = squash(z / scale)", "keys", "numbers", "smooth", "one of them")
    for name in basis_names():
        kind = basis_kind(name)
        keys = ",".join(f"{key}={entry.default:g}" for key, entry in kind.keys.items())
        smooth = find_family("taafs").smoothness(resolve_spec(f"taafs:{name}"))
        functions = FUNCTIONS.get(name, "of another package")
        act = make_activation(f"taafs:{name},squash=linear")
        one = torch.zeros_like(act.theta_start)
        one[min(SHOWN, one.numel() - 1)] = 1.0
        act.theta_start.copy_(one)
        table.add_row(
            *map(
                _plain, (f"taafs:{name}", functions, keys, str(kind.build().numbers), smooth, picture(lambda u: act(u) - act.base(u), 1.0))
            )
        )
    return table


def picture(function: Callable[[Any], Any], span: float = 3.0, columns: int = 10, rows: int = 3) -> str:
    """A function of tensors from -span to span in Braille dots, 2 x 4 to a letter."""
    import torch

    with torch.no_grad():
        y = function(torch.linspace(-span, span, 2 * columns)).flatten()
    height = (y.max() - y).div(y.max() - y.min()).mul(4 * rows - 1).round().int().tolist()
    cells = [[0] * columns for _ in range(rows)]
    for x, down in enumerate(height):
        cells[down // 4][x // 2] |= DOTS[down % 4][x % 2]
    return "\n".join("".join(chr(0x2800 + cell) for cell in row) for row in cells)


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")  # a narrow terminal wraps and cuts nothing off
    return table


def _plain(text: str):
    from rich.text import Text

    return Text(text)  # square brackets are no markup
