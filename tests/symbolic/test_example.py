"""The notebook in examples/xnet runs and finds what it says."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples" / "xnet" / "nguyen.ipynb"


@pytest.mark.long
def test_the_notebook_runs_and_finds_both_formulas():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    text = "".join(output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)
    assert "found sin(x**2)*cos(x) - 1" in text and "found 2*sin(x)*cos(y)" in text
    assert text.count("R2 1.000000") == 2
