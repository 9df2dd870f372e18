"""LAMMPS NVE of water, 5,000 steps, with tanh, B-spline, Fourier, Chebyshev and Hermite as trained here (the paper's Fig. 8).

    python benchmarks/deepmd_nve.py            # about 15 minutes on one core; resumes

A tanh model is trained, then all five go on from it with ``--init-model`` for the same number of steps (``--more-steps 0``: each from
scratch instead). Prints each drift next to the rule (at most 1.2 times tanh's, or 1e-6 eV/atom/ps), draws total
energy against time and stores both under ``benchmarks/results/``. ``--only`` runs one part without the comparison.
"""

import datetime
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from taafs_plugins import plotting
from taafs_plugins.experiments import lammps, water_nve

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def one(activation: str, training_steps: int, more_steps: int, md_steps: int, progress: Progress) -> np.ndarray:
    """Train and run one activation, or take what is there; [n, 3] as :func:`water_nve.run`."""
    runs = HERE / "runs" / "deepmd_nve"

    def trained(name: str, folder: Path, steps: int, **settings) -> Path:
        found = folder / f"model.ckpt-{steps}.pt"
        if not found.is_file():
            task = progress.add_task(f"training {name}, {steps} steps", total=steps)
            water_nve.train(name, folder, steps, progress=lambda n: progress.update(task, completed=n), **settings)
            progress.remove_task(task)
        return found

    name = activation.replace(":", "-")
    folder = runs / (f"{name}_{training_steps}+{more_steps}" if more_steps else f"{name}_{training_steps}")
    stored = folder / f"energy_{md_steps}.npy"
    if not stored.is_file():
        if more_steps:
            start = trained("tanh", runs / f"tanh_{training_steps}", training_steps)
            trained(activation, folder, more_steps, start=start, learning_rate=1e-3)
        else:
            trained(activation, folder, training_steps)
        task = progress.add_task(f"NVE {activation}", total=None)
        np.save(stored, water_nve.run(activation, folder, md_steps))
        progress.remove_task(task)
    return np.load(stored)


def main(training_steps: int = 4000, more_steps: int = 500, md_steps: int = 5000, only: str = "") -> None:
    """Train, run, compare."""
    console = Console()
    energies = {}
    with Progress(console=console) as progress:
        chosen = [name for name in water_nve.ACTIVATIONS if only in name]
        for name in progress.track(chosen, description="all"):
            energies[name] = one(name, training_steps, more_steps, md_steps, progress)
    if only:
        return
    stock = lammps.drift(energies["tanh"])
    title = f"{md_steps} steps of {1000 * water_nve.TIMESTEP:g} fs"
    table = Table("activation", "drift eV/atom/ps", "rule", "temperature K, last half", title=title)
    rows = {}
    for name, energy in energies.items():
        drift, temperature = lammps.drift(energy), float(energy[len(energy) // 2 :, 2].mean())
        rows[name] = {"drift": drift, "holds": lammps.drift_passes(drift, stock), "temperature": temperature}
        table.add_row(name, f"{drift:+.2e}", "holds" if rows[name]["holds"] else "does not hold", f"{temperature:.0f}")
    console.print(table)
    versions = {name: version(name) for name in ("torch", "deepmd-kit", "lammps", "taafs-plugins")}
    command = f"python benchmarks/deepmd_nve.py --training-steps {training_steps} --more-steps {more_steps} --md-steps {md_steps}"
    stored = {"command": command,
              "date": datetime.date.today().isoformat(), "versions": versions, "runs": rows}  # fmt: skip
    (RESULTS / "deepmd_nve.json").write_text(json.dumps(stored, indent=1) + "\n")
    title = f"NVE of 64 water molecules in LAMMPS, {training_steps} + {more_steps} training steps"
    plotting.energies(energies, RESULTS / "deepmd_nve.png", title)


if __name__ == "__main__":
    typer.run(main)
