"""``taafs pick``: AdAct's strongest members take the places of its sums, and the model is trained briefly with them."""

from __future__ import annotations

import copy
import json
import math
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from taafs_plugins.adapters import adapter_for
from taafs_plugins.cli.outputs import check_output
from taafs_plugins.errors import TaafsError
from taafs_plugins.files import replacing
from taafs_plugins.md.export import read_model
from taafs_plugins.pick import pick as picked_in


class RetrainError(TaafsError, ValueError):
    """A model or an input that this command cannot train on; the message is one sentence with the way out."""


def pick(model: Path, output: Path, training: Path | None, steps: int, overwrite: bool, console: Console) -> None:
    """Pick, write, and with ``training``, an ``input.json`` of DeePMD-kit, train the picked and the stock model and compare."""
    check_output(output, overwrite, model, *([training] if training else []))
    live, _ = read_model(model)
    host = adapter_for(live)
    if training is not None and host.host != "deepmd":
        raise RetrainError(f"--input is for models of DeePMD-kit; pick without it and train {output.name} by {host.host} as any model.")
    config = None if training is None else _read_input(training)
    stock = copy.deepcopy(live) if config is not None else None
    choices = picked_in(live)
    for choice in choices:
        other = "" if choice.strongest == choice.member else f"; {choice.strongest} is stronger, but not one that {host.host} can keep here"
        console.print(f"{choice.site}: {choice.member}, weight {choice.weight:.2f}{other}", highlight=False, markup=False, soft_wrap=True)
    with replacing(output) as written:
        advice = host.write_model(live, written, model)
        if config is not None:
            host.restore(stock)
            _retrain(host, model, stock, written, config, steps, console)
    console.print(f"Wrote {output}. {advice if config is None else ''}".strip(), highlight=False, markup=False, soft_wrap=True)


def _read_input(path: Path) -> dict[str, Any]:
    """An ``input.json`` with systems by absolute paths."""
    try:
        config = json.loads(path.read_text())
        sections = [config["training"][key] for key in ("training_data", "validation_data") if key in config["training"]]
        for section in sections:
            section["systems"] = _systems(section["systems"], path.resolve().parent)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise RetrainError(f"{path} is no input of dp train ({reason}); name the input.json that the model was trained with.") from None
    return config


def _systems(named: str | list[str], folder: Path) -> list[str]:
    """Every system below a folder, or those in a list; relative to the input's folder, as for ``dp`` that runs there."""
    found = sorted(p.parent for p in (folder / named).rglob("type.raw")) if isinstance(named, str) else [folder / one for one in named]
    if missing := [str(one) for one in found if not (one / "type.raw").is_file()] or ([] if found else [str(named)]):
        raise RetrainError(f"{missing[0]} is no system of DeePMD-kit (a folder with type.raw); correct the systems of the input.")
    return [str(one) for one in found]


def _retrain(host: Any, source: Path, stock: Any, picked: Path, config: dict[str, Any], steps: int, console: Console) -> None:
    """Train the picked model, whose file is replaced by the trained one, and the stock one alike; print the errors of all."""
    from taafs_plugins.experiments import deepmd

    data = config["training"].get("validation_data") or config["training"]["training_data"]
    measure = lambda model: deepmd.errors(model, data["systems"])
    with tempfile.TemporaryDirectory(dir=picked.parent) as name:
        folder = Path(name)
        host.write_model(stock, folder / "stock.pt", source)
        rows = {"adact, as it was trained": measure(source), "picked": measure(picked)}
        for label, start in (("picked, trained on", picked), ("stock, trained on", folder / "stock.pt")):
            with console.status(f"Training: {label}, {steps} steps"):
                trained = _train(config, start, folder / label.split(",")[0], steps)
            rows[label] = measure(trained)
            if start == picked:
                shutil.copy(trained, picked)
    table = Table("model", "energy RMSE, meV/atom", "force RMSE, eV/A", title=f"{rows['picked']['frames']} frames, {steps} steps")
    for label, row in rows.items():
        table.add_row(label, f"{1e3 * row['energy']:.3g}", f"{row['force']:.3g}")
    console.print(table)


def _train(config: dict[str, Any], start: Path, folder: Path, steps: int) -> Path:
    """``dp --pt train --init-model start`` with the input's data and loss; the last checkpoint."""
    from taafs_plugins.experiments import deepmd

    config = copy.deepcopy(config)
    config["model"] = torch.load(start, map_location="cpu", weights_only=True)["model"]["_extra_state"]["model_params"]
    config["training"].update(numb_steps=steps, save_freq=steps, save_ckpt="model.ckpt", disp_file="lcurve.out")
    rate = config.setdefault("learning_rate", {})
    if "decay_steps" in rate:
        rate["decay_steps"] = max(1, min(rate["decay_steps"], math.ceil(steps / 10)))
    deepmd.train(config, folder, extra=["--init-model", str(start.resolve())])
    return folder / f"model.ckpt-{steps}.pt"
