"""TorchANI tests: no notice about its missing CUDA extensions, and specs registered only inside a test."""

import os

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")

import pytest  # noqa: E402

import taafs_plugins as taafs  # noqa: E402


@pytest.fixture
def enabled():
    """Specs in TorchANI's own builders, undone after the test."""
    taafs.enable("torchani")
    yield
    taafs.disable("torchani")


@pytest.fixture(scope="session")
def sets():
    """162 training, 18 validation and 180 test molecules of kernelforge with their AEVs."""
    from taafs_plugins.experiments import torchani

    return torchani.parts(limit=180)
