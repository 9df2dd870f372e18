"""What builds keep (:mod:`.operators`, :mod:`.formulas`, :mod:`.lammps`): listed and cleared. Only what a build makes is deleted."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import taafs_lammps
from taafs_plugins.native import lammps, operators
from taafs_plugins.native.formulas import library as formulas
from taafs_plugins.native.toolchain import BUILT, FAILED, LOCK, LOG, WORK, BuildError, lock

MADE = (BUILT, FAILED, LOG, operators.LIBRARY, formulas.LIBRARY, taafs_lammps.LIBRARY, lammps.PROCESSOR, LOCK)


@dataclass(frozen=True)
class Kept:
    """A folder of the cache.

    Attributes
    ----------
    folder : where it lies
    kind : ``fused kernels``, ``kernels of formulas`` or ``LAMMPS plugin``
    used : whether this environment (torch, LAMMPS, processor, sources) uses it
    state : ``built``, ``failed`` or ``incomplete``
    size : of its files, bytes; what links point to is not counted
    """

    folder: Path
    kind: str
    used: bool
    state: str
    size: int


def kept() -> Iterator[Kept]:
    """Every folder of the cache that a build made; kernels of formulas are used if they are those of the families imported by then.

    Raises
    ------
    BuildError
        There is no home folder.
    """
    try:
        plugin = taafs_lammps.plugin().parent
    except (PackageNotFoundError, RuntimeError):
        plugin = None
    kernels = operators.library_path().parent
    plugins = taafs_lammps.cache_folder()
    of_families = formulas.library_path(formulas.named_formulas()).parent
    for root, prefix, kind, library, used in (
        (operators.cache_folder(), "", "fused kernels", operators.LIBRARY, kernels),
        (operators.cache_folder(), formulas.PREFIX, "kernels of formulas", formulas.LIBRARY, of_families),
        (plugins, "", "LAMMPS plugin", taafs_lammps.LIBRARY, plugin),
    ):
        for folder in sorted(root.glob(f"{prefix}torch*")):
            if folder.is_dir() and re.fullmatch(rf"{prefix}torch[\w.+-]+-[0-9a-f]{{16}}", folder.name):
                state = "built" if (folder / library).is_file() else "failed" if (folder / FAILED).is_file() else "incomplete"
                yield Kept(folder, kind, folder == used, state, _size(folder))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def clear(entry: Kept) -> bool:
    """Delete what a build made in a folder, and the folder if nothing else is in it; False where a build is at work there."""
    if (entry.folder / LOCK).exists():
        try:
            with lock(entry.folder / LOCK, wait=False):
                _delete(entry.folder)
        except BuildError:
            return False
    else:
        _delete(entry.folder)
    if not any(entry.folder.iterdir()):
        entry.folder.rmdir()
    return True


def _delete(folder: Path) -> None:
    for path in folder.glob(f"{WORK}*"):
        shutil.rmtree(path, ignore_errors=True)
    for name in MADE:
        (folder / name).unlink(missing_ok=True)


def forget_failures() -> int:
    """Let failed builds be tried again; how many there were."""
    failed = [entry.folder / FAILED for entry in kept() if (entry.folder / FAILED).is_file()]
    for path in failed:
        path.unlink(missing_ok=True)
    return len(failed)
