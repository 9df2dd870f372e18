"""``taafs plot``: learned curves of model files next to the stock activations, as a picture and in the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from taafs_plugins import plotting
from taafs_plugins.adapters import adapter_for
from taafs_plugins.cli import distil
from taafs_plugins.cli.distil import some
from taafs_plugins.errors import TaafsError

FORMATS = (".png", ".svg", ".pdf")
MOST_FRAMES = 20


class PlotError(TaafsError, ValueError):
    """What cannot be drawn; the message is one sentence with the way out."""


def check_picture(output: Path, further: tuple[str, ...] = ()) -> None:
    """Whether a file ends like a picture.

    Raises
    ------
    PlotError
        It does not.
    """
    formats = FORMATS + further
    if output.suffix.lower() not in formats:
        raise PlotError(f"{output} does not end like a picture; write {' or '.join(output.stem + ending for ending in formats)}.")


def plot(models: list[Path], output: Path, span: float, frames: Path | None, curvature: bool, sketch: bool, console: Console) -> None:
    """Draw the curves of one or more model files.

    Raises
    ------
    PlotError
        A file without trainable activations, files that do not fit each other, an ending that is no picture, frames that cannot be read.
    """
    import taafs_plugins as taafs
    from taafs_plugins.md.export import read_model

    check_picture(output, (".gif", ".html"))
    if output.suffix.lower() == ".gif" and len(models) < 2:
        raise PlotError("An animation needs several checkpoints; name them, oldest first, or write a PNG.")
    if len({path.resolve() for path in models}) < len(models):
        raise PlotError("A model file is named twice; name each once.")
    read = {path: read_model(path)[0] for path in models}
    runs = {label: taafs.trainable_activations(read[path]) for path, label in labels(models).items()}
    for path, acts in zip(models, runs.values(), strict=True):
        if not acts:
            raise PlotError(f"{path} has no trainable activation.")
    inputs = None if frames is None else inputs_on(read[models[-1]], frames)
    try:
        _draw(runs, output, span, inputs, 2 if curvature else 0)
    except ValueError as error:
        raise PlotError(str(error)) from None
    if sketch:
        for name, act in next(reversed(runs.values())).items():
            console.print(f"{plotting.short(name)}: {act.base_name} dotted, learned in lines", markup=False, highlight=False)
            console.print(drawn(act, span), markup=False, highlight=False)
    console.print(f"Wrote {output}", markup=False, highlight=False, soft_wrap=True)


def _draw(runs: dict[str, Any], output: Path, span: float, inputs: dict[str, np.ndarray] | None, order: int) -> None:
    """Write what the ending of a file says."""
    if output.suffix.lower() == ".html":
        plotting.interactive(runs, output, span, inputs=inputs)
    elif output.suffix.lower() == ".gif":
        plotting.animated(runs, output, span, inputs=inputs, order=order)
    else:
        plotting.curves_of_runs(runs, output, span, inputs=inputs, order=order)


def labels(paths: list[Path]) -> dict[Path, str]:
    """The part of each path by which it differs from the others; nothing for one file alone."""
    if len(paths) == 1:
        return {paths[0]: ""}
    stems = {path.stem for path in paths}
    folders = {path.parent.name for path in paths}
    if len(stems) == len(paths):
        return {path: path.stem for path in paths}
    return {path: path.parent.name if len(folders) == len(paths) else str(path) for path in paths}


def inputs_on(model: torch.nn.Module, frames: Path) -> dict[str, np.ndarray]:
    """What each trainable activation is called on when the model's host predicts the first frames of a file.

    Raises
    ------
    PlotError
        A file that cannot be read, or holds what the model does not know.
    """
    import taafs_plugins as taafs

    host = adapter_for(model)
    structures = read_frames(frames)

    def predict() -> None:
        for atoms in structures:
            host.reference(model, atoms)

    try:
        return plotting.inputs_of(taafs.trainable_activations(model), predict)
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        raise PlotError(f"The model cannot predict the frames of {frames} ({error}).") from None


def read_frames(path: Path) -> list[Any]:
    """At most ``MOST_FRAMES`` frames, evenly through a file that ASE reads or a DeePMD system's folder.

    Raises
    ------
    PlotError, FramesError
        A folder that is no system; a file that is not there or that ASE cannot read.
    """
    return some(read_system(path) if path.is_dir() else distil.read_frames(path), MOST_FRAMES)


def read_system(folder: Path) -> list[Any]:
    """Frames of a DeePMD system in ``npy`` files, with energies and forces where it has them."""
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    parts = sorted(folder.glob("set.*"))
    if not parts or not (folder / "type_map.raw").is_file():
        raise PlotError(f"{folder} is no DeePMD system with a type_map.raw and sets; give one of those, or a file that ASE reads.")
    names = (folder / "type_map.raw").read_text().split()
    symbols = [names[int(kind)] for kind in (folder / "type.raw").read_text().split()]
    pbc = not (folder / "nopbc").is_file()
    frames = []
    for part in parts:
        boxes = np.load(part / "box.npy") if pbc else None
        energies, forces = (np.load(part / name) if (part / name).is_file() else None for name in ("energy.npy", "force.npy"))
        for i, coord in enumerate(np.load(part / "coord.npy")):
            frames.append(Atoms(symbols, coord.reshape(-1, 3), cell=boxes[i].reshape(3, 3) if pbc else None, pbc=pbc))
            if energies is not None and forces is not None:
                results = {"energy": float(energies.ravel()[i]), "forces": forces[i].reshape(-1, 3)}
                frames[-1].calc = SinglePointCalculator(frames[-1], **results)
    return frames


def drawn(act: torch.nn.Module, span: float, columns: int = 60, rows: int = 12) -> str:
    """A sketch in Braille dots, 2 x 4 to a letter; the stock curve is dotted, a line at the right says the range of y."""
    width, height = 2 * columns, 4 * rows
    z = torch.linspace(-span, span, width, dtype=act.delta.dtype) * float(getattr(act, "scale", 1.0))
    wide = z[:, None].expand(-1, act.width) if act.width else z[:, None]
    with torch.no_grad():
        ours, stock = act(wide if act.width else z).reshape(width, -1).cpu().numpy(), act.base(z).cpu().numpy()
    low, high = min(ours.min(), stock.min()), max(ours.max(), stock.max())
    dots = np.zeros((height, width), bool)

    def put(x: int, y: float) -> None:
        dots[int(round((high - y) / (high - low or 1) * (height - 1))), x] = True

    for x in range(width):
        for y in ours[x]:
            put(x, float(y))
        if x % 4 == 0:
            put(x, float(stock[x]))
    bits = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
    cells = dots.reshape(rows, 4, columns, 2).transpose(0, 2, 1, 3)
    lines = ["".join(chr(0x2800 + int(bits[cell].sum())) for cell in line) for line in cells]
    lines[0] += f" {high:.3g}"
    lines[-1] += f" {low:.3g}"
    return "\n".join(lines)
