"""Writing files so that a full disk, an error or a kill leaves the old one as it was."""

from __future__ import annotations

import errno
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taafs_plugins.errors import TaafsError

_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO)


class WriteError(TaafsError, OSError):
    """A file that could not be written whole; the message is one sentence, and the old file is as it was."""


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside ``path``, of the same name, to write to; it takes its place when the block ends well, else nothing is changed.

    Raises
    ------
    WriteError
        There is no such folder, it cannot be written, ``path`` is a folder itself, or the disk is full.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    if target.is_dir():
        raise WriteError(f"{path} is a folder; name a file to write.")
    if not target.parent.is_dir():
        raise WriteError(f"There is no folder {target.parent}; make it first.")
    try:
        work = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.")
    except OSError as error:
        raise WriteError(f"{path} cannot be written ({error.strerror}); name a file in a folder of yours.") from None
    with work as folder:
        written = Path(folder) / target.name
        try:
            yield written
            os.replace(written, target)
        except OSError as error:
            if isinstance(error, TaafsError) or error.errno not in _FULL:
                raise
            raise WriteError(f"{path} could not be written whole ({error.strerror}); is the disk full? Nothing was replaced.") from None


def save(content: Any, path: str | os.PathLike) -> None:
    """``torch.save``, which by itself ends the process where the disk is full.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    import torch

    with io.BytesIO() as whole:
        torch.save(content, whole)
        Path(path).write_bytes(whole.getvalue())
