"""Steps per second in LAMMPS: pair style taafs with TAAFS against the stock activation, and against the same file by ASE.

    python benchmarks/lammps_speed.py          # about 8 minutes on a quiet machine; --hosts torchani for one of them

Random weights and coefficients (speed does not depend on them). One process of ``lmp`` loads the stock model, TAAFS as ``taafs export``
writes it and TAAFS without the fused operators in turn; LAMMPS's own loop times (of its CPU use, so that other programs count less),
ratios of each round, quartiles over the rounds; ASE by CPU time. One thread. Writes results/lammps_speed.json.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import resource
import time
from pathlib import Path

import numpy as np
import pinned
import torch
import typer
from ase import Atoms, units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from rich.console import Console
from rich.progress import Progress

import taafs_plugins as taafs
from taafs_plugins.experiments import exported, lammps
from taafs_plugins.md.calculator import ExportedCalculator
from taafs_plugins.native.lammps import build

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "lammps_speed.json"
SIDES = ("stock", "taafs", "folded")
# host -> copies of the smallest system along each axis, steps of a round
SYSTEMS = {"schnetpack": ((1, 300), (2, 40), (3, 10)), "torchani": ((1, 300), (2, 60), (3, 20)), "chgnet": ((1, 60), (2, 10))}


def model(host: str, spec: str | None):
    """Random weights; CHGNet's are the pretrained ones."""
    if host == "chgnet":
        from taafs_plugins.experiments import chgnet

        live = chgnet.pretrained()
    else:
        live = exported.painn() if host == "schnetpack" else exported.ani()
    if spec is not None:
        taafs.convert(live, spec)
        for act in taafs.trainable_activations(live).values():
            act.delta.data.normal_(std=1e-3, generator=torch.Generator().manual_seed(1))
    return live.eval()


def export(host: str, folder: Path) -> dict[str, Path]:
    """The three files of a host."""
    files = {}
    for side in SIDES:
        spec = None if side == "stock" else exported.SPECS[host].split(",")[0]
        files[side] = folder / f"{side}.pt"
        os.environ.pop("TAAFS_EXPORT", None)
        if side == "folded":
            os.environ["TAAFS_EXPORT"] = "folded"
        exported.export(model(host, spec), host, files[side])
    os.environ.pop("TAAFS_EXPORT", None)
    return files


def in_lammps(host: str, atoms: Atoms, files: dict[str, Path], folder: Path, steps: int, rounds: int) -> np.ndarray:
    """Steps per second, [rounds, files]; the first run of every model warms up."""
    names, paths = exported.write_frame(atoms, folder), [path.resolve() for path in files.values()]
    # every round begins with another one: a model is slower or faster by where it stands in a round, too
    orders = [[(first + k) % len(paths) for k in range(len(paths))] for first in range(rounds)]
    runs = "".join(
        f"pair_coeff * * {paths[k]} {' '.join(names)}\nrun {max(5, steps // 10)}\nrun {steps}\n" for order in orders for k in order
    )
    script = lammps.header(f"taafs\npair_coeff * * {paths[0]} {' '.join(names)}") + (
        f"velocity all create 10 2026\ntimestep {exported.TIMESTEP[host]}\nfix 1 all nve\nthermo 100000\n" + runs
    )
    lammps.run_script(folder, script, log="speed", variables=pinned.ALLOCATOR)
    log = (folder / "speed.lammps").read_text()
    loops, shares = (np.array(re.findall(words, log), float) for words in (r"Loop time of ([\d.e+-]+)", r"([\d.]+)% CPU use"))
    speeds = steps / (loops * shares / 100).reshape(rounds, len(files), 2)[:, :, 1]
    return np.take_along_axis(speeds, np.argsort(orders, axis=1), axis=1)


def in_ase(host: str, atoms: Atoms, path: Path, steps: int) -> float:
    """Steps per second with the exported file's calculator."""
    atoms = atoms.copy()
    atoms.calc = ExportedCalculator(path)
    MaxwellBoltzmannDistribution(atoms, temperature_K=10.0, rng=np.random.default_rng(0))
    atoms.get_forces()
    begin = time.process_time()
    VelocityVerlet(atoms, 1000 * exported.TIMESTEP[host] * units.fs).run(steps)
    return steps / (time.process_time() - begin)


def main(hosts: str = ",".join(exported.HOSTS), rounds: int = 21) -> None:
    """Measure and store."""
    pinned.pin_malloc()
    console = Console()
    torch.set_num_threads(1)
    build()
    found = json.loads(RESULTS.read_text())["runs"] if RESULTS.is_file() else []
    with Progress(console=console) as bar:
        for host in hosts.split(","):
            found = [run for run in found if run["host"] != host]
            folder = HERE / "runs" / "lammps_speed" / host
            folder.mkdir(parents=True, exist_ok=True)
            files = export(host, folder)
            task = bar.add_task(host, total=len(SYSTEMS[host]))
            for copies, steps in SYSTEMS[host]:
                atoms = exported.start(host, copies)
                before = pinned.faults(resource.RUSAGE_CHILDREN)
                by_lammps = in_lammps(host, atoms, files, folder, steps, rounds)
                faults = pinned.faults(resource.RUSAGE_CHILDREN) - before
                ase = np.array([in_ase(host, atoms, files["taafs"], max(5, steps // 5)) for _ in range(3)])
                stock, ours, folded = by_lammps.T
                speed = {name: float(f"{np.median(side):.4g}") for name, side in zip((*SIDES, "ASE"), (*by_lammps.T, ase), strict=True)}
                found.append({
                    "host": host, "spec": exported.SPECS[host].split(",")[0], "dtype": exported.PRECISION[host], "atoms": len(atoms),
                    "rounds": rounds, "steps": steps, "steps/s": speed,
                    "taafs / stock": np.percentile(ours / stock, [25, 50, 75]).round(3).tolist(),
                    "folded / stock": np.percentile(folded / stock, [25, 50, 75]).round(3).tolist(),
                    "taafs / ASE": round(float(np.median(ours) / np.median(ase)), 2),
                    "load": round(os.getloadavg()[0], 1), "faults of lmp": faults,
                })  # fmt: skip
                bar.advance(task)
                console.print(found[-1])
    names = ("torch", "lammps", "torchani", "chgnet", "schnetpack", "taafs-plugins")
    about = {
        "command": "python benchmarks/lammps_speed.py", "date": f"{datetime.date.today()}",
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }  # fmt: skip
    RESULTS.write_text(json.dumps({**about, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
