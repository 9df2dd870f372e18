"""Loaded by ``import deepmd.pt_expt`` through the entry-point group of the same name."""

import logging

from taafs_plugins.adapters import HostError
from taafs_plugins.adapters.deepmd import pt_expt

try:
    pt_expt.install()
except HostError as error:  # stock models must go on working
    logging.getLogger(__name__).warning("%s", error)
