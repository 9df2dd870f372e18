"""Training time of ``dp --pt train`` as users run it: TAAFS against tanh on Cu, in alternating processes.

    python benchmarks/deepmd_training.py --pairs 5            # on a quiet machine; goes on where it was stopped
    python benchmarks/deepmd_training.py --default-malloc     # with glibc's own thresholds, which only TAAFS changes

Embedding [25, 25, 25], fitting [50, 50, 50], float64, one thread. A pair is one run of each, the first one in turn. What counts is the
time that DeePMD-kit itself prints for its steps, without the first, and the seconds of CPU beside it; page faults and peak memory are
those of the whole process. Every pair is stored in results/deepmd_training.json as soon as it is done.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import resource
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import typer
from rich.console import Console

from taafs_plugins.experiments import deepmd
from taafs_plugins.experiments.step_times import ALLOCATOR

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "deepmd_training.json"
WORK = HERE / "runs" / "deepmd_training"
SPECS = ("taafs:bspline", "taafs:chebyshev1", "taafs:fourier")


def systems() -> list[str]:
    """The training frames of Cu of Zuo et al. 2020."""
    folder = WORK / "cu"
    if not folder.is_dir():
        return deepmd.write_zuo_systems(deepmd.zuo_frames("Cu")[0], folder)
    return sorted(str(path) for path in folder.iterdir())


def config(activation: str, steps: int) -> dict:
    """DeePMD-kit's input, displayed every 100 steps."""
    model = deepmd.model_section(activation, ["Cu"], sel=[120])
    found = deepmd.training_input(model, systems(), steps=steps, learning_rate=1e-3)
    found["training"]["disp_freq"] = 100
    return found


def one(activation: str, steps: int, pinned: bool) -> dict[str, float]:
    """One process: seconds per 100 steps as it prints them, CPU seconds and page faults of all, peak memory in MB."""
    folder = WORK / activation.replace(":", "-")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    deepmd.train(config(activation, steps), folder, variables=ALLOCATOR if pinned else {})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    printed = (folder / "train.log").read_text()
    seconds = [float(s) for s in re.findall(r"total wall time = ([\d.]+) s", printed)][1:]
    return {
        "wall": round(statistics.mean(seconds), 3),
        "cpu": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "system": round(after.ru_stime - before.ru_stime, 1),
        "faults": after.ru_minflt - before.ru_minflt,
        "peak_mb": round(after.ru_maxrss / 1024),
    }


def apart(activation: str, steps: int, pinned: bool) -> dict[str, float]:
    """:func:`one` in a child of its own, whose children's peak memory is that of this run alone."""
    with ProcessPoolExecutor(1) as pool:
        return pool.submit(one, activation, steps, pinned).result()


def summary(pairs: list[dict]) -> dict[str, list[float]]:
    """Quartiles of the ratios of each pair."""
    return {
        key: np.percentile([pair["taafs"][key] / pair["tanh"][key] for pair in pairs], [25, 50, 75]).round(3).tolist()
        for key in ("wall", "cpu", "peak_mb")
    }


def main(specs: str = ",".join(SPECS), pairs: int = 5, steps: int = 600, default_malloc: bool = False) -> None:
    """Measure and store."""
    console = Console()
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {"runs": {}}
    stored.update({
        "command": "python benchmarks/deepmd_training.py", "date": f"{datetime.date.today()}", "steps": steps,
        "malloc": "glibc's own" if default_malloc else ALLOCATOR,
        "processor": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "deepmd-kit", "taafs-plugins")},
    })  # fmt: skip
    for spec in specs.split(","):
        run = stored["runs"].setdefault(spec, {"pairs": []})
        while len(run["pairs"]) < pairs:
            order = ["tanh", spec] if len(run["pairs"]) % 2 == 0 else [spec, "tanh"]
            load = round(os.getloadavg()[0], 1)
            found = {("tanh" if side == "tanh" else "taafs"): apart(side, steps, not default_malloc) for side in order}
            run["pairs"].append({**found, "load": load})
            run["summary"] = summary(run["pairs"])
            RESULTS.write_text(json.dumps(stored, indent=1) + "\n")
            console.print(spec, run["pairs"][-1])
        console.print(spec, run["summary"])


if __name__ == "__main__":
    typer.run(main)
