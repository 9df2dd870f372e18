"""What do trainable activations give when pretrained CHGNet 0.3.0 is fine-tuned on magnetic iron?

    python benchmarks/chgnet_finetune.py select     # every side at four or five learning rates, seed 1, judged on validation frames
    python benchmarks/chgnet_finetune.py final      # each side at its best, four seeds, judged on test frames
    python benchmarks/chgnet_finetune.py report     # table and picture

Sides: the coefficients alone; the last MLP's weights alone (stock); all weights, stock; all weights and coefficients. A seed draws
training and validation frames and the batches, the same for every side. Every finished run is one line of
``benchmarks/results/chgnet_iron.jsonl``; an interrupted program goes on where it stopped. About 1 minute a run
on a free core.
"""

from __future__ import annotations

import datetime
import json
import platform
import sys
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import taafs_plugins as taafs
from taafs_plugins.adapters.chgnet.finetune import FineTuningReport, errors, predict
from taafs_plugins.experiments.chgnet import RATIOS, SPEC, fine_tune, iron, known, prepare

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "chgnet_iron.jsonl"
# side -> (what is trained, spec, learning rates to choose from)
SIDES = {
    "coefficients": ("coefficients", SPEC, (1e-3, 3e-3, 1e-2, 3e-2)),
    "last MLP, stock": ("readout", None, (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)),
    "all weights, stock": ("all", None, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
    "all weights + TAAFS": ("all", SPEC, (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)),
}
FRAMES = dict(train=160, validate=40, test=100)
SEEDS = (1, 2, 3, 4)
T_90 = {1: 6.314, 2: 2.920, 3: 2.353, 4: 2.132, 5: 2.015}  # Student's t, two-sided 90%, by degrees of freedom
console = Console()
app = typer.Typer(add_completion=False, help=__doc__)


def load(epochs: int) -> list[dict]:
    """Finished runs of one length."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [row for row in map(json.loads, lines) if row["epochs"] == epochs]


def judged(row: dict) -> bool:
    """Whether the run was judged on test frames (a final run), not on validation frames alone."""
    return "test_before" in row


def run(side: str, lr: float, seed: int, epochs: int, with_test: bool) -> dict:
    """One fine-tuning; errors in CHGNet's units, on test and known frames only if asked for."""
    trained, spec, _ = SIDES[side]
    train, validate, test, shift = iron(**FRAMES, seed=seed)
    model = prepare(train, trained, spec)
    report = FineTuningReport(model, test, known(40)) if with_test else None
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    start, steps = time.perf_counter(), epochs * (-(-FRAMES["train"] // 8))
    with Progress(TextColumn(f"{side}, lr {lr:g}, seed {seed}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task("", total=steps)
        fine_tune(model, train, validate, lr=lr, epochs=epochs, seed=seed, tick=lambda: progress.advance(task))
    seconds = time.perf_counter() - start
    row = {
        "side": side, "lr": lr, "seed": seed, "epochs": epochs, "parameters": parameters, "spec": spec, "shift": shift, **FRAMES,
        "ratios": RATIOS, "validation": errors(predict(model, validate), validate), "seconds": round(seconds, 1),
    }  # fmt: skip
    if report is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            outcome = report.after(model)
        row |= {
            "test_before": outcome.new_before, "test": outcome.new_after, "known_before": outcome.known_before,
            "known": outcome.known_after, "moved_mean": outcome.moved_mean, "moved_largest": outcome.moved_largest,
        }  # fmt: skip
    row |= {
        "command": " ".join(["python", *sys.argv]), "date": datetime.date.today().isoformat(), "python": platform.python_version(),
        "versions": {"chgnet": version("chgnet"), "torch": torch.__version__, "taafs-plugins": taafs.__version__},
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


@app.command()
def select(epochs: int = 10, seed: int = 1) -> None:
    """Every side at each of its learning rates, judged on validation frames."""
    done = {(row["side"], row["lr"], row["seed"]) for row in load(epochs)}
    for side, (_, _, rates) in SIDES.items():
        for lr in rates:
            if (side, lr, seed) not in done:
                row = run(side, lr, seed, epochs, with_test=False)
                console.print(f"{side:22} lr {lr:g}: validation energy {1000 * row['validation']['e']:.1f} meV/atom")


def best_rates(epochs: int) -> dict[str, float]:
    """Learning rate with the lowest validation energy error of each side, from the selection runs."""
    best: dict[str, dict] = {}
    for row in sorted(load(epochs), key=lambda row: row["validation"]["e"]):
        if not judged(row):
            best.setdefault(row["side"], row)
    if missing := [side for side in SIDES if side not in best]:
        console.print(f"Run 'select' first: nothing yet for {', '.join(missing)}.")
        raise typer.Exit(1)
    return {side: row["lr"] for side, row in best.items()}


@app.command()
def final(epochs: int = 10) -> None:
    """Each side at its best learning rate, every seed, judged on test and known frames."""
    rates = best_rates(epochs)
    done = {(row["side"], row["lr"], row["seed"]) for row in load(epochs) if judged(row)}
    for seed in SEEDS:
        for side in SIDES:
            if (side, rates[side], seed) not in done:
                row = run(side, rates[side], seed, epochs, with_test=True)
                console.print(f"{side:22} seed {seed}: test energy {1000 * row['test']['e']:.1f} meV/atom")


def ratio(side: str, base: str | None, rows: dict, key: str) -> str:
    """Geometric mean over the seeds of side / base (None: the pretrained network), paired by seed, and its 90% interval."""
    seeds = sorted(seed for name, seed in rows if name == side and (base is None or (base, seed) in rows))
    against = {seed: rows[side, seed]["test_before"] if base is None else rows[base, seed]["test"] for seed in seeds}
    logs = np.log([rows[side, seed]["test"][key] / against[seed][key] for seed in seeds])
    if len(logs) < 2:
        return f"{np.exp(logs.mean()):.2f} (one seed)"
    half = T_90[len(logs) - 1] * logs.std(ddof=1) / len(logs) ** 0.5
    return "{:.2f} [{:.2f}, {:.2f}]".format(*np.exp(logs.mean() + half * np.array([0, -1, 1])))


@app.command()
def report(epochs: int = 10) -> None:
    """Table of means over the seeds, paired ratios with 90% intervals, and a picture."""
    rows = {(row["side"], row["seed"]): row for row in load(epochs) if judged(row)}
    if not rows:
        console.print("No final runs yet: run 'select', then 'final'.")
        raise typer.Exit(1)
    table = Table("side", "numbers", "lr", "E meV/atom", "F meV/A", "S GPa", "M muB", "E / pretrained", "known E moved, largest")
    present = [side for side in SIDES if any(name == side for name, _ in rows)]
    for side in present:
        mine = [row for (name, _), row in rows.items() if name == side]
        mean = {key: np.mean([row["test"][key] for row in mine]) for key in "efsm"}
        moved = max(row["moved_largest"]["e"] for row in mine)
        table.add_row(
            side, str(mine[0]["parameters"]), f"{mine[0]['lr']:g}", f"{1000 * mean['e']:.1f}", f"{1000 * mean['f']:.0f}",
            f"{mean['s']:.2f}", f"{mean['m']:.3f}", ratio(side, None, rows, "e"), f"{moved:.2f} eV/atom",
        )  # fmt: skip
    console.print(table)
    for side, base in (("coefficients", "last MLP, stock"), ("all weights + TAAFS", "all weights, stock")):
        if side in present and base in present:
            cells = ", ".join(f"{key} {ratio(side, base, rows, key)}" for key in "efsm")
            console.print(f"{side} / {base}: {cells} (mean of paired seeds, 90% interval)")
    picture(rows, present, RESULTS.with_suffix(".png"))


def picture(rows: dict, present: list[str], path: Path) -> None:
    """Test energy and the largest move of a known structure for each side and seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), constrained_layout=True)
    for i, side in enumerate(present):
        mine = [row for (name, _), row in rows.items() if name == side]
        axes[0].plot([i] * len(mine), [1000 * row["test"]["e"] for row in mine], "o", alpha=0.7)
        axes[1].plot([i] * len(mine), [row["moved_largest"]["e"] for row in mine], "o", alpha=0.7)
    before = 1000 * np.mean([row["test_before"]["e"] for row in rows.values()])
    axes[0].axhline(before, color="grey", linestyle="--", label="pretrained")
    axes[0].legend()
    axes[0].set_ylabel("test energy MAE, meV/atom")
    axes[1].set_ylabel("largest move of a known\nstructure, eV/atom")
    for axis in axes:
        axis.set_ylim(bottom=0)
        axis.set_xticks(range(len(present)), [side.replace(", ", ",\n").replace(" + ", "\n+ ") for side in present], fontsize=8)
    figure.savefig(path, dpi=120)
    console.print(f"picture: {path}")


if __name__ == "__main__":
    app()
