"""README and docs run as they are printed, in the order of the page, in an empty folder and on real data.

Two commands are replaced: ``pip`` by a check that the extras exist (the test must not change the environment it runs in), and
``make`` by ``make -n`` in the checkout (``make demo`` and ``make test`` are CI).
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import page_runner
import pytest

ROOT = Path(__file__).resolve().parents[2]
PIP = f"""#!{sys.executable}
import re, sys, tomllib
extras = tomllib.load(open({str(ROOT / "pyproject.toml")!r}, "rb"))["project"]["optional-dependencies"]
named = [name for word in sys.argv for found in re.findall(r"\\[([\\w,]+)\\]", word) for name in found.split(",")]
sys.exit(sys.argv[1] != "install" or bool(set(named) - set(extras)))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """This environment's commands first, ``pip`` and ``make`` before them."""
    folder = tmp_path_factory.mktemp("commands")
    for name, text in (("pip", PIP), ("make", f'#!/bin/sh\nPATH=${{PATH#*:}} exec make -n -C "{ROOT}" "$@"\n')):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    pythonpath = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PATH": path, "PYTHONPATH": pythonpath, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}


def changes():
    """What git sees in the checkout that is not committed."""
    if not (ROOT / ".git").exists():
        return ""
    return subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True).stdout


@pytest.fixture
def run_page(environment, tmp_path):
    """A function that runs a page; an error of any block, and a change of the checkout, fail the test."""

    def run(page: Path) -> None:
        before = changes()
        for name in ("examples", "patches"):
            (tmp_path / name).symlink_to(ROOT / name)
        runner = str(Path(page_runner.__file__))
        done = subprocess.run([sys.executable, runner, str(page)], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert re.search(r"^[1-9]\d* blocks ran$", done.stdout, re.MULTILINE)
        assert changes() == before

    return run
