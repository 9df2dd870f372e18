"""The ``taafs`` command; :mod:`taafs_plugins.cli.main` holds its subcommands."""

from taafs_plugins.cli.main import app

__all__ = ["app"]
