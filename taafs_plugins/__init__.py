"""Trainable activations (TAAFS) for the force-field codes people already use."""

from taafs_plugins.activations import SpecError, TAAFS, make_activation, parse_spec, register_basis, register_family, resolve_spec

__version__ = "0.1.0"
__all__ = ["SpecError", "TAAFS", "make_activation", "parse_spec", "register_basis", "register_family", "resolve_spec"]
