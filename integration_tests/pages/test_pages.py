"""README and docs: every block of code runs as it is printed, in the order of the page, in an empty folder and on real data.

Two commands are replaced: ``pip`` by a check that the extras exist (the test must not change the environment it runs in), and
``make`` by ``make -n`` in the checkout (``make demo`` and ``make test`` are CI).
"""

import json
import os
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import page_runner
import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNING = [page for page in PAGES if any(block.language in page_runner.RUN for block in page_runner.blocks(page))]
COMMANDS = r"(taafs|dp|lmp|mpirun|pip|make|python|spk\w+|export|eval|cd|bash) "
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


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_printed_and_leaves_the_tree_clean(page, environment, tmp_path):
    before = changes()
    for name in ("examples", "patches"):
        (tmp_path / name).symlink_to(ROOT / name)
    runner = str(Path(page_runner.__file__))
    done = subprocess.run([sys.executable, runner, str(page)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert re.search(r"^[1-9]\d* blocks ran$", done.stdout, re.MULTILINE)
    assert changes() == before


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_block_of_a_page_is_left_out_without_a_word(page):
    for block in page_runner.blocks(page):
        where = f"{page.name}, line {block.line}"
        known = block.language in page_runner.RUN + page_runner.SHOWN or (block.title and block.language in page_runner.WRITTEN)
        assert known or block.language == "json", f"{where}: a fence without a language that the test knows"
        if block.language == "json":
            json.loads(block.text)
        if block.language == "toml":
            tomllib.loads(block.text)
        if block.language == "text" and not block.title:
            assert not re.match(COMMANDS, block.text), f"{where}: commands belong into a block of bash"
    assert page.read_text().count("```") == 2 * len(page_runner.blocks(page)), "a fence that is not closed"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_long_block_has_a_short_form_that_runs(page):
    blocks = page_runner.blocks(page)
    for block, following in zip_longest(blocks, blocks[1:]):
        if block.is_long:
            assert following is not None and following.is_short_form and following.language in page_runner.RUN
