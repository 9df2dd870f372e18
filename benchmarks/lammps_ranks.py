"""Weak and strong scaling of pair style taafs on one and two ranks: PaiNN, ANI and CHGNet.

    python benchmarks/lammps_ranks.py          # about 2 minutes on a quiet machine with two cores; --hosts chgnet for one of them

The models of lammps_speed.py with TAAFS. For each size: one rank, one rank with the box doubled, two ranks with the box doubled; one
thread per rank, LAMMPS's own loop times, median of the rounds after one that warms up. Writes results/lammps_ranks.json.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
from pathlib import Path

import numpy as np
import torch
import typer
from ase import Atoms
from lammps_speed import model
from pinned import ALLOCATOR, pin_malloc
from rich.console import Console

from taafs_plugins.experiments import exported, lammps
from taafs_plugins.native.lammps import build

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "lammps_ranks.json"
# host -> copies of the smallest system along each axis, and steps of a round with the box doubled on one rank
SYSTEMS = {"schnetpack": ((2, 25), (3, 6)), "torchani": ((2, 60), (3, 25)), "chgnet": ((2, 6), (3, 2))}


def step(host: str, atoms: Atoms, path: Path, folder: Path, ranks: int, steps: int, rounds: int) -> float:
    """Seconds of a step, wall clock."""
    names = exported.write_frame(atoms, folder)
    script = lammps.header(f"taafs\npair_coeff * * {path.resolve()} {' '.join(names)}") + (
        f"velocity all create 10 2026\ntimestep {exported.TIMESTEP[host]}\nfix 1 all nve\nthermo 100000\n" + f"run {steps}\n" * (rounds + 1)
    )
    lammps.run_script(folder, script, ranks, log="ranks", variables=ALLOCATOR)
    loops = re.findall(r"Loop time of ([\d.e+-]+)", (folder / "ranks.lammps").read_text())
    return float(np.median([float(loop) for loop in loops[1:]])) / steps


def scaling(host: str, path: Path, folder: Path, copies: int, steps: int, rounds: int) -> dict:
    """Milliseconds of a step, and what follows."""
    single = exported.start(host, copies)
    double = single.repeat((2, 1, 1))
    one, whole, two = (
        step(host, atoms, path, folder, ranks, many, rounds)
        for atoms, ranks, many in ((single, 1, 2 * steps), (double, 1, steps), (double, 2, steps))
    )
    milliseconds = {"one rank": one, "one rank, doubled": whole, "two ranks, doubled": two}
    return {
        "host": host, "dtype": exported.PRECISION[host], "atoms": [len(single), len(double)], "steps": steps, "rounds": rounds,
        "ms": {name: float(f"{1000 * value:.4g}") for name, value in milliseconds.items()},
        "weak efficiency": round(one / two, 3), "speed-up of two ranks": round(whole / two, 3),
    }  # fmt: skip


def main(hosts: str = ",".join(exported.HOSTS), rounds: int = 5) -> None:
    """Measure and store."""
    pin_malloc()
    console = Console()
    torch.set_num_threads(1)
    build()
    found = json.loads(RESULTS.read_text())["runs"] if RESULTS.is_file() else []
    names = ("torch", "lammps", "torchani", "chgnet", "schnetpack", "taafs-plugins")
    about = {
        "command": "python benchmarks/lammps_ranks.py", "date": f"{datetime.date.today()}",
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }  # fmt: skip
    for host in hosts.split(","):
        found = [run for run in found if run["host"] != host]
        folder = HERE / "runs" / "lammps_ranks" / host
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "model.pt"
        if not path.is_file():
            exported.export(model(host, exported.SPECS[host].split(",")[0]), host, path)
        for copies, steps in SYSTEMS[host]:
            found.append(scaling(host, path, folder, copies, steps, rounds))
            console.print(found[-1])
            RESULTS.write_text(json.dumps({**about, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
