"""Fixtures of the DeePMD-kit tests."""

import sys
from pathlib import Path

import pytest
import quick_lmp

from taafs_plugins.experiments import lammps

sys.path.insert(0, str(Path(__file__).parent))

from conftest_deepmd import small_held_out, small_water, trained, water  # noqa: E402, F401


@pytest.fixture(scope="session", autouse=True)
def lmp_starts_at_once():
    """LAMMPS runs of this package start the program itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lammps, "command", quick_lmp.command)
        yield
