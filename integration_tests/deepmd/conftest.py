"""Fixtures of the DeePMD-kit tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from conftest_deepmd import small_held_out, small_water, trained, water  # noqa: E402, F401
