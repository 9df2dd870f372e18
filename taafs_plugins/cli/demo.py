"""``taafs demo``: stock tanh and TAAFS in DeePMD-kit on real water, from input file to LAMMPS, in a few minutes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from taafs_plugins import data, plotting
from taafs_plugins.adapters import HostError, adapter
from taafs_plugins.cli import demo_report
from taafs_plugins.cli.outputs import demo_folder
from taafs_plugins.errors import TaafsError, how_to_install
from taafs_plugins.experiments import deepmd, lammps, step_times
from taafs_plugins.files import replacing

SPEC = "taafs:chebyshev1"
# Each side's rate: the best of those tried on validation frames of Cu (docs/results.md). Comparing at one common rate would mislead.
RATES = {"tanh": 1e-2, SPEC: 2e-3}
PAIRS = 60
# for each minute: on a busy machine training takes longer and is not cut short. After 670 steps tanh's water finds holes and heats up.
LEAST_STEPS = 800
MD_STEPS = 500
# ps. tanh's own total energy is flat at this step; at 0.5 fs Verlet's error of water's O-H bonds would hide everything else.
TIMESTEP = 0.0002
EQUILIBRATION = lammps.Equilibration(300, timestep=0.0005, time_constant=0.02)
MADE = ("timing", "tanh", "taafs", "copper", "curves.png", "energy.png", "results.json", "host_output.log")


@dataclass(frozen=True)
class Side:
    """One of the two that are compared."""

    name: str
    folder: Path
    config: dict

    @property
    def checkpoint(self) -> Path:
        """What the training leaves."""
        return self.folder / f"model.ckpt-{self.config['training']['numb_steps']}.pt"


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


@contextmanager
def hosts_write_to(path: Path) -> Iterator[None]:
    """What a host says while it is imported and run, from C++ too, goes into a file."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(1), os.dup(2)]
    try:
        with open(path, "a") as log, redirect_stdout(log), redirect_stderr(log):
            for number in (1, 2):
                os.dup2(log.fileno(), number)
            yield
    finally:
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


def demo(output: Path, minutes: float, console: Console, overwrite: bool = False) -> None:
    """Time a step of both, train both side by side, compare on frames that neither saw, draw the curves, run LAMMPS with both.

    Raises
    ------
    HostError
        Without DeePMD-kit; nothing was written then.
    OutputError
        A folder that holds something else, or an earlier demo and ``overwrite`` is False.
    """
    check_tools()
    demo_folder(output, overwrite, MADE)
    log = output / "host_output.log"
    console.print(demo_report.opening(SPEC))
    train, test, names, settings = systems(output, console)

    def side(activation: str, steps: int) -> Side:
        model = deepmd.model_section(activation, names, **settings)
        config = deepmd.training_input(model, train, steps=steps, learning_rate=RATES[activation])
        return Side(activation, output / ("tanh" if activation == "tanh" else "taafs"), config)

    times = _timing([side(name, 100).config for name in RATES], output / "timing", console)
    steps = max(100, int(LEAST_STEPS * minutes), int(60 * minutes / times["wall"]))
    console.print(demo_report.training(steps, times["wall"]))
    sides = [side(name, steps) for name in RATES]
    frozen = _training(sides, console)
    with hosts_write_to(log):
        rows = {side.name: {**deepmd.errors(frozen[side.name], test), "parameters": _parameters(side)} for side in sides}
    demo_report.accuracy(rows, sides[0].config["training"]["numb_steps"], times, console)
    with hosts_write_to(log):
        _draw(sides[1], output / "curves.png")
    runs = _molecular_dynamics(frozen, test[0], names, console, log)
    plotting.energies({name: run["energy"] for name, run in runs.items()}, output / "energy.png", "NVE, pair_style deepmd")
    results = {name: {**rows[name], **demo_report.figures(run)} for name, run in runs.items()}
    with replacing(output / "results.json") as written:
        written.write_text(json.dumps({"step": times, **results}, indent=1))
    demo_report.dynamics(results, console)
    demo_report.ending(results, times, output, console)


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.completed}/{task.total}"))
    return Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=console)


def _timing(configs: list[dict], folder: Path, console: Console) -> dict:
    """Steps of both in turn; the first run on a machine builds the compiled kernels before."""
    with _bars(console) as progress:
        task = progress.add_task("a step of each, in turn", total=PAIRS)
        return step_times.time_pair(configs, folder, PAIRS, lambda n: progress.update(task, completed=n))


def both(work: Callable[[Side, Callable[[], None]], object], sides: list[Side]) -> list:
    """``work(side, check)`` for both at once; when one fails, ``check`` stops the other. ``work`` calls it now and then."""
    failed: list[BaseException] = []

    def check() -> None:
        if failed:
            raise TaafsError("Stopped, because the other side failed.")

    def one(side: Side) -> object:
        try:
            return work(side, check)
        except BaseException as error:
            failed.append(error)
            raise

    with ThreadPoolExecutor(len(sides)) as pool:
        waiting = [pool.submit(one, side) for side in sides]
        try:
            for future in waiting:
                future.exception()
        except KeyboardInterrupt as error:
            failed.append(error)
            raise
    if failed:
        raise failed[0]
    return [future.result() for future in waiting]


def _training(sides: list[Side], console: Console) -> dict[str, Path]:
    """Train both at the same time, so that whatever else the machine does meets both; freeze."""
    with _bars(console) as progress:
        tasks = {side.name: progress.add_task(f"training {side.name}", total=side.config["training"]["numb_steps"]) for side in sides}

        def work(side: Side, check: Callable[[], None]) -> Path:
            def told(step: int) -> None:
                check()
                progress.update(tasks[side.name], completed=step)

            deepmd.train(side.config, side.folder, progress=told, variables=step_times.ALLOCATOR)
            progress.update(tasks[side.name], completed=side.config["training"]["numb_steps"])
            return deepmd.freeze(side.folder)

        return dict(zip(tasks, both(work, sides), strict=True))


def _parameters(side: Side) -> int:
    from taafs_plugins import count_parameters
    from taafs_plugins.adapters.deepmd.files import read_checkpoint

    return count_parameters(read_checkpoint(side.checkpoint))


def _draw(side: Side, path: Path) -> None:
    from taafs_plugins import trainable_activations
    from taafs_plugins.adapters.deepmd.files import read_checkpoint

    plotting.curves(trainable_activations(read_checkpoint(side.checkpoint)), path, title="Learned activations next to tanh")


def _frame(system: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first frame of a system: positions [1, 3 N], cell [1, 9], types [N]."""
    coord, box = (np.load(system / "set.000" / f"{key}.npy")[:1].astype(np.float64) for key in ("coord", "box"))
    return coord, box, np.array([int(t) for t in (system / "type.raw").read_text().split()])


def _molecular_dynamics(frozen: dict[str, Path], system: str, names: list[str], console: Console, log: Path) -> dict[str, dict]:
    """One frame in Python and in LAMMPS, then thermostat and NVE, for each frozen model: ``energy``, ``seconds``, differences."""
    coord, box, types = _frame(Path(system))
    total = (EQUILIBRATION.steps + MD_STEPS) // 10
    with _bars(console) as progress:
        tasks = {name: progress.add_task(f"LAMMPS {name}", total=total) for name in frozen}

        def work(side: Side, check: Callable[[], None]) -> dict:
            def poll() -> None:
                check()
                progress.update(tasks[side.name], completed=min(total, lammps.rows_so_far(side.folder)))

            side.folder.mkdir()
            lammps.write_data(side.folder / "frame.data", coord.reshape(-1, 3), box.reshape(3, 3), types, names)
            model = str(frozen[side.name].resolve())
            single = lammps.single_point([model], side.folder, names)
            energy, seconds = lammps.nve(
                model, side.folder, names, steps=MD_STEPS, timestep=TIMESTEP, equilibration=EQUILIBRATION, poll=poll,
                variables=step_times.ALLOCATOR,
            )  # fmt: skip
            progress.update(tasks[side.name], completed=total)
            return {"energy": energy, "milliseconds": 1e3 * seconds / (EQUILIBRATION.steps + MD_STEPS), "single": single}

        sides = [Side(name, path.parent / "lammps", {}) for name, path in frozen.items()]
        runs = dict(zip(frozen, both(work, sides), strict=True))
    with hosts_write_to(log):
        for name, run in runs.items():
            run.update(_beside_python(frozen[name], run.pop("single"), coord, box, types))
    return runs


def _beside_python(model: Path, single: dict, coord: np.ndarray, box: np.ndarray, types: np.ndarray) -> dict[str, float]:
    """How far LAMMPS's energy, eV, and forces, eV/A, of one frame are from Python's."""
    from deepmd.infer import DeepPot

    energy, force, _ = DeepPot(str(model)).eval(coord, box, types)
    return {
        "energy difference": float(abs(energy.ravel()[0] - single["energy"][0])),
        "force difference": float(np.abs(force[0] - single["force"]).max()),
    }
