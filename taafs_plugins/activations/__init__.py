"""The core: specs, families, bases, engines and the trainable activation modules. It knows no host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import families as _families  # noqa: F401 - registers them
from taafs_plugins.activations.base import Place, TrainableActivation
from taafs_plugins.activations.choice import use_engine
from taafs_plugins.activations.registry import Family, family_names, find_family, register_family
from taafs_plugins.activations.repair import repaired
from taafs_plugins.activations.spec import Spec, SpecError, split
from taafs_plugins.activations.stock import fixed_names
from taafs_plugins.activations.taafs import TAAFS
from taafs_plugins.activations.taafs.bases import basis_names, register_basis
from taafs_plugins.activations.taafs.engine import evaluate, project
from taafs_plugins.activations.taafs.shapes import Basis


def parse_spec(text: str | Spec) -> Spec:
    """Read a spec such as ``"taafs:bspline,grid=7"``; a :class:`Spec` is given back as it is.

    >>> parse_spec("taafs:bspline,grid=7")["grid"]
    7
    >>> parse_spec("taafs:bsplin")
    Traceback (most recent call last):
    taafs_plugins.activations.spec.SpecError: Unknown basis 'bsplin'. Did you mean 'bspline'? Known: bspline, ...

    Returns
    -------
    Spec with only the keys that the text sets; ``parse_spec(str(spec)) == spec``

    Raises
    ------
    SpecError
        (a ``ValueError``) with the nearest valid spelling and the allowed values.
    """
    if isinstance(text, Spec):
        return text
    if not isinstance(text, str):
        name = "None" if text is None else type(text).__name__
        raise SpecError(f"A spec is a string such as 'taafs:chebyshev1', not {name}; for a stock activation none is needed.")
    return _parsed(text)


@lru_cache(maxsize=128)  # hosts hand the same text to every layer
def _parsed(text: str) -> Spec:
    try:
        return _read(text)
    except SpecError:
        if hint := suggestion(text):
            raise SpecError(f"'{text}' is no spec. Did you mean '{hint}'?") from None
        raise


def _read(text: str) -> Spec:
    family, variant, pairs = split(text)
    if family in fixed_names() and family not in family_names():
        raise SpecError(
            f"'{family}' is a stock activation and no spec; write 'taafs:chebyshev1,base={family}' to train a curve on top of it."
        )
    return find_family(family).parse(text, variant, pairs)


def suggestion(text: str) -> str:
    """The spec that a text was probably meant to be, or an empty string: ``chebyshev1`` alone, ``;`` or blanks for commas, quotes.

    >>> suggestion("chebyshev1; degree=5")
    'taafs:chebyshev1,degree=5'
    """
    return repaired(text, _read)


def is_spec(text: Any) -> bool:
    """Whether a config's value is meant for this package: its first word is a registered family, right or wrong after it."""
    if not isinstance(text, str):
        return False
    head = text.strip().lower().split(",")[0].split(":")[0].strip()
    return head in family_names()


def resolve_spec(text: str | Spec, defaults: Mapping[str, Any] | None = None) -> Spec:
    """The spec with every key set, a host's ``defaults`` before the general ones.

    >>> str(resolve_spec("taafs:fourier", {"rate": 10.0}))
    'taafs:fourier,n=4,share=layer,residual=plain,squash=tanh,scale=1,init=zero,rate=10'

    Raises
    ------
    SpecError
        As :func:`parse_spec`.
    """
    spec = parse_spec(text)
    return find_family(spec.family).resolve(spec, defaults)


def make_activation(
    spec: str | Spec,
    replaces: str | Callable[..., Any] | nn.Module = "tanh",
    width: int | None = None,
    defaults: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> TrainableActivation:
    """A trainable activation as an ``nn.Module``.

    Parameters
    ----------
    spec : for example ``"taafs:bspline,grid=5"`` or ``"molu"``
    replaces : the stock activation (name, function or module) in whose place it stands
    width : size of the last axis of its inputs, only for ``share=neuron``
    defaults : a host's defaults for keys that the spec leaves out
    dtype, device : of the coefficients; default: torch's

    Raises
    ------
    SpecError
        A spec that cannot be used, ``share=neuron`` without ``width``, or a width, dtype or device that there is not.

    Examples
    --------
    >>> act = make_activation("taafs:bspline,grid=5", replaces="silu")
    >>> z = torch.linspace(-3, 3, 7)
    >>> torch.equal(act(z), torch.nn.functional.silu(z))  # theta = 0: the stock activation to the last bit
    True
    """
    resolved = resolve_spec(spec, defaults)
    _check_place(width, dtype, device)
    return find_family(resolved.family).build(resolved, Place(replaces, width, dtype, device))


def _check_place(width: Any, dtype: Any, device: Any) -> None:
    if width is not None and (not isinstance(width, int) or isinstance(width, bool) or width < 1):
        raise SpecError(f"width={width!r} is no number of neurons; give the size of the last axis, such as width=64.")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise SpecError(f"dtype={dtype!r} is no floating-point type of torch; write for example dtype=torch.float64.")
    try:
        torch.device(device or "cpu")
    except (RuntimeError, TypeError):
        raise SpecError(f"device={device!r} is unknown to torch; write for example device='cpu' or device='cuda:0'.") from None


__all__ = [
    "TAAFS", "Basis", "Family", "Place", "Spec", "SpecError", "TrainableActivation", "basis_names", "evaluate", "family_names", "is_spec",
    "make_activation", "parse_spec", "project", "register_basis", "register_family", "resolve_spec", "suggestion", "use_engine",
]  # fmt: skip
