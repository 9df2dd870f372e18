"""PaiNN on rMD17 with SiLU and with TAAFS: held-out errors with paired seeds, each side at its own best learning rate.

    python benchmarks/schnetpack_gain.py run --molecules ethanol --widths 32,64 --rates 1e-3,2e-3,4e-3 --seeds 0,1
    python benchmarks/schnetpack_gain.py summary

``run`` can be stopped at any time and started again: finished trainings are in the results file and are skipped. One training is
what ``spktrain experiment=rmd17`` does (AdamW, batches of 10, loss 0.01 MSE(E) + 0.99 MSE(F) in kcal/mol and Angstrom), with 200
frames, a fixed number of epochs and a learning rate that falls to zero as a cosine. A seed fixes the initial weights and the
batches, and both activations get the same ones. The learning rate is chosen by the force MAE of 50 validation frames, averaged
over the seeds; the errors are those of the 1000 frames of rMD17's own test split.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import sys
import time
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np
import schnetpack as spk
import schnetpack.nn as snn
import torch
import typer
from ase import Atoms
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from schnetpack.data.loader import _atoms_collate_fn
from schnetpack.interfaces import AtomsConverter
from schnetpack.transform import MatScipyNeighborList
from scipy.stats import t as student

import taafs_plugins as taafs
from taafs_plugins import data
from taafs_plugins.adapters.schnetpack.data import FILES

RESULTS = Path(__file__).parent / "results" / "schnetpack_gain.json"
CUTOFF = 5.0
TRAIN, VALIDATION, BATCH = 200, 50, 10

app = typer.Typer(add_completion=False, help=__doc__, rich_markup_mode=None)
console = Console(width=None if sys.stdout.isatty() else 140)


class Frames:
    """Frames with their neighbour lists, ready to be collated; energies relative to ``offset`` (kcal/mol)."""

    def __init__(self, molecule: str, part: str, which: slice, offset: float | None = None) -> None:
        raw = np.load(data.fetch(FILES.format(molecule=molecule, part=part)))
        energies = raw["energies"][which]
        self.offset = float(energies.mean()) if offset is None else offset
        convert = AtomsConverter(neighbor_list=MatScipyNeighborList(cutoff=CUTOFF), dtype=torch.float32)
        self.items = []
        for positions, energy, forces in zip(raw["coords"][which], energies, raw["forces"][which], strict=True):
            item = convert(Atoms(raw["nuclear_charges"], positions))
            item.pop("_idx_m")
            item["energy"] = torch.tensor([energy - self.offset], dtype=torch.float32)
            item["forces"] = torch.tensor(forces, dtype=torch.float32)
            self.items.append(item)

    def __len__(self) -> int:
        return len(self.items)

    def batch(self, indices: list[int]) -> tuple[dict, torch.Tensor, torch.Tensor]:
        """Input, energies [n] and forces [atoms, 3] of some frames."""
        inputs = _atoms_collate_fn([dict(self.items[i]) for i in indices])
        return inputs, inputs.pop("energy"), inputs.pop("forces")


def build(width: int, seed: int) -> spk.model.NeuralNetworkPotential:
    """PaiNN of SchNetPack's defaults (three interactions, 20 radial functions) at some width, with the weights of ``seed``."""
    torch.manual_seed(seed)
    representation = spk.representation.PaiNN(
        n_atom_basis=width, n_interactions=3, radial_basis=snn.GaussianRBF(n_rbf=20, cutoff=CUTOFF),
        cutoff_fn=snn.CosineCutoff(CUTOFF),
    )  # fmt: skip
    head = spk.atomistic.Atomwise(n_in=width, output_key="energy")
    return spk.model.NeuralNetworkPotential(
        representation, [spk.atomistic.PairwiseDistances()], [head, spk.atomistic.Forces()]
    )  # fmt: skip


def errors(model: torch.nn.Module, frames: Frames) -> dict[str, float]:
    """Mean absolute errors of energy (kcal/mol) and forces (kcal/mol/Angstrom)."""
    model.eval()
    energy = forces = 0.0
    for start in range(0, len(frames), 100):
        inputs, e, f = frames.batch(list(range(start, min(start + 100, len(frames)))))
        out = model(inputs)
        energy += float((out["energy"].detach() - e).abs().sum())
        forces += float((out["forces"].detach() - f).abs().mean(dim=1).sum())
    model.train()
    return {"energy_mae": energy / len(frames), "forces_mae": forces / sum(len(item["forces"]) for item in frames.items)}


def train(model, frames: Frames, rate: float, epochs: int, seed: int, advance=lambda: None) -> float:
    """Train in place; returns the seconds that one step took (median)."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    steps = epochs * (len(frames) // BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda i: 0.5 * (1 + math.cos(math.pi * i / steps)))
    generator = torch.Generator().manual_seed(seed)
    seconds = []
    model.train()
    for _ in range(epochs):
        order = torch.randperm(len(frames), generator=generator).tolist()
        for start in range(0, len(frames) - BATCH + 1, BATCH):
            begin = time.perf_counter()
            inputs, energy, forces = frames.batch(order[start : start + BATCH])
            out = model(inputs)
            loss = 0.01 * torch.mean((out["energy"] - energy) ** 2) + 0.99 * torch.mean((out["forces"] - forces) ** 2)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            seconds.append(time.perf_counter() - begin)
        advance()
    return float(np.median(seconds))


def load() -> dict[str, dict]:
    """The finished trainings by key."""
    return json.loads(RESULTS.read_text())["runs"] if RESULTS.is_file() else {}


def store(runs: dict[str, dict]) -> None:
    """Write the results file in one piece, so that a stop leaves a whole one."""
    RESULTS.parent.mkdir(exist_ok=True)
    about = {"program": "benchmarks/schnetpack_gain.py", "versions": {p: version(p) for p in ("torch", "schnetpack", "taafs-plugins")}}
    scratch = RESULTS.with_suffix(".tmp")
    scratch.write_text(json.dumps({**about, "runs": runs}, indent=1) + "\n")
    os.replace(scratch, RESULTS)


def _words(text: str, kind=str) -> list:
    return [kind(word) for word in text.split(",")]


@app.command()
def run(
    molecules: str = typer.Option("ethanol", help="comma-separated: ethanol, aspirin"),
    widths: str = typer.Option("32,64", help="features of PaiNN"),
    rates: str = typer.Option("1e-3,2e-3,4e-3", help="learning rates at the start"),
    seeds: str = typer.Option("0,1", help="initial weights and batches"),
    specs: str = typer.Option("silu;taafs:chebyshev1", help="activations, separated by ';'"),
    epochs: int = typer.Option(300, help="passes over the 200 frames"),
) -> None:
    """Train what is not in the results file yet."""
    torch.set_num_threads(1)
    grid = product(_words(molecules), _words(widths, int), _words(seeds, int), _words(rates, float), specs.split(";"))
    jobs = [(f"{m} {w} {s} {r:g} {spec} {epochs}", m, w, s, r, spec) for m, w, s, r, spec in grid]
    missing = [job for job in jobs if job[0] not in load()]
    console.print(f"{len(jobs) - len(missing)} of {len(jobs)} trainings are there already.")
    frames: dict[str, tuple[Frames, Frames, Frames]] = {}
    with Progress(console=console) as progress:
        overall = progress.add_task("trainings", total=len(missing))
        for key, molecule, width, seed, rate, spec in missing:
            if molecule not in frames:
                known = Frames(molecule, "train", slice(0, TRAIN))
                frames[molecule] = (
                    known, Frames(molecule, "train", slice(TRAIN, TRAIN + VALIDATION), known.offset),
                    Frames(molecule, "test", slice(None), known.offset),
                )  # fmt: skip
            train_frames, validation, test = frames[molecule]
            model = build(width, seed)
            resolved = "silu" if spec == "silu" else str(taafs.convert(model, spec).spec)
            task = progress.add_task(key, total=epochs)
            begin = time.perf_counter()
            step = train(model, train_frames, rate, epochs, seed, lambda task=task: progress.advance(task))
            progress.remove_task(task)
            result = {
                "molecule": molecule, "width": width, "seed": seed, "rate": rate, "spec": spec, "resolved": resolved, "epochs": epochs,
                "train": errors(model, train_frames), "validation": errors(model, validation), "test": errors(model, test),
                "step_ms": 1e3 * step, "seconds": time.perf_counter() - begin, "parameters": taafs.count_parameters(model),
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), "command": " ".join(sys.argv[1:]),
            }  # fmt: skip
            store({**load(), key: result})  # read again: another process may work on the same grid
            progress.advance(overall)
            console.print(f"{key}: forces {result['test']['forces_mae']:.4f}, energy {result['test']['energy_mae']:.4f}")
    summary()


def paired_ratio(ours: list[float], stock: list[float]) -> tuple[float, float, float]:
    """Geometric mean of the ratios and its 90% interval (Student's t on the logarithms); no interval for one pair."""
    logs = np.log(np.array(ours) / np.array(stock))
    if len(logs) < 2:
        return float(np.exp(logs.mean())), math.nan, math.nan
    half = student.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    return tuple(float(np.exp(logs.mean() + side * half)) for side in (0, -1, 1))


def best_rate(runs: list[dict]) -> float:
    """The learning rate with the lowest validation force MAE, averaged over the seeds that every rate has; rates that diverged are out."""
    diverged = {r["rate"] for r in runs if not math.isfinite(r["validation"]["forces_mae"])}
    runs = [r for r in runs if r["rate"] not in diverged] or runs
    rates = sorted({r["rate"] for r in runs})
    seeds = [{r["seed"] for r in runs if r["rate"] == rate} for rate in rates]
    common = set.intersection(*seeds) or set.union(*seeds)
    score = {rate: np.mean([r["validation"]["forces_mae"] for r in runs if r["rate"] == rate and r["seed"] in common]) for rate in rates}
    return min(score, key=score.get)


@app.command()
def summary() -> None:
    """Tables of what is in the results file: every learning rate, then each side at its own best."""
    runs = list(load().values())
    cells = sorted({(r["molecule"], r["width"], r["epochs"]) for r in runs})
    every = Table("molecule", "width", "epochs", "rate", "activation", "seeds", "validation F", "test F", "test E", "ms/step")
    best = Table("molecule", "width", "epochs", "activation", "best rates", "seeds", "forces: ratio [90%]", "energy: ratio [90%]")
    for molecule, width, epochs in cells:
        cell = [r for r in runs if (r["molecule"], r["width"], r["epochs"]) == (molecule, width, epochs)]
        for rate, spec in sorted({(r["rate"], r["spec"]) for r in cell}):
            some = [r for r in cell if (r["rate"], r["spec"]) == (rate, spec)]
            mean = lambda part, key, some=some: f"{np.mean([r[part][key] for r in some]):.4f}"  # noqa: E731
            every.add_row(
                molecule, str(width), str(epochs), f"{rate:g}", spec, str(len(some)), mean("validation", "forces_mae"),
                mean("test", "forces_mae"), mean("test", "energy_mae"), f"{np.median([r['step_ms'] for r in some]):.1f}",
            )  # fmt: skip
        stock = [r for r in cell if r["spec"] == "silu"]
        for spec in sorted({r["spec"] for r in cell} - {"silu"}):
            ours = [r for r in cell if r["spec"] == spec]
            if not stock:
                continue
            rates = best_rate(ours), best_rate(stock)
            a = {r["seed"]: r["test"] for r in ours if r["rate"] == rates[0]}
            b = {r["seed"]: r["test"] for r in stock if r["rate"] == rates[1]}
            pairs = sorted(set(a) & set(b))
            shown = []
            for key in ("forces_mae", "energy_mae"):
                ratio, low, high = paired_ratio([a[s][key] for s in pairs], [b[s][key] for s in pairs])
                shown.append(f"{ratio:.3f} [{low:.3f}, {high:.3f}]")
            best.add_row(molecule, str(width), str(epochs), spec, f"{rates[0]:g} / {rates[1]:g}", str(len(pairs)), *shown)
    console.print("Mean absolute errors, kcal/mol and kcal/mol/Angstrom:", every)
    console.print("Each at its own best learning rate (ours / SiLU), test error of ours over SiLU's:", best)


if __name__ == "__main__":
    app()
