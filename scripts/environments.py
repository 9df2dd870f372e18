"""Environments of their own, and copies of the tree, for scripts/matrix, scripts/wheel and scripts/install-lines."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def environment(name: str, folder: Path, *packages: str) -> Path:
    """The Python of the environment ``folder/name`` with these packages, made if it is not there; pip's settings say from where."""
    python = folder / name / "bin" / "python"
    if not (folder / name / ".ready").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *packages], check=True)
        (folder / name / ".ready").touch()
    return python


def copy_of_tree(target: Path) -> Path:
    """A copy of the tree without what was made in it: build backends leave files of their own behind."""
    made = {".git", ".venv", "build", "dist", "data", "demo_output", *(path.name for path in ROOT.glob("*.egg-info"))}
    skipped = lambda where, names: [n for n in names if n == "__pycache__" or (Path(where) == ROOT and n in made)]  # noqa: E731
    return Path(shutil.copytree(ROOT, target, ignore=skipped))
