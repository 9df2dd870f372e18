"""LAMMPS NVE by pair style taafs, 5,000 steps, of SchNetPack, TorchANI and CHGNet models: stock and TAAFS with trained coefficients.

    python benchmarks/lammps_nve.py            # resumes; --hosts torchani for one of them

PaiNN and ANI learn rMD17 ethanol's forces for 200 steps (float64; eight molecules that do not see each other, 50 K, 0.1 fs); CHGNet
0.3.0 is taken as it is and with coefficients fitted to 32 frames of magnetic iron (float32; 4 atoms, 300 K, 1 fs). Each starts after a
minimisation and 2,000 steps of Langevin. The rule: at most 1.2 times stock's drift, or 1e-6 eV/atom/ps in float64, 1e-5 in float32. Writes
results/lammps_nve.json and lammps_nve.png, one panel per host (not with --hosts). integration_tests/lammps/test_nve.py does it in short.
"""

import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from taafs_plugins import plotting
from taafs_plugins.experiments import exported, lammps
from taafs_plugins.native.lammps import build

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "lammps_nve.json"


def one(host: str, spec: str | None, md_steps: int, bar: Progress) -> dict:
    """Train, export, run; what is there already is not done again."""
    training_steps = exported.TRAINING[host]
    folder = HERE / "runs" / "lammps_nve" / f"{host}_{'taafs' if spec else 'stock'}_{training_steps}"
    stored = folder / f"nve_{md_steps}.json"
    if stored.is_file():
        return json.loads(stored.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    model, moved = folder / "model.pt", folder / "moved.json"
    if not moved.is_file():
        task = bar.add_task(f"{host} {spec or 'stock'}: training", total=None)
        live = exported.trained(host, spec, training_steps, lambda: bar.advance(task))
        exported.export(live, host, model)
        moved.write_text(json.dumps(exported.moved(live)))
        bar.remove_task(task)
    task = bar.add_task(f"{host} {spec or 'stock'}: {md_steps} steps", total=None)
    energy, seconds = exported.nve(host, model, folder, md_steps)
    bar.remove_task(task)
    found = {
        "host": host, "spec": spec, "largest coefficient": json.loads(moved.read_text()), "training steps": training_steps,
        "atoms": len(exported.gas(host)), "timestep ps": exported.TIMESTEP[host], "md steps": md_steps, "seconds": seconds,
        "mean temperature K": float(energy[:, 2].mean()), "drift eV/atom/ps": lammps.drift(energy), "energy": energy.tolist(),
    }  # fmt: skip
    stored.write_text(json.dumps(found))
    return found


def main(hosts: str = ",".join(exported.HOSTS), md_steps: int = 5000) -> None:
    """Train, run, compare."""
    console = Console()
    build()
    runs = []
    with Progress(console=console) as bar:
        for host in hosts.split(","):
            runs += [one(host, spec, md_steps, bar) for spec in (None, exported.SPECS[host])]
    table = Table("host", "activation", "drift eV/atom/ps", "rule", title=f"NVE of {md_steps} steps")
    for stock, ours in zip(runs[::2], runs[1::2], strict=True):
        before, after = stock["drift eV/atom/ps"], ours["drift eV/atom/ps"]
        ours["rule holds"] = lammps.drift_passes(after, before, exported.PRECISION[ours["host"]])
        table.add_row(stock["host"], "stock", f"{before:+.2e}", "")
        table.add_row(ours["host"], ours["spec"], f"{after:+.2e}", "holds" if ours["rule holds"] else "does not hold")
    console.print(table)
    if set(hosts.split(",")) != set(exported.HOSTS):
        console.print("The stored figures and picture hold all hosts and are left as they were; without --hosts they are written.")
        return
    names = ("torch", "lammps", "torchani", "chgnet", "schnetpack", "taafs-plugins")
    about = {
        "command": f"python benchmarks/lammps_nve.py --md-steps {md_steps}",
        "date": f"{datetime.date.today()}", "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in names},
    }  # fmt: skip
    short = [{k: v for k, v in run.items() if k != "energy"} for run in runs]
    RESULTS.write_text(json.dumps({**about, "runs": short}, indent=1) + "\n")
    panels = {
        run["host"]: {one["spec"] or "stock": np.array(one["energy"]) for one in runs if one["host"] == run["host"]} for run in runs[::2]
    }
    plotting.energy_panels(panels, HERE / "results" / "lammps_nve.png", f"NVE by pair_style taafs, {md_steps} steps")


if __name__ == "__main__":
    typer.run(main)
