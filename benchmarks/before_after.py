"""Two checkouts of this package against each other: is a step as fast, and as small in memory, as it was in another version?

    git worktree add ../before <commit>
    python benchmarks/before_after.py ../before --rounds 30 -o benchmarks/results/before_after.json

Two processes, one for each checkout, live side by side and take turns (before, after, after, before ...) in short bursts, on one thread
with the allocator pinned, so that whatever else the machine does meets both. Each burst times stock and TAAFS in turn too. A case's
figure is the median over the bursts of after / before, of TAAFS and (as the scale of the noise) of stock.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PINNED = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_TOP_PAD_": "268435456"}
SPECS = ("taafs:chebyshev1", "taafs:bspline", "taafs:fourier", "taafs:bspline,share=neuron")
CASES = {f"{name}: {spec}": (name, spec) for spec in SPECS for name in ("call of 25 numbers", "MLP 3x25, 4000 rows")}


def steps(name: str, spec: str):
    """One step of stock and of the spec."""
    import torch
    from speed_work import activation_alone, mlp

    if name.startswith("MLP"):
        return mlp(spec, "tanh", torch.float64, 4000)
    return activation_alone(spec, "tanh", torch.float64, 25)


def child(checkout: Path) -> None:
    """Answer each line ``case`` of stdin with the CPU seconds per step of stock and of TAAFS, the peak memory in MiB, page faults."""
    sys.path[:0] = [str(checkout), str(checkout / "benchmarks")]
    import torch

    torch.set_num_threads(1)
    made = {}
    for line in sys.stdin:
        case = line.strip()
        count = 20 if "MLP" in case else 2000
        if case not in made:
            made[case] = steps(*CASES[case])
            for step in made[case]:
                for _ in range(count // 2):
                    step()
        found, before = [], resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for step in made[case]:
            start = time.process_time()
            for _ in range(count):
                step()
            found.append((time.process_time() - start) / count)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        print(json.dumps([*found, usage.ru_maxrss / 1024, usage.ru_minflt - before]), flush=True)


class Side:
    """One checkout's process."""

    def __init__(self, checkout: Path) -> None:
        environment = {**os.environ, **PINNED, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
        command = [sys.executable, __file__, "--child", str(checkout)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)

    def burst(self, case: str) -> list[float]:
        """Seconds per step of stock and of TAAFS, peak memory in MiB, page faults of the burst."""
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def compare(before: Path, rounds: int) -> list[dict]:
    """One row a case."""
    from rich.progress import track

    rows = []
    for case in track(CASES, description="cases"):
        sides = Side(before), Side(ROOT)
        bursts: tuple[list, list] = ([], [])
        for n in range(rounds):
            for side in (0, 1) if n % 2 else (1, 0):
                bursts[side].append(sides[side].burst(case))
        for side in sides:
            side.process.stdin.close()
            side.process.wait()
        stock, taafs = (statistics.median(b[i] / a[i] for a, b in zip(*bursts, strict=True)) for i in (0, 1))
        fastest, peak = [1e6 * min(b[1] for b in side) for side in bursts], [side[-1][2] for side in bursts]
        faults = [statistics.median(b[3] for b in side) for side in bursts]
        rows.append({"case": case, "taafs": taafs, "stock": stock, "microseconds": fastest, "peak_mib": peak, "faults": faults})
        print(f"{case:45} TAAFS {taafs:.3f}  stock {stock:.3f}  {fastest} us, peak {peak} MiB, faults {faults}", flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(options.child)
    if options.before is None or not (options.before / "taafs_plugins").is_dir():
        parser.error("name the checkout of the other version")
    rows = compare(options.before.resolve(), options.rounds)
    if options.output:
        options.output.write_text(json.dumps({"date": time.strftime("%Y-%m-%d"), "rounds": options.rounds, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
