"""What the documentation shows runs, and what it names is there."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import taafs_plugins

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("*.md")))]
PACKAGE = ROOT / "taafs_plugins"
# where a file may lie that a page names by the end of its path
FOLDERS = [ROOT, ROOT / "benchmarks", PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]
WRITTEN_BY_USERS = {"input.json", "config.yaml"}
ENTRY_POINT_GROUPS = {"taafs_plugins.activations", "taafs_plugins.adapters"}


def test_the_examples_for_newcomers_run_as_they_are_printed(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    script = tmp_path / "examples.py"  # TorchScript reads the source of a formula, so it must lie in a file
    script.write_text("\n".join(blocks))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page):
    text = (ROOT / page).read_text()
    named = {*re.findall(r"`([\w./-]+\.(?:py|cpp|h|sh|json|yaml|md|toml))(?![.\w])", text)}
    named |= {name for line in text.splitlines() if line.startswith("  ") for name in re.findall(r"(?<![\w`/.-])([\w/]+\.py)\b", line)}
    missing = [name for name in named - WRITTEN_BY_USERS if not any((folder / name).is_file() for folder in FOLDERS)]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_every_dotted_name_of_ours_on_a_page_is_there(page):
    dotted = re.findall(r"\btaafs_plugins\.[\w.]*\w", (ROOT / page).read_text())
    assert [name for name in dotted if not exists(name)] == []


def exists(name):
    """Whether a dotted name is a module, or something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return name in ENTRY_POINT_GROUPS
    return True


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_page_of_ours_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_public_name_that_a_page_calls_is_there(page):
    called = set(re.findall(r"(?<![\w.])taafs\.(\w+)\(", (ROOT / page).read_text()))
    assert [name for name in called if not hasattr(taafs_plugins, name)] == []


def test_every_subcommand_that_the_changelog_and_pages_show_is_one():
    from taafs_plugins.cli import app

    known = {info.name or info.callback.__name__.replace("_", "-") for info in app.registered_commands} | {
        g.name for g in app.registered_groups
    }
    shown = {word for page in PAGES for word in re.findall(r"^taafs ([a-z]+)\b", (ROOT / page).read_text(), re.MULTILINE)}
    assert shown and shown <= known
