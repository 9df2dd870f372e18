"""Trainable activations of the literature beside TAAFS, one file each; importing this package registers them all."""

from taafs_plugins.activations.families import adact, ahaf, elish, expression, leaf, melu, molu, pelu, prelu, swish  # noqa: F401
