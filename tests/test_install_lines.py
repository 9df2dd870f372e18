"""What ``scripts/install-lines`` reads from the pages; CI runs it for one host, and docs/install.md has the table of all."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def lines():
    loader = SourceFileLoader("install_lines", str(ROOT / "scripts" / "install-lines"))
    module = module_from_spec(spec_from_loader(loader.name, loader))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "scripts"))
        patch.setattr("sys.dont_write_bytecode", True)
        patch.setitem(__import__("sys").modules, loader.name, module)
        loader.exec_module(module)
        yield module


def test_every_page_with_an_install_line_is_tried(lines):
    pages = ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]
    with_line = {page for page in pages if lines.INSTALL.search((ROOT / page).read_text())}
    assert with_line == set(lines.PAGES)


def test_each_page_has_code_up_to_its_first_computation_and_installs_nothing_more(lines):
    for page, until in lines.PAGES.items():
        line = lines.INSTALL.search((ROOT / page).read_text())[0]
        script = lines.code(ROOT / page, line, until)
        assert until in script and "pip install" not in script and script.startswith("set -euo pipefail"), page
    with pytest.raises(lines.PageError, match="no block with nothing"):
        lines.code(ROOT / "README.md", "", "nothing of that kind")


def test_a_row_takes_the_place_of_the_one_before(lines, monkeypatch, tmp_path):
    table = tmp_path / "install.md"
    monkeypatch.setattr(lines, "TABLE", table)
    table.write_text(f"before\n{lines.MARKS[0]}\n| page |\n| --- |\n{lines.MARKS[1]}\nafter\n")
    for ran in ("failed", "to `x`"):
        lines.write(lines.Row("docs/chgnet.md", "`line`", "3.12.1", "2.14.1", "fused", ran, "3.0", "2026-11-28"))
    lines.write(lines.Row("docs/torchani.md", "`line`", "3.10.13", "2.13.0", "fused", "to `y`", "3.0", "2026-11-28"))
    rows = [text for text in table.read_text().splitlines() if text.startswith("| docs")]
    assert len(rows) == 2 and "torchani" in rows[0] and "to `x`" in rows[1]
    assert table.read_text().startswith("before\n") and table.read_text().endswith("after\n")
