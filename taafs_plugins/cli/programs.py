"""``taafs bench`` and ``taafs reproduce``: the programs of ``benchmarks/`` in the source checkout, by name."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import taafs_plugins
from taafs_plugins.errors import TaafsError

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


def folder() -> Path:
    """``benchmarks/`` of the checkout that this package runs from.

    Raises
    ------
    ProgramError
        The package was installed without its source checkout.
    """
    path = Path(taafs_plugins.__file__).resolve().parents[1] / "benchmarks"
    if not (path / SPEED).is_file():
        raise ProgramError(
            "The benchmark programs are part of the source checkout, not of the installed package: run 'pip install -e .' in a checkout, "
            "or python benchmarks/... there."
        )
    return path


def describe(name: str) -> tuple[str, str]:
    """First line of a program's description, and the commands that it names."""
    text = ast.get_docstring(ast.parse((folder() / name).read_text())) or ""
    commands = [line.strip() for line in text.splitlines() if line.strip().startswith("python benchmarks/")]
    return text.splitlines()[0] if text else "", "\n".join(commands)


def run(name: str, arguments: list[str]) -> int:
    """Run a program of ``benchmarks/`` with this Python; returns its exit status."""
    return subprocess.run([sys.executable, str(folder() / name), *arguments]).returncode


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
