"""Runs of the study that compares the families (benchmarks/families_gain.py): DeePMD-kit on Cu and water, TorchANI on molecules.

A run trains one activation at one learning rate with one seed, and is judged on validation and on test frames. Errors are RMSE:
of DeePMD-kit in eV/atom and eV/Angstrom, of TorchANI in kcal/mol/atom and kcal/mol/Angstrom.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from taafs_plugins import data
from taafs_plugins.experiments import deepmd

PICKED = "adact picked"
SPECS = ("leaf", "ahaf", "adact", "molu", "pelu", "swish")
NEVER = 1e9  # worse than anything, and JSON


@dataclass(frozen=True)
class Size:
    """How long and how large: steps of DeePMD-kit, its nets, molecules and epochs of TorchANI and its nets."""

    steps: int
    embedding: tuple[int, ...]
    axis: int
    fitting: tuple[int, ...]
    frames: int | None
    epochs: int
    molecules: int | None
    dims: tuple[int, ...]


SIZES = {
    "small": Size(400, (8, 16), 4, (24, 24), 60, 15, 200, (24, 20, 16)),
    "full": Size(8000, (25, 25, 25), 16, (50, 50, 50), None, 60, None, (24, 20, 16)),
}


@dataclass(frozen=True)
class Side:
    """One data set: its activations and the learning rates that each may choose from."""

    host: str
    stock: tuple[str, ...]
    taafs: str
    rates: tuple[float, ...]

    @property
    def activations(self) -> tuple[str, ...]:
        """All that are trained; the picked one follows from AdAct's."""
        return (*self.stock, self.taafs, *SPECS)


# DeePMD-kit has no CELU
DATA = {
    "copper": Side("deepmd", ("tanh", "gelu", "silu"), "taafs:chebyshev1", (2e-3, 5e-3, 1e-2, 2e-2)),
    "water": Side("deepmd", ("tanh", "gelu", "silu"), "taafs:chebyshev1", (2e-3, 5e-3, 1e-2)),
    "molecules": Side("torchani", ("celu", "gelu", "tanh", "silu"), "taafs:bspline", (4e-3, 1e-2, 2e-2)),
}
RCUT = {"copper": 5.0, "water": 4.0}
SEL = {"copper": [80], "water": [22, 44]}
TYPES = {"copper": ["Cu"], "water": ["O", "H"]}


def run(
    name: str, activation: str, rate: float, seed: int, size: str, work: Path, update: Callable[[int], None] = lambda step: None
) -> dict[str, float]:  # fmt: skip
    """One run; what was trained stays below ``work``, so that an interrupted one is not trained again.

    Returns
    -------
    ``validation_energy``, ``validation_force``, ``test_energy``, ``test_force``, ``seconds`` of training, ``seconds_per_step``
    """
    folder = work / size / name / f"{activation}_{rate:g}_{seed}".replace(":", "-").replace(",", "_").replace(" ", "-")
    one = _deepmd_run if DATA[name].host == "deepmd" else _torchani_run
    found = one(name, activation, rate, seed, SIZES[size], folder, update)
    return {key: value if math.isfinite(value) else NEVER for key, value in found.items()}


def systems(name: str, folder: Path, frames: int | None) -> dict[str, list[str]]:
    """``train``, ``validation`` and ``test`` systems of DeePMD-kit; at most ``frames`` of the first, evenly spread."""
    if not (folder / "whole").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        _write_copper(folder, frames) if name == "copper" else _write_water(folder, frames)
        (folder / "whole").write_text("")
    return {part: sorted(str(p.resolve()) for p in (folder / part).iterdir()) for part in ("train", "validation", "test")}


def _thinned(items: list, count: int | None) -> list:
    return items if count is None or len(items) <= count else [items[i] for i in np.linspace(0, len(items) - 1, count).astype(int)]


def _write_copper(folder: Path, frames: int | None) -> None:
    known, test = deepmd.zuo_frames("Cu")
    train = _thinned([f for i, f in enumerate(known) if i % 10], frames)
    for part, chosen in (("train", train), ("validation", known[::10]), ("test", test)):
        deepmd.write_zuo_systems(chosen, folder / part)


def _write_water(folder: Path, frames: int | None) -> None:
    """data_0 ... data_2 with every tenth frame for validation; data_3 is the test."""
    water = data.fetch_folder(deepmd.WATER)
    for i in range(4):
        source = water / f"data_{i}"
        parts = sorted(source.glob("set.*"))
        whole = {k: np.concatenate([np.load(p / f"{k}.npy") for p in parts]) for k in ("coord", "box", "energy", "force")}
        names = (source / "type_map.raw").read_text().split()
        elements = [names[int(t)] for t in (source / "type.raw").read_text().split()]
        index = list(range(len(whole["energy"])))
        wanted = {"test": index[::4] if frames else index} if i == 3 else {
            "train": _thinned([k for k in index if k % 10], frames and frames // 3), "validation": index[:: 20 if frames else 10],
        }  # fmt: skip
        for part, chosen in wanted.items():
            deepmd.write_system(folder / part / f"data_{i}", elements, {k: v[chosen] for k, v in whole.items()})


def model_section(name: str, activation: str, seed: int, size: Size) -> dict:
    """DeePMD-kit's ``model`` section."""
    model = deepmd.model_section(activation, TYPES[name], sel=SEL[name], rcut=RCUT[name], seed=seed)
    model["descriptor"].update(neuron=list(size.embedding), axis_neuron=size.axis)
    model["fitting_net"]["neuron"] = list(size.fitting)
    return model


def _deepmd_run(name: str, activation: str, rate: float, seed: int, size: Size, folder: Path, update: Callable[[int], None]) -> dict:
    parts = systems(name, folder.parent / "data", size.frames)
    picked = activation == PICKED
    steps = size.steps // 4 if picked else size.steps
    checkpoint, clock = folder / f"model.ckpt-{steps}.pt", folder / "seconds.txt"
    if not (checkpoint.is_file() and clock.is_file()):  # else it was interrupted while it was measured
        shutil.rmtree(folder, ignore_errors=True)
        model, extra = model_section(name, activation, seed, size), ()
        if picked:
            folder.mkdir(parents=True)
            model = _pick_checkpoint(_adacts(folder) / f"model.ckpt-{size.steps}.pt", folder / "picked.pt")
            extra = ("--init-model", "picked.pt")
        config = deepmd.training_input(model, parts["train"], steps=steps, learning_rate=rate, seed=seed)
        clock.write_text(str(deepmd.train(config, folder, progress=update, extra=extra)))
    seconds = float(clock.read_text())
    errors = {part: deepmd.errors(checkpoint, parts[part]) for part in ("validation", "test")}
    return {**{f"{part}_{key}": found[key] for part, found in errors.items() for key in ("energy", "force")}, "seconds": seconds,
            "seconds_per_step": seconds / steps}  # fmt: skip


def _adacts(folder: Path) -> Path:
    """The folder of the AdAct run that a picked one goes on from."""
    return folder.with_name(folder.name.replace(PICKED.replace(" ", "-"), "adact"))


def _pick_checkpoint(source: Path, target: Path) -> dict:
    """What ``taafs pick`` writes; returns the model section."""
    import torch

    from taafs_plugins.adapters import adapter_for
    from taafs_plugins.md.export import read_model
    from taafs_plugins.pick import pick

    model, _ = read_model(source)
    pick(model)
    adapter_for(model).write_model(model, target, source)
    return torch.load(target, weights_only=True)["model"]["_extra_state"]["model_params"]


@cache
def _molecules(count: int | None) -> dict:
    from taafs_plugins.experiments import torchani

    return torchani.parts(count)


def _torchani_run(name: str, activation: str, rate: float, seed: int, size: Size, folder: Path, update: Callable[[int], None]) -> dict:
    import torch

    from taafs_plugins.experiments import torchani

    sets = _molecules(size.molecules)
    picked, stock = activation == PICKED, DATA[name].stock
    text = activation if activation in stock else f"celu+{'adact' if picked else activation}"
    networks = torchani.build(text, size.dims, seed, sets["train"][0].aev.shape[1])
    epochs = max(1, size.epochs // 4) if picked else size.epochs
    if picked:
        from taafs_plugins.pick import pick

        networks.load_state_dict(torch.load(_adacts(folder) / "networks.pt"))
        pick(networks)
    start = time.perf_counter()
    found = torchani.train(networks, sets, rate, epochs, seed, update)
    seconds = time.perf_counter() - start
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(networks.state_dict(), folder / "networks.pt")
    steps = epochs * math.ceil(len(sets["train"]) / torchani.BATCH)
    kept = {f"{part}_{key}": found[f"{part}_{key}"] for part in ("validation", "test") for key in ("energy", "force")}
    return {**kept, "seconds": seconds, "seconds_per_step": seconds / steps}
