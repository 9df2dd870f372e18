"""Writing files so that a full disk, an error or a kill leaves the old one as it was."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A path beside ``path``, of the same name, to write to; it takes its place when the block ends well, else nothing is changed.

    Raises
    ------
    OSError
        The folder does not exist or cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays a link
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        written = Path(folder) / target.name
        yield written
        os.replace(written, target)
