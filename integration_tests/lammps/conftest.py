"""Fixtures of the LAMMPS tests."""

import sys
from pathlib import Path

import pytest
import quick_lmp

from taafs_plugins.experiments import lammps
from taafs_plugins.native.lammps import build

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def plugin() -> Path:
    """The pair style is built before the first test, whichever that is."""
    return build()


@pytest.fixture(scope="session", autouse=True)
def lmp_starts_at_once():
    """LAMMPS runs of this package start the program itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lammps, "command", quick_lmp.command)
        yield
