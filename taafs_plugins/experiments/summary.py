"""Every ratio of docs/results.md from the stored lines of the studies: one row for each side that was compared with a stock one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

Interval = tuple[float, float | None, float | None]
Runs = dict[int, dict[str, Any]]  # by seed


@dataclass(frozen=True)
class Row:
    """One side over its stock one, each at its own best learning rate by validation frames.

    Attributes
    ----------
    host, system, optimizer, size : what was trained on what
    spec, stock : the two sides
    seeds : paired ones
    energy, force : ratio of test errors (geometric mean over the seeds) with its 90% interval, None for one seed
    time : of a training step over the stock one's, timed in turn; None where that was not done
    learning_rates : of both sides, as chosen
    file : under ``benchmarks/results``
    """

    host: str
    system: str
    optimizer: str
    size: str
    spec: str
    stock: str
    seeds: tuple[int, ...]
    energy: Interval
    force: Interval
    time: float | None
    learning_rates: tuple[float | None, float | None]
    file: str


def interval(ours: list[float], stock: list[float]) -> Interval:
    """Geometric mean of paired ratios and its 90% interval (Student's t on the logarithms), which one pair does not have."""
    from scipy.stats import t

    logs = np.log(np.array(ours) / np.array(stock))
    mean = float(np.exp(logs.mean()))
    if len(logs) < 2:
        return mean, None, None
    half = t.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    return mean, mean * math.exp(-half), mean * math.exp(half)


def score(row: dict[str, Any]) -> float:
    """Mean of the log energy and log force RMSE on validation frames; a diverged run is infinitely bad."""
    values = np.array([row["validation_energy"], row["validation_force"]])
    return float(np.log(values).mean()) if np.isfinite(values).all() else math.inf


def best(rows: list[dict[str, Any]], seeds: tuple[int, ...] = ()) -> Runs:
    """The runs of the setting (activation and learning rate) with the lowest mean score, of all its seeds or those named."""
    settings: dict[tuple[str, float], list[dict[str, Any]]] = {}
    for row in rows:
        settings.setdefault((row["activation"], row["learning_rate"]), []).append(row)

    def mean(same: list[dict[str, Any]]) -> float:
        judged = [score(row) for row in same if not seeds or row["seed"] in seeds]
        return float(np.mean(judged)) if judged else math.inf

    return {row["seed"]: row for row in min(settings.values(), key=mean)} if settings else {}


def over(ours: Runs, stock: Runs, keys: tuple[str, str] = ("test_energy", "test_force")) -> dict[str, Any]:
    """Seeds, energy, force and learning rates of a row."""
    seeds = tuple(sorted(ours.keys() & stock.keys()))
    energy, force = (interval([ours[s][key] for s in seeds], [stock[s][key] for s in seeds]) for key in keys)
    rates = ours[seeds[0]]["learning_rate"], stock[seeds[0]]["learning_rate"]
    return {"seeds": seeds, "energy": energy, "force": force, "learning_rates": rates}


def lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a file with one JSON object a line; none where it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _timed(path: Path, key: str, ratio: str) -> dict[str, float]:
    return {name: case[ratio] for name, case in json.loads(path.read_text())[key].items()} if path.is_file() else {}


def _sides(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [row for row in rows if row["side"] == name] for name in dict.fromkeys(row["side"] for row in rows)}


def deepmd_cu(folder: Path) -> Iterator[Row]:
    """Cu, each side over tanh: ``deepmd_gain.py``."""
    sides = {name: best(rows) for name, rows in _sides([r for r in lines(folder / "deepmd_cu.jsonl") if r["steps"] == 8000]).items()}
    time = _timed(folder / "deepmd_cu_timing.json", "steps", "ratio")
    for name, runs in sides.items():
        if name != "tanh" and runs.keys() & sides.get("tanh", {}).keys():
            spec = next(iter(runs.values()))["activation"]
            about = ("DeePMD-kit", "Cu", "Adam", "[25, 25, 25]/[50, 50, 50]", spec, "tanh")
            yield Row(*about, **over(runs, sides["tanh"]), time=time.get(name), file="deepmd_cu.jsonl")


def torchani(folder: Path) -> Iterator[Row]:
    """Molecules of kernelforge, each side over each stock activation: ``torchani_gain.py``; settings are chosen with seed 1."""
    kept = [row for row in lines(folder / "torchani_kernelforge.jsonl") if (row["size"], row["epochs"]) == ("small", 60)]
    sides = {name: best(rows, (1,)) for name, rows in _sides(kept).items()}
    time = _timed(folder / "torchani_timing_32.json", "cases", "over_stock")
    for stock in ("celu", "gelu"):
        for name, runs in sides.items():
            if name != stock and "+" in name and runs.keys() & sides.get(stock, {}).keys():
                about = ("TorchANI", "kernelforge", "Adam", "24-20-16", name, stock)
                own = time.get(name) if name.startswith(stock) else None
                yield Row(*about, **over(runs, sides[stock]), time=own, file="torchani_kernelforge.jsonl")


def chgnet(folder: Path) -> Iterator[Row]:
    """Magnetic iron over the pretrained network or over the same weights stock: ``chgnet_finetune.py``; judged runs are at their best."""
    judged = [row for row in lines(folder / "chgnet_iron.jsonl") if "test_before" in row and row["epochs"] == 10]
    found: dict[str, Runs] = {}
    for row in judged:
        kept = {"learning_rate": row["lr"], "e": row["test"]["e"], "f": row["test"]["f"], "spec": row["spec"]}
        found.setdefault(row["side"], {})[row["seed"]] = kept
        before = {"learning_rate": None, "e": row["test_before"]["e"], "f": row["test_before"]["f"]}
        found.setdefault("pretrained", {})[row["seed"]] = before
    compared = [(side, "pretrained") for side in found if side != "pretrained"]
    compared += [("coefficients", "last MLP, stock"), ("all weights + TAAFS", "all weights, stock")]
    for side, stock in compared:
        if side in found and stock in found:
            spec = next(iter(found[side].values()))["spec"]
            name = f"{side}: {spec}" if spec else side
            about = ("CHGNet", "magnetic Fe", "Adam", "0.3.0", name, stock)
            yield Row(*about, **over(found[side], found[stock], ("e", "f")), time=None, file="chgnet_iron.jsonl")


def schnetpack(folder: Path) -> Iterator[Row]:
    """PaiNN on rMD17 over SiLU: ``schnetpack_gain.py``; learning rates by the force error of validation frames."""
    path = folder / "schnetpack_gain.json"
    runs = list(json.loads(path.read_text())["runs"].values()) if path.is_file() else []
    for molecule, width, epochs in sorted({(r["molecule"], r["width"], r["epochs"]) for r in runs}):
        cell = [r for r in runs if (r["molecule"], r["width"], r["epochs"]) == (molecule, width, epochs)]
        sides = {spec: _best_painn([r for r in cell if r["spec"] == spec]) for spec in sorted({r["spec"] for r in cell})}
        for spec, ours in sides.items():
            if spec != "silu" and ours.keys() & sides.get("silu", {}).keys():
                about = ("SchNetPack", f"rMD17 {molecule}", "AdamW", f"PaiNN, width {width}, {epochs} epochs", spec, "silu")
                yield Row(*about, **over(ours, sides["silu"]), time=None, file=path.name)


def _best_painn(runs: list[dict[str, Any]]) -> Runs:
    """Runs at the learning rate with the lowest validation force MAE over the seeds that all rates have; a rate that diverged is out."""
    force: Callable[[dict[str, Any]], float] = lambda r: float(r["validation"]["forces_mae"])
    diverged = {r["rate"] for r in runs if not math.isfinite(force(r))}
    runs = [r for r in runs if r["rate"] not in diverged] or runs
    seeds = {rate: {r["seed"] for r in runs if r["rate"] == rate} for rate in sorted({r["rate"] for r in runs})}
    common = set.intersection(*seeds.values()) or set.union(*seeds.values())
    chosen = min(seeds, key=lambda rate: np.mean([force(r) for r in runs if r["rate"] == rate and r["seed"] in common]))
    return {
        r["seed"]: {"learning_rate": chosen, "test_energy": r["test"]["energy_mae"], "test_force": r["test"]["forces_mae"]}
        for r in runs if r["rate"] == chosen
    }  # fmt: skip


def families(folder: Path) -> Iterator[Row]:
    """Every family over the best stock activation by validation frames: ``families_gain.py``; settings are chosen with seed 1."""
    from taafs_plugins.experiments.families import DATA

    rows = lines(folder / "families.jsonl")
    for name, size in dict.fromkeys((row["data"], row["size"]) for row in rows):
        own = [row for row in rows if (row["data"], row["size"]) == (name, size)]
        sides = {a: best([r for r in own if r["activation"] == a], (1,)) for a in dict.fromkeys(r["activation"] for r in own)}
        stock = min((a for a in DATA[name].stock if 1 in sides.get(a, {})), key=lambda a: score(sides[a][1]), default="")
        for activation, runs in sides.items():
            if stock and activation not in DATA[name].stock and runs.keys() & sides[stock].keys():
                host = {"deepmd": "DeePMD-kit", "torchani": "TorchANI"}[DATA[name].host]
                about = (host, name, "Adam", f"{size}, families", activation, stock)
                yield Row(*about, **over(runs, sides[stock]), time=None, file="families.jsonl")


def systems(folder: Path) -> Iterator[Row]:
    """Systems of DeePMD-kit over tanh: ``systems_gain.py``; learning rates are chosen with seed 1. Cells: system, optimiser, steps."""
    rows = lines(folder / "systems.jsonl")
    for cell in dict.fromkeys((r["system"], r["optimizer"], r["steps"]) for r in rows):
        sides = {
            name: best(own, (1,)) for name, own in _sides([r for r in rows if (r["system"], r["optimizer"], r["steps"]) == cell]).items()
        }
        for name, runs in sides.items():
            if name != "tanh" and runs.keys() & sides.get("tanh", {}).keys():
                first = next(iter(runs.values()))
                spec = name if name == first["activation"] else f"{name}: {first['activation']}"
                about = ("DeePMD-kit", cell[0], cell[1], f"{first['size']}, {cell[2]} steps", spec, "tanh")
                yield Row(*about, **over(runs, sides["tanh"]), time=None, file="systems.jsonl")


STUDIES = (deepmd_cu, torchani, chgnet, schnetpack, families, systems)


def summary(folder: Path) -> list[Row]:
    """All rows that the files under ``folder`` give."""
    return [row for study in STUDIES for row in study(folder)]


def facts(row: Row) -> dict[str, Any]:
    """A row for JSON: ratios as ``{"ratio", "low", "high"}``."""
    found = asdict(row)
    for name in ("energy", "force"):
        found[name] = dict(zip(("ratio", "low", "high"), found[name], strict=True))
    return found


def shown(value: Interval) -> str:
    """A ratio for people, as ``0.65 [0.53, 0.80]``; an end that rounds to 1.00 and is not 1 has a third digit."""
    ratio, low, high = value
    if low is None or high is None:
        return f"{ratio:.2f}"
    digits = [f"{end:.3f}" if f"{end:.2f}" == "1.00" and f"{end:.3f}" != "1.000" else f"{end:.2f}" for end in (low, high)]
    return f"{ratio:.2f} [{digits[0]}, {digits[1]}]"


def markdown(rows: list[Row]) -> str:
    """The table of docs/results.md."""
    heads = ("host", "system", "size", "spec, side", "over", "optimiser", "seeds", "energy", "forces", "time of a step")
    text = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        time = "" if row.time is None else f"{row.time:.2f}"
        cells = (
            row.host,
            row.system,
            row.size,
            row.spec,
            row.stock,
            row.optimizer,
            len(row.seeds),
            shown(row.energy),
            shown(row.force),
            time,
        )
        text.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(text) + "\n"
