"""The base of every error that says what a user can do: one sentence with the way out. The command line prints it without a traceback."""

from __future__ import annotations


class TaafsError(Exception):
    """A mistake or a limit that the message explains in one sentence, with the way out."""


def first_line(error: BaseException) -> str:
    """The first line of an error's text that is not empty; its kind where it has no text."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
