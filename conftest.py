"""Shared by all tests: one thread, real data from the mirror folder next to the checkout when it is there, and readers of stored files."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
MIRROR = Path(__file__).resolve().parent.parent / "shared" / "data"
if "TAAFS_DATA_MIRROR" not in os.environ and MIRROR.is_dir():
    os.environ["TAAFS_DATA_MIRROR"] = str(MIRROR)
sys.path.insert(0, str(Path(__file__).resolve().parent / "tests" / "stored"))

import pytest  # noqa: E402  after the environment is set

from taafs_plugins.activations import registry  # noqa: E402
from taafs_plugins.activations.taafs import bases  # noqa: E402


@pytest.fixture(autouse=True)
def registries_stay():
    """What a test registers is forgotten after it: tests of one process must not depend on their order."""
    families, known = dict(registry._FAMILIES), dict(bases._REGISTRY)
    yield
    for now, before in ((registry._FAMILIES, families), (bases._REGISTRY, known)):
        now.clear()
        now.update(before)
