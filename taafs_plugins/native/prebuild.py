"""Make the libraries of :mod:`.prebuilt` for the torch at hand: ``scripts/prebuild``, which ``scripts/wheel`` runs for a wheel."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from taafs_plugins.native import operators, prebuilt, toolchain
from taafs_plugins.native.formulas import library as formulas

KERNELS = ("fused", "formulas")


def archs() -> tuple[str, ...]:
    """Code paths of this kind of processor; all of them compile on any of the kind."""
    return tuple(prebuilt.NEEDS) if prebuilt.x86() else ("baseline",)


def add(kernels: str, arch: str, into: Path = prebuilt.FOLDER) -> Path:
    """Build one library into the folder of prebuilt ones, in place of an older one, and return its path.

    Parameters
    ----------
    kernels : one of :data:`KERNELS`
    arch : one of :func:`archs`
    into : the folder of prebuilt libraries

    Notes
    -----
    The formulas are those of the families that are imported by then.

    Raises
    ------
    BuildError
        No compiler, or it failed.
    """
    if kernels == "fused":
        return _add("", operators.LIBRARY, operators.sources_digest(), operators.build, arch, into)
    named = formulas.named_formulas()

    def build(compiler: str, out: Path, arch: str) -> None:
        formulas.build(compiler, out, named, arch)

    return _add(formulas.PREFIX, formulas.LIBRARY, formulas.sources_digest(named), build, arch, into)


def _add(prefix: str, library: str, sources: str, build: Callable[..., None], arch: str, into: Path) -> Path:
    compiler, fits = toolchain.compiler(), prebuilt.made_for(sources)
    into.mkdir(parents=True, exist_ok=True)
    target = into / prebuilt.folder_name(prefix, fits["torch"], arch)
    with tempfile.TemporaryDirectory(dir=into, prefix=toolchain.WORK) as work:
        out, whole = Path(work) / "objects" / library, Path(work) / "whole"
        out.parent.mkdir()
        whole.mkdir()
        try:
            build(compiler, out, arch)
        except toolchain.BuildError as error:
            said = Path(work) / toolchain.LOG
            raise toolchain.BuildError(f"{error}\n{said.read_text() if said.is_file() else ''}") from None
        shutil.copy(out, whole / library)
        content = {**fits, "arch": arch, "compiler": toolchain.compiler_version(compiler), "sha256": toolchain.digest(out)}
        toolchain.write_record(whole / toolchain.BUILT, content)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(whole, target)
    return target / library


def main(arguments: Sequence[str], description: str) -> int:
    """The command ``scripts/prebuild``; 1 when a build failed."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", nargs="*", choices=archs(), default=archs(), help="code paths")
    parser.add_argument("--kernels", nargs="*", choices=KERNELS, default=KERNELS, help="which libraries")
    parser.add_argument("--into", type=Path, default=prebuilt.FOLDER, help="folder of prebuilt libraries")
    chosen = parser.parse_args(arguments)
    try:
        for kernels in chosen.kernels:
            for arch in chosen.arch:
                print(add(kernels, arch, chosen.into), flush=True)
    except toolchain.BuildError as error:
        print(f"The kernels cannot be prebuilt, as {error}", file=sys.stderr)
        return 1
    return 0
