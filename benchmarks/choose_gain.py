"""Does X-Net's choice of activations help? DeePMD-kit on Cu and TorchANI on kernelforge: chosen against stock, same weights, same budget.

    python benchmarks/choose_gain.py torchani    # kernelforge, CELU and GELU, 3 seeds
    python benchmarks/choose_gain.py deepmd      # Cu of Zuo et al. 2020, tanh, 3 seeds
    python benchmarks/choose_gain.py page        # the table in docs/xnet.md from the results

A model is trained for a while with its stock activation; then the choice is made on training data, and from the same weights each side is
trained for as long as the other, with a fresh optimiser and the same batches, at each of three learning rates. What is compared are test
frames, each side at the rate that is best on validation frames over the seeds. Small networks, few data: a study of the rule, not of the
hosts. Every finished run is one line of benchmarks/results/choose.jsonl; an interrupted program goes on.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import itertools
import json
import shutil
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from taafs_plugins.choose import Choice, choose, replace

HERE = Path(__file__).parent
RESULTS, WORK, PAGE = HERE / "results" / "choose.jsonl", HERE / "runs" / "choose", HERE.parent / "docs" / "xnet.md"
START, END = "<!-- choice: made by benchmarks/choose_gain.py page -->\n", "<!-- end of choice -->\n"
SEEDS = (1, 2, 3)
SIDES = {"stock": None, "chosen 0.3": (0.3, 0.05), "chosen 1": (1.0, 0.1)}  # rate of the step, threshold
RATES = {"torchani": (2e-3, 4e-3, 8e-3), "deepmd": (2e-3, 5e-3, 1e-2)}
MOLECULES, WARM, WARM_RATE, EPOCHS = 300, 10, 4e-3, 60
WARM_STEPS, WARM_STEPS_RATE, STEPS = 200, 2e-3, 1000


def load() -> list[dict]:
    """Finished runs."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def store(row: dict) -> None:
    """Append one run with date and versions."""
    names = ("torch", "deepmd-kit" if row["host"] == "deepmd" else "torchani")
    row = {**row, "date": datetime.date.today().isoformat(), "versions": {name: version(name) for name in names}}
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(json.dumps(row) + "\n")
    keys = ("host", "base", "seed", "side", "learning_rate", "test_energy", "test_force", "replaced", "seconds")
    print(json.dumps({key: row[key] for key in keys}), flush=True)


def missing(host: str, base: str, seed: int) -> list[tuple[str, float]]:
    """Sides and learning rates that are not in the results."""
    mine = [row for row in load() if (row["host"], row["base"], row["seed"]) == (host, base, seed)]
    done = {(row["side"], row["learning_rate"]) for row in mine}
    return [pair for pair in itertools.product(SIDES, RATES[host]) if pair not in done]


def said(used: list[Choice]) -> dict:
    """What a choice replaced, for the results."""
    return {"replaced": len(used), "choices": [{"site": c.sites[0], "best": c.best, "gain": round(c.gain, 4)} for c in used]}


def torchani(seed: int, base: str, sets: dict) -> None:
    """One seed of kernelforge: warm up, choose by site, go on with each side."""
    from taafs_plugins.experiments import torchani as runs

    sides = missing("torchani", base, seed)
    if not sides:
        return
    warm = runs.build(base, (24, 20, 16), seed, sets["train"][0].aev.shape[1])
    runs.train(warm, sets, WARM_RATE, WARM, seed)
    for side, learning_rate in sides:
        start, networks, used = time.perf_counter(), copy.deepcopy(warm), []
        if SIDES[side] is not None:
            rate, threshold = SIDES[side]
            used = replace(networks, choose(networks, lambda m: runs.loss_of(m, sets["train"][:60]), rate=rate), threshold)
        result = runs.train(networks, sets, learning_rate, EPOCHS, seed)
        store({"host": "torchani", "base": base, "seed": seed, "side": side, "learning_rate": learning_rate, **said(used), **result,
               "seconds": round(time.perf_counter() - start, 1)})  # fmt: skip


def model_section(activation: str | tuple[str, str], seed: int) -> dict:
    """A small DP: [8, 16] and [24, 24], 4.5 Angstrom."""
    from taafs_plugins.experiments import deepmd as runs

    names = (activation, activation) if isinstance(activation, str) else activation
    section = runs.model_section("tanh", ["Cu"], sel=[60], rcut=4.5, seed=seed)
    section["descriptor"].update(neuron=[8, 16], axis_neuron=4, activation_function=names[0])
    section["fitting_net"].update(neuron=[24, 24], activation_function=names[1])
    return section


def deepmd_systems() -> dict[str, list[str]]:
    """Training, validation (every tenth training frame) and test systems of Cu, written once."""
    from taafs_plugins.experiments import deepmd as runs

    frames, test = runs.zuo_frames("Cu")
    parts = {"train": [frame for i, frame in enumerate(frames) if i % 10], "validation": frames[::10], "test": test}
    found = {}
    for name, part in parts.items():
        folder = WORK / "data" / name
        systems = sorted(folder.iterdir()) if folder.is_dir() else runs.write_zuo_systems(part, folder)
        found[name] = [str(Path(path).resolve()) for path in systems]
    return found


def training_frames(systems: list[str], most: int = 10) -> list[tuple]:
    """(atoms, forces) of evenly chosen training frames."""
    from ase import Atoms

    found = []
    for system in map(Path, systems):
        names, kinds = (system / "type_map.raw").read_text().split(), (system / "type.raw").read_text().split()
        x, box, force = (np.load(system / "set.000" / f"{key}.npy") for key in ("coord", "box", "force"))
        found += [(Atoms([names[int(k)] for k in kinds], a.reshape(-1, 3), cell=b.reshape(3, 3), pbc=True), f.reshape(-1, 3))
                  for a, b, f in zip(x, box, force, strict=True)]  # fmt: skip
    return [found[i] for i in np.linspace(0, len(found) - 1, most).astype(int)]


def deepmd_train(names: str | tuple[str, str], seed: int, rates: tuple[float, float], steps: int, folder: Path, extra=()) -> Path:
    """``dp train``; the last checkpoint."""
    from taafs_plugins.experiments import deepmd as runs

    section, systems = model_section(names, seed), deepmd_systems()["train"]
    config = runs.training_input(section, systems, steps=steps, learning_rate=rates[0], stop_rate=rates[1], seed=seed)
    runs.train(config, folder, extra=extra)
    return folder / f"model.ckpt-{steps}.pt"


def deepmd(seed: int) -> None:
    """One seed of Cu: warm up by ``dp train``, choose by net, go on with each side by ``dp train --init-model``."""
    from taafs_plugins.experiments import deepmd as runs

    sides, systems, folder = missing("deepmd", "tanh", seed), deepmd_systems(), WORK / f"cu_{seed}"
    warm = folder / "warm" / f"model.ckpt-{WARM_STEPS}.pt"
    if sides and not warm.is_file():
        shutil.rmtree(warm.parent, ignore_errors=True)
        deepmd_train("tanh", seed, (WARM_STEPS_RATE, 1e-4), WARM_STEPS, warm.parent)
    for side, learning_rate in sides:
        start, place = time.perf_counter(), folder / f"{side.replace(' ', '_')}_{learning_rate:g}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        names, used = chosen_checkpoint(warm, place / "start.pt", side, training_frames(systems["train"]))
        trained = deepmd_train(names, seed, (learning_rate, 1e-5), STEPS, place, ("--init-model", "start.pt"))
        errors = {part: runs.errors(trained, systems[part]) for part in ("validation", "test")}
        found = {f"{part}_{key}": value for part, both in errors.items() for key, value in both.items()}
        row = {"host": "deepmd", "base": "tanh", "seed": seed, "side": side, "learning_rate": learning_rate, **said(used), **found}
        store({**row, "seconds": round(time.perf_counter() - start, 1)})


def chosen_checkpoint(source: Path, path: Path, side: str, frames: list[tuple]) -> tuple[tuple[str, str], list[Choice]]:
    """Write a side's starting point; the activations of descriptor and fitting net, and what was replaced."""
    from taafs_plugins.adapters import adapter
    from taafs_plugins.cli.choose import force_loss
    from taafs_plugins.md.export import read_model

    if SIDES[side] is None:
        shutil.copy(source, path)
        return ("tanh", "tanh"), []
    rate, threshold = SIDES[side]
    host, model = adapter("deepmd"), read_model(source)[0]
    used = replace(model, choose(model, force_loss(host, frames), by="group", rate=rate), threshold)
    host.write_model(model, path, source)
    names = {site.group: str(site.current.spec) if site.converted else "tanh" for site in host.sites(model)}
    return (names["embedding"], names["fitting"]), used


def ratio(rows: list[dict], side: str, key: str) -> str:
    """Geometric mean of paired ratios to stock with its 90% interval (Student's t on the logarithms)."""
    from scipy.stats import t

    stock = {row["seed"]: row[key] for row in rows if row["side"] == "stock"}
    logs = np.log([row[key] / stock[row["seed"]] for row in rows if row["side"] == side and row["seed"] in stock])
    if not len(logs):
        return "-"
    half = t.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5 if len(logs) > 1 else np.nan
    low, high = np.exp(logs.mean() - half), np.exp(logs.mean() + half)
    return f"{np.exp(logs.mean()):.2f}" + ("" if np.isnan(half) else f" [{low:.2f}, {high:.2f}]")


def at_best_rate(rows: list[dict], side: str) -> tuple[float, list[dict]]:
    """A side's learning rate with the lowest mean log of energy and force errors on validation frames, and its runs."""

    def score(rate: float) -> float:
        return float(np.mean([np.log([r["validation_energy"], r["validation_force"]]) for r in rows if key(r) == (side, rate)]))

    def key(row: dict) -> tuple[str, float]:
        return row["side"], row["learning_rate"]

    rates = sorted({row["learning_rate"] for row in rows if row["side"] == side})
    best = min(rates, key=score)
    return best, [row for row in rows if key(row) == (side, best)]


def table() -> str:
    """The table of all stored runs."""
    head = "host, stock | side | rate | seeds | sites replaced | by | test energy | test force | energy / stock | force / stock"
    lines = [f"| {head} |", "|" + "---|" * 10]
    for host, base in dict.fromkeys((row["host"], row["base"]) for row in load()):
        rows = [row for row in load() if (row["host"], row["base"]) == (host, base)]
        kept = {side: at_best_rate(rows, side) for side in SIDES}
        everything = [row for _, own in kept.values() for row in own]
        for side, (rate, own) in kept.items():
            best = [choice["best"] for row in own for choice in row["choices"]]
            counts = sorted(((best.count(name), name) for name in set(best)), reverse=True)
            energy, force = (np.mean([row[f"test_{key}"] for row in own]) * (1e3 if (host, key) == ("deepmd", "energy") else 1)
                             for key in ("energy", "force"))  # fmt: skip
            lines.append(f"| {host}, {base} | {side} | {rate:g} | {len(own)} | {np.mean([row['replaced'] for row in own]):.1f} | "
                         f"{', '.join(f'{name} {n}' for n, name in counts[:4]) or '-'} | {energy:.3g} | {force:.3g} | "
                         f"{ratio(everything, side, 'test_energy')} | {ratio(everything, side, 'test_force')} |")  # fmt: skip
    return "\n".join(lines) + "\n"


def page() -> None:
    """Put the table between its marks in the page."""
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(before + START + table() + END + rest.split(END)[1])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("torchani", "deepmd", "page"))
    what = parser.parse_args().what
    torch.set_num_threads(1)
    if what == "page":
        page()
    elif what == "deepmd":
        for seed in SEEDS:
            deepmd(seed)
    else:
        from taafs_plugins.experiments.torchani import parts

        sets = parts(MOLECULES)
        for base in ("celu", "gelu"):
            for seed in SEEDS:
                torchani(seed, base, sets)


if __name__ == "__main__":
    main()
