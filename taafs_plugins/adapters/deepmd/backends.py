"""Models that go from one of DeePMD-kit's backends to another (``dp convert-backend``): the trained curve goes along, or one sentence.

Every backend reads and writes the same description of a model, in which a layer's activation is a name: the spec with ``theta=...`` in
it. A backend that cannot compute it must not write it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

from taafs_plugins.activations import is_spec
from taafs_plugins.adapters.deepmd.activation import finished
from taafs_plugins.adapters.deepmd.compress import with_operator
from taafs_plugins.adapters.deepmd.input import InputError, activation_names
from taafs_plugins.adapters.patching import Patches

# modules below deepmd.backend whose backends compute specs -> what a file of theirs ends with. A .jax file keeps the names of the input,
# one for all layers, beside the weights: the trained numbers would be lost in it. A .hlo file holds the computation itself.
COMPUTE = {"pytorch": ".pth", "pt_expt": ".pte, .pt2", "jax": ".hlo", "dpmodel": ".dp or .yaml"}


def _backend(cls: type) -> str:
    return cls.__module__.split(".")[-1]


def _specs(data: Any) -> list[str]:
    found = (value for part, _ in activation_names(data) for value in part.values())
    return [value for value in found if is_spec(value)]


def _refusing(stock: Callable, backend: str) -> Callable:
    """``deserialize_hook``'s function, which writes no model with a spec where the spec's numbers would be lost."""

    @functools.wraps(stock)
    def write(model_file, data, *args, **kwargs):
        if _specs(data) and Path(model_file).suffix not in COMPUTE.get(backend, ""):
            raise InputError(
                f"{Path(model_file).name}: a file of '{backend}' with this ending cannot hold trained activations, and nothing was "
                f"written; files that can hold them end with {', '.join(COMPUTE.values())}."
            )
        return stock(model_file, data, *args, **kwargs)

    return write


def _taken_apart(work: Callable[[], Any], file: Any, command: str) -> Any:
    """Read a frozen file with ``work``; one sentence where it cannot be taken apart."""
    try:
        return with_operator(work, f"dp {command}")
    except RuntimeError as error:
        if isinstance(error, InputError) or "compress_data" not in str(error):
            raise
        raise InputError(f"dp {command}: {file} is compressed; take the file that dp freeze wrote.") from error


def _reading(stock: Callable) -> Callable:
    """PyTorch's ``serialize_hook``'s function, which says in one sentence what it cannot take apart."""

    @functools.wraps(stock)
    def read(model_file):
        return _taken_apart(lambda: stock(model_file), model_file, "convert-backend")

    return read


def changing_bias(stock: Callable) -> Callable:
    """``dp change-bias``, which writes a frozen model's curves in the form for forces, as ``dp freeze`` does."""

    @functools.wraps(stock)
    def change_bias(input_file, *args, **kwargs):
        with finished():
            return _taken_apart(lambda: stock(input_file, *args, **kwargs), input_file, "change-bias")

    return change_bias


def _writing(stock: Callable) -> Callable:
    """PyTorch's ``deserialize_hook``'s function, whose file is for forces."""

    @functools.wraps(stock)
    def write(model_file, data, *args, **kwargs):
        with finished():
            return stock(model_file, data, *args, **kwargs)

    return write


def _hooked(stock: property, wrap: Callable[[Callable], Callable]) -> property:
    return property(lambda backend: wrap(stock.fget(backend)))


def install(patches: Patches) -> None:
    """Patch what reads and writes models in every backend of DeePMD-kit."""
    from deepmd.backend.backend import Backend

    for cls in dict.fromkeys(Backend.get_backends().values()):
        if (name := _backend(cls)) not in COMPUTE or name == "jax":
            patches.replace(cls, "deserialize_hook", _hooked(cls.deserialize_hook, functools.partial(_refusing, backend=name)))
        elif name == "pytorch":
            patches.replace(cls, "serialize_hook", _hooked(cls.serialize_hook, _reading))
            patches.replace(cls, "deserialize_hook", _hooked(cls.deserialize_hook, _writing))
