"""``taafs bench`` and ``taafs reproduce``: the programs of ``benchmarks/``, by name; a wheel has them in the package."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import taafs_plugins
from taafs_plugins.errors import TaafsError
from taafs_plugins.files import replacing

SPEED = "speed.py"
COMPARISON = "compare.py"
STUDIES = {
    "deepmd-cu": "deepmd_gain.py",
    "deepmd-nve": "deepmd_nve.py",
    "chgnet-iron": "chgnet_finetune.py",
    "schnetpack-rmd17": "schnetpack_gain.py",
    "torchani-molecules": "torchani_gain.py",
    "families": "families_gain.py",
}


class ProgramError(TaafsError, ValueError):
    """A name that is not known, or an installation without the programs; the message is one sentence with the way out."""


def shipped() -> Path:
    """``benchmarks/`` of the checkout that this package runs from, else the one in the package.

    Raises
    ------
    ProgramError
        The package was built without them.
    """
    package = Path(taafs_plugins.__file__).resolve().parent
    for path in (package.parent / "benchmarks", package / "programs" / "benchmarks"):
        if (path / SPEED).is_file():
            return path
    raise ProgramError("This installation of taafs-plugins lacks its benchmark programs; install it from its checkout or a wheel of it.")


def folder() -> Path:
    """Where programs run and leave results: ``benchmarks/`` of the checkout, else of a folder here, which is made; what is there stays.

    Raises
    ------
    ProgramError
        As :func:`shipped`, or the folder cannot be written.
    """
    source = shipped()
    if source.parent.name != "programs":
        return source
    work = Path.cwd() / f"taafs-benchmarks-{taafs_plugins.__version__}"
    try:
        for path in sorted(source.parent.rglob("*")):
            target = work / path.relative_to(source.parent)
            if path.is_file() and "__pycache__" not in path.parts and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                with replacing(target) as written:
                    shutil.copyfile(path, written)
    except OSError as error:
        raise ProgramError(
            f"{work}, where programs and results are kept, cannot be written ({error.strerror or error}); go to another folder."
        ) from None
    return work / "benchmarks"


def describe(name: str) -> tuple[str, str]:
    """First line of a program's description, and the commands that it names."""
    text = ast.get_docstring(ast.parse((shipped() / name).read_text())) or ""
    commands = [line.strip() for line in text.splitlines() if line.strip().startswith("python benchmarks/")]
    return text.splitlines()[0] if text else "", "\n".join(commands)


def run(name: str, arguments: list[str]) -> int:
    """Run a program of ``benchmarks/`` with this Python; returns its exit status."""
    program = folder() / name
    print(f"taafs: results are kept in {program.parent / 'results'}", file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, str(program), *arguments]).returncode


def study(name: str) -> str:
    """The program of a study.

    Raises
    ------
    ProgramError
        Unknown name.
    """
    from taafs_plugins.activations.spec import nearest

    if name not in STUDIES:
        raise ProgramError(f"Unknown study '{name}'. {nearest(name, list(STUDIES))}Known: {', '.join(STUDIES)}.")
    return STUDIES[name]
