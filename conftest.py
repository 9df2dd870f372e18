"""Shared by all tests: one thread, real data from the mirror folder next to the checkout when it is there, and readers of stored files."""

import os
import sys
from collections import Counter
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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Long files first, so that no worker is left alone with one at the end: integration tests, those of few (hence long) tests first.

    Of the tests marked ``long``, which are handed out one by one, pages are the longest.
    """
    count = Counter(item.path for item in items)
    core = Path(__file__).resolve().parent / "tests"
    items.sort(key=lambda item: (item.path.is_relative_to(core), "pages" not in item.path.parts, count[item.path], str(item.path)))
