"""The site: links between the repository's files become links between its pages, and the table of features is what the tests say."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import features_table  # noqa: E402  beside the scripts

REPORT = """<testsuites><testsuite>
<testcase classname="integration_tests.chgnet.test_a.TestCHGNet" name="test_x" />
<testcase classname="integration_tests.chgnet.test_a" name="test_y[one]" />
<testcase classname="integration_tests.chgnet.test_a" name="test_y[two]"><skipped/></testcase>
<testcase classname="integration_tests.chgnet.test_b" name="test_z"><failure/></testcase>
<testcase classname="tests.test_c" name="test_x" />
</testsuite></testsuites>"""


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("chgnet/test_a::test_x", "yes"),
        ("chgnet/test_a::", "partly"),
        ("chgnet/test_b::", "**no**"),
        ("chgnet/none::", "**no**"),
        (None, ""),
    ],
)
def test_a_cell_says_what_its_tests_say(place, expected, tmp_path):
    (tmp_path / "tests.xml").write_text(REPORT)
    assert features_table.cell(place, features_table.results(tmp_path / "tests.xml")) == expected


@pytest.mark.parametrize("feature", features_table.FEATURES)
def test_every_test_that_the_table_names_is_there(feature):
    suite = "".join(path.read_text() for path in sorted((ROOT / "taafs_plugins" / "testing").glob("*.py")))
    for place in features_table.FEATURES[feature].values():
        file, _, name = place.partition("::")
        text = (ROOT / "integration_tests" / f"{file}.py").read_text()
        assert re.search(rf"def {re.escape(name.partition('[')[0])}", text + (suite if file.endswith("_suite") else "")), place


@pytest.fixture(scope="module")
def hook():
    spec = importlib.util.spec_from_file_location("site_pages", ROOT / "scripts" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("deepmd.md", "../CONTRIBUTING.md", "repository/CONTRIBUTING.md"),
        ("deepmd.md", "../patches/deepmd", "repository/patches/deepmd/README.md"),
        ("deepmd.md", "speed.md#measured", "speed.md#measured"),
        ("repository/CONTRIBUTING.md", "docs/architecture.md", "../architecture.md"),
        ("repository/examples/lammps/README.md", "../../docs/lammps.md", "../../../lammps.md"),
        ("repository/examples/lammps/README.md", "iron.png", "iron.png"),
        ("torchani.md", "../examples/torchani/curves.ipynb", "repository/examples/torchani/curves.md"),
        ("repository/examples/torchani/README.md", "curves.ipynb", "curves.md"),
    ],
)
def test_a_link_of_the_repository_leads_to_the_same_place_on_the_site(hook, page, link, expected):
    class Page:
        class file:
            src_uri = page

    assert hook.on_page_markdown(f"see [it]({link}).", Page, None, None) == f"see [it]({expected})."


def test_a_notebook_becomes_a_page_with_its_code_its_outputs_and_its_pictures(hook):
    text, pictures = hook.site_notebooks.page(ROOT / "examples" / "torchani" / "curves.ipynb")
    assert text.startswith("# TorchANI") and "```python" in text and "```text\n20 molecules" in text
    assert pictures and all(content[:4] in (b"\x89PNG", b"GIF8") and f"]({name})" in text for name, content in pictures.items())
    assert "examples/torchani/README.md" not in hook.outside(["examples/torchani/curves.ipynb"])


def test_what_pages_link_to_is_on_the_site(hook):
    pages = [f"docs/{path.relative_to(ROOT / 'docs')}" for path in (ROOT / "docs").rglob("*.md")]
    found = hook.outside(pages)
    assert {"CONTRIBUTING.md", "examples/deepmd/curves.png", "patches/deepmd/README.md"} <= found
    assert all((ROOT / path).is_file() for path in found)
