"""Speed and memory of TAAFS beside the stock activation: paired, interleaved runs in one process (LAMMPS: alternating processes).

    python benchmarks/speed.py                 # everything, about 40 minutes
    python benchmarks/speed.py --part mlp      # one part; --help lists them

Writes ``results/speed-PART.csv``, and from all that is stored there the tables of docs/speed.md. One thread is timed by CPU
time, which other programs on the machine disturb least; more threads by the clock. The allocator is pinned (pinned.py). ``alone`` is
the ratio of each side timed in a forked process of its own (one thread); ``faults`` are page faults of a step, 0 when all is well.
"""

from __future__ import annotations

import csv
import ctypes
import datetime
import gc
import json
import math
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Annotated

import pinned
import speed_hosts
import speed_tables
import speed_work as work
import torch
import typer
from rich.console import Console
from rich.progress import Progress
from speed_tables import NOISY, stored

from taafs_plugins.files import replacing

RESULTS = Path(__file__).parent / "results"
BASES = ("bspline", "chebyshev1", "fourier", "grbf", "wavelet", "rational")
PARTS = ("activation", "mlp", *speed_hosts.HOSTS, "lammps", "memory")
KEY = ("part", "spec", "base", "dtype", "threads", "size")


@dataclass
class Row:
    """One comparison; times in ms, ``low`` and ``high`` are the quartiles of the ratio."""

    part: str
    spec: str
    base: str
    dtype: str
    threads: int
    size: int
    stock: float
    taafs: float
    ratio: float
    low: float
    high: float
    pairs: int
    load: float  # of the machine while it ran: 1 for a quiet one and one thread
    alone: float = math.nan  # ratio of the medians, each side in a process of its own
    faults: float = math.nan  # page faults of a step, mean of both sides

    @property
    def key(self) -> tuple[str, ...]:
        return tuple(str(getattr(self, name)) for name in KEY)

    @property
    def noisy(self) -> bool:
        return self.high - self.low > NOISY * self.ratio


class Seconds(tuple):
    """(those of stock, those of TAAFS) per step; ``faults``: page faults of a step, mean of both."""

    faults: float


def compare(stock: work.Step, taafs: work.Step, pairs: int, threads: int, least: float = 0.04) -> Seconds:
    """Seconds per step of both, ``pairs`` times in turn, each long enough (``least`` s) for the clock."""
    clock = time.process_time if threads == 1 else time.perf_counter
    for step in (stock, taafs, stock, taafs):
        step()
    start = clock()
    stock()
    repeat = max(1, int(least / max(clock() - start, 1e-6)))
    seconds: dict[int, list[float]] = {0: [], 1: []}
    before = pinned.faults()
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 else (1, 0):
            start = clock()
            for _ in range(repeat):
                (stock, taafs)[which]()
            seconds[which].append((clock() - start) / repeat)
    found = Seconds((seconds[0], seconds[1]))
    found.faults = (pinned.faults() - before) / (2 * pairs * repeat)
    return found


def alone(step: work.Step, times: int) -> float:
    """Median CPU seconds of a step in a forked process that does nothing else, on one thread."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            seconds = compare(step, lambda: None, times, 1)[0]
            os.write(write, json.dumps(statistics.median(seconds)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return float(json.loads(said)) if said else math.nan


def row_of(part: str, spec: str, base: str, dtype: str, threads: int, size: int, stock: list[float], taafs: list[float]) -> Row:
    """Median and quartiles of the pairwise ratios."""
    ratios = sorted(b / a for a, b in zip(stock, taafs, strict=True))
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    times = [1e3 * statistics.median(seconds) for seconds in (stock, taafs)]
    return Row(part, spec, base, dtype, threads, size, *times, middle, low, high, len(ratios), os.getloadavg()[0])


def peak_bytes(step: work.Step) -> int:
    """Memory that a step needs beyond what is there before it (Linux: resets and reads the process's high-water mark)."""
    step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)

    def status(key: str) -> int:
        return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)) * 1024

    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    step()
    return status("VmHWM") - before


def specs() -> Iterator[str]:
    for basis in BASES:
        for share in ("layer", "neuron"):
            yield f"taafs:{basis},share={share}"


def cases(part: str, pairs: int, counts: list[int]) -> Iterator[Callable[[], Row]]:
    """The comparisons of one part, each a function that runs it."""

    def timed(make, spec, base, dtype, threads, size):
        def run() -> Row:
            torch.set_num_threads(threads)
            stock, taafs = make()
            seconds = compare(stock, taafs, pairs, threads)
            row = row_of(part, spec, base, str(dtype)[6:], threads, size, *seconds)
            row.faults = seconds.faults
            if threads == 1:
                row.alone = alone(taafs, pairs) / alone(stock, pairs)
            return row

        return run

    both = (torch.float64, torch.float32)
    if part == "activation":
        for base in ("tanh", "silu"):
            for dtype in both:
                for basis in ("bspline", "chebyshev1"):
                    for size in (10**3, 10**4, 10**5, 10**6, 10**7):
                        spec = f"taafs:{basis}"
                        make = lambda s=spec, b=base, d=dtype, n=size: work.activation_alone(s, b, d, n)
                        yield timed(make, spec, base, dtype, 1, size)
    if part == "mlp":
        for threads in counts:
            for base in ("tanh", "silu"):
                for dtype in both:
                    for spec in specs():
                        make = lambda s=spec, b=base, d=dtype: work.mlp(s, b, d, 10_000)
                        yield timed(make, spec, base, dtype, threads, 250_000)
    if part in speed_hosts.HOSTS:
        make, base, dtype, atoms = speed_hosts.HOSTS[part]
        some = list(specs()) if part == "deepmd" else ["taafs:bspline,share=layer", "taafs:chebyshev1,share=layer"]
        for threads in counts:
            for spec in some:
                yield timed(lambda s=spec: make(s), spec, base, getattr(torch, dtype), threads, atoms)
    if part == "memory":
        for label, make in (("mlp", lambda s, b: work.mlp(s, b, torch.float64, 100_000)), ("deepmd", lambda s, b: work.deepmd_step(s))):
            for base in ("tanh", "silu") if label == "mlp" else ("tanh",):
                for spec in ("taafs:bspline", "taafs:chebyshev1"):
                    yield lambda s=spec, b=base, m=make, n=label: memory_row(n, s, b, m)
    if part == "lammps":
        for spec in ("taafs:bspline", "taafs:chebyshev1"):
            for form in ("operator", "folded", "plain"):
                yield lambda s=spec, f=form: lammps_row(s, f, max(5, pairs // 2))


def memory_row(label: str, spec: str, base: str, make) -> Row:
    """Peak memory in MB in place of ms."""
    stock, taafs = make(spec, base)
    pairs = [(peak_bytes(stock) / 1e9, peak_bytes(taafs) / 1e9) for _ in range(5)]
    return row_of(f"memory {label}", spec, base, "float64", torch.get_num_threads(), 0, *zip(*pairs, strict=True))


def lammps_row(spec: str, form: str, pairs: int) -> Row:
    """Frozen models in LAMMPS, ``form`` as TAAFS_EXPORT."""
    from taafs_plugins.native.operators import build_operator_library

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["TAAFS_EXPORT"] = form
        stock, taafs = work.frozen_water("tanh", folder / "stock.pth"), work.frozen_water(spec, folder / "taafs.pth")
        if form == "operator":
            os.environ["DP_PLUGIN_PATH"] = str(build_operator_library())
        try:
            seconds = [[work.lammps_seconds(model, folder / "run", 30) for model in (stock, taafs)] for _ in range(pairs)]
        finally:
            os.environ.pop("DP_PLUGIN_PATH", None)
            os.environ.pop("TAAFS_EXPORT", None)
    return row_of(f"lammps {form}", spec, "tanh", "float64", 1, 192, *zip(*seconds, strict=True))


def machine() -> str:
    """One line: date, processor, versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{datetime.date.today()}, {cpu}, {os.cpu_count()} cores, {versions}"


def table(rows: list[Row]) -> str:
    """The rows as a markdown table; a ratio that the machine was too noisy to tell is marked."""
    columns = ["work", "spec", "base", "dtype", "threads", "elements", "stock ms", "TAAFS ms", "ratio (quartiles)", "alone", "faults"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for r in rows:
        note = " (too noisy to tell)" if r.noisy else ""
        lines.append(
            f"| {r.part} | `{r.spec}` | {r.base} | {r.dtype} | {r.threads} | {r.size or ''} | {r.stock:.3g} | {r.taafs:.3g} "
            f"| {r.ratio:.2f} ({r.low:.2f}-{r.high:.2f}){note} | {r.alone:.2f} | {r.faults:.0f} |"
        )
    return "\n".join(lines)


def write(rows: list[Row], part: str) -> None:
    """Put these lines into ``results/speed-PART.csv``; stored lines of other comparisons stay."""
    path = RESULTS / f"speed-{part}.csv"
    fresh = {row.key: {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in asdict(row).items()} for row in rows}
    lines = {tuple(line[name] for name in KEY): line for line in stored(part)[1]} | fresh
    RESULTS.mkdir(exist_ok=True)
    with replacing(path) as written, written.open("w", newline="") as handle:
        handle.write(f"# {machine()}\n")
        writer = csv.DictWriter(handle, [f.name for f in fields(Row)])
        writer.writeheader()
        writer.writerows(lines.values())


def main(
    part: Annotated[list[str] | None, typer.Option(help=f"one of {', '.join(PARTS)}; repeat for several; default: all")] = None,
    pairs: Annotated[int, typer.Option(help="pairs of runs for each figure", min=5)] = 15,
    threads: Annotated[list[int] | None, typer.Option(help="numbers of threads; default: 1 and 2")] = None,
) -> None:
    """Time TAAFS against the stock activation."""
    if unknown := set(part or ()) - set(PARTS):
        raise typer.BadParameter(f"unknown part {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    pinned.pin_malloc()
    console = Console()
    console.print(machine())
    for name in part or PARTS:
        rows: list[Row] = []
        todo = list(cases(name, pairs, threads or [1, 2]))
        with Progress(console=console) as progress:
            for case in progress.track(todo, description=name):
                rows.append(case())
                write(rows, name)
                console.print(table(rows[-1:]).splitlines()[-1], soft_wrap=True)
        noisy = sum(row.noisy for row in rows)
        if noisy:
            console.print(f"{name}: the machine was too noisy to tell for {noisy} of {len(rows)} figures; run again when it is quiet.")
    speed_tables.main()


if __name__ == "__main__":
    typer.run(main)
