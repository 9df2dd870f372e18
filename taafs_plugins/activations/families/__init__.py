"""Trainable activations of the literature beside TAAFS, one file each; importing this package registers them all."""

from taafs_plugins.activations.families import molu  # noqa: F401
