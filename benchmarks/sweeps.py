"""Where the time of an activation goes: nanoseconds for each element in each sweep of a force-training step, beside tanh.

    python benchmarks/sweeps.py        # a minute; writes results/sweeps.csv

The four sweeps: forward; backward for the forces; backward of the energy's part with the numbers' gradient; double backward with it. 20,000
float64 numbers of 25 neurons, one thread, least of 60 runs of each, allocator pinned.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pinned import faults, pin_malloc
from speed import machine

from taafs_plugins import make_activation
from taafs_plugins.files import replacing

RESULTS = Path(__file__).parent / "results" / "sweeps.csv"
STOCK = {"tanh": torch.tanh, "silu": torch.nn.functional.silu}
SPECS = ("taafs:chebyshev1", "taafs:bspline", "leaf", "ahaf", "swish", "pelu", "molu", "molu:trained", "adact")
WIDTH, ROWS, RUNS = 25, 800, 60


def least(work: Callable[[], object]) -> float:
    """Nanoseconds per element of the fastest of the runs."""
    found = float("inf")
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        found = min(found, time.perf_counter() - start)
    return 1e9 * found / (WIDTH * ROWS)


def sweeps(act: Callable[[torch.Tensor], torch.Tensor], numbers: list[torch.nn.Parameter]) -> list[float]:
    """Forward, backward, backward with the numbers' gradient, double backward: nanoseconds per element."""
    z = torch.randn(ROWS, WIDTH, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        forward = least(lambda: act(z))
    y = act(z)
    seed = torch.ones_like(y).requires_grad_()
    (slope,) = torch.autograd.grad(y, z, seed, create_graph=True)
    inputs, plain, ones = [z, *numbers], seed.detach(), torch.ones_like(slope)
    return [
        forward,
        least(lambda: torch.autograd.grad(y, z, plain, retain_graph=True)),
        least(lambda: torch.autograd.grad(y, inputs, plain, retain_graph=True)),
        least(lambda: torch.autograd.grad(slope, [seed, *inputs], ones, retain_graph=True, allow_unused=True)),
    ]


def main() -> None:
    """Time every activation and store the table."""
    pin_malloc()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = faults()
    rows = [(name, *sweeps(act, [])) for name, act in STOCK.items()]
    for spec in SPECS:
        act = make_activation(spec, "tanh", WIDTH, dtype=torch.float64)
        with torch.no_grad():
            for numbers in act.parameters():
                numbers += 0.01 * torch.randn_like(numbers)
        rows.append((spec, *sweeps(act, list(act.parameters()))))
    print(f"page faults of all sweeps: {faults() - before}")
    with replacing(RESULTS) as written, written.open("w", newline="") as handle:
        handle.write(f"# {machine()}\n")
        writer = csv.writer(handle)
        writer.writerow(["activation", "forward", "backward", "with_numbers", "double", "sum"])
        for name, *values in rows:
            writer.writerow([name, *(f"{value:.2f}" for value in (*values, sum(values)))])
            print(f"{name:20}" + " ".join(f"{value:7.2f}" for value in (*values, sum(values))))


if __name__ == "__main__":
    main()
