"""What commands may write: never over an input, over an existing file only with ``--overwrite``, never over what they did not make."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

from taafs_plugins.errors import TaafsError

DEMO_MARK = ".taafs-demo"


class OutputError(TaafsError, OSError):
    """A place that a command does not write to; the message is one sentence with the way out."""


class OptionError(TaafsError, ValueError):
    """A value that an option does not take; the message is one sentence with the way out."""


def check_output(path: Path, overwrite: bool, *inputs: Path) -> None:
    """Whether a command may write ``path``.

    Raises
    ------
    OutputError
        It is one of the inputs, a folder, lies in no folder, or exists and ``overwrite`` is False.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file to write.")
    if not path.parent.is_dir():
        raise OutputError(f"There is no folder {path.parent}; make it first.")
    if not path.exists():
        return
    if any(source.exists() and os.path.samefile(source, path) for source in inputs):
        raise OutputError(f"{path} is the file that is read; name another file to write.")
    if not overwrite:
        raise OutputError(f"{path} exists already; name another file, or let it be replaced with --overwrite.")


def check_number(option: str, value: float, above: float = -math.inf) -> None:
    """Whether an option is a finite number above a limit.

    Raises
    ------
    OptionError
        It is not.
    """
    if not (math.isfinite(value) and value > above):
        raise OptionError(f"{option} {value:g} must be a number above {above:g}.")


def check_demo_folder(folder: Path, overwrite: bool) -> None:
    """Whether a demo may use ``folder``: one that does not exist, is empty, or holds a demo that may be replaced.

    Raises
    ------
    OutputError
        Anything else.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; name a folder with --output.")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / DEMO_MARK).is_file():
        raise OutputError(f"{folder} holds files that no demo made, and stays as it is; name another folder with --output.")
    if not overwrite:
        raise OutputError(f"{folder} holds an earlier demo; let it be replaced with --overwrite, or name another folder with --output.")


def demo_folder(folder: Path, overwrite: bool, made: tuple[str, ...]) -> None:
    """Make ``folder`` ready for a demo; of an earlier one only ``made``, the files and folders that a demo makes, is removed.

    Raises
    ------
    OutputError
        As :func:`check_demo_folder`.
    """
    check_demo_folder(folder, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DEMO_MARK).write_text("Made by taafs demo, which may replace it: taafs demo --overwrite.\n")
    for name in made:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
