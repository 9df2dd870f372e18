"""The base of every error that says what a user can do: one sentence with the way out. The command line prints it without a traceback."""

from __future__ import annotations


class TaafsError(Exception):
    """A mistake or a limit that the message explains in one sentence, with the way out."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not empty; its kind where it has no text."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def how_to_install(extras: str) -> str:
    """The command that brings an optional part. The package is on no index: it is installed from its checkout."""
    return f"in the checkout of taafs-plugins: pip install '.[{extras}]'"
