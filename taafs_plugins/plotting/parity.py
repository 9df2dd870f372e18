"""Predictions beside reference values, and what fine-tuning did to what a model knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taafs_plugins.plotting.common import PALETTE, pyplot, write

NAMED = 40  # bars whose names can be read


def parity(
    reference: Mapping[str, np.ndarray], predicted: Mapping[str, Mapping[str, np.ndarray]], path: Path, title: str = "", by: str = "DFT"
) -> None:
    """Draw predictions against reference values, a panel for each quantity, with the mean absolute error of each side.

    Parameters
    ----------
    reference : quantity with its unit, ``energy [eV/atom]`` -> values [n]
    predicted : label -> the same quantities; the first is drawn below the others
    path : PNG, SVG or PDF, by its ending
    by : what the reference is
    """
    figure, axes = pyplot().subplots(1, len(reference), figsize=(4.2 * len(reference), 4), squeeze=False, constrained_layout=True)
    for axis, (quantity, values) in zip(axes[0], reference.items(), strict=True):
        known = np.ravel(values)
        for color, marker, (label, quantities) in zip(PALETTE * 3, "ox+^sv" * 3, predicted.items(), strict=False):
            found = np.ravel(quantities[quantity])
            name = f"{label}: MAE {np.abs(found - known).mean():.3g}"
            size = 14 if len(known) <= 500 else 5
            axis.scatter(
                known, found, s=size, marker=marker, color=color, alpha=0.7, linewidths=0.8, label=name, rasterized=len(known) > 2000
            )
        low, high = (edge(edge(pair) for pair in (axis.get_xlim(), axis.get_ylim())) for edge in (min, max))
        axis.plot([low, high], [low, high], color="0.5", linewidth=0.8, zorder=0)
        axis.set(xlim=(low, high), ylim=(low, high), xlabel=f"{by} {quantity}", ylabel=f"predicted {quantity}", aspect="equal")
        axis.legend(fontsize=8, frameon=False, loc="upper left")
    if title:
        figure.suptitle(title, fontsize=10)
    write(figure, path)


def forgetting(outcome: Any, names: Sequence[str], path: Path, title: str = "") -> None:
    """Draw how far the energies of known structures moved by fine-tuning, and each error after over before.

    Parameters
    ----------
    outcome : what :meth:`taafs_plugins.adapters.chgnet.finetune.FineTuningReport.after` gives
    names : of the known structures, in the report's order; drawn where there are at most 40
    path : PNG, SVG or PDF, by its ending
    """
    moved = 1000 * np.asarray(outcome.moved_energies)
    order = np.argsort(moved)
    height = max(3.2, 0.17 * min(len(moved), NAMED) + 1)
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(9.5, height), constrained_layout=True, width_ratios=(1.2, 1))
    left.barh(np.arange(len(moved)), moved[order], color=np.where(moved[order] < 0, PALETTE[1], PALETTE[0]))
    if len(moved) <= NAMED:
        left.set_yticks(np.arange(len(moved)), [names[i] for i in order], fontsize=7)
    else:
        left.set_ylabel(f"{len(moved)} known structures")
    left.axvline(0, color="0.3", linewidth=0.8)
    left.set_xlabel("energy after - before fine-tuning [meV/atom]")
    left.set_title(f"known structures: {np.abs(moved).mean():.0f} meV/atom in the mean", fontsize=9)
    _ratios(right, outcome)
    if title:
        figure.suptitle(title, fontsize=10)
    write(figure, path)


def _ratios(axis: Any, outcome: Any) -> None:
    """Error after over before, of new and of known structures, a row for each quantity."""
    from taafs_plugins.adapters.chgnet.finetune import QUANTITIES

    keys = [key for key in QUANTITIES if key in outcome.new_before or key in outcome.known_before]
    sides = (("new data", "o", PALETTE[3], outcome.new_before, outcome.new_after),
             ("known data", "s", PALETTE[4], outcome.known_before, outcome.known_after))  # fmt: skip
    for label, marker, color, before, after in sides:
        rows = [(i, after[key] / before[key]) for i, key in enumerate(keys) if key in before]
        axis.plot([ratio for _, ratio in rows], [i for i, _ in rows], marker, color=color, label=label)
    axis.axvline(1, color="0.3", linewidth=0.8)
    axis.set_yticks(range(len(keys)), [QUANTITIES[key][0] for key in keys])
    axis.set_ylim(len(keys) - 0.5, -0.5)
    axis.set_xlabel("mean absolute error after / before (left of 1: better)")
    axis.legend(fontsize=8, frameon=False)
