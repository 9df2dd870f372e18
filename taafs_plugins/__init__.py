"""Trainable activations (TAAFS) for the force-field codes people already use.

Names are imported when they are first asked for: ``taafs --help`` starts without torch.
"""

from __future__ import annotations

import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING

from taafs_plugins import moved as _moved

_moved.install()

if TYPE_CHECKING:
    from taafs_plugins import activations
    from taafs_plugins.activations import (
        TAAFS,
        SpecError,
        TrainableActivation,
        make_activation,
        parse_spec,
        register_basis,
        register_family,
        resolve_spec,
    )
    from taafs_plugins.adapters import HostError, adapter  # noqa: F401
    from taafs_plugins.coefficients import CoefficientFileError, load_coefficients, save_coefficients
    from taafs_plugins.conversion import convert, restore, sites
    from taafs_plugins.errors import TaafsError
    from taafs_plugins.training import (
        calibrate,
        check_gradients,
        check_optimizer,
        count_parameters,
        freeze_all_but_coefficients,
        parameter_groups,
        trainable_activations,
    )

# where each public name is defined
_HOMES = {
    "taafs_plugins.activations": (
        "TAAFS",
        "SpecError",
        "TrainableActivation",
        "make_activation",
        "parse_spec",
        "register_basis",
        "register_family",
        "resolve_spec",
    ),
    "taafs_plugins.adapters": ("HostError", "adapter"),
    "taafs_plugins.coefficients": ("CoefficientFileError", "load_coefficients", "save_coefficients"),
    "taafs_plugins.conversion": ("convert", "restore", "sites"),
    "taafs_plugins.errors": ("TaafsError",),
    "taafs_plugins.training": (
        "calibrate",
        "check_gradients",
        "check_optimizer",
        "count_parameters",
        "freeze_all_but_coefficients",
        "parameter_groups",
        "trainable_activations",
    ),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}
_PARTS = ("activations", "adapters", "coefficients", "conversion", "errors", "native", "training")

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from typing import Any

    import torch
    from ase import Atoms

    from taafs_plugins.md.export import Comparison

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    """A public name, imported now; later it is found without this function."""
    if name in _MODULES:
        value = getattr(_import_module(_MODULES[name]), name)
    elif name in _PARTS:
        value = _import_module(f"taafs_plugins.{name}")
    else:
        raise AttributeError(f"module 'taafs_plugins' has no attribute '{name}'")
    setattr(_sys.modules[__name__], name, value)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(_ModuleType):
    """``taafs_plugins.activations``: the package, and still the function of 0.1 that had the same name."""

    def __call__(self, model: torch.nn.Module) -> dict[str, TrainableActivation]:
        """The former name of :func:`taafs_plugins.training.trainable_activations`."""
        found: dict[str, TrainableActivation] = __getattr__("trainable_activations")(model)
        return found


class _Top(_ModuleType):
    """This package. Python sets each imported subpackage on it: then ``activations`` becomes what can be called, too.

    Programs written for 0.1 call ``taafs_plugins.activations(model)``, which then hid the package of that name.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "activations":
            value.__class__ = _Package
        super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Top


def enable(host: str) -> None:
    """Let a host's own config take specs, e.g. ``enable("chgnet")``. DeePMD-kit needs no call: it loads this package by itself.

    Raises
    ------
    HostError
        Unknown host, host not installed, or a version or code that was not tested; the host stays as it was.
    """
    from taafs_plugins.adapters import adapter

    adapter(host).register()


def disable(host: str) -> None:
    """Give back the stock host in this process."""
    from taafs_plugins.adapters import adapter

    adapter(host).unregister()


def export(
    model: torch.nn.Module | str | PathLike[str],
    path: str | PathLike[str],
    structures: Sequence[Atoms] | None = None,
    energy_unit: str | None = None,
    elements: Sequence[int | str] | None = None,
    dtype: str | None = None,
) -> Comparison:
    """Write a CHGNet, SchNetPack or TorchANI model for LAMMPS; see :func:`taafs_plugins.md.export.export`."""
    from taafs_plugins.md.export import export as write

    return write(model, path, structures, energy_unit, elements, dtype)


__all__ = [
    "CoefficientFileError",
    "HostError",
    "SpecError",
    "TAAFS",
    "TaafsError",
    "TrainableActivation",
    "activations",
    "calibrate",
    "check_gradients",
    "check_optimizer",
    "convert",
    "count_parameters",
    "disable",
    "enable",
    "export",
    "freeze_all_but_coefficients",
    "load_coefficients",
    "make_activation",
    "parameter_groups",
    "parse_spec",
    "register_basis",
    "register_family",
    "resolve_spec",
    "restore",
    "save_coefficients",
    "sites",
    "trainable_activations",
]
