"""``python -m taafs_plugins``: the ``taafs`` command."""

from taafs_plugins.cli import app

app()
