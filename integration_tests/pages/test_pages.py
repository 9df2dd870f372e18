"""README and docs: every block of code runs as it is printed. DeePMD-kit's page, the longest, is in test_deepmd_page.py."""

from pathlib import Path

import page_runner
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUNNING = [page for page in PAGES if any(block.language in page_runner.RUN for block in page_runner.blocks(page))]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in RUNNING if page.stem != "deepmd"], ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_printed_and_leaves_the_tree_clean(page, run_page):
    run_page(page)
