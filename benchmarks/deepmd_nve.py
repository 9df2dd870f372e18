"""LAMMPS NVE of water, 5,000 steps, with tanh, B-spline, Fourier, Chebyshev and Hermite as trained here (the paper's Fig. 8).

    python benchmarks/deepmd_nve.py            # about 20 minutes on one core; resumes

Prints each drift next to the rule (at most 1.2 times tanh's, or 1e-6 eV/atom/ps) and draws total energy against time.
"""

from pathlib import Path

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from taafs_plugins import plotting
from taafs_plugins.experiments import lammps, water_nve

HERE = Path(__file__).parent
ACTIVATIONS = ["tanh", "taafs:bspline", "taafs:fourier", "taafs:chebyshev1", "taafs:hermite"]


def main(training_steps: int = 4000, md_steps: int = 5000) -> None:
    """Train, run, compare."""
    console = Console()
    energies = {}
    for name in track(ACTIVATIONS, "NVE", console=console):
        folder = HERE / "runs" / "deepmd_nve" / f"{name.replace(':', '-')}_{training_steps}"
        energies[name] = water_nve.run(name, folder, training_steps, md_steps)
    table = Table("activation", "drift eV/atom/ps", "rule", title=f"{md_steps} steps of 0.25 fs")
    stock = lammps.drift(energies["tanh"])
    for name, energy in energies.items():
        value = lammps.drift(energy)
        table.add_row(name, f"{value:+.2e}", "holds" if lammps.drift_passes(value, stock) else "does not hold")
    console.print(table)
    plotting.energies(energies, HERE / "results" / "deepmd_nve.png", f"NVE of 64 water molecules, {training_steps} training steps")


if __name__ == "__main__":
    typer.run(main)
