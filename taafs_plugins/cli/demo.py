"""``taafs demo``: stock tanh and TAAFS in DeePMD-kit on real water, from input file to LAMMPS, in a few minutes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from taafs_plugins import data, plotting
from taafs_plugins.adapters import HostError, adapter
from taafs_plugins.adapters.deepmd.files import read_checkpoint
from taafs_plugins.cli.outputs import demo_folder
from taafs_plugins.errors import how_to_install
from taafs_plugins.experiments import deepmd, lammps

SPEC = "taafs:chebyshev1"
# Each side's rate: the best of those tried on validation frames of Cu (docs/results.md). Comparing at one common rate would mislead.
RATES = {"tanh": 1e-2, SPEC: 2e-3}
MD_STEPS = 400
MADE = ("timing", "tanh", "taafs", "copper", "curves.png", "energy.png", "results.json")


def systems(folder: Path, console: Console) -> tuple[list[str], list[str], list[str], dict]:
    """Training and test systems, element names and model settings: real water, or copper labelled on the spot."""
    try:
        water = data.fetch_folder(deepmd.WATER)
    except data.DataError as error:
        console.print(f"Water data: {error}\nUsing a small copper set instead, labelled here by ASE's EMT potential (not DFT).")
        train, test = deepmd.copper_emt(folder / "copper")
        return [train], [test], ["Cu"], {"sel": [60], "rcut": 5.0}
    console.print("Data: liquid water, DFT, 320 training and 80 test frames of 192 atoms.")
    names = [str(water.resolve() / f"data_{i}") for i in range(4)]
    return names[:3], names[3:], ["O", "H"], {"sel": [22, 44], "rcut": 4.0}


def seconds_per_step(folder: Path) -> float:
    """What DeePMD's log says a training step took."""
    return float(re.findall(r"average training time: ([\d.]+) s/batch", (folder / "train.log").read_text())[-1])


def check_tools() -> None:
    """DeePMD-kit and its commands are there.

    Raises
    ------
    HostError
        What is missing, with the way out.
    """
    adapter("deepmd").check_version()
    if missing := [name for name in ("dp", "lmp") if shutil.which(deepmd.command(name)) is None]:
        raise HostError(f"The command {missing[0]} of DeePMD-kit is not there; {how_to_install('deepmd')}.")


def demo(output: Path, minutes: float, console: Console, overwrite: bool = False) -> None:
    """Train both for the same time, print one table, draw the curves, run LAMMPS with both.

    Raises
    ------
    HostError
        Without DeePMD-kit; nothing was written then.
    OutputError
        A folder that holds something else, or an earlier demo and ``overwrite`` is False.
    """
    check_tools()
    demo_folder(output, overwrite, MADE)
    train, test, names, settings = systems(output, console)
    activations = {"tanh": "tanh", SPEC: SPEC}

    def config(activation: str, steps: int) -> dict:
        model = deepmd.model_section(activation, names, **settings)
        return deepmd.training_input(model, train, steps=steps, learning_rate=RATES[activation])

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} steps"), TimeElapsedColumn())
    rows, frozen = {}, {}
    with Progress(*columns, console=console) as progress:
        probe = progress.add_task("timing a step of each", total=2 * 40)
        cost = {}
        for i, (name, activation) in enumerate(activations.items()):
            folder = output / "timing" / str(i)
            deepmd.train(config(activation, 40), folder, progress=lambda n, i=i: progress.update(probe, completed=40 * i + n))
            cost[name] = seconds_per_step(folder)
        progress.update(probe, completed=80)
        for i, (name, activation) in enumerate(activations.items()):
            steps = max(100, int(60 * minutes / cost[name]))
            folder = output / ("tanh" if i == 0 else "taafs")
            task = progress.add_task(f"training {name}", total=steps)
            deepmd.train(config(activation, steps), folder, progress=lambda n, task=task: progress.update(task, completed=n))
            progress.update(task, completed=steps)
            frozen[name] = deepmd.freeze(folder)
            rows[name] = {**deepmd.errors(frozen[name], test), **_facts(folder / f"model.ckpt-{steps}.pt", folder), "steps": steps}
    console.print(_accuracy_table(rows))
    _draw(output, console)
    _molecular_dynamics(output, frozen, test[0], names, console)
    (output / "results.json").write_text(json.dumps(rows, indent=1))


def _facts(checkpoint: Path, folder: Path) -> dict:
    from taafs_plugins import count_parameters

    return {"parameters": count_parameters(read_checkpoint(checkpoint)), "step": seconds_per_step(folder)}


def _accuracy_table(rows: dict) -> Table:
    table = Table("", "parameters", "steps", "energy RMSE\nmeV/atom", "force RMSE\neV/A", "s/step", title="Held-out test frames")
    for name, r in rows.items():
        table.add_row(name, str(r["parameters"]), str(r["steps"]), f"{1e3 * r['energy']:.3f}", f"{r['force']:.4f}", f"{r['step']:.4f}")
    (stock, ours) = rows.values()
    ratio = {key: ours[key] / stock[key] for key in ("energy", "force", "step")}
    added = ours["parameters"] - stock["parameters"]
    table.add_row("ratio", f"+{added}", "", f"{ratio['energy']:.2f}", f"{ratio['force']:.2f}", f"{ratio['step']:.2f}", style="bold")
    return table


def _draw(output: Path, console: Console) -> None:
    from taafs_plugins import trainable_activations

    checkpoint = sorted((output / "taafs").glob("model.ckpt-*.pt"), key=lambda p: int(p.stem.split("-")[-1]))[-1]
    plotting.curves(trainable_activations(read_checkpoint(checkpoint)), output / "curves.png", title="Learned activations next to tanh")
    console.print(f"Learned curves: {output / 'curves.png'}")


def _molecular_dynamics(output: Path, frozen: dict[str, Path], system: str, names: list[str], console: Console) -> None:
    from deepmd.infer import DeepPot

    part = Path(system) / "set.000"
    coord, box = (np.load(part / f"{key}.npy")[:1].astype(np.float64) for key in ("coord", "box"))
    types = np.array([int(t) for t in (Path(system) / "type.raw").read_text().split()])
    table = Table("", "energy drift\neV/atom/ps", "largest |Python - LAMMPS|\nenergy, eV", "forces, eV/A", "ms/step", title="LAMMPS")
    runs = {}
    for name, model in frozen.items():
        folder = model.parent / "lammps"
        folder.mkdir()
        lammps.write_data(folder / "frame.data", coord.reshape(-1, 3), box.reshape(3, 3), types, names)
        single = lammps.single_point([str(model.resolve())], folder, names)
        energy, force, _ = DeepPot(str(model)).eval(coord, box, types)
        with console.status(f"LAMMPS NVE, {MD_STEPS} steps, {name}"):
            runs[name], seconds = lammps.nve(str(model.resolve()), folder, names, steps=MD_STEPS)
        table.add_row(
            name, f"{lammps.drift(runs[name]):+.1e}", f"{abs(energy.ravel()[0] - single['energy'][0]):.1e}",
            f"{np.abs(force[0] - single['force']).max():.1e}", f"{1e3 * seconds / MD_STEPS:.1f}",
        )  # fmt: skip
    console.print(table)
    plotting.energies(runs, output / "energy.png", "NVE, pair_style deepmd")
    console.print(f"Total energy against time: {output / 'energy.png'}")
