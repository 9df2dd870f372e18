"""How fast is an exported CHGNet? One structure, new positions at every step, energy, forces, stress (and moments in the ASE calculator).

    python benchmarks/chgnet_export.py

Sides, taken in turn in one process: CHGNet's own ASE calculator with the stock 0.3.0; the exported file through
``taafs_plugins.md.calculator.ExportedCalculator``, stock and with trained activations (random coefficients), these with and without
the fused operators.
CPU time of one thread; ratios to CHGNet's calculator are medians over the rounds with quartiles. Written to
``benchmarks/results/chgnet_export.json``.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import os
import platform
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np  # noqa: E402
import torch  # noqa: E402
import typer  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402
from chgnet.model import CHGNet, CHGNetCalculator  # noqa: E402
from pinned import faults, pin_malloc  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.progress import track  # noqa: E402
from rich.table import Table  # noqa: E402

import taafs_plugins as taafs  # noqa: E402
from taafs_plugins.md.calculator import ExportedCalculator  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "chgnet_export.json"
SPEC = "taafs:chebyshev1"
HOST = "CHGNet's ASE calculator"
console = Console()


def rock_salt() -> Atoms:
    """64 atoms of MgO."""
    return bulk("MgO", "rocksalt", a=4.212, cubic=True) * (2, 2, 2)


def sides(folder: Path) -> dict[str, object]:
    """A calculator by side; the files are compared with CHGNet while they are written."""
    with contextlib.redirect_stdout(io.StringIO()):
        stock = CHGNet.load(use_device="cpu", verbose=False)
        trained = CHGNet.load(use_device="cpu", verbose=False)
        host = CHGNetCalculator(stock, use_device="cpu")
    taafs.convert(trained, SPEC)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for act in taafs.trainable_activations(trained).values():
            act.delta.copy_(0.05 * torch.randn(act.delta.shape, generator=generator))
    atoms = rock_salt()
    atoms.rattle(0.05, seed=0)
    found: dict[str, object] = {HOST: host}
    for name, model, form in (("exported, stock", stock, ""), ("exported, TAAFS", trained, ""),
                              ("exported, TAAFS, no fused operators", trained, "folded")):  # fmt: skip
        os.environ["TAAFS_EXPORT"] = form
        path = folder / f"{len(found)}.pt"
        taafs.export(model, path, structures=[atoms])
        found[name] = ExportedCalculator(path)
    return found


def step(calculator: object, atoms: Atoms) -> float:
    """CPU seconds of energy, forces and stress at new positions."""
    start = time.process_time()
    atoms.calc = calculator
    atoms.get_potential_energy()
    atoms.get_forces()
    atoms.get_stress()
    return time.process_time() - start


def main(rounds: int = 15, steps: int = 3) -> None:
    """Measure and write."""
    pin_malloc()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    seconds: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        with console.status("Exporting three files, each compared with CHGNet"):
            calculators = sides(Path(folder))
        before = faults()
        generator = np.random.default_rng(1)
        for index in track(range(rounds + 2), description="Rounds", console=console):
            frames = []
            for _ in range(steps):
                atoms = rock_salt()
                atoms.positions += generator.normal(scale=0.05, size=(len(atoms), 3))
                frames.append(atoms)
            for name, calculator in calculators.items():
                taken = sum(step(calculator, atoms.copy()) for atoms in frames) / steps
                if index >= 2:  # TorchScript compiles in the first two
                    seconds.setdefault(name, []).append(taken)
    found = faults() - before
    table = Table("", "ms a step", "over CHGNet's calculator (quartiles)", title="64 atoms, one thread, CPU time")
    rows = {}
    for name, values in seconds.items():
        ratio = np.array(values) / np.array(seconds[HOST])
        low, middle, high = np.percentile(ratio, [25, 50, 75])
        rows[name] = {"milliseconds": round(1e3 * float(np.median(values)), 2), "ratio": round(float(middle), 3),
                      "quartiles": [round(float(low), 3), round(float(high), 3)]}  # fmt: skip
        table.add_row(name, f"{rows[name]['milliseconds']:.1f}", f"{middle:.2f} ({low:.2f}-{high:.2f})")
    console.print(table)
    console.print(f"page faults of all rounds: {found}")
    RESULTS.write_text(json.dumps({
        "command": " ".join(["python", "benchmarks/chgnet_export.py", *sys.argv[1:]]), "date": datetime.date.today().isoformat(),
        "structure": "MgO, 64 atoms, rattled by 0.05 A", "spec": SPEC, "rounds": rounds, "steps_per_round": steps, "sides": rows,
        "versions": {name: version(name) for name in ("torch", "chgnet", "ase")} | {"python": platform.python_version()},
        "processor": platform.processor() or platform.machine(), "load": os.getloadavg()[0], "faults": found,
    }, indent=1) + "\n")  # fmt: skip
    console.print(f"Wrote {RESULTS}")


if __name__ == "__main__":
    typer.run(main)
