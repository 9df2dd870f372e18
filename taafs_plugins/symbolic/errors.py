"""The one error a user of X-Net meets for a wrong argument."""


class XNetError(ValueError):
    """A wrong argument of X-Net; the message is one sentence that says the way out."""
