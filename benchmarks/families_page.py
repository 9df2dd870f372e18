"""The tables of docs/families.md, from benchmarks/results/families.jsonl."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taafs_plugins.experiments import families

PAGE = Path(__file__).parent.parent / "docs" / "families.md"
START, END = "<!-- results: made by benchmarks/families_gain.py page -->\n", "<!-- end of results -->\n"
# from the stored units to those of the tables
UNITS = {"deepmd": (1e3, "meV/atom", "eV/A"), "torchani": (1.0, "kcal/mol/atom", "kcal/mol/A")}


def score(row: dict) -> float:
    """Mean of the log energy and log force RMSE on validation frames."""
    return float(np.log([row["validation_energy"], row["validation_force"]]).mean())


def best(rows: list[dict]) -> dict[str, float]:
    """activation -> learning rate with the best validation score of seed 1."""
    choice: dict[str, tuple[float, float]] = {}
    for row in rows:
        if row["seed"] == 1:
            choice[row["activation"]] = min(choice.get(row["activation"], (np.inf, 0.0)), (score(row), row["learning_rate"]))
    return {activation: rate for activation, (_, rate) in choice.items()}


def at_best(rows: list[dict]) -> dict[str, dict[int, dict]]:
    """activation -> seed -> its run at the activation's best learning rate."""
    found: dict[str, dict[int, dict]] = {}
    for activation, rate in best(rows).items():
        found[activation] = {r["seed"]: r for r in rows if (r["activation"], r["learning_rate"]) == (activation, rate)}
    return found


def best_stock(runs: dict[str, dict[int, dict]], stock: tuple[str, ...]) -> str | None:
    """The stock activation with the best validation score of seed 1."""
    return min((name for name in stock if name in runs), key=lambda name: score(runs[name][1]), default=None)


def ratio(runs: dict[int, dict], stock: dict[int, dict], key: str) -> str:
    """Geometric mean of the paired ratios and, of two seeds or more, its 90% interval (Student's t on the logarithms)."""
    from scipy.stats import t

    logs = np.log([runs[seed][key] / stock[seed][key] for seed in sorted(runs.keys() & stock.keys())])
    mean = f"{np.exp(logs.mean()):.2f}"
    if len(logs) < 2:
        return mean
    half = t.ppf(0.95, len(logs) - 1) * logs.std(ddof=1) / len(logs) ** 0.5
    return f"{mean} [{np.exp(logs.mean() - half):.2f}, {np.exp(logs.mean() + half):.2f}]"


def table(name: str, rows: list[dict]) -> str:
    """One data set: every activation at its best learning rate, over the best stock one."""
    side, runs = families.DATA[name], at_best(rows)
    factor, energy, force = UNITS[side.host]
    stock = best_stock(runs, side.stock)
    tried = {a: sorted({r["learning_rate"] for r in rows if r["activation"] == a}) for a in runs}
    errors = f"validation {energy} | {force} | test {energy} | {force}"
    lines = [f"| activation | learning rate, of | seeds | {errors} | test energy over {stock} | forces |", "|" + "---|" * 9]
    order = sorted(runs, key=lambda a: (a not in side.stock, score(runs[a][1])))
    for activation in order:
        own = runs[activation]
        shown = [(f"{part}_{key}", unit) for part in ("validation", "test") for key, unit in (("energy", factor), ("force", 1.0))]
        means = [f"{unit * np.mean([row[key] for row in own.values()]):.3g}" for key, unit in shown]
        word = activation if activation in side.stock else f"`{activation}`"
        cells = [word, f"{own[1]['learning_rate']:g}, {len(tried[activation])}", len(own), *means]
        ratios = [ratio(own, runs[stock], f"test_{key}") if stock and activation != stock else "1" for key in ("energy", "force")]
        lines.append("| " + " | ".join(map(str, [*cells, *ratios])) + " |")
    return "\n".join(lines)


def facts(name: str, size: str, rows: list[dict]) -> str:
    """What was run, and how often."""
    own = families.SIZES[size]
    host = families.DATA[name].host
    what = (
        f"{own.steps} steps, nets {list(own.embedding)} and {list(own.fitting)}, at most {own.frames} training frames" if host == "deepmd"
        else f"{own.epochs} epochs, at most {own.molecules} molecules, networks {own.dims}"
    )  # fmt: skip
    seeds = sorted({row["seed"] for row in rows})
    dates = sorted({row["date"] for row in rows})
    rates = ", ".join(f"{rate:g}" for rate in sorted({row["learning_rate"] for row in rows}))
    versions = ", ".join(f"{key} {value}" for key, value in rows[-1]["versions"].items())
    said = f"**one seed ({seeds[0]}): a first look, no interval**" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
    return f"Size {size}: {what}. {len(rows)} runs, {said}; learning rates {rates}; {dates[-1]}, {versions}."


def tables(rows: list[dict]) -> str:
    """All that was run."""
    text = ""
    for name in families.DATA:
        found = {size: [r for r in rows if (r["data"], r["size"]) == (name, size)] for size in families.SIZES}
        if not any(found.values()):
            text += f"### {name}\n\nNot run yet.\n\n"
        for size, own in found.items():
            if own:
                text += f"### {name}\n\n{facts(name, size, own)}\n\n{table(name, own)}\n\n"
    return text


def write_page(rows: list[dict]) -> None:
    """Put the tables between their marks in the page."""
    before, rest = PAGE.read_text().split(START)
    PAGE.write_text(before + START + "\n" + tables(rows) + END + rest.split(END)[1])
