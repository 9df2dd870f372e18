"""DeePMD-kit's page of the documentation, in a file of its own so that it does not wait for the others."""

from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "deepmd.md"


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("page", [PAGE], ids=lambda page: page.stem)
def test_a_page_runs_as_it_is_printed_and_leaves_the_tree_clean(page, run_page):
    run_page(page)
