"""Does TAAFS help TorchANI on 1000 different HCNO molecules (kernelforge)? Each side at its best on validation molecules.

    python benchmarks/torchani_gain.py select     # every (activation, learning rate, rate), seed 1, judged on validation molecules
    python benchmarks/torchani_gain.py final      # each side's best, four seeds, judged on the 595 test molecules
    python benchmarks/torchani_gain.py report     # table, ratios with 90% intervals, picture
    python benchmarks/torchani_gain.py timing     # seconds of a whole training step, ANI-1x architecture, beside stock

Every finished run is one line of ``benchmarks/results/torchani_kernelforge.jsonl``; an interrupted program goes on where it
stopped. Data, split and training: ``taafs_plugins/experiments/torchani.py``.
"""

from __future__ import annotations

import datetime
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from pinned import faults, pin_malloc
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import taafs_plugins as taafs
from taafs_plugins.experiments.torchani import build, parts, score_of, step_times, train

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "torchani_kernelforge.jsonl"
LEARNING_RATES = {"celu": (2e-3, 4e-3, 1e-2, 2e-2), "gelu": (2e-3, 4e-3, 1e-2, 2e-2, 4e-2)}  # the best of each side is inside
SIZES = {"small": (24, 20, 16), "medium": (64, 56, 48)}
console = Console()
app = typer.Typer(add_completion=False, help=__doc__)


def activations(rates: tuple[float, ...], spec: str) -> list[str]:
    """The two stock activations, and each with TAAFS per network and per layer at each rate."""
    return [
        text
        for base in ("celu", "gelu")
        for text in (base, *(f"{base}+{spec},share={share},rate={rate:g}" for share in ("network", "layer") for rate in rates))
    ]


def side(activation: str) -> str:
    """The side a setting belongs to: the learning rate and the spec's rate are chosen within it."""
    return activation.split(",rate=")[0]


def load(size: str, epochs: int) -> list[dict]:
    """Finished runs of one network size and length."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [row for row in map(json.loads, lines) if (row["size"], row["epochs"]) == (size, epochs)]


def provenance() -> dict:
    """Command, date, machine and versions, stored with every result."""
    return {
        "command": f"python benchmarks/torchani_gain.py {' '.join(sys.argv[1:])}", "date": datetime.date.today().isoformat(),
        "machine": f"{platform.machine()}, 1 thread", "versions": {name: version(name) for name in ("torch", "torchani", "taafs-plugins")},
    }  # fmt: skip


def run_all(grid: list[tuple[str, float, int]], size: str, epochs: int) -> None:
    """Run what is missing of a grid of (activation, learning rate, seed), and store each run when it is done."""
    done = {(r["activation"], r["learning_rate"], r["seed"]) for r in load(size, epochs)}
    grid = [g for g in grid if g not in done]
    if not grid:
        return
    torch.set_num_threads(1)
    console.print("AEVs and their derivatives (a minute) ...")
    sets = parts()
    width = sets["train"][0].aev.shape[1]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        total = progress.add_task("runs", total=len(grid))
        for activation, learning_rate, seed in grid:
            task = progress.add_task(f"{activation} lr={learning_rate:g} seed={seed}", total=epochs)
            networks = build(activation, SIZES[size], seed, width)
            start = time.perf_counter()
            result = train(networks, sets, learning_rate, epochs, seed, lambda n, task=task: progress.update(task, completed=n))
            row = {
                "activation": activation, "side": side(activation), "learning_rate": learning_rate, "seed": seed, "size": size,
                "dims": SIZES[size], "epochs": epochs, "parameters": taafs.count_parameters(networks),
                "seconds": round(time.perf_counter() - start, 1), **result, **provenance(),
            }  # fmt: skip
            RESULTS.parent.mkdir(exist_ok=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(row) + "\n")
            progress.remove_task(task)
            progress.advance(total)
            progress.console.print(
                f"{activation} lr={learning_rate:g} seed={seed}: validation {row['validation_energy']:.3f}, {row['validation_force']:.2f}; "
                f"train {row['train_energy']:.3f}, {row['train_force']:.2f}; {row['seconds']:.0f} s"
            )


def best(rows: list[dict]) -> dict[str, tuple[str, float]]:
    """side -> (activation, learning rate) with the best validation score of seed 1, which every setting has."""
    choice: dict[str, tuple[str, float]] = {}
    for name in dict.fromkeys(r["side"] for r in rows):
        scores = {
            (r["activation"], r["learning_rate"]): score_of({k: r[f"validation_{k}"] for k in ("energy", "force")})
            for r in rows
            if r["side"] == name and r["seed"] == 1
        }
        if scores:
            choice[name] = min(scores, key=scores.get)
    return choice


def interval(ratios: np.ndarray) -> tuple[float, float, float]:
    """Geometric mean of paired ratios and its 90% interval (Student's t on the logarithms); no interval for one value."""
    from scipy.stats import t

    logs = np.log(ratios)
    if len(logs) < 2:
        return float(np.exp(logs.mean())), float("nan"), float("nan")
    half = t.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    return tuple(float(np.exp(logs.mean() + d)) for d in (0.0, -half, half))


Size = Annotated[str, typer.Option(help=f"Size of the networks: {', '.join(SIZES)}.")]
Epochs = Annotated[int, typer.Option(help="Length of a run.")]


@app.command()
def select(size: Size = "small", epochs: Epochs = 60, rates: str = "1", spec: str = "taafs:bspline", only: str = "") -> None:
    """Train the grid of settings with seed 1. ``--only`` takes a part of an activation's text, ``--rates`` rates by commas."""
    chosen = [a for a in activations(tuple(float(r) for r in rates.split(",")), spec) if only in a]
    run_all([(a, lr, 1) for a in chosen for lr in LEARNING_RATES[a[:4]]], size, epochs)


@app.command()
def final(size: Size = "small", epochs: Epochs = 60, seeds: str = "1,2,3,4") -> None:
    """Train each side's best setting with several seeds, then report."""
    settings = best(load(size, epochs))
    run_all([(*setting, int(s)) for s in seeds.split(",") for setting in settings.values()], size, epochs)
    report(size, epochs)


@app.command()
def report(size: Size = "small", epochs: Epochs = 60) -> None:
    """Print the table and the ratios, and draw the picture, from the stored runs."""
    rows = load(size, epochs)
    if not rows:
        console.print(f"No finished runs with --size {size} --epochs {epochs}; start with the select command.")
        raise typer.Exit(1)
    settings = best(rows)
    pick = {name: {r["seed"]: r for r in rows if (r["activation"], r["learning_rate"]) == s} for name, s in settings.items()}
    table = Table("side, at its best", "rate", "lr", "numbers", "seeds", "train E", "F", "validation E", "F", "test E", "F", "s",
                  title=f"kernelforge, networks {SIZES[size]}, {epochs} epochs; RMSE in kcal/mol per atom and kcal/mol/A")  # fmt: skip
    for name, (activation, learning_rate) in settings.items():
        same = list(pick[name].values())
        mean = {key: f"{np.mean([r[key] for r in same]):.3f}" for key in same[0] if isinstance(same[0][key], float)}
        errors_ = [mean[f"{part}_{key}"] for part in ("train", "validation", "test") for key in ("energy", "force")]
        rate = activation.split(",rate=")[1] if ",rate=" in activation else "-"
        table.add_row(name, rate, f"{learning_rate:g}", str(same[0]["parameters"]), str(len(same)), *errors_, mean["seconds"])
    console.print(table)
    ratios = {}
    for name in settings:
        for stock in ("celu", "gelu"):
            if name == stock or stock not in pick:
                continue
            seeds = sorted(pick[name].keys() & pick[stock].keys())
            for key in ("test_energy", "test_force", "test_energy_mae", "test_force_mae", "train_force"):
                values = interval(np.array([pick[name][s][key] / pick[stock][s][key] for s in seeds]))
                ratios[name, stock, key] = values
                console.print(f"{name} / {stock}, {key}, {len(seeds)} seeds: {values[0]:.3f} [{values[1]:.3f}, {values[2]:.3f}]")
    draw(ratios, RESULTS.with_name(f"torchani_kernelforge_{size}_{epochs}.png"))


def draw(ratios: dict, path: Path) -> None:
    """Test RMSE of each side over its own stock activation and of GELU over CELU, mean and 90% interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    pairs = [(name, stock) for name, stock, key in ratios if key == "test_force" and (name.startswith(f"{stock}+") or name == "gelu")]
    figure, panels = plt.subplots(1, 2, figsize=(9, 0.8 + 0.35 * len(pairs)), sharey=True, layout="constrained")
    for axes, quantity in zip(panels, ("energy", "force"), strict=True):
        for y, (name, stock) in enumerate(pairs):
            mean, low, high = ratios[name, stock, f"test_{quantity}"]
            axes.plot([low, high], [y, y], color="C0")
            axes.plot(mean, y, "o", color="C0")
        axes.axvline(1, color="grey", linewidth=1)
        axes.set_xlabel(f"test {quantity} RMSE over stock")
    panels[0].set_yticks(range(len(pairs)), [f"{name} / {stock}" for name, stock in pairs])
    figure.suptitle("mean of paired seeds, 90% interval", fontsize=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)


@app.command()
def timing(steps: int = 30, molecules: int = 32) -> None:
    """Whole training steps of the ANI-1x architecture, activations taking turns; CPU time of one thread."""
    pin_malloc()
    torch.set_num_threads(1)
    names = ["celu", *(f"celu+taafs:{s}" for s in ("bspline,share=network", "bspline,share=layer", "chebyshev1,share=layer"))]
    before = faults()
    seconds = step_times(names, steps, molecules)
    found = faults() - before
    title = f"ANI-1x architecture, {molecules} molecules, 1 thread"
    table, rows = Table("activation", "ms per step (median)", "over stock", "quartiles", title=title), {}
    for name in names:
        ratios = np.divide(seconds[name], seconds["celu"])
        milliseconds, (low, ratio, high) = 1e3 * np.median(seconds[name]), np.percentile(ratios, (25, 50, 75))
        table.add_row(name, f"{milliseconds:.1f}", f"{ratio:.3f}", f"{low:.3f}-{high:.3f}")
        rows[name] = {"milliseconds": round(float(milliseconds), 2), "over_stock": round(float(ratio), 3),
                      "quartiles": [round(float(low), 3), round(float(high), 3)]}  # fmt: skip
    console.print(table)
    console.print(f"page faults of all steps, model building included: {found}")
    text = json.dumps({"steps": steps, "faults": found, "molecules": molecules, "cases": rows, **provenance()}, indent=1)
    RESULTS.with_name(f"torchani_timing_{molecules}.json").write_text(text + "\n")


if __name__ == "__main__":
    app()
