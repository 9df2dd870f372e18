"""The examples in docstrings run, and give what they say."""

import doctest
import importlib

import pytest

MODULES = [
    "activations", "activations.formula", "activations.registry", "activations.spec", "activations.stock", "adapters.sites", "training",
]  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_in_docstrings_give_what_they_say(name):
    result = doctest.testmod(importlib.import_module(f"taafs_plugins.{name}"), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0 and result.failed == 0
