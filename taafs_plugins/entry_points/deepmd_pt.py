"""Loaded by ``import deepmd.pt`` through the entry-point group of the same name."""

import logging

from taafs_plugins.adapters import HostError, adapter

try:
    adapter("deepmd").register()
except HostError as error:  # stock models must go on working
    logging.getLogger(__name__).warning("%s", error)
