"""``taafs export``: a host's model file becomes one that LAMMPS runs."""

from __future__ import annotations

import warnings
from pathlib import Path

from rich.console import Console

from taafs_plugins.cli.outputs import check_output
from taafs_plugins.errors import first_line


def export(
    model: Path,
    output: Path,
    structures: Path | None,
    energy_unit: str | None,
    elements: str | None,
    dtype: str | None,
    overwrite: bool,
    console: Console,
) -> None:
    """Run :func:`taafs_plugins.md.export.export`, say what was compared, and what comes next."""
    check_output(output, overwrite, model, *([structures] if structures else []))
    from taafs_plugins.md.export import export as run

    frames = None if structures is None else _read(structures)
    symbols = None if elements is None else elements.replace(" ", "").split(",")
    with console.status(f"Exporting {model} and comparing the written file with its host"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = run(model, output, frames, energy_unit, symbols, dtype)
    facts = done.metadata
    hops = f"{facts.hops} hop{'s' * (facts.hops > 1)}"
    console.print(f"Compared: {done}", highlight=False, soft_wrap=True)
    console.print(
        f"Wrote {output}: cutoff {facts.cutoff:g} A, {hops}, modes {', '.join(facts.modes)}, energies in {facts.energy_unit}, "
        f"{len(facts.elements)} elements{', ' + '; '.join(facts.spec) if facts.spec else ', stock activations'}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _read(path: Path) -> list:
    from ase.io import read

    from taafs_plugins.md.contract import ExportError

    if not path.is_file():
        raise ExportError(f"There is no file {path}.")
    try:
        return read(path, ":")
    except Exception as error:  # ASE raises many kinds
        raise ExportError(f"ASE cannot read structures from {path} ({type(error).__name__}: {first_line(error)}).") from None
