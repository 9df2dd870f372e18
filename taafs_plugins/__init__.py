"""Trainable activations (TAAFS) for the force-field codes people already use."""

from taafs_plugins.activations import TAAFS, SpecError, make_activation, parse_spec, register_basis, register_family, resolve_spec
from taafs_plugins.adapters import HostError, adapter
from taafs_plugins.coefficients import CoefficientFileError, load_coefficients, save_coefficients
from taafs_plugins.conversion import (
    activations,
    calibrate,
    check_gradients,
    check_optimizer,
    convert,
    count_parameters,
    freeze_all_but_coefficients,
    parameter_groups,
    restore,
    sites,
)

__version__ = "0.1.0"


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


def export(model, path, structures=None, energy_unit=None, elements=None, dtype=None):
    """Write a CHGNet, SchNetPack or TorchANI model for LAMMPS; see :func:`taafs_plugins.md.export.export`."""
    from taafs_plugins.md.export import export as write

    return write(model, path, structures, energy_unit, elements, dtype)


__all__ = [
    "CoefficientFileError",
    "HostError",
    "SpecError",
    "TAAFS",
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
]
