"""``taafs choose``: at each site of a model file the activation that best follows the site's updated output on labelled frames."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from taafs_plugins.cli.distil import FramesError, read_frames, some
from taafs_plugins.cli.outputs import check_output
from taafs_plugins.files import replacing

SHOWN = 4  # candidates of a row


def choose(
    model: Path, frames: Path, library: list[str] | None, sites: list[str] | None, by: str | None, rate: float, threshold: float,
    most: int, output: Path | None, table: Path | None, overwrite: bool, console: Console,
) -> None:  # fmt: skip
    """Read model and frames, judge, print the table, write what was asked for."""
    for path in filter(None, (output, table)):
        check_output(path, overwrite, model, frames)
    if not math.isfinite(threshold) or threshold < 0:
        raise FramesError(f"--threshold {threshold} must be at least 0: a gain of 0.1 is a tenth of the present distance.")
    from taafs_plugins.adapters import adapter_for
    from taafs_plugins.choose import choose as judge
    from taafs_plugins.md.export import read_model

    host_model = read_model(model)[0]
    host = adapter_for(host_model)
    labelled = with_forces(some(read_frames(frames), most), frames)
    with console.status(f"Running {len(labelled)} frames"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loss = force_loss(host, labelled)
        choices = judge(host_model, loss, library or None, by=host.chosen_by(by), sites=sites or None, rate=rate)
    console.print(_table(choices, threshold))
    if table is not None:
        with replacing(table) as written:
            written.write_text(json.dumps([asdict(choice) for choice in choices], indent=1) + "\n")
        console.print(f"Wrote {table}", markup=False, highlight=False, soft_wrap=True)
    if output is not None:
        _replace(host, host_model, choices, threshold, model, output, console)


def _replace(host: Any, model: Any, choices: list, threshold: float, source: Path, output: Path, console: Console) -> None:
    """Write the model with the chosen activations, or say that none is chosen."""
    from taafs_plugins.choose import replace

    if not replace(model, choices, threshold):
        console.print(f"No gain is above {threshold:g}: nothing is replaced, and {output} is not written.", markup=False, soft_wrap=True)
        return
    with replacing(output) as written:
        note = host.write_model(model, written, source)
    console.print(f"Wrote {output}. {note}", markup=False, highlight=False, soft_wrap=True)


def with_forces(frames: list, path: Path) -> list[tuple[Any, Any]]:
    """(atoms, forces [n, 3] in eV/Angstrom) of frames that hold forces.

    Raises
    ------
    FramesError
        A frame without forces.
    """
    found = []
    for i, atoms in enumerate(frames):
        try:
            forces = atoms.get_forces()
        except Exception:  # ASE raises many kinds
            forces = atoms.arrays.get("forces", atoms.arrays.get("force"))
        if forces is None:
            raise FramesError(f"Structure {i} of {path} has no forces; give labelled frames, such as extended XYZ with a column forces.")
        found.append((atoms, forces))
    return found


def force_loss(host: Any, labelled: list[tuple[Any, Any]]) -> Callable[[Any], Any]:
    """The mean squared error of force components over frames, a function of the model; eV^2/Angstrom^2."""
    import torch

    def loss(model):
        total, count = 0.0, 0
        for atoms, forces in labelled:
            found = host.forces(model, atoms)
            total = total + (found - torch.as_tensor(forces, dtype=found.dtype, device=found.device)).square().sum()
            count += found.numel()
        return total / count

    return loss


def _table(choices: list, threshold: float) -> Table:
    table = Table(
        title="mean distance to the updated output, as a part of its spread", caption=f"replaced where the gain is above {threshold:g}"
    )
    for heading in ("sites", "present", "distance", "nearest", "gain", "replaced by"):
        table.add_column(heading, overflow="fold")
    for choice in choices:
        near = sorted(choice.distances.items(), key=lambda item: item[1])[:SHOWN]
        names = choice.sites[0] if len(choice.sites) == 1 else f"{choice.sites[0]} and {len(choice.sites) - 1} more"
        new = choice.spec if choice.gain > threshold else "-"
        cells = (names, choice.present, f"{choice.distance:.4f}", ", ".join(f"{name} {distance:.4f}" for name, distance in near),
                 f"{choice.gain:+.3f}", new)  # fmt: skip
        table.add_row(*map(Text, cells))
    return table
