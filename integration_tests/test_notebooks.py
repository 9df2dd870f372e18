"""The notebooks of the examples run from the first cell to the last, and hold the outputs of such a run."""

import re
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import run_notebooks  # noqa: E402  beside the scripts

NOTEBOOKS = [path for path in run_notebooks.NOTEBOOKS if path.parent.name != "xnet"]  # tests/symbolic runs that one
NOISE = re.compile(r"Traceback|Warning|WARNING|/(tmp|home|root|work|usr|opt)/|site-packages")


def kinds(cell):
    """What kinds of output a cell has: text, pictures."""
    return {kind for output in cell.get("outputs", []) for kind in (output.get("data") or {output.output_type: ""})}


def texts(notebook):
    """Everything that cells of a notebook printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_notebook_runs_and_its_stored_outputs_are_of_the_same_kinds(path, tmp_path):
    stored = nbformat.read(path, as_version=4)
    fresh = run_notebooks.executed(path, tmp_path)
    assert [kinds(cell) for cell in fresh.cells] == [kinds(cell) for cell in stored.cells]
    assert not NOISE.search(texts(fresh)), NOISE.search(texts(fresh))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_what_a_notebook_stores_is_pictures_and_no_noise(path):
    stored = nbformat.read(path, as_version=4)
    assert any("image/png" in kinds(cell) for cell in stored.cells)
    assert not any({"error", "text/html"} & kinds(cell) for cell in stored.cells)
    assert not NOISE.search(texts(stored)), NOISE.search(texts(stored))
    assert path.stat().st_size < 1_500_000
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", "\n".join(cell.source for cell in stored.cells if cell.cell_type == "markdown"))
    assert [link for link in links if not (path.parent / link).exists()] == []
