"""Is there one formula behind the curves that different systems learn? DeePMD-kit on Cu, Ni and Si, two seeds each.

    python benchmarks/distil_systems.py          # about ten minutes; what is stored already is left out
    python benchmarks/distil_systems.py report   # the table

Small networks ([8, 16] and [24, 24]), `taafs:chebyshev1,rate=10`, 800 steps. For each layer: how alike the learned changes are
(curve minus tanh, on [-2, 2], as a correlation) between seeds of one system and between systems, and the formula of `taafs distil`. A
formula that several systems share would show as a correlation between systems near that between seeds, and both near 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch

from taafs_plugins.experiments import deepmd as runs

HERE = Path(__file__).parent
RESULTS, WORK = HERE / "results" / "distil_systems.json", HERE / "runs" / "distil"
SYSTEMS, SEEDS, STEPS, SPEC = ("Cu", "Ni", "Si"), (1, 2), 800, "taafs:chebyshev1,rate=10"
POINTS = np.linspace(-2, 2, 161)


def train(element: str, seed: int) -> Path:
    """A checkpoint."""
    data, folder = WORK / "data" / element, WORK / f"{element}_{seed}"
    systems = sorted(data.iterdir()) if data.is_dir() else runs.write_zuo_systems(runs.zuo_frames(element)[0], data)
    model = runs.model_section(SPEC, [element], sel=[60], rcut=4.5, seed=seed)
    model["descriptor"].update(neuron=[8, 16], axis_neuron=4)
    model["fitting_net"].update(neuron=[24, 24])
    last = folder / f"model.ckpt-{STEPS}.pt"
    if not last.is_file():
        names = [str(Path(path).resolve()) for path in systems]
        runs.train(runs.training_input(model, names, steps=STEPS, learning_rate=2e-3, seed=seed, stop_rate=1e-5), folder)
    return last


def curves(checkpoint: Path, formulas: bool) -> dict[str, dict]:
    """Site -> values on the points, and the formula where it is asked for."""
    from taafs_plugins.md.export import read_model
    from taafs_plugins.symbolic.curves import learned_curves
    from taafs_plugins.symbolic.distil import distil

    found = {}
    for curve in learned_curves(read_model(checkpoint)[0]):
        values = curve.function(torch.tensor(POINTS)).detach().numpy()
        found[curve.name] = {"values": values.round(6).tolist()}
        if formulas:
            fit = distil(curve.function, -2.0, 2.0, max_nodes=5, rounds=5)
            found[curve.name] |= {"formula": fit.spec, "rms": fit.rms, "spread": fit.spread}
    return found


def load() -> dict[str, dict]:
    """What is stored: ``element seed`` -> curves."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def report() -> None:
    """Correlations for each layer, and the formulas of seed 1."""
    rows = load()
    change = {key: {site: np.array(one["values"]) - np.tanh(POINTS) for site, one in sites.items()} for key, sites in rows.items()}
    for site in next(iter(rows.values())):
        pairs = {True: [], False: []}
        for a, b in itertools.combinations(rows, 2):
            pairs[a.split()[0] == b.split()[0]].append(np.corrcoef(change[a][site], change[b][site])[0, 1])
        all_of_them = np.array([curves[site] for curves in change.values()])
        share = (all_of_them.mean(0) ** 2).mean() / (all_of_them**2).mean()
        shown = {same: " ".join(f"{value:+.2f}" for value in values) for same, values in pairs.items()}
        print(f"{site}\n  share of the mean in the mean square: {share:.2f} ({1 / len(change):.2f} if they have nothing in common)")
        print(f"  between seeds: {shown[True]}\n  between systems: {shown[False]}")
        for key, sites in rows.items():
            if "formula" in sites[site]:
                one = sites[site]
                print(f"  {key}: {one['formula']}  (off by {one['rms']:.3f} of a spread of {one['spread']:.2f})")


def main() -> None:
    """Train and read what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("run", "report"), default="run")
    if parser.parse_args().what == "run":
        for element, seed in itertools.product(SYSTEMS, SEEDS):
            rows = load()
            if f"{element} {seed}" not in rows:
                rows[f"{element} {seed}"] = curves(train(element, seed), formulas=seed == 1)
                RESULTS.write_text(json.dumps(rows) + "\n")
                print(element, seed, flush=True)
    report()


if __name__ == "__main__":
    main()
