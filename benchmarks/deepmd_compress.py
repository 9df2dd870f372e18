"""Steps per second in LAMMPS of compressed DeePMD-kit models: TAAFS against tanh, and compressed against frozen, each in turn.

    python benchmarks/deepmd_compress.py --rounds 11          # on a quiet machine; goes on where it was stopped

Water of 1,536 atoms, random weights and coefficients (speed does not depend on them), one thread. Each round is one process of ``lmp`` that
loads the four files in turn, every round in another order, and takes LAMMPS's own loop times (of its CPU use, so that other programs count
less). glibc's thresholds are pinned: otherwise a run pays thousands of page faults a step or none, by luck. Every round is stored in
results/deepmd_compress.json as soon as it is done.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
from pathlib import Path

import numpy as np
import torch
import typer
from rich.console import Console

import taafs_plugins as taafs
from taafs_plugins import data
from taafs_plugins.experiments import deepmd, lammps

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "deepmd_compress.json"
SIZES = {"default": ([25, 50, 100], [240, 240, 240]), "small": ([25, 25, 25], [50, 50, 50])}
STEPS = {"default": 4, "small": 10}
SIDES = ("tanh frozen", "TAAFS frozen", "tanh compressed", "TAAFS compressed")
MALLOC = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_TOP_PAD_": "268435456"}
COPIES = 2
NEAREST = 0.85  # A


def model(size: str, activation: str):
    """Random weights; statistics so that the tables are as long as those of a trained model of water."""
    import deepmd.pt  # noqa: F401 - loads the plugin
    from deepmd.pt.model.model import get_model

    embedding, fitting = SIZES[size]
    config = section(activation)
    config["descriptor"]["neuron"], config["fitting_net"]["neuron"] = embedding, fitting
    live = get_model(config)
    for key, buffer in live.named_buffers():
        if key.endswith("stddev"):
            buffer *= 0.1
    generator = torch.Generator().manual_seed(1)
    for act in taafs.activations(live).values():
        act.delta.data = 1e-3 * torch.randn(act.delta.shape, generator=generator, dtype=act.delta.dtype)
    live.min_nbor_dist.fill_(NEAREST)
    return live.eval()


def section(activation: str) -> dict:
    """The model section of water, cutoff 6 A as in DeePMD-kit's own example."""
    return deepmd.model_section(activation, ["O", "H"], sel=[46, 92])


def files(size: str, spec: str, folder: Path) -> dict[str, Path]:
    """The four files, as ``dp --pt freeze`` and ``dp --pt compress`` write them."""
    from deepmd.pt.entrypoints.compress import enable_compression

    paths = {side: folder / f"{side.replace(' ', '_')}.pth" for side in SIDES}
    if not all(path.is_file() for path in paths.values()):
        for name, activation in (("tanh", "tanh"), ("TAAFS", spec)):
            torch.jit.save(torch.jit.script(model(size, activation)), paths[f"{name} frozen"])
            enable_compression(str(paths[f"{name} frozen"]), str(paths[f"{name} compressed"]))
    return paths


def write_water(folder: Path) -> int:
    """``frame.data``: the first frame of water, copied along each axis; returns the number of atoms."""
    system = data.fetch_folder(deepmd.WATER) / "data_0"
    part = sorted(system.glob("set.*"))[0]
    positions = np.load(part / "coord.npy")[0].astype(np.float64).reshape(-1, 3)
    cell = np.load(part / "box.npy")[0].astype(np.float64).reshape(3, 3)
    types = np.array([int(t) for t in (system / "type.raw").read_text().split()])
    shifts = np.array(np.meshgrid(*[range(COPIES)] * 3)).reshape(3, -1).T @ cell
    lammps.write_data(folder / "frame.data", (positions + shifts[:, None]).reshape(-1, 3), COPIES * cell,
                      np.tile(types, len(shifts)), ["O", "H"])  # fmt: skip
    return len(types) * len(shifts)


def one_round(paths: dict[str, Path], folder: Path, steps: int, first: int) -> dict[str, float]:
    """Steps per second of each file; the round begins with file number ``first``."""
    order = [SIDES[(first + k) % len(SIDES)] for k in range(len(SIDES))]
    runs = "".join(f"pair_style deepmd {paths[side].resolve()}\npair_coeff * * O H\nrun 2\nrun {steps}\n" for side in order)
    script = lammps.header(f"deepmd {paths[order[0]].resolve()}\npair_coeff * * O H") + (
        "velocity all create 10 2026\ntimestep 0.00001\nfix 1 all nve\nthermo 100000\n" + runs
    )
    lammps.run_script(folder, script, log="speed", variables=MALLOC)
    log = (folder / "speed.lammps").read_text()
    loops, shares = (np.array(re.findall(words, log), float) for words in (r"Loop time of ([\d.e+-]+)", r"([\d.]+)% CPU use"))
    speeds = steps / (loops * shares / 100).reshape(len(order), 2)[:, 1]
    return dict(zip(order, speeds.round(4).tolist(), strict=True))


def summary(rounds: list[dict]) -> dict:
    """Medians of the speeds, quartiles of the ratios of each round."""
    ratios = {
        "compressed TAAFS / compressed tanh": ("TAAFS compressed", "tanh compressed"),
        "TAAFS compressed / frozen": ("TAAFS compressed", "TAAFS frozen"),
        "tanh compressed / frozen": ("tanh compressed", "tanh frozen"),
    }
    found = {"steps/s": {side: round(statistics.median(r["steps/s"][side] for r in rounds), 3) for side in SIDES}}
    for name, (a, b) in ratios.items():
        found[name] = np.percentile([r["steps/s"][a] / r["steps/s"][b] for r in rounds], [25, 50, 75]).round(3).tolist()
    return found


def main(spec: str = "taafs:bspline", sizes: str = ",".join(SIZES), rounds: int = 11) -> None:
    """Measure and store."""
    console = Console()
    torch.set_num_threads(1)
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"runs": {}}
    stored.update({
        "command": "python benchmarks/deepmd_compress.py", "date": f"{datetime.date.today()}",
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(), "malloc": MALLOC,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "deepmd-kit", "lammps", "taafs-plugins")},
    })  # fmt: skip
    for size in sizes.split(","):
        folder = HERE / "runs" / "deepmd_compress" / f"{size}_{spec.replace(':', '-')}"
        folder.mkdir(parents=True, exist_ok=True)
        paths, atoms = files(size, spec, folder), write_water(folder)
        run = stored["runs"].setdefault(f"{size} {spec}", {"atoms": atoms, "steps": STEPS[size], "rounds": []})
        run["bytes"] = {side: path.stat().st_size for side, path in paths.items()}
        while len(run["rounds"]) < rounds:
            speeds = one_round(paths, folder, STEPS[size], len(run["rounds"]))
            run["rounds"].append({"steps/s": speeds, "load": round(os.getloadavg()[0], 1)})
            run["summary"] = summary(run["rounds"])
            RESULTS.write_text(json.dumps(stored, indent=1) + "\n")
            console.print(size, run["rounds"][-1])
        console.print(size, run["summary"])


if __name__ == "__main__":
    typer.run(main)
