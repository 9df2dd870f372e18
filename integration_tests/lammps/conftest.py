"""Fixtures of the LAMMPS tests."""

import sys
from pathlib import Path

import pytest

from taafs_plugins.native.lammps import build

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def plugin() -> Path:
    """The pair style is built before the first test, whichever that is."""
    return build()
