"""Pictures: learned curves next to the stock activation, total energy against time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.files import replacing


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _write(figure, path: Path, dpi: int) -> None:
    with replacing(path) as written:
        figure.savefig(written, dpi=dpi)


def curves(acts: dict[str, TrainableActivation], path: Path, span: float = 4.0, title: str = "") -> None:
    """Draw each activation over its stock one for |z| <= ``span`` (times its scale); one panel per activation, PNG at ``path``."""
    plt = _pyplot()
    names = list(acts)
    columns = min(4, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.2 * columns, 2.6 * rows), squeeze=False, constrained_layout=True)
    for axis in axes.ravel()[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes.ravel(), names, strict=False):
        act = acts[name]
        label = None if act.width else act.spec.variant or act.spec.family
        z = torch.linspace(-span, span, 401, dtype=act.delta.dtype, device=act.delta.device) * getattr(act, "scale", 1.0)
        with torch.no_grad():
            wide = z[:, None].expand(-1, act.width) if act.width else z
            ours, stock = act(wide).cpu().numpy(), act.base(z).cpu().numpy()
        axis.plot(z.cpu(), stock, "--", color="0.5", label=act.base_name)
        axis.plot(z.cpu(), ours, linewidth=0.8 if act.width else 1.8, label=label)
        axis.set_title(short(name), fontsize=8)
        axis.tick_params(labelsize=7)
    axes[0, 0].legend(fontsize=7)
    if title:
        figure.suptitle(title, fontsize=10)
    _write(figure, path, 130)
    plt.close(figure)


def short(name: str) -> str:
    """A module path without the parts that every path has."""
    dull = {"model", "atomic_model", "filter_layers", "networks", "layers", "activate", "Default", "sea"}
    return ".".join(part for part in name.split(".") if part not in dull)


def energies(runs: dict[str, np.ndarray], path: Path, title: str = "") -> None:
    """Draw total energy minus its first value, meV/atom against ps, for each named run ([n, 2]: ps, eV/atom); PNG at ``path``."""
    energy_panels({"": runs}, path, title)


def energy_panels(panels: dict[str, dict[str, np.ndarray]], path: Path, title: str = "") -> None:
    """As :func:`energies`, a panel side by side for each name."""
    plt = _pyplot()
    figure, axes = plt.subplots(1, len(panels), figsize=(max(7, 4.5 * len(panels)), 4), squeeze=False, constrained_layout=True)
    for axis, (panel, runs) in zip(axes[0], panels.items(), strict=True):
        for name, energy in runs.items():
            axis.plot(energy[:, 0], 1e3 * (energy[:, 1] - energy[0, 1]), linewidth=1, label=name)
        axis.set_xlabel("time [ps]")
        axis.set_title(panel, fontsize=9)
        axis.legend(fontsize=8)
    axes[0, 0].set_ylabel("total energy - start [meV/atom]")
    if title:
        figure.suptitle(title, fontsize=10)
    _write(figure, path, 130)
    plt.close(figure)


def energies_one_by_one(runs: dict[str, np.ndarray], path: Path, title: str = "") -> None:
    """As :func:`energies`, the runs below one another on one scale, each with the least-squares line whose slope is the drift."""
    plt = _pyplot()
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
    _write(figure, path, 100)
    plt.close(figure)
