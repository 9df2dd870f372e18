"""Does TAAFS help DeePMD-kit on Cu of Zuo et al. 2020? Both sides at their own best learning rate, chosen on validation frames.

    python benchmarks/deepmd_gain.py select     # every (activation, learning rate, rate), seed 1, judged on validation frames
    python benchmarks/deepmd_gain.py final      # each side's best, 3 seeds, judged on test frames
    python benchmarks/deepmd_gain.py timing     # one training step of each beside tanh, in turn: what equal steps mean in time
    python benchmarks/deepmd_gain.py report     # table, ratios with 90% intervals

Every finished run is one line of ``benchmarks/results/deepmd_cu.jsonl``; an interrupted program goes on where it stopped. A run
takes about 8 minutes on one core. ``--only`` and ``--seeds`` choose a part of the grid.
"""

from __future__ import annotations

import datetime
import importlib
import json
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from taafs_plugins.experiments import deepmd

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "deepmd_cu.jsonl"
TIMING = HERE / "results" / "deepmd_cu_timing.json"
WORK = HERE / "runs" / "deepmd_cu"
RATES = (5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2)
SPECS = ("taafs:chebyshev1,degree=7", "taafs", "taafs:chebyshev1,degree=7,share=neuron")
SPEC_RATES = (1, 3, 10)
console = Console()
app = typer.Typer(add_completion=False, help=__doc__)


def activations() -> list[str]:
    """tanh and each spec with each rate."""
    return ["tanh", *(f"{spec},rate={rate}" for spec in SPECS for rate in SPEC_RATES)]


def side(activation: str) -> str:
    """The side an activation belongs to: its rate is a setting that is chosen, like the learning rate."""
    return activation.split(",rate=")[0]


def load() -> list[dict]:
    """Finished runs."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def systems() -> dict[str, list[str]]:
    """Training, validation (every tenth training frame) and test systems."""
    frames, test = deepmd.zuo_frames("Cu")
    parts = {"train": [f for i, f in enumerate(frames) if i % 10], "validation": frames[::10], "test": test}
    folder = WORK / "data"
    return {
        name: sorted(str(p.resolve()) for p in (folder / name).iterdir())
        if (folder / name).is_dir()
        else [str(Path(p).resolve()) for p in deepmd.write_zuo_systems(part, folder / name)]
        for name, part in parts.items()
    }


def one_run(activation: str, learning_rate: float, seed: int, steps: int, parts: dict, update) -> dict:
    """Train, measure on validation and test frames, and store."""
    name = f"{activation}_{learning_rate:g}_{seed}_{steps}".replace(":", "-").replace(",", "_").replace("=", "")
    folder = WORK / name
    checkpoint, clock = folder / f"model.ckpt-{steps}.pt", folder / "seconds.txt"
    if not (checkpoint.is_file() and clock.is_file()):  # trained, but interrupted while it was measured: do not train again
        shutil.rmtree(folder, ignore_errors=True)
        model = deepmd.model_section(activation, ["Cu"], sel=[120], seed=seed)
        config = deepmd.training_input(model, parts["train"], steps=steps, learning_rate=learning_rate, seed=seed)
        clock.write_text(str(deepmd.train(config, folder, progress=update)))
    seconds = float(clock.read_text())
    row = {
        "activation": activation, "side": side(activation), "learning_rate": learning_rate, "seed": seed, "steps": steps,
        "seconds": round(seconds, 1),
        **{f"{part}_{key}": value for part in ("validation", "test") for key, value in deepmd.errors(checkpoint, parts[part]).items()},
        "date": datetime.date.today().isoformat(), "machine": f"{platform.machine()}, 1 thread",
        "versions": {name: version(name) for name in ("torch", "deepmd-kit", "taafs-plugins")},
        "engine": engine(),
    }  # fmt: skip
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def engine() -> str:
    """Which engine trained: it changes the time, not the numbers."""
    from taafs_plugins.activations.choice import chosen_engine

    return chosen_engine() or "fastest"


def run_all(grid: list[tuple[str, float, int]], steps: int) -> None:
    """Run what is missing of a grid, with progress."""
    done = {(r["activation"], r["learning_rate"], r["seed"], r["steps"]) for r in load()}
    grid = [g for g in grid if (*g, steps) not in done]
    parts = systems()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        total = progress.add_task("runs", total=len(grid))
        for activation, learning_rate, seed in grid:
            task = progress.add_task(f"{activation} lr={learning_rate:g} seed={seed}", total=steps)
            row = one_run(activation, learning_rate, seed, steps, parts, lambda n, task=task: progress.update(task, completed=n))
            progress.remove_task(task)
            progress.advance(total)
            progress.console.print(
                f"{activation} lr={learning_rate:g} seed={seed}: validation {1e3 * row['validation_energy']:.2f} meV/atom, "
                f"{row['validation_force']:.4f} eV/A; {row['seconds']:.0f} s"
            )


def score(row: dict) -> float:
    """Validation score: mean of the log energy and log force RMSE; a diverged run is infinitely bad."""
    values = np.array([row["validation_energy"], row["validation_force"]])
    return float(np.log(values).mean()) if np.isfinite(values).all() else float("inf")


def best(rows: list[dict]) -> dict[str, tuple[str, float]]:
    """side -> (activation, learning rate) with the lowest mean validation score over the seeds that were run."""
    choice = {}
    for name in dict.fromkeys(r["side"] for r in rows):
        settings: dict[tuple[str, float], list[float]] = {}
        for r in rows:
            if r["side"] == name:
                settings.setdefault((r["activation"], r["learning_rate"]), []).append(score(r))
        choice[name] = min(settings, key=lambda s: np.mean(settings[s]))
    return choice


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean of log ratios and its 90% interval (Student's t), back as ratios; no interval for one value."""
    from scipy.stats import t

    logs = np.log(values)
    mean = logs.mean()
    if len(logs) < 2:
        return float(np.exp(mean)), float("nan"), float("nan")
    half = t.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    return float(np.exp(mean)), float(np.exp(mean - half)), float(np.exp(mean + half))


Steps = Annotated[int, typer.Option(help="Training steps of a run.")]


@app.command()
def select(steps: Steps = 8000, only: str = "", rates: str = "", seeds: str = "1") -> None:
    """Train the grid of settings. ``--only`` takes a part of an activation's text, ``--rates`` learning rates by commas."""
    chosen = [a for a in activations() if not only or only in a]
    learning_rates = [float(r) for r in rates.split(",")] if rates else RATES
    run_all([(a, lr, int(s)) for s in seeds.split(",") for a in chosen for lr in learning_rates], steps)


@app.command()
def final(steps: Steps = 8000, seeds: str = "1,2,3") -> None:
    """Train each side's best setting with several seeds."""
    settings = best([r for r in load() if r["steps"] == steps])
    run_all([(*settings[name], int(s)) for s in seeds.split(",") for name in settings], steps)
    report(steps)


@app.command()
def timing(pairs: int = 15) -> None:
    """CPU time of a training step (one frame of Cu, energy and force loss, Adam) beside tanh, in turn; median and quartiles."""
    import torch
    from pinned import pin_malloc
    from speed import compare, machine, row_of
    from speed_work import randomise

    frame, section = deepmd.zuo_frames("Cu")[0][0], deepmd.model_section
    cell = torch.tensor(frame["atoms"]["lattice_mat"], dtype=torch.float64)
    coord = torch.tensor(frame["atoms"]["coords"], dtype=torch.float64) @ cell

    importlib.import_module("deepmd.pt")  # teaches DeePMD-kit the specs

    def step_of(activation: str):
        from deepmd.pt.model.model import get_model

        model = get_model(section(activation, ["Cu"], sel=[120]))
        randomise(model)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-9)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            out = model(coord[None].clone().requires_grad_(), torch.zeros(1, len(coord), dtype=torch.long), box=cell.reshape(1, 9))
            (out["energy"].square().sum() * 1e-6 + out["force"].square().sum()).backward()
            optimizer.step()

        return step

    pin_malloc()
    torch.set_num_threads(1)
    rows = {}
    for spec in SPECS:
        seconds = compare(step_of("tanh"), step_of(spec), pairs, 1)
        row = row_of("cu step", spec, "tanh", "float64", 1, len(coord), *seconds)
        row.faults = seconds.faults
        rows[spec] = {key: round(getattr(row, key), 4) for key in ("stock", "taafs", "ratio", "low", "high", "faults")}
        console.print(
            f"{spec}: {row.taafs:.1f} ms against {row.stock:.1f} ms, ratio {row.ratio:.2f} ({row.low:.2f}-{row.high:.2f}), "
            f"{row.faults:.0f} page faults a step"
        )
    stored = {"command": f"python benchmarks/deepmd_gain.py timing --pairs {pairs}", "machine": machine(), "steps": rows}
    TIMING.write_text(json.dumps(stored, indent=1) + "\n")


@app.command()
def report(steps: Steps = 8000) -> None:
    """Print the tables from the stored runs."""
    rows = [r for r in load() if r["steps"] == steps]
    heads = ("activation", "learning rate", "seeds", "validation meV/atom", "eV/A", "test meV/atom", "eV/A", "s")
    table = Table(*heads, title=f"{steps} steps")
    for setting in dict.fromkeys((r["activation"], r["learning_rate"]) for r in rows):
        same = [r for r in rows if (r["activation"], r["learning_rate"]) == setting]
        mean = {key: np.mean([r[key] for r in same]) for key in same[0] if isinstance(same[0][key], float)}
        table.add_row(
            setting[0], f"{setting[1]:g}", ",".join(str(r["seed"]) for r in same), f"{1e3 * mean['validation_energy']:.2f}",
            f"{mean['validation_force']:.4f}", f"{1e3 * mean['test_energy']:.2f}", f"{mean['test_force']:.4f}", f"{mean['seconds']:.0f}",
        )  # fmt: skip
    console.print(table)
    settings = best(rows)
    console.print("Best on validation frames:", settings)
    if "tanh" not in settings:
        return
    pick = {name: {r["seed"]: r for r in rows if (r["activation"], r["learning_rate"]) == s} for name, s in settings.items()}
    for name in settings:
        if name == "tanh":
            continue
        seeds = sorted(pick[name].keys() & pick["tanh"].keys())
        for key in ("test_energy", "test_force"):
            ratio, low, high = interval(np.array([pick[name][s][key] / pick["tanh"][s][key] for s in seeds]))
            console.print(f"{name} / tanh, {key}, seeds {seeds}: {ratio:.2f} [{low:.2f}, {high:.2f}]")
        if TIMING.exists():
            # Runs share cores with other work: their seconds say nothing, steps timed in turn do.
            time = json.loads(TIMING.read_text())["steps"][name]
            console.print(f"{name} / tanh, time of a step: {time['ratio']:.2f} ({time['low']:.2f}-{time['high']:.2f})")


if __name__ == "__main__":
    app()
