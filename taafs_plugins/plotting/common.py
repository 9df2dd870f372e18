"""What all pictures share: colours, sizes, and writing a file beside its goal first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from taafs_plugins.files import replacing

# Okabe and Ito's colours, which people with any colour vision tell apart: vermilion, blue, orange, bluish green; behind curves sky blue
PALETTE = ("#D55E00", "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000")
SKY = "#56B4E9"
# parts of module paths that say nothing about a place
DULL = {
    "model", "atomic_model", "filter_layers", "networks", "layers", "activate", "activation", "Default", "sea", "potentials", "nnp",
    "neural_networks", "atomics", "representation",
}  # fmt: skip


def pyplot() -> Any:
    """Matplotlib's ``pyplot``, drawing into files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt


def write(figure: Any, path: Path, dpi: int = 130) -> None:
    """Write a figure as what the ending of ``path`` says, and close it."""
    with replacing(path) as written:
        figure.savefig(written, dpi=dpi, format=path.suffix[1:].lower() or "png")
    pyplot().close(figure)


def layout(count: int) -> tuple[int, tuple[float, float], int]:
    """Columns, size of a panel in inches and size of its letters, so that all fit on a screen."""
    if count <= 24:
        return min(4 if count <= 12 else 6, count), (3.2, 2.5) if count <= 12 else (2.5, 1.9), 8
    return min(12, round((1.5 * count) ** 0.5)), (1.5, 1.15), 6


def colors(count: int) -> list:
    """Distinct ones for a few, from dark to bright for checkpoints."""
    import matplotlib

    return list(PALETTE[:count]) if count <= 2 else list(matplotlib.colormaps["cividis"](np.linspace(0, 0.95, count)))


def short(name: str) -> str:
    """A module path without the parts that every path has."""
    return ".".join(part for part in name.split(".") if part not in DULL) or name
