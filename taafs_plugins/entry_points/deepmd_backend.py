"""Loaded by every ``dp`` command through the entry-point group ``deepmd.backend``: the check of input files.

Every backend's training reads its input through it, so that a spec under another backend than PyTorch is refused in one sentence.
"""

import importlib.util

from taafs_plugins.adapters import deepmd_input

if not importlib.util.find_spec("deepmd.utils.activation_plugins"):  # a source build with patches/deepmd calls the check itself
    deepmd_input.install()
