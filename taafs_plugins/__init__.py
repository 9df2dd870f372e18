"""Trainable activations (TAAFS) for the force-field codes people already use."""

from __future__ import annotations

import sys as _sys
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING

from taafs_plugins import moved as _moved

_moved.install()

from taafs_plugins import activations  # noqa: E402
from taafs_plugins.activations import (  # noqa: E402
    TAAFS,
    SpecError,
    TrainableActivation,
    make_activation,
    parse_spec,
    register_basis,
    register_family,
    resolve_spec,
)
from taafs_plugins.adapters import HostError, adapter  # noqa: E402
from taafs_plugins.coefficients import CoefficientFileError, load_coefficients, save_coefficients  # noqa: E402
from taafs_plugins.conversion import convert, restore, sites  # noqa: E402
from taafs_plugins.errors import TaafsError  # noqa: E402
from taafs_plugins.training import (  # noqa: E402
    calibrate,
    check_gradients,
    check_optimizer,
    count_parameters,
    freeze_all_but_coefficients,
    parameter_groups,
    trainable_activations,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    import torch
    from ase import Atoms

    from taafs_plugins.md.export import Comparison

__version__ = "0.2.0"


class _Package(_ModuleType):
    """``taafs_plugins.activations``: the package, and still the function of 0.1 that had the same name."""

    def __call__(self, model: torch.nn.Module) -> dict[str, TrainableActivation]:
        """The former name of :func:`trainable_activations`."""
        return trainable_activations(model)


# Programs written for 0.1 call taafs_plugins.activations(model), which then hid the package of that name.
_sys.modules["taafs_plugins.activations"].__class__ = _Package


def enable(host: str) -> None:
    """Let a host's own config take specs, e.g. ``enable("chgnet")``. DeePMD-kit needs no call: it loads this package by itself.

    Raises
    ------
    HostError
        Unknown host, host not installed, or a version or code that was not tested; the host stays as it was.
    """
    adapter(host).register()


def disable(host: str) -> None:
    """Give back the stock host in this process."""
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
