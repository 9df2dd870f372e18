"""Loaded by every ``dp`` command through the entry-point group ``deepmd.backend``: the check of input files."""

from taafs_plugins.adapters import deepmd_input

deepmd_input.install()
