"""What ``taafs md-check`` saw: forces along lines, dimers, total energy."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from taafs_plugins.plotting.common import PALETTE, pyplot, write

Curves = dict[str, list[tuple[str, np.ndarray, np.ndarray]]]
STYLES = ("-", "--")


def md_check(forces: Curves, dimers: Curves, energies: Curves, path: Path) -> None:
    """Draw three panels; models are told apart by the style of a line, lines by colour.

    Parameters
    ----------
    forces : model -> (label, displacement in Angstrom [n], force along the line in eV/Angstrom [n])
    dimers : model -> (label, distance in Angstrom [n], energy in eV [n])
    energies : model -> (label, time in ps [n], total energy minus its start in meV/atom [n])
    path : PNG, SVG or PDF
    """
    plt = pyplot()
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), constrained_layout=True)
    names = (("an atom moved by [Å]", "force along the line [eV/Å]"), ("distance [Å]", "energy of a dimer [eV]"),
             ("time [ps]", "total energy - start [meV/atom]"))  # fmt: skip
    for axis, curves, (x, y) in zip(axes, (forces, dimers, energies), names, strict=True):
        _panel(axis, curves)
        axis.set_xlabel(x)
        axis.set_ylabel(y)
    write(figure, path)


def _panel(axis: Any, curves: Curves) -> None:
    for (model, drawn), style in zip(curves.items(), cycle(STYLES), strict=False):
        for (label, x, y), color in zip(drawn, cycle(PALETTE), strict=False):
            axis.plot(x, y, style, linewidth=1, color=color, label=f"{label}, {model}" if len(curves) > 1 else label)
    if any(curves.values()):
        axis.legend(fontsize=6)
