"""Steps per second in LAMMPS: pair style taafs with TAAFS against the stock activation, and against the same file by ASE.

    python benchmarks/lammps_speed.py          # about 5 minutes on a quiet machine

Random weights and coefficients (speed does not depend on them); three sides in turn, ratios of each round, median over the rounds. MD
seconds of LAMMPS are its own loop time. Writes results/lammps_speed.json.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import time
from pathlib import Path

import numpy as np
import torch
import typer
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from rich.console import Console
from rich.progress import track

import taafs_plugins as taafs
from taafs_plugins.experiments import exported
from taafs_plugins.md.build import build
from taafs_plugins.md.calculator import ExportedCalculator

HERE = Path(__file__).parent


def model(host: str, spec: str | None):
    """Random weights; CHGNet's are the pretrained ones."""
    if host == "chgnet":
        from taafs_plugins.experiments import chgnet

        live = chgnet.pretrained()
    else:
        live = exported.painn() if host == "schnetpack" else exported.ani()
    if spec is not None:
        taafs.convert(live, spec)
        for act in taafs.activations(live).values():
            act.delta.data.normal_(std=1e-3, generator=torch.Generator().manual_seed(1))
    return live.eval()


def in_lammps(host: str, path: Path, folder: Path, steps: int) -> float:
    """Steps per second."""
    folder.mkdir(parents=True, exist_ok=True)
    exported.nve(host, path, folder, steps, temperature=10.0)
    return steps / float(re.search(r"Loop time of ([\d.e+-]+)", (folder / "nve.lammps").read_text())[1])


def in_ase(host: str, path: Path, steps: int) -> float:
    """Steps per second with the exported file's calculator."""
    atoms = exported.start(host)
    atoms.calc = ExportedCalculator(path)
    MaxwellBoltzmannDistribution(atoms, temperature_K=10.0, rng=np.random.default_rng(0))
    atoms.get_forces()
    begin = time.perf_counter()
    VelocityVerlet(atoms, 1000 * exported.TIMESTEP[host] * units.fs).run(steps)
    return steps / (time.perf_counter() - begin)


def main(hosts: str = ",".join(exported.HOSTS), steps: int = 100, rounds: int = 5) -> None:
    """Measure and store."""
    console = Console()
    build()
    found = []
    for host in hosts.split(","):
        folder = HERE / "runs" / "lammps_speed" / host
        folder.mkdir(parents=True, exist_ok=True)
        files = {}
        for name, spec in (("stock", None), ("taafs", exported.SPECS[host].split(",")[0])):
            files[name] = folder / f"{name}.pt"
            exported.export(model(host, spec), host, files[name])
        rows = []
        for _ in track(range(rounds), host, console=console):
            sides = [in_lammps(host, files[name], folder / name, steps) for name in ("taafs", "stock")]
            rows.append([*sides, in_ase(host, files["taafs"], steps)])
        ours, stock, ase = np.array(rows).T
        found.append({
            "host": host, "atoms": len(exported.start(host)), "rounds": rounds, "steps": steps,
            "steps/s": {name: float(np.median(side)) for name, side in (("taafs", ours), ("stock", stock), ("ASE", ase))},
            "taafs / stock": np.percentile(ours / stock, [25, 50, 75]).tolist(),
            "taafs / ASE": np.percentile(ours / ase, [25, 50, 75]).tolist(),
        })  # fmt: skip
        console.print(found[-1])
    names = ("torch", "lammps", "torchani", "chgnet", "schnetpack", "taafs-plugins")
    about = {
        "command": f"python benchmarks/lammps_speed.py --hosts {hosts} --steps {steps} --rounds {rounds}",
        "date": f"{datetime.date.today()}",
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }  # fmt: skip
    (HERE / "results" / "lammps_speed.json").write_text(json.dumps({**about, "hosts": found}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
