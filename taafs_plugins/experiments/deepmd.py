"""DeePMD-kit runs: systems from real data, the input file, training by the stock command with progress, errors on held-out frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from taafs_plugins import data
from taafs_plugins.errors import TaafsError

ZUO = "usnistgov/alignn/alignn/examples/sample_data_ff/mlearn_data/{element}/id_prop.json"
ZUO_TEST = {"Cu": 31, "Si": 25, "Ni": 31, "Li": 29}
WATER = "deepmodeling/deepmd-kit/examples/water/data"


class RunError(TaafsError, RuntimeError):
    """A command of the host that failed; the message ends with the last lines it printed."""


def command(name: str) -> str:
    """Path of a command installed in this Python's environment (``dp``, ``lmp``, ``mpirun``)."""
    local = Path(sys.executable).parent / name
    return str(local) if local.is_file() else name


def environment(threads: int = 1) -> dict[str, str]:
    """Environment for a host's command: a fixed number of threads and no data-loading processes, which small machines need."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "DP_INTRA_OP_PARALLELISM_THREADS": str(threads),
            "DP_INTER_OP_PARALLELISM_THREADS": "1", "NUM_WORKERS": "0"}  # fmt: skip


def run(
    arguments: list[str],
    folder: Path,
    *,
    log: str,
    threads: int = 1,
    poll: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> float:
    """Run a command in ``folder`` with its output in ``folder/log``; returns wall seconds. ``variables`` are added to the environment.

    Raises
    ------
    RunError
        Exit status other than 0.
    """
    start = time.perf_counter()
    with open(folder / log, "w") as output:
        env = {**environment(threads), **(variables or {})}
        process = subprocess.Popen(arguments, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.2)
                if poll is not None:
                    poll()
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        tail = "\n".join((folder / log).read_text().splitlines()[-15:])
        raise RunError(f"'{' '.join(arguments)}' ended with status {process.returncode}:\n{tail}")
    return time.perf_counter() - start


def zuo_frames(element: str = "Cu") -> tuple[list[dict], list[dict]]:
    """Training and test frames of Zuo et al. 2020; the file holds the test frames twice at its end, the second copy is dropped."""
    frames = json.loads(data.fetch(ZUO.format(element=element)).read_text())
    test = ZUO_TEST[element]
    return frames[: len(frames) - 2 * test], frames[len(frames) - 2 * test : len(frames) - test]


def write_zuo_systems(frames: Iterable[dict], folder: Path) -> list[str]:
    """Write frames as DeePMD systems, one per number of atoms: eV, eV/Angstrom, virial = stress[kbar] * volume / 1602.18."""
    groups: dict[tuple[str, ...], list[dict]] = defaultdict(list)
    for frame in frames:
        groups[tuple(frame["atoms"]["elements"])].append(frame)
    for elements, members in groups.items():
        system = folder / f"{len(elements):04d}_atoms"
        arrays = defaultdict(list)
        for frame in members:
            cell = np.array(frame["atoms"]["lattice_mat"], dtype=np.float64)
            xx, yy, zz, xy, xz, yz = frame["stresses"]
            stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            arrays["box"].append(cell.ravel())
            arrays["coord"].append((np.array(frame["atoms"]["coords"]) @ cell).ravel())
            arrays["energy"].append(frame["total_energy"] * len(elements))
            arrays["force"].append(np.array(frame["forces"]).ravel())
            arrays["virial"].append((stress * abs(np.linalg.det(cell)) / 1602.18).ravel())
        write_system(system, elements, arrays)
    return sorted(str(path) for path in folder.iterdir())


def write_system(system: Path, elements: Iterable[str], arrays: dict) -> None:
    """One DeePMD npy system: ``type.raw``, ``type_map.raw`` and the arrays as float64."""
    (system / "set.000").mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(elements))
    (system / "type_map.raw").write_text("\n".join(names) + "\n")
    (system / "type.raw").write_text("\n".join(str(names.index(e)) for e in elements) + "\n")
    for key, value in arrays.items():
        np.save(system / "set.000" / f"{key}.npy", np.array(value, dtype=np.float64))


def copper_emt(folder: Path, frames: int = 60, seed: int = 0) -> tuple[str, str]:
    """A small copper set for machines without data: 32 atoms, strained and rattled, labelled by ASE's EMT. (training, test) systems."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(seed)
    arrays: dict[str, list] = defaultdict(list)
    for _ in range(frames):
        atoms = bulk("Cu", cubic=True).repeat(2)
        atoms.set_cell(atoms.cell * (1 + rng.uniform(-0.04, 0.04)), scale_atoms=True)
        atoms.positions += rng.normal(scale=rng.uniform(0.02, 0.25), size=atoms.positions.shape)
        atoms.calc = EMT()
        arrays["box"].append(np.asarray(atoms.cell).ravel())
        arrays["coord"].append(atoms.positions.ravel())
        arrays["energy"].append(atoms.get_potential_energy())
        arrays["force"].append(atoms.get_forces().ravel())
    cut = frames * 3 // 4
    for name, part in (("train", slice(0, cut)), ("test", slice(cut, None))):
        write_system(folder / name, ["Cu"] * len(atoms), {key: value[part] for key, value in arrays.items()})
    return str((folder / "train").resolve()), str((folder / "test").resolve())


def model_section(
    activation: str, type_map: list[str], *, sel="auto", rcut: float = 6.0, seed: int = 1, precision: str = "float64"
) -> dict:
    """The paper's DP: se_e2_a [25, 25, 25], axis 16, fitting [50, 50, 50], no resnet_dt, one activation in both networks."""
    return {
        "type_map": type_map,
        "descriptor": {
            "type": "se_e2_a", "sel": sel, "rcut": rcut, "rcut_smth": 0.5, "neuron": [25, 25, 25], "axis_neuron": 16,
            "resnet_dt": False, "activation_function": activation, "seed": seed, "precision": precision,
        },
        "fitting_net": {
            "neuron": [50, 50, 50], "resnet_dt": False, "activation_function": activation, "seed": seed, "precision": precision,
        },
    }  # fmt: skip


def training_input(
    model: dict,
    systems: list[str],
    *,
    steps: int,
    learning_rate: float,
    seed: int = 1,
    batch_size: int | str = 1,
    validation: list[str] | None = None,
    stop_rate: float = 1e-6,
    save: int | None = None,
) -> dict:
    """A DeePMD ``input.json``: Adam, rate falling exponentially to ``stop_rate``, energy and force loss with DeePMD's usual weights."""
    return {
        "model": model,
        "learning_rate": {"type": "exp", "start_lr": learning_rate, "stop_lr": stop_rate, "decay_steps": max(1, steps // 100)},
        "loss": {"type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 1},
        "training": {
            "training_data": {"systems": systems, "batch_size": batch_size},
            **({"validation_data": {"systems": validation, "batch_size": 1}} if validation else {}),
            "numb_steps": steps, "seed": seed, "disp_file": "lcurve.out", "disp_freq": max(1, min(100, steps // 20)),
            "save_freq": save or steps, "max_ckpt_keep": 2,
        },
    }  # fmt: skip


def last_step(folder: Path) -> int:
    """The last step written to ``lcurve.out`` so far."""
    try:
        lines = [line for line in (folder / "lcurve.out").read_text().splitlines() if line and not line.startswith("#")]
        return int(lines[-1].split()[0]) if lines else 0
    except (OSError, ValueError):
        return 0


def train(
    config: dict,
    folder: Path,
    *,
    progress: Callable[[int], None] | None = None,
    threads: int = 1,
    extra: Iterable[str] = (),
    variables: Mapping[str, str] | None = None,
) -> float:
    """``dp --pt train`` in ``folder``; returns wall seconds. ``progress`` is called with the present step."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.json").write_text(json.dumps(config, indent=1))
    poll = (lambda: progress(last_step(folder))) if progress else None
    arguments = [command("dp"), "--pt", "train", "input.json", "--skip-neighbor-stat", *extra]
    if config["model"]["descriptor"].get("sel") == "auto":
        arguments.remove("--skip-neighbor-stat")
    return run(arguments, folder, log="train.log", threads=threads, poll=poll, variables=variables)


def freeze(folder: Path, output: str = "frozen.pth", form: str = "") -> Path:
    """``dp --pt freeze`` in ``folder``; ``form`` is the value of TAAFS_EXPORT (docs/speed.md), default: as a user gets it."""
    run([command("dp"), "--pt", "freeze", "-o", output], folder, log="freeze.log", variables={"TAAFS_EXPORT": form})
    return folder / output


def errors(model: Path, systems: list[str], no_jit: bool = False) -> dict[str, float]:
    """RMSE on systems by ``DeepPot``: ``energy`` in eV/atom, ``force`` in eV/Angstrom (over all components), and the frame count.

    ``DeepPot`` compiles a checkpoint for seconds, which few frames do not need: ``no_jit=True``.
    """
    from deepmd.infer import DeepPot

    potential = DeepPot(str(model), no_jit=no_jit)
    type_map = potential.get_type_map()
    energy, force, frames = 0.0, [0.0, 0], 0
    for system in map(Path, systems):
        names = (system / "type_map.raw").read_text().split()
        types = np.array([type_map.index(names[int(t)]) for t in (system / "type.raw").read_text().split()])
        for part in sorted(system.glob("set.*")):
            arrays = {key: np.load(part / f"{key}.npy").astype(np.float64) for key in ("coord", "box", "energy", "force")}
            e, f, _ = potential.eval(arrays["coord"], arrays["box"], types)
            energy += float((((e.ravel() - arrays["energy"].ravel()) / len(types)) ** 2).sum())
            difference = f.reshape(len(e), -1) - arrays["force"].reshape(len(e), -1)
            force = [force[0] + float((difference**2).sum()), force[1] + difference.size]
            frames += len(e)
    return {"energy": (energy / frames) ** 0.5, "force": (force[0] / force[1]) ** 0.5, "frames": frames}
