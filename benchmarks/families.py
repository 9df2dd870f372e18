"""Training steps of the families of one formula beside the stock activation: paired, interleaved runs in one process.

    python benchmarks/families.py                      # DeePMD water, per layer and per neuron, about five minutes
    python benchmarks/families.py --part torchani      # ANI-1x architecture, 32 molecules
    python benchmarks/families.py --part mlp --spec leaf

Writes ``results/families-PART.csv``. One thread, CPU time. Started with malloc's thresholds held, or a step's time would depend on what
was freed before it.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import pinned
import speed
import speed_hosts
import speed_work as work
import torch
import typer

from taafs_plugins.files import replacing

RESULTS = Path(__file__).parent / "results"
SPECS = ("leaf", "ahaf", "molu", "molu:trained", "pelu", "swish", "adact")
LIMITS = {"adact": 1.5}
# what makes the two steps, the stock activation, the dtype
PARTS = {
    "deepmd": (work.deepmd_step, "tanh", "float64"),
    "torchani": (speed_hosts.torchani_step, "celu(0.1)", "float32"),
    "mlp": (lambda spec: work.mlp(spec, "tanh", torch.float64, 10_000), "tanh", "float64"),
}


def main(
    part: Annotated[str, typer.Option(help=f"one of {', '.join(PARTS)}")] = "deepmd",
    spec: Annotated[list[str] | None, typer.Option(help="a family; repeat for several; default: all")] = None,
    share: Annotated[list[str] | None, typer.Option(help="layer, neuron; default: both")] = None,
    pairs: Annotated[int, typer.Option(help="pairs of runs for each figure", min=5)] = 11,
) -> None:
    """Time the families against the stock activation."""
    if part not in PARTS:
        raise typer.BadParameter(f"unknown part {part}; choose from {', '.join(PARTS)}")
    pinned.pin_malloc()
    torch.set_num_threads(1)
    steps, stock, dtype = PARTS[part]
    rows = []
    for name in spec or SPECS:
        for who in share or ("layer", "neuron"):
            text = f"{name},share={who}"
            seconds = speed.compare(*steps(text), pairs, 1)
            row = speed.row_of(part, text, stock, dtype, 1, 0, *seconds)
            row.faults = seconds.faults
            rows.append(row)
            verdict = "within" if row.ratio <= LIMITS.get(name, 1.1) else "above"
            print(f"{speed.table([row]).splitlines()[-1]} {verdict} {LIMITS.get(name, 1.1)}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    with replacing(RESULTS / f"families-{part}.csv") as written, written.open("w", newline="") as handle:
        handle.write(f"# {speed.machine()}\n")
        writer = csv.writer(handle)
        writer.writerow(["spec", "stock_ms", "family_ms", "ratio", "low", "high", "pairs", "load", "faults"])
        for r in rows:
            figures = [f"{value:.5g}" for value in (r.stock, r.taafs, r.ratio, r.low, r.high)]
            writer.writerow([r.spec, *figures, r.pairs, f"{r.load:.1f}", f"{r.faults:.1f}"])


if __name__ == "__main__":
    typer.run(main)
