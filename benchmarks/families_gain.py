"""Which trainable activation, if any? Every family beside the stock ones in DeePMD-kit (Cu, water) and TorchANI (molecules).

    python benchmarks/families_gain.py select --data copper   # each activation at each learning rate, seed 1, judged on validation frames
    python benchmarks/families_gain.py final --data copper    # each at its best, three seeds, AdAct picked after its own run
    python benchmarks/families_gain.py report                 # tables, with ratios to the best stock activation
    python benchmarks/families_gain.py page                   # the same into docs/families.md

Every finished run is one line of ``benchmarks/results/families.jsonl``; an interrupted program goes on where it stopped. ``--size
small`` (a minute a run) is for a first look, ``--size full`` (about 8 minutes a run) for a result.
"""

from __future__ import annotations

import datetime
import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from families_page import PAGE, best, tables, write_page
from rich.console import Console

from taafs_plugins.errors import TaafsError
from taafs_plugins.experiments import families

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "families.jsonl"
WORK = HERE / "runs" / "families"
HOSTS = {"deepmd": "deepmd-kit", "torchani": "torchani"}
console = Console()
app = typer.Typer(add_completion=False, help=__doc__)


def load(size: str | None = None) -> list[dict]:
    """Finished runs of one size, or all."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [row for row in map(json.loads, lines) if size in (None, row["size"])]


def run_all(name: str, size: str, grid: list[tuple[str, float, int]]) -> None:
    """Run what is missing of a grid of (activation, learning rate, seed); each is stored when it is done."""
    done = {(r["activation"], r["learning_rate"], r["seed"]) for r in load(size) if r["data"] == name}
    for activation, rate, seed in [g for g in grid if g not in done]:
        found = families.run(name, activation, rate, seed, size, WORK, lambda step: None)
        row = {
            "data": name, "size": size, "activation": activation, "learning_rate": rate, "seed": seed, **found,
            "date": datetime.date.today().isoformat(), "machine": f"{platform.machine()}, 1 thread, shared with other work",
            "versions": {p: version(p) for p in ("torch", HOSTS[families.DATA[name].host], "taafs-plugins")},
        }  # fmt: skip
        with RESULTS.open("a") as file:
            file.write(json.dumps(row) + "\n")
        energy, force = found["validation_energy"], found["validation_force"]
        console.print(f"{name} {activation} lr={rate:g} seed={seed}: validation {energy:.4g}, {force:.4g}; {found['seconds']:.0f} s")


def checked(name: str, size: str) -> list[str]:
    """The data sets that are meant.

    Raises
    ------
    TaafsError
        Unknown data or size.
    """
    from taafs_plugins.activations.spec import nearest

    for what, word, known in (("data", name, ["all", *families.DATA]), ("size", size, list(families.SIZES))):
        if word not in known:
            raise TaafsError(f"Unknown --{what} '{word}'. {nearest(word, known)}Known: {', '.join(known)}.")
    return list(families.DATA) if name == "all" else [name]


Data = Annotated[str, typer.Option(help=f"{', '.join(families.DATA)} or all.")]
SizeOption = Annotated[str, typer.Option(help=f"{', '.join(families.SIZES)}.")]
Rates = Annotated[str, typer.Option(help="Learning rates by commas; default: the study's.")]


@app.command()
def select(data: Data = "all", size: SizeOption = "small", rates: Rates = "") -> None:
    """Train every activation at every learning rate with seed 1."""
    for name in checked(data, size):
        side = families.DATA[name]
        chosen = [float(r) for r in rates.split(",")] if rates else side.rates
        run_all(name, size, [(activation, rate, 1) for rate in chosen for activation in side.activations])


@app.command()
def final(data: Data = "all", size: SizeOption = "small", seeds: str = "1,2,3") -> None:
    """Train each activation at its best learning rate with several seeds, and pick from AdAct's."""
    for name in checked(data, size):
        settings = best([r for r in load(size) if r["data"] == name])
        if "adact" in settings:
            settings[families.PICKED] = settings["adact"]
        run_all(name, size, [(*setting, int(seed)) for seed in seeds.split(",") for setting in settings.items()])


@app.command()
def report() -> None:
    """Print the tables from the stored runs."""
    print(tables(load()))


@app.command()
def page() -> None:
    """Write the tables into docs/families.md."""
    write_page(load())
    console.print(f"Wrote {PAGE}")


if __name__ == "__main__":
    try:
        app()
    except TaafsError as error:
        sys.exit(str(error))
