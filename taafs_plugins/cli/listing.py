"""``taafs families`` and ``taafs bases``: what a spec can name."""

from __future__ import annotations

from rich.table import Table

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
    """A row for each registered family: formula, trained numbers of a set and smoothness with its defaults, whether it starts as stock."""
    from taafs_plugins.activations import family_names, find_family, make_activation

    table = _table("family", "formula", "numbers", "smooth", "starts as stock")
    for name in family_names():
        family = find_family(name)
        act = make_activation(family.example or name, width=1)  # numbers of one set or one neuron
        numbers = sum(p.numel() for p in act.coefficients().values())
        start = "exactly" if family.exact_start(act.spec) else "no"
        table.add_row(*map(_plain, (name, family.formula, str(numbers), family.smoothness(act.spec), start)))
    table.caption = "Write one in a config: taafs:chebyshev1 or molu"
    return table


def bases() -> Table:
    """A row for each registered basis: functions, own keys with their defaults, numbers of a set, smoothness."""
    from taafs_plugins.activations import basis_names, find_family, resolve_spec
    from taafs_plugins.activations.taafs.bases import basis_kind

    table = _table("basis", "functions of u = squash(z / scale)", "keys", "numbers", "smooth")
    for name in basis_names():
        kind = basis_kind(name)
        keys = ",".join(f"{key}={entry.default:g}" for key, entry in kind.keys.items())
        smooth = find_family("taafs").smoothness(resolve_spec(f"taafs:{name}"))
        functions = FUNCTIONS.get(name, "of another package")
        table.add_row(*map(_plain, (f"taafs:{name}", functions, keys, str(kind.build().numbers), smooth)))
    return table


def _table(*headings: str) -> Table:
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")  # a narrow terminal wraps and cuts nothing off
    return table


def _plain(text: str):
    from rich.text import Text

    return Text(text)  # square brackets are no markup
