"""Test suites that a family or a host inherits, and small helpers for tests; for pytest, never imported by the package itself.

A new family subclasses :class:`~taafs_plugins.testing.families.FamilySuite`, a new host
:class:`~taafs_plugins.testing.hosts.HostSuite`, each with what only it can say: its specs and counts, a small model.
"""

import pytest

pytest.register_assert_rewrite("taafs_plugins.testing.families", "taafs_plugins.testing.hosts", "taafs_plugins.testing.states")

from taafs_plugins.testing.families import FamilySuite  # noqa: E402
from taafs_plugins.testing.helpers import derivative_of, fresh, randomise  # noqa: E402
from taafs_plugins.testing.hosts import HostSuite  # noqa: E402

__all__ = ["FamilySuite", "HostSuite", "derivative_of", "fresh", "randomise"]
