"""Total energy against time."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np

from taafs_plugins.plotting.common import PALETTE, pyplot, write


def energies(runs: dict[str, np.ndarray], path: Path, title: str = "") -> None:
    """Draw total energy minus its first value, meV/atom against ps, for each named run ([n, 2]: ps, eV/atom); PNG at ``path``."""
    energy_panels({"": runs}, path, title)


def energy_panels(panels: dict[str, dict[str, np.ndarray]], path: Path, title: str = "") -> None:
    """As :func:`energies`, a panel side by side for each name."""
    plt = pyplot()
    figure, axes = plt.subplots(1, len(panels), figsize=(max(7, 4.5 * len(panels)), 4), squeeze=False, constrained_layout=True)
    for axis, (panel, runs) in zip(axes[0], panels.items(), strict=True):
        for color, (name, energy) in zip(cycle(PALETTE), runs.items(), strict=False):
            axis.plot(energy[:, 0], 1e3 * (energy[:, 1] - energy[0, 1]), linewidth=1, color=color, label=name)
        axis.set_xlabel("time [ps]")
        axis.set_title(panel, fontsize=9)
        axis.legend(fontsize=8)
    axes[0, 0].set_ylabel("total energy - start [meV/atom]")
    if title:
        figure.suptitle(title, fontsize=10)
    write(figure, path, 130)


def energies_one_by_one(runs: dict[str, np.ndarray], path: Path, title: str = "") -> None:
    """As :func:`energies`, the runs below one another on one scale, each with the least-squares line whose slope is the drift."""
    plt = pyplot()
    size = (7, 1.3 * len(runs) + 1)
    figure, axes = plt.subplots(len(runs), 1, figsize=size, sharex=True, sharey=True, squeeze=False, constrained_layout=True)
    for number, (axis, (name, energy)) in enumerate(zip(axes[:, 0], runs.items(), strict=True)):
        time, change = energy[:, 0], 1e3 * (energy[:, 1] - energy[0, 1])
        slope, offset = np.polyfit(time, change, 1)
        axis.plot(time, change, linewidth=0.7, color=f"C{number}")
        axis.plot(time, slope * time + offset, "k--", linewidth=1.2)
        axis.set_title(f"{name}: {1e-3 * slope:+.1e} eV/atom/ps", fontsize=9, loc="left")
    axes[-1, 0].set_xlabel("time [ps]")
    figure.supylabel("total energy - start [meV/atom]", fontsize=10)
    figure.suptitle(title, fontsize=10)
    write(figure, path, 100)
