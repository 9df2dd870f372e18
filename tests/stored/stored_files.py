"""Files that an earlier version wrote: what making, reading and comparing them have in common.

One ``stored_<host>`` module per host has ``make`` (how the files were written), ``values`` (what the present code reads out of them) and
``train`` (a few deterministic steps). Only public names of this package are used, so that the modules inside it may move.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn

import taafs_plugins as taafs

V0_1 = Path(__file__).resolve().parents[1] / "data" / "v0_1"
TOLERANCE = 1e-10  # of the largest reference number; float64
TRAINING_TOLERANCE = 1e-9  # other processors round differently


def write_json(path: Path, content: Mapping) -> None:
    """Numbers are written so that they are read back to the last bit."""
    path.write_text(json.dumps(content, indent=1) + "\n")


def references(host: str) -> dict:
    """``{"stock": {quantity: numbers}, or one such for each file, "files": {file: {quantity: numbers}}, ...}`` of a host's folder."""
    return json.loads((V0_1 / host / "references.json").read_text())


def without_source_paths(content: bytes) -> bytes:
    """A TorchScript file without its debug records, which name the source files of the machine that wrote it; nothing else changes."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as kept:
        for entry in source.infolist():
            part = source.read(entry)
            if not entry.filename.endswith(".debug_pkl"):
                kept.writestr(entry, without_source_paths(part) if "/extra/" in entry.filename and part.startswith(b"PK") else part)
    return target.getvalue()


def strip(path: Path) -> None:
    """:func:`without_source_paths` of a file, in place."""
    path.write_bytes(without_source_paths(path.read_bytes()))


def listed(values: Mapping[str, object]) -> dict[str, list]:
    """Arrays as nested lists of float64."""
    return {key: np.asarray(value, dtype=np.float64).tolist() for key, value in values.items()}


def randomise(model: nn.Module, size: float, seed: int = 7) -> nn.Module:
    """A random value for every coefficient and for the two weights of residual=scaled; shared ones are set once."""
    generator = torch.Generator().manual_seed(seed)
    parameters = {id(p): p for act in taafs.activations(model).values() for p in act.parameters(recurse=False)}
    with torch.no_grad():
        for p in parameters.values():
            p.copy_(size * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model


def assert_equal(found: Mapping, expected: Mapping, what: str, tolerance: float = TOLERANCE) -> None:
    """Every quantity within ``tolerance`` of the largest expected number (numbers below 0.001 count as 0.001)."""
    assert set(expected) <= set(found), what
    for key, reference in expected.items():
        reference, value = np.asarray(reference), np.asarray(found[key])
        assert value.shape == reference.shape, f"{what}: {key} has shape {value.shape}, not {reference.shape}"
        off = float(np.abs(value - reference).max()) / max(float(np.abs(reference).max()), 1e-3)
        assert off <= tolerance, f"{what}: {key} is off by {off:.1e} of its largest number"


def assert_different(found: Mapping, stock: Mapping, what: str, by: float = 1e-4) -> None:
    """Every quantity of the stock network is another one."""
    for key, reference in stock.items():
        off = float(np.abs(np.asarray(found[key]) - np.asarray(reference)).max())
        assert off > by * max(float(np.abs(np.asarray(reference)).max()), 1e-3), f"{what}: {key} is that of the stock network"


def assert_as_stored(host: str, found: Mapping[str, Mapping]) -> None:
    """All files of a host give their reference numbers, and none those of the stock network."""
    stored = references(host)
    assert set(found) == set(stored["files"])
    for name, expected in stored["files"].items():
        assert_equal(found[name], expected, f"{host}/{name}")
        stock = stored["stock"]
        assert_different(found[name], stock.get(name, stock), f"{host}/{name}")


def described(tensors: Mapping[str, torch.Tensor], losses: list[float]) -> dict:
    """A training in numbers: losses, the norm of each trained tensor, and a digest of all their bytes."""
    sha = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        value = value.detach().cpu().contiguous()
        sha.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        sha.update(value.numpy().tobytes())
    norms = {name: float(value.detach().double().norm()) for name, value in sorted(tensors.items())}
    return {"losses": losses, "norms": norms, "digest": sha.hexdigest()}


def adam(model: nn.Module, loss: Callable[[], torch.Tensor], steps: int, rate: float) -> dict:
    """Adam over all parameters, and what came of it; see :func:`described`."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.Adam(trained.values(), lr=rate)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        losses.append(float(value.detach()))
    return described(trained, losses)


def stored_training(name: str) -> dict:
    """The training ``name`` as version 0.1 ran it."""
    return json.loads((V0_1 / "training.json").read_text())["runs"][name]


def assert_trained_as_stored(name: str, found: Mapping) -> None:
    """The same losses and final weights as then; that the coefficients moved is in the norms."""
    stored = stored_training(name)
    np.testing.assert_allclose(found["losses"], stored["losses"], rtol=TRAINING_TOLERANCE, err_msg=name)
    assert set(found["norms"]) == set(stored["norms"])
    assert all(value > 0 for key, value in stored["norms"].items() if key.endswith(".delta"))
    for key, norm in stored["norms"].items():
        np.testing.assert_allclose(found["norms"][key], norm, rtol=TRAINING_TOLERANCE, atol=1e-14, err_msg=f"{name}: {key}")
