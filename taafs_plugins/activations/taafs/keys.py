"""What a ``taafs`` spec can say: its variants (the bases) and its keys."""

from __future__ import annotations

from typing import Any

from taafs_plugins.activations.spec import Key, Spec, SpecError, choice, common_keys, integer, number, numbers, scale_key, with_default
from taafs_plugins.activations.taafs.bases import basis_kind
from taafs_plugins.activations.taafs.squash import KINDS

DEFAULT_BASIS = "bspline"
RESIDUALS = ("plain", "none", "scaled")
INITS = ("zero", "fit", "random")


def keys(basis: str | None) -> dict[str, Key]:
    """All keys that ``taafs:<basis>`` takes: the basis's own, then those of every basis, in the order they are printed.

    ``weights`` are the two numbers of ``residual=scaled``; ``sigma`` is the measured scale of ``scale=auto``.

    Raises
    ------
    SpecError
        Unknown basis.
    """
    common = common_keys()
    return {
        **basis_kind(basis or DEFAULT_BASIS).keys,
        "base": common["base"],
        "share": common["share"],
        "residual": with_default(choice(*RESIDUALS), "plain"),
        "squash": with_default(choice(*KINDS), "tanh"),
        "scale": scale_key(),
        "init": choice(*INITS),
        "rate": common["rate"],
        "seed": integer(0, 2**31 - 1),
        "theta": common["theta"],
        "weights": numbers(),
        "sigma": number(0, open_low=True),
    }


def complete(options: dict[str, Any]) -> None:
    """The default of ``init`` depends on ``residual``."""
    options.setdefault("init", "fit" if options["residual"] == "none" else "zero")


def check(spec: Spec) -> None:
    """Keys that do not go together.

    Raises
    ------
    SpecError
        One sentence with the way out.
    """
    residual, init = spec.get("residual", "plain"), spec.get("init")
    if residual != "none" and init == "fit":
        raise SpecError(f"'{spec}': init=fit needs residual=none; with residual={residual} the sum starts at 0 and needs no fit.")
    if residual == "none" and init == "zero":
        raise SpecError(f"'{spec}': residual=none with init=zero is 0 everywhere and cannot train; use init=fit or init=random.")
    if spec.get("weights") is not None and residual != "scaled":
        raise SpecError(f"'{spec}': weights belong to residual=scaled.")
    if residual == "none" and init in (None, "fit") and spec.get("scale") == "auto" and spec.get("share") in ("network", "global"):
        raise SpecError(f"'{spec}': with scale=auto each site has its own scale, so that one fit cannot serve several; use share=layer.")


def exact_start(spec: Spec) -> bool:
    """Whether a network with this spec starts as exactly the stock one."""
    return spec.get("residual", "plain") == "plain" and spec.get("init") != "random"


def smoothness(spec: Spec) -> str:
    """How many derivatives are continuous: a B-spline of order p is C(p-1), ``softsign`` is C1, all else is analytic."""
    if spec.get("squash") == "softsign":
        return "C1"
    return f"C{spec.get('order', 3) - 1}" if spec.variant == "bspline" else "analytic"
