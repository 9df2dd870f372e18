"""``taafs md-check``: whether a model file is smooth enough to run molecular dynamics with."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from taafs_plugins.cli.outputs import check_output
from taafs_plugins.cli.plot import PlotError, check_picture, read_frames

MOST_FRAMES = 5


def md_check(
    model: Path, frames: Path | None, system: Path | None, reference: Path | None, settings: Any, energy_unit: str | None,
    picture: Path | None, as_json: bool, overwrite: bool, console: Console,
) -> int:  # fmt: skip
    """Read, check, print; returns the exit status.

    Raises
    ------
    PlotError
        No structures, or both kinds of them.
    """
    if (frames is None) == (system is None):
        raise PlotError("Give structures like those of the training: a file that ASE reads, or --system and a DeePMD system's folder.")
    given = frames or system
    if picture is not None:
        check_picture(picture)
        check_output(picture, overwrite, model, given, *([reference] if reference else []))
    from taafs_plugins.cli.distil import some
    from taafs_plugins.md.check import HostPotential

    structures = some(read_frames(given), MOST_FRAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of hosts, at every structure
        potentials = [HostPotential.open(path, energy_unit) for path in (model, reference) if path is not None]
        report = _with_progress(potentials, structures, settings, Console(stderr=True) if as_json else console)
    if picture is not None:
        _draw(report, picture)
    if as_json:
        print(json.dumps({"file": str(model), **report.facts()}, indent=1))
    else:
        console.print(_table(report))
        if picture is not None:
            console.print(f"Wrote {picture}", markup=False, highlight=False, soft_wrap=True)
        for warning in report.warnings:
            console.print(f"Warning: {warning}.", markup=False, highlight=False, soft_wrap=True)
        console.print("pass" if report.passed else str(report), markup=False, highlight=False, soft_wrap=True)
    return 0 if report.passed else 1


def _with_progress(potentials: list, structures: list, settings: Any, console: Console) -> Any:
    from taafs_plugins.md.check import check

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def tick(what: str, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.advance(tasks[what])

        return check(*potentials[:1], structures, *potentials[1:], settings=settings, tick=tick)


def _table(report: Any) -> Table:
    """Every number of the model, beside the reference's where there is one."""
    sides = [report.model.facts()] + ([report.reference.facts()] if report.reference else [])
    table = Table("", "model", *(["reference"] if report.reference else []))
    for name in sides[0]:
        if name != "runs":
            table.add_row(name, *(_number(side[name]) for side in sides))
    for number, run in enumerate(sides[0]["runs"]):
        about = f"{run['kelvin']:.0f} K, {run['ps']:.3f} ps: "
        for name in ("drift eV/atom/ps", "largest distance eV/atom", "largest force eV/A", "broken"):
            table.add_row(about + name, *(_number(side["runs"][number][name]) for side in sides))
    return table


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return "not seen in float32" if value is None else str(value) or "no"


def _draw(report: Any, path: Path) -> None:
    from taafs_plugins import plotting

    panels: dict[str, dict[str, Any]] = {"force": {}, "dimer": {}, "energy": {}}
    for name, side in (("model", report.model), ("reference", report.reference)):
        if side is None:
            continue
        panels["force"][name] = [(curve.line.label, curve.line.at, curve.force) for curve in side.pushes]
        start = [float(curve.line.atoms.positions[1, 0]) for curve in side.dimers]
        energies = [curve.energy - curve.energy[-1] for curve in side.dimers]
        panels["dimer"][name] = [(c.line.label, r + c.line.at, e) for c, r, e in zip(side.dimers, start, energies, strict=True)]
        panels["energy"][name] = [(f"{run.temperature:.0f} K", run.time, 1e3 * (run.conserved - run.conserved[:1])) for run in side.runs]
    plotting.md_check(panels["force"], panels["dimer"], panels["energy"], path)
