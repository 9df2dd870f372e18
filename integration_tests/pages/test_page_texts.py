"""README and docs: no block is left out of test_pages.py without a word."""

import json
import re
from itertools import zip_longest
from pathlib import Path

import page_runner
import pytest
import tomllib

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = r"(taafs|dp|lmp|mpirun|pip|make|python|spk\w+|export|eval|cd|bash) "


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
