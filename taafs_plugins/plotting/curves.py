"""Learned curves next to the stock activation, and where their inputs lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.activations.base import derivatives
from taafs_plugins.plotting.common import SKY, colors, layout, pyplot, short, write

Runs = Mapping[str, Mapping[str, TrainableActivation]]
POINTS = 401
ORDERS = ("activation y(z)", "slope dy/dz", "curvature d²y/dz²")


def curves(acts: dict[str, TrainableActivation], path: Path, span: float = 4.0, title: str = "") -> None:
    """Draw each activation over its stock one for |z| <= ``span`` (times its scale); as :func:`curves_of_runs` with one run."""
    curves_of_runs({"": acts}, path, span, title)


def curves_of_runs(
    runs: Runs,
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
    names = names_of(runs)
    figure, axes = grid(names, title, order, bool(inputs))
    for axis, name in zip(axes, names, strict=True):
        _panel(axis, {label: acts[name] for label, acts in runs.items()}, span, (inputs or {}).get(name), order)
    axes[0].legend(fontsize=layout(len(names))[2], frameon=False)
    write(figure, path)


def names_of(runs: Runs) -> list[str]:
    """The names of the activations, which are the same in every run.

    Raises
    ------
    ValueError
        They are not.
    """
    names = list(next(iter(runs.values())))
    if any(list(acts) != names for acts in runs.values()):
        raise ValueError("The models have their activations in different places; draw each for itself.")
    return names


def grid(names: Sequence[str], title: str, order: int, shaded: bool) -> tuple[Any, list]:
    """A figure with a named panel for each activation and names at its outer axes."""
    columns, size, font = layout(len(names))
    rows = -(-len(names) // columns)
    wide, high = size[0] * columns, size[1] * rows + 0.5
    figure, axes = pyplot().subplots(rows, columns, figsize=(wide, high), squeeze=False)  # a layout engine takes a minute for 100 panels
    edge = {"left": 0.7 / wide, "right": 1 - 0.1 / wide, "bottom": 0.6 / high, "top": 1 - (0.6 if title else 0.3) / high}
    figure.subplots_adjust(**edge, wspace=0.35, hspace=0.45)
    for axis in axes.ravel()[len(names) :]:
        axis.axis("off")
    for axis, name in zip(axes.ravel(), names, strict=False):
        axis.set_title(short(name), fontsize=font)
        axis.tick_params(labelsize=font - 1, length=2)
    figure.supxlabel("input z of the activation" + (" (shaded: where inputs lie)" if shaded else ""), fontsize=9, y=0.1 / high, va="bottom")
    figure.supylabel(ORDERS[order], fontsize=9, x=0.1 / wide)
    if title:
        figure.suptitle(title, fontsize=10, y=1 - 0.1 / high, va="top")
    return figure, list(axes.ravel()[: len(names)])


def window(act: TrainableActivation, span: float, inputs: np.ndarray | None) -> tuple[float, float]:
    """From where to where a curve is drawn: around its inputs where they are given, else ``span`` scales to either side."""
    scale = float(getattr(act, "scale", 1.0))
    if inputs is None or not len(inputs):
        return -span * scale, span * scale
    low, high = (float(edge) for edge in np.quantile(inputs, [0.001, 0.999]))
    beyond = 0.3 * (high - low or scale)
    return low - beyond, high + beyond


def stock(act: TrainableActivation, z: torch.Tensor, order: int) -> np.ndarray:
    """The activation that was replaced, or a derivative of it, at ``z``."""
    return derivatives(act.base, z, order)[order].detach().cpu().numpy()


def learned(act: TrainableActivation, z: torch.Tensor, order: int) -> np.ndarray:
    """The activation, or a derivative of it, at ``z``: [n], or [n, width] where each neuron has its own."""
    return act.derivative(z[:, None].expand(-1, act.width) if act.width else z, order).detach().cpu().numpy()


def shade(axis: Any, inputs: np.ndarray | None, low: float, high: float) -> None:
    """The histogram of inputs behind a panel."""
    if inputs is None or not len(inputs):
        return
    counts, edges = np.histogram(inputs, 60, (low, high))
    behind = axis.twinx()
    behind.stairs(counts, edges, fill=True, color=SKY, alpha=0.4)
    behind.set_ylim(0, 3 * max(counts.max(), 1))
    behind.set_yticks([])
    axis.set_zorder(behind.get_zorder() + 1)
    axis.patch.set_visible(False)


def _panel(axis: Any, acts: Mapping[str, TrainableActivation], span: float, inputs: np.ndarray | None, order: int) -> None:
    """One activation in each of the runs."""
    first = next(iter(acts.values()))
    low, high = window(first, span, inputs)
    shade(axis, inputs, low, high)
    z = torch.linspace(low, high, POINTS, dtype=first.delta.dtype, device=first.delta.device)
    axis.plot(z.cpu(), stock(first, z, order), "--", color="0.35", linewidth=1.2, label=first.base_name)
    for color, (label, act) in zip(colors(len(acts)), acts.items(), strict=True):
        lines = axis.plot(z.cpu(), learned(act, z, order), color=color, linewidth=0.6 if act.width else 1.6)
        lines[0].set_label(label or act.spec.variant or act.spec.family)
    axis.set_xlim(low, high)


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
