"""Every correctness test runs against every engine."""

import pytest

from taafs_plugins.activations.choice import ENGINES, use_engine


@pytest.fixture(params=ENGINES)
def engine(request):
    """One engine after the other."""
    use_engine(request.param)
    yield request.param
    use_engine(None)
