"""Loaded by ``import deepmd.dpmodel`` (the NumPy backend) through the entry-point group of the same name."""

import logging

from taafs_plugins.adapters import HostError
from taafs_plugins.adapters.deepmd import dpmodel

try:
    dpmodel.install()
except HostError as error:  # stock models must go on working
    logging.getLogger(__name__).warning("%s", error)
