"""The one error a user of X-Net meets for a wrong argument."""

from taafs_plugins.errors import TaafsError


class XNetError(TaafsError, ValueError):
    """A wrong argument of X-Net; the message is one sentence that says the way out."""
