"""Errors against steps or epochs, from the logs that hosts write."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taafs_plugins.errors import TaafsError
from taafs_plugins.plotting.common import PALETTE, pyplot, write

PARTS = {
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "trn": "training",
    "train": "training",
    "training": "training",
}
# DeePMD-kit's columns without their part
LCURVE = {
    "rmse_e": "energy RMSE [eV/atom]", "rmse_f": "force RMSE [eV/Å]", "rmse_v": "virial RMSE [eV/atom]", "rmse": "square root of the loss",
    "lr": "learning rate",
}  # fmt: skip
HISTORY = {"e": "energy MAE [eV/atom]", "f": "force MAE [eV/Å]", "s": "stress MAE [GPa]", "m": "magnetic moment MAE [µB]"}
ORDER = ("energy", "force", "stress", "virial", "magn", "loss", "square", "learning")
MOST_PANELS = 6
DECADE = 5  # largest over smallest value from which on an axis is logarithmic
MANY = 20  # points from which on a running mean is drawn through them


class LogError(TaafsError, ValueError):
    """A log that cannot be read; the message is one sentence with the way out."""


@dataclass(frozen=True)
class Series:
    """One column of a log.

    Attributes
    ----------
    quantity : what it is, with its unit where the log's format fixes one
    part : ``training``, ``validation`` or nothing
    steps : number of the step or epoch, [n]
    values : [n]
    """

    quantity: str
    part: str
    steps: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Log:
    """A training: what its steps are called, and its columns."""

    steps: str
    series: tuple[Series, ...]


def read_log(path: Path) -> Log:
    """Read DeePMD-kit's ``lcurve.out``, a file of CHGNet's ``Trainer.save``, or a CSV with a column ``step`` or ``epoch``, as Lightning's.

    Raises
    ------
    LogError
        Another kind of file, or one without a number.
    OSError
        A file that is not there.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK":
        return _history(path)
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        text = ""
    first = text.partition("\n")[0]
    if first.startswith("#") and "rmse" in text[:2000]:
        return _lcurve(path, text)
    if re.search(r"(^|,)(step|epoch)(,|$)", first):
        return _table(path, text)
    raise LogError(
        f"{path} is no training log; give DeePMD-kit's lcurve.out, Lightning's metrics.csv, a file of CHGNet's Trainer.save, or a CSV "
        "with a column step or epoch."
    )


def _made(path: Path, steps: str, series: Iterable[Series]) -> Log:
    log = Log(steps, tuple(one for one in series if len(one.values)))
    if not log.series:
        raise LogError(f"{path} holds no numbers yet; let the training run on.")
    return log


def _part(name: str) -> tuple[str, str]:
    """The name of a column without its part, and the part."""
    words = name.split("_")
    for i in (0, -1):
        if words[i].lower() in PARTS and len(words) > 1:
            part = PARTS[words.pop(i).lower()]
            return "_".join(words), part
    return name, ""


def _lcurve(path: Path, text: str) -> Log:
    """DeePMD-kit's: a line of names that begins with ``#``, then numbers; further comments are left out."""
    names = text.partition("\n")[0].lstrip("# ").split()
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    numbers = np.array([[float(cell) for cell in row] for row in rows if len(row) == len(names)]).reshape(-1, len(names))
    found = []
    for column, name in enumerate(names[1:], start=1):
        bare, part = _part(name)
        kept = np.isfinite(numbers[:, column])
        found.append(Series(LCURVE.get(bare, bare), part, numbers[kept, 0], numbers[kept, column]))
    return _made(path, "step", found)


def _table(path: Path, text: str) -> Log:
    """A CSV in which a row need not fill every column."""
    rows = list(csv.DictReader(text.splitlines()))
    names = list(rows[0]) if rows else []
    axis = "step" if "step" in names else "epoch"
    found = []
    for name in names:
        cells = [(row[axis], row[name]) for row in rows if row[name] not in ("", None)]
        try:
            numbers = np.array([(float(step), float(value)) for step, value in cells]).reshape(-1, 2)
        except ValueError:  # a column of text
            continue
        bare, part = _part(name)
        if name not in ("step", "epoch") and not name.startswith("test_"):
            found.append(Series(bare.replace("_", " "), part, numbers[:, 0], numbers[:, 1]))
    return _made(path, axis, found)


def _history(path: Path) -> Log:
    """CHGNet's: mean absolute errors by epoch in a file that also holds the model. Read without unpickling code."""
    import torch

    try:
        history = torch.load(path, map_location="cpu", weights_only=True)["training_history"]
    except Exception:  # torch raises many kinds for what is no such file
        raise LogError(f"{path} holds no training history; give a file of CHGNet's Trainer.save, an lcurve.out or a CSV.") from None
    found = []
    for key, quantity in HISTORY.items():
        for part in ("train", "val"):
            values = np.array(history.get(key, {}).get(part, []), float)
            found.append(Series(quantity, PARTS[part], np.arange(1, len(values) + 1), values))
    return _made(path, "epoch", found)


def training(logs: Mapping[str, Log], path: Path, title: str = "") -> None:
    """Draw trainings together, a panel for each quantity: validation in full lines, training in thin ones where both are logged.

    From 20 points on the lines are running means (:func:`running`), and the points are drawn, too.

    Parameters
    ----------
    logs : label -> :func:`read_log`; a quantity that one of them lacks is drawn for the others
    path : PNG, SVG or PDF, by its ending
    """
    quantities = sorted({one.quantity for log in logs.values() for one in log.series}, key=_rank)[:MOST_PANELS]
    columns = 2 if len(quantities) == 4 else min(3, len(quantities))
    rows = -(-len(quantities) // columns)
    figure, axes = pyplot().subplots(rows, columns, figsize=(4.2 * columns, 3.1 * rows), squeeze=False, constrained_layout=True)
    for axis in axes.ravel()[len(quantities) :]:
        axis.axis("off")
    for axis, quantity in zip(axes.ravel(), quantities, strict=False):
        for color, (label, log) in zip(PALETTE * 5, logs.items(), strict=False):
            _lines(axis, label, [one for one in log.series if one.quantity == quantity], color)
        axis.set_xlabel(" or ".join(dict.fromkeys(log.steps for log in logs.values())))
        axis.set_ylabel(quantity)
        drawn = np.concatenate([line.get_ydata() for line in axis.get_lines()])
        if drawn.min() > 0 and drawn.max() > DECADE * drawn.min():
            axis.set_yscale("log")
    axes[0, 0].legend(fontsize=8, frameon=False)
    if title:
        figure.suptitle(title, fontsize=10)
    write(figure, path)


def _rank(quantity: str) -> tuple[int, str]:
    """Energies and forces first."""
    return next((i for i, word in enumerate(ORDER) if word in quantity.lower()), len(ORDER)), quantity


def _lines(axis, label: str, series: list[Series], color: str) -> None:
    """One side of one panel."""
    for one in series:
        faint = one.part == "training" and len(series) > 1
        name = ", ".join(filter(None, (label, one.part)))
        if faint:
            axis.plot(one.steps, one.values, color=color, linewidth=0.8, alpha=0.6, label=name)
            continue
        smooth = running(one)
        if smooth is not one.values:
            axis.plot(one.steps, one.values, ".", color=color, markersize=2, alpha=0.5)
        marker = "o" if len(one.values) < MANY else ""
        axis.plot(one.steps, smooth, marker=marker, markersize=3, color=color, linewidth=1.5, label=name or None)


def running(one: Series) -> np.ndarray:
    """The error over a fifth of the points around each, since errors of single batches jump; the values themselves where there are few.

    Root mean square of what is one (``RMSE``), mean of anything else; learning rates stay.
    """
    if len(one.values) < MANY or "rate" in one.quantity:
        return one.values
    half, power = len(one.values) // 10, 2 if "RMSE" in one.quantity or "root" in one.quantity else 1
    windows = [one.values[max(0, i - half) : i + half + 1] for i in range(len(one.values))]
    return np.array([np.mean(window**power) ** (1 / power) for window in windows])
