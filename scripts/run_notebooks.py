"""Run notebooks of the examples from the first cell to the last and store their outputs: ``python scripts/run_notebooks.py [PATH ...]``.

A notebook runs in a copy of the small files of its folder, so that nothing is left in the checkout, with this environment's commands first.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*/*.ipynb"))
SMALL = 1_000_000  # bytes of a file that is copied


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a run in ``folder``."""
    for file in path.parent.iterdir():
        if file.is_file() and file.suffix != ".ipynb" and file.stat().st_size <= SMALL:
            shutil.copy(file, folder)
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    pythonpath = os.pathsep.join(filter(None, [str(EXAMPLES.parent), os.environ.get("PYTHONPATH")]))
    commands = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": commands, "PYTHONPATH": pythonpath, "OMP_NUM_THREADS": "1"}
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
    return notebook


def main(paths: list[Path]) -> None:
    """Run and store."""
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(path, Path(folder))
        nbformat.write(notebook, path)
        print(f"{path.parent.name}/{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]] or NOTEBOOKS)
