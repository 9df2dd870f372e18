"""``taafs distil``: learned curves of a model file as closed formulas."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from taafs_plugins.cli.outputs import check_output
from taafs_plugins.errors import TaafsError, first_line
from taafs_plugins.files import replacing

MOST = 50  # frames that are run to see the inputs


class FramesError(TaafsError, ValueError):
    """A file of structures that cannot be used; the message is one sentence with the way out."""


def distil(
    model: Path, sites: list[str] | None, part: str | None, neuron: int | None, frames: Path | None, low: float | None,
    high: float | None, nodes: int, rounds: int, seed: int, output: Path | None, overwrite: bool, console: Console,
) -> None:  # fmt: skip
    """Read the model, see what its curves see, fit a formula to each and say how well it fits."""
    if output is not None:
        check_output(output, overwrite, model, *([frames] if frames else []))
    from taafs_plugins.md.export import read_model
    from taafs_plugins.symbolic.curves import learned_curves, part_curve

    host_model = read_model(model)[0]
    curves = [part_curve(host_model, part, neuron)] if part else learned_curves(host_model, sites or None, neuron)
    seen = _seen(host_model, curves, frames, console) if frames else {}
    found = {}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("formulas", total=len(curves))
        for curve in curves:
            progress.update(task, description=curve.name)
            found[curve.name] = _fit(curve, seen.get(curve.name), low, high, {"max_nodes": nodes, "rounds": rounds, "random_state": seed})
            progress.advance(task)
    console.print(_table(found))
    for name, one in found.items():
        console.print(Text(f'{name}: "{one.spec}"'), soft_wrap=True)
    if output is not None:
        with replacing(output) as written:
            written.write_text(json.dumps({name: one.facts() for name, one in found.items()}, indent=1) + "\n")
        console.print(f"Wrote {output}", markup=False, highlight=False, soft_wrap=True)


def read_frames(path: Path) -> list:
    """Structures of any format that ASE reads.

    Raises
    ------
    FramesError
        No such file, one that ASE cannot read, or one without structures.
    """
    from ase.io import read

    if not path.is_file():
        raise FramesError(f"There is no file {path}.")
    try:
        found = read(path, ":")
    except Exception as error:  # ASE raises many kinds
        raise FramesError(f"ASE cannot read structures from {path} ({type(error).__name__}: {first_line(error)}).") from None
    if not found:
        raise FramesError(f"{path} holds no structure.")
    return found


def some(frames: list, most: int = MOST) -> list:
    """At most so many frames, evenly chosen."""
    return frames if len(frames) <= most else [frames[i] for i in np.linspace(0, len(frames) - 1, most).astype(int)]


def _seen(model: Any, curves: list, frames: Path, console: Console) -> dict:
    """Name -> inputs on the frames."""
    from taafs_plugins.adapters import adapter_for
    from taafs_plugins.symbolic.inputs import watch

    host = adapter_for(model)
    structures = some(read_frames(frames))
    with console.status(f"Running {len(structures)} frames"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with watch({curve.name: curve.part for curve in curves}) as found:
            for atoms in structures:
                host.reference(model, atoms)
    return found


def _fit(curve: Any, seen: Any, low: float | None, high: float | None, options: dict) -> Any:
    from taafs_plugins.symbolic.distil import distil as fit
    from taafs_plugins.symbolic.errors import XNetError

    default = (curve.low, curve.high) if seen is None else (seen.low, seen.high)
    ends = [default[i] if given is None else given for i, given in enumerate((low, high))]
    if None in ends:
        raise XNetError(f"Nothing says what inputs {curve.name} sees: give --frames, or --low and --high.")
    weights = None if seen is None or low is not None or high is not None else seen.counts
    if not all(map(math.isfinite, ends)) or not ends[0] < ends[1]:
        raise XNetError(f"The range {ends[0]:g} ... {ends[1]:g} is empty; give --low below --high.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of searches that overflow on the way
        return fit(curve.function, *ends, weights, **options)


def _table(found: dict) -> Table:
    table = Table(title="error: root mean square and largest over the range, beside the curve's own spread; the same of the slope")
    for heading in ("curve", "range", "formula", "error", "largest", "spread", "slope error", "nodes", "numbers"):
        table.add_column(heading, overflow="fold")
    for name, one in found.items():
        short = str(one.expression.xreplace({value: value.round(4) for value in one.expression.atoms() if value.is_Float}))
        numbers = (f"{value:.2g}" for value in (one.rms, one.largest, one.spread, one.slope_rms))
        table.add_row(*map(Text, (name, f"{one.low:.3g} ... {one.high:.3g}", short, *numbers, str(one.nodes), str(one.parameters))))
    return table
