"""``taafs plot --parity`` and ``--training``: predictions beside labels, errors against steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from taafs_plugins import plotting
from taafs_plugins.adapters import adapter_for
from taafs_plugins.cli.plot import PlotError, check_picture, labels, read_frames
from taafs_plugins.md.units import EV

ENERGY, FORCE = "energy [eV/atom]", "force component [eV/Å]"


def training(logs: list[Path], output: Path, console: Console) -> None:
    """Draw errors against steps from training logs.

    Raises
    ------
    PlotError, LogError
        An ending that is no picture; a file that is no log.
    """
    check_picture(output)
    plotting.training({labels(logs)[path]: plotting.read_log(path) for path in logs}, output)
    console.print(f"Wrote {output}", markup=False, highlight=False, soft_wrap=True)


def parity(models: list[Path], frames: Path | None, output: Path, shift: bool, console: Console) -> None:
    """Draw what models predict against the labels of frames, and print the mean absolute errors.

    Raises
    ------
    PlotError
        No frames, frames without labels or that a model cannot predict, a model of which the unit is not known.
    """
    check_picture(output)
    if frames is None:
        raise PlotError("--parity needs structures with energies and forces to predict; name them with --frames.")
    structures = read_frames(frames)
    known = {ENERGY: np.array([energy / len(a) for a, energy, _ in _labelled(structures, frames)]),
             FORCE: np.concatenate([forces.ravel() for _, _, forces in _labelled(structures, frames)])}  # fmt: skip
    predicted = {}
    for path, label in labels(models).items():
        found = predictions(path, structures, frames)
        if shift:
            found[ENERGY] = found[ENERGY] + element_shift(structures, known[ENERGY] - found[ENERGY])
        predicted[label or path.stem] = found
        for quantity, values in found.items():
            error = np.abs(values - known[quantity]).mean()
            console.print(
                f"{label or path.stem}: {quantity}, mean absolute error {error:.4f}", markup=False, highlight=False, soft_wrap=True
            )
    plotting.parity(known, predicted, output, by="labelled")
    console.print(f"Wrote {output}", markup=False, highlight=False, soft_wrap=True)


def _labelled(structures: list[Any], path: Path) -> list[tuple[Any, float, np.ndarray]]:
    """Frames with energy [eV] and forces [eV/Angstrom]."""
    found = []
    for i, atoms in enumerate(structures):
        results = {} if atoms.calc is None else atoms.calc.results
        if "energy" not in results or "forces" not in results:
            raise PlotError(f"Structure {i} of {path} has no energy or no forces; give labelled frames, such as extended XYZ.")
        found.append((atoms, float(results["energy"]), np.asarray(results["forces"])))
    return found


def predictions(path: Path, structures: list[Any], frames: Path) -> dict[str, np.ndarray]:
    """Energies per atom and force components of one model file, in eV and Angstrom."""
    from taafs_plugins.md.export import read_model

    model, known = read_model(path)
    host = adapter_for(model)
    unit = known.get("energy_unit") or host.energy_unit
    if not unit:
        raise PlotError(f"{path} does not say its energy unit; keep the run's config.yaml beside it.")
    try:
        found = [host.reference(model, atoms) for atoms in structures]
    except (ValueError, KeyError, IndexError, RuntimeError) as error:
        raise PlotError(f"{path} cannot predict the frames of {frames} ({error}).") from None
    return {
        ENERGY: EV[unit] * np.array([float(one["energy"]) / len(atoms) for one, atoms in zip(found, structures, strict=True)]),
        FORCE: EV[unit] * np.concatenate([np.asarray(one["forces"]).ravel() for one in found]),
    }


def element_shift(structures: list[Any], difference: np.ndarray) -> np.ndarray:
    """The part of energy differences per atom [n] that is a sum over elements, by least squares."""
    symbols = sorted({symbol for atoms in structures for symbol in atoms.get_chemical_symbols()})
    shares = np.array([[atoms.get_chemical_symbols().count(symbol) / len(atoms) for symbol in symbols] for atoms in structures])
    return shares @ np.linalg.lstsq(shares, difference, rcond=None)[0]
