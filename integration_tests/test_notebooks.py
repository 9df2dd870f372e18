"""The notebooks of the examples run from the first cell to the last, and hold the outputs of such a run."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = [path for path in sorted(EXAMPLES.glob("*/*.ipynb")) if path.parent.name != "xnet"]  # tests/symbolic runs that one


def kinds(cell):
    """What kinds of output a cell has: text, pictures."""
    return {kind for output in cell.get("outputs", []) for kind in (output.get("data") or {output.output_type: ""})}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_its_stored_outputs_are_of_the_same_kinds(path, tmp_path):
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    for cell in fresh.cells:
        cell.pop("outputs", None) if cell.cell_type != "code" else cell.update(outputs=[])
    NotebookClient(fresh, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert [kinds(cell) for cell in fresh.cells] == [kinds(cell) for cell in stored.cells]
    assert any("image/png" in kinds(cell) for cell in stored.cells)
    assert not any("error" in kinds(cell) for cell in stored.cells)
