"""Do trainable activations help DeePMD-kit, over seven systems? Each side at its own best learning rate, chosen on validation frames.

    python benchmarks/systems_gain.py select     # seed 1: learning rates by factors of two, until the best lies between two worse
    python benchmarks/systems_gain.py final      # each side's best with seeds 1, 2, 3, judged on test frames
    python benchmarks/systems_gain.py report     # ratios with 90% intervals

Every finished run is one line of ``benchmarks/results/systems.jsonl``; an interrupted program goes on where it stopped. A run takes one
to two minutes on one core. ``--system`` and ``--side`` choose a part. Sides: the stock network, the network with trained
activations everywhere or in the embedding alone (where ``dp compress`` makes them free), and the stock network with a wider
embedding of the same last width (as free when compressed).
"""

from __future__ import annotations

import datetime
import json
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from deepmd_gain import interval, score
from rich.console import Console
from rich.table import Table

from taafs_plugins.errors import TaafsError
from taafs_plugins.experiments import deepmd
from taafs_plugins.experiments import deepmd_systems as systems

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "systems.jsonl"
WORK = HERE / "runs" / "systems"
STEPS = 2000
LADDER = tuple(2.5e-4 * 2**i for i in range(8))  # 2.5e-4 ... 3.2e-2
console = Console(width=160)
app = typer.Typer(add_completion=False, help=__doc__)


@dataclass(frozen=True)
class Side:
    """Activations of embedding and fitting net, widths of the embedding, and the learning rate that is tried first."""

    embedding: str
    fitting: str
    neurons: tuple[int, ...]
    first: float


SIDES = {
    "tanh": Side("tanh", "tanh", (25, 25, 25), 2e-3),
    "tanh wide": Side("tanh", "tanh", (25, 50, 100, 25), 4e-3),
    "taafs": Side("taafs", "taafs", (25, 25, 25), 1e-3),
    "taafs embedding": Side("taafs", "tanh", (25, 25, 25), 4e-3),
    "chebyshev1": Side("taafs:chebyshev1", "taafs:chebyshev1", (25, 25, 25), 1e-3),
    # smoother by a lower degree or a smaller step of the coefficients
    "degree 4": Side("taafs:chebyshev1,degree=4", "taafs:chebyshev1,degree=4", (25, 25, 25), 1e-3),
    "rate 3": Side("taafs:chebyshev1,rate=3", "taafs:chebyshev1,rate=3", (25, 25, 25), 2e-3),
}


def load(steps: int) -> list[dict]:
    """Finished runs of one length."""
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    return [row for row in rows if row["steps"] == steps]


def one_run(system: str, name: str, rate: float, seed: int, steps: int) -> dict:
    """Train, measure on validation and test frames, and store."""
    side = SIDES[name]
    folder = WORK / f"{system}_{name}_{rate:g}_{seed}_{steps}".replace(" ", "-")
    checkpoint, clock = folder / f"model.ckpt-{steps}.pt", folder / "seconds.txt"
    parts = systems.parts(system, WORK / "data" / system)
    if not (checkpoint.is_file() and clock.is_file()):  # trained, but interrupted while it was measured: do not train again
        shutil.rmtree(folder, ignore_errors=True)
        model = systems.model_section(system, side.embedding, side.fitting, side.neurons, seed)
        config = deepmd.training_input(model, parts["train"], steps=steps, learning_rate=rate, seed=seed)
        seconds = deepmd.train(config, folder)
        clock.write_text(str(seconds))
    row = {
        "system": system, "optimizer": "Adam", "size": f"{list(side.neurons)}/[50, 50, 50]", "side": name,
        "activation": side.embedding if side.embedding == side.fitting else f"{side.embedding} / {side.fitting}",
        "learning_rate": rate, "seed": seed, "steps": steps, "seconds": round(float(clock.read_text()), 1),
        **{f"{part}_{key}": value for part in ("validation", "test")
           for key, value in deepmd.errors(checkpoint, parts[part]).items() if key != "frames"},
        "command": f"python benchmarks/systems_gain.py final --system {system} --side '{name}' --steps {steps}",
        "date": datetime.date.today().isoformat(), "machine": f"{platform.machine()}, 1 thread, shared with other work",
        "versions": {name: version(name) for name in ("torch", "deepmd-kit", "taafs-plugins")},
    }  # fmt: skip
    row |= {key: 1e9 for key, value in row.items() if isinstance(value, float) and not np.isfinite(value)}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    console.print(
        f"{system} {name} lr={rate:g} seed={seed}: validation {1e3 * row['validation_energy']:.2f} meV/atom, "
        f"{row['validation_force']:.4f} eV/A; {row['seconds']:.0f} s"
    )
    return row


def run_of(system: str, name: str, rate: float, seed: int, steps: int) -> dict:
    """The stored run, or a new one."""
    wanted = (system, name, rate, seed)
    for row in load(steps):
        if (row["system"], row["side"], row["learning_rate"], row["seed"]) == wanted:
            return row
    return one_run(*wanted, steps)


def best_rate(system: str, name: str, steps: int) -> float:
    """The learning rate with the best validation score of seed 1: up and down the ladder until it is worse on either side."""
    at = int(np.argmin([abs(np.log(rate / SIDES[name].first)) for rate in LADDER]))
    scores = {at: score(run_of(system, name, LADDER[at], 1, steps))}
    while True:
        best = min(scores, key=scores.__getitem__)
        missing = [i for i in (best - 1, best + 1) if 0 <= i < len(LADDER) and i not in scores]
        if not missing:
            return LADDER[best]
        scores[missing[0]] = score(run_of(system, name, LADDER[missing[0]], 1, steps))


def chosen(system: str, side: str) -> list[tuple[str, str]]:
    """Pairs of system and side that are meant.

    Raises
    ------
    TaafsError
        Unknown system or side.
    """
    from taafs_plugins.activations.spec import nearest

    for what, word, known in (("system", system, systems.SYSTEMS), ("side", side, SIDES)):
        for one in word.split(","):
            if one not in ("all", *known):
                raise TaafsError(f"Unknown --{what} '{one}'. {nearest(one, list(known))}Known: all, {', '.join(known)}.")
    names = list(systems.SYSTEMS) if system == "all" else system.split(",")
    return [(one, name) for one in names for name in (["tanh", "taafs"] if side == "all" else side.split(","))]


Steps = Annotated[int, typer.Option(help="Training steps of a run.")]
SystemOption = Annotated[str, typer.Option(help="Systems by commas, or all.")]
SideOption = Annotated[str, typer.Option(help="Sides by commas; all: tanh and taafs.")]


@app.command()
def select(system: SystemOption = "all", side: SideOption = "all", steps: Steps = STEPS) -> None:
    """Find each side's best learning rate with seed 1."""
    for one, name in chosen(system, side):
        console.print(f"{one} {name}: best at {best_rate(one, name, steps):g}")


@app.command()
def final(system: SystemOption = "all", side: SideOption = "all", steps: Steps = STEPS, seeds: str = "1,2,3") -> None:
    """Train each side at its best learning rate with several seeds."""
    for one, name in chosen(system, side):
        rate = best_rate(one, name, steps)
        for seed in seeds.split(","):
            run_of(one, name, rate, int(seed), steps)


def settled(rows: list[dict]) -> dict[tuple[str, str], dict[int, dict]]:
    """(system, side) -> seed -> run at the learning rate that seed 1 chose on validation frames."""
    found = {}
    for key in dict.fromkeys((r["system"], r["side"]) for r in rows):
        same = [r for r in rows if (r["system"], r["side"]) == key]
        rate = min((r for r in same if r["seed"] == 1), key=score)["learning_rate"]
        found[key] = {r["seed"]: r for r in same if r["learning_rate"] == rate}
    return found


def ratios(rows: list[dict], side: str, stock: str = "tanh") -> dict[str, dict[str, tuple]]:
    """System -> ``energy`` and ``force`` -> ratio to stock over paired seeds with its 90% interval, and the seeds; last the mean of all.

    The mean of all systems is the geometric mean of the systems' ratios; its interval is over systems.
    """
    runs, found = settled(rows), {}
    for system in systems.SYSTEMS:
        ours, theirs = runs.get((system, side), {}), runs.get((system, stock), {})
        seeds = sorted(ours.keys() & theirs.keys())
        if seeds:
            found[system] = {
                what: (*interval(np.array([ours[s][f"test_{what}"] / theirs[s][f"test_{what}"] for s in seeds])), seeds)
                for what in ("energy", "force")
            }
    if len(found) > 1:
        found["all"] = {what: (*interval(np.array([row[what][0] for row in found.values()])), list(found)) for what in ("energy", "force")}
    return found


@app.command()
def report(steps: Steps = STEPS) -> None:
    """Print the tables from the stored runs."""
    rows = load(steps)
    table = Table(
        "system", "side", "learning rate", "seeds", "validation meV/atom", "eV/A", "test meV/atom", "eV/A", title=f"{steps} steps"
    )
    for (system, name), runs in settled(rows).items():
        keys = ("validation_energy", "validation_force", "test_energy", "test_force")
        mean = {key: np.mean([r[key] for r in runs.values()]) for key in keys}
        table.add_row(
            system, name, f"{next(iter(runs.values()))['learning_rate']:g}", ", ".join(map(str, sorted(runs))),
            *(f"{1e3 * v:.2f}" if "energy" in k else f"{v:.4f}" for k, v in mean.items()),
        )  # fmt: skip
    console.print(table)
    for side in SIDES:
        for system, found in ratios(rows, side).items() if side != "tanh" else ():
            text = "; ".join(f"{what} {v[0]:.2f} [{v[1]:.2f}, {v[2]:.2f}]" for what, v in found.items())
            console.print(f"{side} / tanh, {system}: {text}, of {found['energy'][3]}")


if __name__ == "__main__":
    try:
        app()
    except TaafsError as error:
        sys.exit(str(error))
