"""CHGNet takes specs in all of these tests, and is stock again after them."""

import pytest

from taafs_plugins.adapters import adapter


@pytest.fixture(autouse=True)
def enabled():
    """The adapter, registered."""
    chgnet = adapter("chgnet")
    chgnet.register()
    yield chgnet
    chgnet.unregister()
