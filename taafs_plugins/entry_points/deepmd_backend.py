"""Loaded by every ``dp`` command through the entry-point group ``deepmd.backend``: the check of input files.

Every backend's training reads its input through it, so that a spec under another backend than PyTorch is refused in one sentence.
"""

import importlib.util
import logging

from taafs_plugins.adapters import HostError, adapter
from taafs_plugins.adapters.deepmd import input as deepmd_input

if importlib.util.find_spec("deepmd.utils.activation_plugins"):  # a source build with patches/deepmd calls the check itself
    try:
        adapter("deepmd").register()
    except HostError as error:  # stock models must go on working
        logging.getLogger(__name__).warning("%s", error)
else:
    deepmd_input.install()
