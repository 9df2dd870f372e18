"""Pictures: learned curves next to the stock activation, total energy against time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.activations.base import derivatives
from taafs_plugins.files import replacing

# Okabe and Ito's colours, which people with any colour vision tell apart: vermilion, blue, orange, bluish green; behind curves sky blue
PALETTE = ("#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000")
SKY = "#56B4E9"


def _pyplot():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def _write(figure, path: Path, dpi: int) -> None:
    with replacing(path) as written:
        figure.savefig(written, dpi=dpi, format=path.suffix[1:].lower() or "png")


def curves(acts: dict[str, TrainableActivation], path: Path, span: float = 4.0, title: str = "") -> None:
    """Draw each activation over its stock one for |z| <= ``span`` (times its scale); as :func:`curves_of_runs` with one run."""
    curves_of_runs({"": acts}, path, span, title)


def curves_of_runs(
    runs: Mapping[str, Mapping[str, TrainableActivation]],
    path: Path,
    span: float = 4.0,
    title: str = "",
    inputs: Mapping[str, np.ndarray] | None = None,
    order: int = 0,
) -> None:
    """Draw the curves of one or more models over the stock activations, a panel for each activation.

    Parameters
    ----------
    runs : label -> activations by name, with the same names in each: two models side by side, or checkpoints of one, the oldest first
    path : PNG, SVG or PDF, by its ending
    span : from -span to span, in units of the scale; with ``inputs`` where the inputs lie and a little beyond
    inputs : name -> values of z that the activation met (:func:`inputs_of`), drawn as a histogram behind the curve
    order : of the derivative that is drawn: 0 for the curve, 2 for its curvature

    Raises
    ------
    ValueError
        Models whose activations have other names.
    """
    names = list(next(iter(runs.values())))
    if any(list(acts) != names for acts in runs.values()):
        raise ValueError("The models have their activations in different places; draw each for itself.")
    plt = _pyplot()
    columns, size, font = _layout(len(names))
    rows = -(-len(names) // columns)
    wide, high = size[0] * columns, size[1] * rows + 0.5
    figure, axes = plt.subplots(rows, columns, figsize=(wide, high), squeeze=False)  # a layout engine takes a minute for 100 panels
    edge = {"left": 0.7 / wide, "right": 1 - 0.1 / wide, "bottom": 0.6 / high, "top": 1 - (0.6 if title else 0.3) / high}
    figure.subplots_adjust(**edge, wspace=0.35, hspace=0.45)
    for axis in axes.ravel()[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes.ravel(), names, strict=False):
        found = (inputs or {}).get(name)
        _panel(axis, {label: acts[name] for label, acts in runs.items()}, span, found, order)
        axis.set_title(short(name), fontsize=font)
        axis.tick_params(labelsize=font - 1, length=2)
    axes[0, 0].legend(fontsize=font, frameon=False)
    figure.supxlabel("input z of the activation" + (" (shaded: where inputs lie)" if inputs else ""), fontsize=9, y=0.1 / high, va="bottom")
    figure.supylabel(("activation y(z)", "slope dy/dz", "curvature d²y/dz²")[order], fontsize=9, x=0.1 / wide)
    if title:
        figure.suptitle(title, fontsize=10, y=1 - 0.1 / high, va="top")
    _write(figure, path, 130)
    plt.close(figure)


def _layout(count: int) -> tuple[int, tuple[float, float], int]:
    """Columns, size of a panel in inches and size of its letters, so that all fit on a screen."""
    if count <= 24:
        return min(4 if count <= 12 else 6, count), (3.2, 2.5) if count <= 12 else (2.5, 1.9), 8
    return min(12, round((1.5 * count) ** 0.5)), (1.5, 1.15), 6


def _panel(axis, acts: Mapping[str, TrainableActivation], span: float, inputs: np.ndarray | None, order: int) -> None:
    """One activation in each of the runs."""
    first = next(iter(acts.values()))
    scale = float(getattr(first, "scale", 1.0))
    low, high = -span * scale, span * scale
    if inputs is not None and len(inputs):
        low, high = np.quantile(inputs, [0.001, 0.999])
        low, high = low - 0.3 * (high - low or scale), high + 0.3 * (high - low or scale)
        counts, edges = np.histogram(inputs, 60, (low, high))
        shade = axis.twinx()
        shade.stairs(counts, edges, fill=True, color=SKY, alpha=0.4)
        shade.set_ylim(0, 3 * max(counts.max(), 1))
        shade.set_yticks([])
        axis.set_zorder(shade.get_zorder() + 1)
        axis.patch.set_visible(False)
    z = torch.linspace(low, high, 401, dtype=first.delta.dtype, device=first.delta.device)
    axis.plot(z.cpu(), derivatives(first.base, z, order)[order].cpu(), "--", color="0.35", linewidth=1.2, label=first.base_name)
    for color, (label, act) in zip(_colors(len(acts)), acts.items(), strict=True):
        wide = z[:, None].expand(-1, act.width) if act.width else z
        lines = axis.plot(z.cpu(), act.derivative(wide, order).cpu(), color=color, linewidth=0.6 if act.width else 1.6)
        lines[0].set_label(label or act.spec.variant or act.spec.family)
    axis.set_xlim(low, high)


def _colors(count: int) -> list:
    """Distinct ones for a few, from dark to bright for checkpoints."""
    import matplotlib

    return list(PALETTE[:count]) if count <= 2 else list(matplotlib.colormaps["cividis"](np.linspace(0, 0.95, count)))


def inputs_of(acts: Mapping[str, TrainableActivation], run: Callable[[], object], most: int = 20_000) -> dict[str, np.ndarray]:
    """What each activation is called on while ``run`` runs the model: name -> values of z, float64, at most ``most`` of each call."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in acts}
    drawn = torch.Generator().manual_seed(0)

    def hook(name: str) -> Callable:
        def remember(module: torch.nn.Module, arguments: tuple) -> None:
            values = arguments[0].detach().double().cpu().flatten()
            if len(values) > most:  # drawn, not every so many: that would always meet the same neurons
                values = values[torch.randint(len(values), (most,), generator=drawn)]
            found[name].append(values.numpy())

        return remember

    handles = [act.register_forward_pre_hook(hook(name)) for name, act in acts.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in found.items()}


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
        for color, (name, energy) in zip(cycle(PALETTE), runs.items(), strict=False):
            axis.plot(energy[:, 0], 1e3 * (energy[:, 1] - energy[0, 1]), linewidth=1, color=color, label=name)
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
