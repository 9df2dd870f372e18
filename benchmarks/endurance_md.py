"""200,000 steps of LAMMPS with a small system of every host: does memory grow? Resumable, one host at a time, results stored.

    python benchmarks/endurance_md.py                     # hours; what is stored already is left out
    python benchmarks/endurance_md.py --hosts torchani --steps 2000 -o out.json

Random coefficients, nothing trained: atoms are held by springs and a thermostat, so that the dynamics stays in place. What is looked at is
the resident memory of the LAMMPS process. The limit: 1% from the first tenth of the run to its end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.progress import Progress

import taafs_plugins as taafs
from taafs_plugins.experiments import deepmd, exported, lammps

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "endurance_md.json"
HOSTS = ("deepmd", *exported.HOSTS)
STEPS, LIMIT = 200_000, 0.01
WATER = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
SCRIPT = """mass * 20.0
velocity all create 100 1 mom yes rot yes
fix hold all spring/self 5.0
fix warm all langevin 100 100 0.02 7
fix move all nve
timestep 0.0002
thermo {every}
thermo_style custom step temp pe
thermo_modify flush yes
run {steps}
"""


def random_coefficients(model: torch.nn.Module, scale: float = 0.02) -> torch.nn.Module:
    """Every coefficient moved a little."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for act in taafs.trainable_activations(model).values():
            for coefficients in act.parameters():
                coefficients += (scale * torch.randn(coefficients.shape, generator=generator)).to(coefficients)
    return model


def deepmd_model(folder: Path) -> tuple[str, list[str]]:
    """A frozen DeePMD model of two water molecules after two steps of training; what follows ``pair_style``'s name, and the elements."""
    types, positions = np.array([0, 1, 1] * 2), np.concatenate([WATER + 2.0, WATER + 5.0])
    cell = np.diag([12.0] * 3)
    lammps.write_data(folder / "frame.data", positions, cell, types, ["O", "H"])
    system = folder / "system" / "set.000"
    system.mkdir(parents=True)
    (system.parent / "type.raw").write_text("\n".join(map(str, types)))
    (system.parent / "type_map.raw").write_text("O\nH\n")
    generator = np.random.default_rng(1)
    arrays = {"coord": positions.reshape(1, -1), "box": cell.reshape(1, -1), "energy": np.zeros(1), "force": generator.normal(size=(1, 18))}
    for name, array in arrays.items():
        np.save(system / f"{name}.npy", array)
    model = deepmd.model_section("taafs:bspline", ["O", "H"], sel=[20, 40], rcut=5.0)
    config = deepmd.training_input(model, [str(system.parent)], steps=2, learning_rate=1e-2)
    deepmd.train(config, folder / "train")
    deepmd.run([deepmd.command("dp"), "--pt", "freeze", "-c", "model.ckpt-2.pt", "-o", "model.pth"], folder / "train", log="freeze")
    return f"deepmd {folder / 'train' / 'model.pth'}\npair_coeff * * O H", ["O", "H"]


def exported_model(host: str, folder: Path) -> tuple[str, list[str]]:
    """The same for a host that is exported: one ethanol, or two atoms of iron."""
    if host == "chgnet":
        from taafs_plugins.experiments import chgnet

        model = chgnet.pretrained()
    else:
        model = exported.painn() if host == "schnetpack" else exported.ani()
    taafs.convert(model, exported.SPECS[host].replace(",scale=auto", ""))
    exported.export(random_coefficients(model).eval(), host, folder / "model.pt")
    names = exported.write_frame(exported.start(host), folder)
    return f"taafs\npair_coeff * * {folder / 'model.pt'} {' '.join(names)}", names


def resident() -> int:
    """Bytes of all processes that this one started."""
    found = 0
    for child in psutil.Process().children(recursive=True):
        try:
            found += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found


def steps_done(log: Path) -> int:
    """The last step in LAMMPS's log."""
    rows = [line.split() for line in log.read_text().splitlines()] if log.is_file() else []
    return max((int(row[0]) for row in rows if len(row) == 3 and row[0].isdigit()), default=-1)


def run(host: str, steps: int, folder: Path, tick: Callable[[int], None] = lambda step: None) -> dict:
    """LAMMPS for ``steps``; memory at each fiftieth of the run, bytes."""
    pair, _ = deepmd_model(folder) if host == "deepmd" else exported_model(host, folder)
    memory: dict[int, int] = {}

    def look() -> None:
        step = steps_done(folder / "run.lammps")
        if 0 < step < steps and (here := resident()):
            memory[step] = max(here, memory.get(step, 0))
            tick(step)

    seconds = lammps.run_script(folder, lammps.header(pair) + SCRIPT.format(every=max(1, steps // 50), steps=steps), log="run", poll=look)
    first = max(value for step, value in memory.items() if step <= max(steps // 10, min(memory)))
    last = memory[max(memory)]
    return {"host": host, "steps": steps, "first tenth MiB": round(first / 2**20, 2), "end MiB": round(last / 2**20, 2),
            "growth": round(last / first - 1, 5), "microseconds a step": round(1e6 * seconds / steps, 1),
            "date": time.strftime("%Y-%m-%d"), "torch": version("torch")}  # fmt: skip


def main() -> None:
    """Run what is not stored yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", nargs="+", choices=HOSTS, default=HOSTS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    rows = json.loads(options.output.read_text()) if options.output.is_file() else []
    done = {(row["host"], row["steps"]) for row in rows}
    with Progress(console=Console(stderr=True)) as progress:
        for host in options.hosts:
            if (host, options.steps) in done:
                continue
            task = progress.add_task(host, total=options.steps)
            with tempfile.TemporaryDirectory() as folder:
                rows.append(run(host, options.steps, Path(folder), lambda step, task=task: progress.update(task, completed=step)))
            options.output.write_text(json.dumps(rows, indent=1) + "\n")
            print(rows[-1], flush=True)


if __name__ == "__main__":
    main()
