"""Learned curves over checkpoints as an animation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taafs_plugins.files import replacing
from taafs_plugins.plotting.common import PALETTE, layout, pyplot
from taafs_plugins.plotting.curves import POINTS, Runs, grid, learned, names_of, shade, stock, window

MILLISECONDS = 700  # of a checkpoint; the last one stays for three times as long


def animated(
    runs: Runs, path: Path, span: float = 4.0, title: str = "", inputs: Mapping[str, np.ndarray] | None = None, order: int = 0
) -> None:
    """Write a GIF that shows one run after the other over the stock activation and the first one, on axes that stay.

    Parameters
    ----------
    runs : label -> activations by name, with the same names in each: checkpoints, the oldest first
    path : the GIF
    span, inputs, order : as for :func:`taafs_plugins.plotting.curves_of_runs`

    Raises
    ------
    ValueError
        Models whose activations have other names.
    """
    from PIL import Image

    names = names_of(runs)
    figure, axes = grid(names, title or " ", order, bool(inputs))
    figure.suptitle("")
    panels = [
        _panel(axis, [acts[name] for acts in runs.values()], span, (inputs or {}).get(name), order)
        for axis, name in zip(axes, names, strict=True)
    ]
    axes[0].legend(fontsize=layout(len(names))[2], frameon=False)
    pictures = [Image.fromarray(pixels).quantize(64) for pixels in _frames(figure, panels, list(runs), title)]
    durations = [MILLISECONDS] * (len(pictures) - 1) + [3 * MILLISECONDS]
    with replacing(path) as written:
        pictures[0].save(written, format="GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0)
    pyplot().close(figure)


def _frames(figure: Any, panels: list[tuple[list, list[np.ndarray]]], labels: list[str], title: str) -> Iterator[np.ndarray]:
    """Pixels of each frame. Only the moving lines are drawn anew: a hundred panels take seconds each time."""
    figure.set_dpi(80)
    heading = figure.text(0.5, 0.99, "", fontsize=10, ha="center", va="top", animated=True)
    figure.canvas.draw()
    still = figure.canvas.copy_from_bbox(figure.bbox)
    for frame, label in enumerate(labels):
        figure.canvas.restore_region(still)
        heading.set_text(f"{title}: {label}".removeprefix(": "))
        figure.draw_artist(heading)
        for lines, values in panels:
            for i, line in enumerate(lines):
                line.set_ydata(values[frame][:, i])
                line.axes.draw_artist(line)
        yield np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


def _panel(axis: Any, acts: list, span: float, inputs: np.ndarray | None, order: int) -> tuple[list, list[np.ndarray]]:
    """The lines that move, and where they are for each run [points, lines]."""
    first = acts[0]
    low, high = window(first, span, inputs)
    shade(axis, inputs, low, high)
    z = torch.linspace(low, high, POINTS, dtype=first.delta.dtype, device=first.delta.device)
    x, base = z.cpu().numpy(), stock(first, z, order)
    values = [learned(act, z, order).reshape(len(x), -1) for act in acts]
    thin = 0.6 if first.width else 1.6
    axis.plot(x, base, "--", color="0.35", linewidth=1.2, label=first.base_name)
    axis.plot(x, values[0][:, :1], color=PALETTE[1], linewidth=0.9, label="first")
    lines = axis.plot(x, values[0], color=PALETTE[0], linewidth=thin, animated=True)
    lines[0].set_label("now")
    bottom, top = (edge([edge(part) for part in [base, *values]]) for edge in (np.min, np.max))
    room = 0.05 * (top - bottom or 1)
    axis.set_ylim(bottom - room, top + room)
    axis.set_xlim(low, high)
    return lines, values
