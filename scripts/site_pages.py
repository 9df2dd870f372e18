"""A hook of mkdocs: files of the repository that pages link to become part of the site, so that every link can be followed and is checked.

Pages are written for reading in the repository, where ``../CONTRIBUTING.md`` is a link. Here each such file gets a place under
``repository/``, and so do the files that these link to in turn; links are rewritten to match.
"""

import posixpath
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import features_table  # noqa: E402  beside this file
import site_notebooks  # noqa: E402

PREFIX = "repository"
RESULTS = [ROOT / "build" / f"{name}.xml" for name in ("tests", "tests-long")]
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")
# pages of the repository that are in the navigation
EXAMPLES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("examples/*/README.md"))
NOTEBOOKS = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("examples/*/*.ipynb"))
ALWAYS = ("CONTRIBUTING.md", "CHANGELOG.md", *EXAMPLES, *NOTEBOOKS)


def in_repository(source: str) -> str:
    """The path in the repository of a page of the site."""
    return source.removeprefix(f"{PREFIX}/") if source.startswith(f"{PREFIX}/") else f"docs/{source}"


def site_path(path: str) -> str:
    """The path on the site of a file of the repository; a folder is its README."""
    if (ROOT / path).is_dir():
        path = f"{path}/README.md"
    if path == "README.md":
        return "index.md"
    path = path.removesuffix(".ipynb") + ".md" if path.endswith(".ipynb") else path
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{PREFIX}/{path}"


def linked(page: str, target: str) -> str:
    """The file of the repository that a link on a page of the repository leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def outside(pages: list[str]) -> set[str]:
    """All files outside ``docs/`` that these pages of the repository link to, and that those link to in turn."""
    found, waiting = set(), list(pages)
    while waiting:
        page = waiting.pop()
        for match in LINK.finditer(text_of(page)):
            path = linked(page, match["target"])
            path = f"{path}/README.md" if (ROOT / path).is_dir() else path
            if path.startswith("docs/") or path == "README.md" or path in found or not (ROOT / path).is_file():
                continue
            found.add(path)
            if path.endswith((".md", ".ipynb")):
                waiting.append(path)
    return found


def text_of(page: str) -> str:
    """The Markdown of a page or notebook of the repository, without the names of a notebook's own pictures."""
    if not page.endswith(".ipynb"):
        return (ROOT / page).read_text()
    text, pictures = site_notebooks.page(ROOT / page)
    for name in pictures:
        text = text.replace(f"]({name})", "]")
    return text


def on_files(files, config):
    """Add what pages link to."""
    from mkdocs.structure.files import File

    pages = [in_repository(file.src_uri) for file in files if file.src_uri.endswith(".md")]
    for path in sorted(outside([*pages, *ALWAYS]) | set(ALWAYS)):
        if not path.endswith(".ipynb"):
            files.append(File.generated(config, f"{PREFIX}/{path}", abs_src_path=str(ROOT / path)))
            continue
        text, pictures = site_notebooks.page(ROOT / path)
        files.append(File.generated(config, site_path(path), content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"{PREFIX}/{posixpath.dirname(path)}/{name}", content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Rewrite links between files of the repository to links between pages of the site."""
    source = page.file.src_uri

    def rewritten(match):
        target = site_path(linked(in_repository(source), match["target"]))
        return f"{match['before']}{posixpath.relpath(target, posixpath.dirname(source) or '.')}{match['anchor'] or ''}"

    if source == "features.md":
        markdown = markdown.replace("<!-- features -->", features())
    return LINK.sub(rewritten, markdown)


def features() -> str:
    """The table of features, where the tests were run."""
    if not all(report.is_file() for report in RESULTS):
        return "*The tests were not run before this site was built: `make test test-long`, then `make docs`.*"
    return features_table.table(features_table.results(*RESULTS))
