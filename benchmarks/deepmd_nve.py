"""LAMMPS NVE of water, 5,000 steps, with tanh, B-spline, Fourier, Chebyshev and Hermite as trained here (the paper's Fig. 8).

    python benchmarks/deepmd_nve.py            # about 20 minutes on one core; resumes
    python benchmarks/deepmd_nve.py --start-steps 8000      # makes the tanh start anew first, 6 minutes more

All five go on from one trained tanh model, results/water_tanh.pt, with ``dp --pt train --init-model`` for the same steps on the same
batches. Prints each drift next to the rule (at most 1.2 times tanh's, or 1e-6 eV/atom/ps), draws total energy against time and stores
both under ``benchmarks/results/``. ``--only`` runs one part without the comparison.
"""

import datetime
import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from taafs_plugins import data, plotting
from taafs_plugins.experiments import deepmd, lammps, water_nve

HERE = Path(__file__).parent
RESULTS = HERE / "results"
RUNS = HERE / "runs" / "deepmd_nve"
START = RESULTS / "water_tanh.pt"
START_RATES = (1e-2, 1e-4)


def sha256(path: Path) -> str:
    """Of a file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_start(steps: int, progress: Progress) -> None:
    """Train the tanh model that all go on from and store it without its optimiser's state."""
    task = progress.add_task(f"training the tanh start, {steps} steps", total=steps)
    folder = RUNS / f"start_{steps}"
    trained = folder / f"model.ckpt-{steps}.pt"
    if not trained.is_file():
        first, last = START_RATES
        water_nve.train("tanh", folder, steps, learning_rate=first, stop_rate=last, progress=lambda n: progress.update(task, completed=n))
    water_nve.strip(trained, START)
    progress.remove_task(task)


def run_folder(activation: str, training_steps: int) -> Path:
    """Where one activation's model and energies are kept."""
    return RUNS / f"{activation.replace(':', '-')}_{training_steps}_{water_nve.CONTINUE_RATE:g}_{sha256(START)[:8]}"


def one(activation: str, training_steps: int, md_steps: int, progress: Progress) -> np.ndarray:
    """Train and run one activation, or take what is there; [n, 3] as :func:`water_nve.run`."""
    folder = run_folder(activation, training_steps)
    stored = folder / f"energy_{md_steps}_{water_nve.EQUILIBRATION.steps}.npy"
    if not stored.is_file():
        if not (folder / f"model.ckpt-{training_steps}.pt").is_file():
            task = progress.add_task(f"training {activation}, {training_steps} steps", total=training_steps)
            water_nve.train(
                activation,
                folder,
                training_steps,
                learning_rate=water_nve.CONTINUE_RATE,
                start=START,
                progress=lambda n: progress.update(task, completed=n),
            )
            progress.remove_task(task)
        task = progress.add_task(f"NVE {activation}", total=None)
        np.save(stored, water_nve.run(activation, folder, md_steps))
        progress.remove_task(task)
    return np.load(stored)


def main(training_steps: int = 300, md_steps: int = 5000, start_steps: int = 0, only: str = "") -> None:
    """Train, run, compare."""
    console = Console()
    energies = {}
    with Progress(console=console) as progress:
        if start_steps:
            make_start(start_steps, progress)
        chosen = [name for name in water_nve.ACTIVATIONS if only in name]
        for name in progress.track(chosen, description="all"):
            energies[name] = one(name, training_steps, md_steps, progress)
    if only:
        return
    stock = lammps.drift(energies["tanh"])
    title = f"{md_steps} steps of {1000 * water_nve.TIMESTEP:g} fs after {water_nve.EQUILIBRATION.steps} of Langevin dynamics"
    held_out = [str(data.fetch_folder(deepmd.WATER) / "data_3")]
    table = Table("activation", "force error eV/A", "drift eV/atom/ps", "rule", "K, mean", "K, least and most", title=title)
    rows = {}
    for name, energy in energies.items():
        drift, kelvin = lammps.drift(energy), energy[:, 2]
        model = run_folder(name, training_steps) / f"model.ckpt-{training_steps}.pt"
        rows[name] = {
            "force error eV/A, 80 held-out frames": deepmd.errors(model, held_out)["force"],
            "drift eV/atom/ps": drift, "holds": lammps.drift_passes(drift, stock) and water_nve.is_sane(energy),
            "kelvin, mean": float(kelvin.mean()), "kelvin, least and most": [float(kelvin.min()), float(kelvin.max())],
            "total energy meV/atom, largest distance from the start": 1e3 * float(np.abs(energy[:, 1] - energy[0, 1]).max()),
        }  # fmt: skip
        holds = "holds" if rows[name]["holds"] else "does not hold"
        force = rows[name]["force error eV/A, 80 held-out frames"]
        table.add_row(name, f"{force:.4f}", f"{drift:+.2e}", holds, f"{kelvin.mean():.0f}", f"{kelvin.min():.0f}, {kelvin.max():.0f}")
    console.print(table)
    versions = {name: version(name) for name in ("torch", "deepmd-kit", "lammps", "taafs-plugins")}
    stored = {
        "command": f"python benchmarks/deepmd_nve.py --training-steps {training_steps} --md-steps {md_steps}",
        "date": datetime.date.today().isoformat(), "versions": versions,
        "start": {"file": START.name, "sha256": sha256(START)},
        "time step fs": 1000 * water_nve.TIMESTEP, "equilibration steps": water_nve.EQUILIBRATION.steps, "kelvin": water_nve.TEMPERATURE,
        "runs": rows,
    }  # fmt: skip
    (RESULTS / "deepmd_nve.json").write_text(json.dumps(stored, indent=1) + "\n")
    plotting.energies_one_by_one(energies, RESULTS / "deepmd_nve.png", f"NVE of 64 water molecules, {title}")


if __name__ == "__main__":
    typer.run(main)
