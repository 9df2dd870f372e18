"""What the tests of the exporters share: strict comparison with the host, ghosts built by hand, and a process without this package."""

from __future__ import annotations

import sys
from pathlib import Path

import forked
import numpy as np
import torch
from ase import Atoms

from taafs_plugins.md.calculator import ENERGY, pairs, predict
from taafs_plugins.md.contract import DTYPES, read

HERE = Path(__file__).resolve().parent
TOLERANCE = {"float64": 1e-8, "float32": 1e-5}

ALONE = """
import sys
for name in ("taafs_plugins", "schnetpack", "torchani", "chgnet", "ase"):
    sys.modules[name] = None  # importing it raises
import json, torch
extra = {"taafs.json": ""}
module = torch.jit.load(sys.argv[1], _extra_files=extra)
inputs = torch.load(sys.argv[2])
energies = module(*inputs)
slopes = torch.autograd.grad(energies.sum(), (inputs[0], inputs[4]))
magmoms = module.magmoms(*inputs).detach() if hasattr(module, "magmoms") else None
torch.save((json.loads(extra["taafs.json"]), energies.detach(), *slopes, magmoms), sys.argv[3])
"""


def equal_to_host(path, expected: list[dict], frames: list[Atoms], floor: dict[str, float] | None = None) -> dict[str, float]:
    """Assert that the file repeats the host's predictions; each structure against its own largest value. Returns the largest differences.

    Parameters
    ----------
    expected : the host's predictions in the unit of the file
    floor : largest values smaller than this count as this, by quantity
    """
    module, metadata = read(path)
    worst: dict[str, float] = {}
    for atoms, host in zip(frames, expected, strict=True):
        found = predict(module, metadata, atoms)
        assert set(host) <= set(found)
        for name, value in host.items():
            largest = max(np.abs(value).max(), (floor or {}).get(name, 0.0))
            difference = np.abs(found[name] - value).max() / largest if largest else np.abs(found[name]).max()
            worst[name] = max(worst.get(name, 0.0), float(difference))
    assert all(value <= TOLERANCE[metadata.dtype] for value in worst.values()), worst
    return worst


def inputs_of(metadata, atoms: Atoms, skin: float = 0.0) -> tuple[torch.Tensor, ...]:
    """The arguments of an exported model in mode ``owner``, requiring gradients."""
    dtype = DTYPES[metadata.dtype]
    i, j, offsets = pairs(atoms, metadata.cutoff + skin)
    return (
        torch.tensor(atoms.positions, dtype=dtype, requires_grad=True), torch.tensor(atoms.numbers, dtype=torch.int64),
        torch.tensor(i, dtype=torch.int64), torch.tensor(j, dtype=torch.int64), torch.tensor(offsets, dtype=dtype, requires_grad=True),
    )  # fmt: skip


def by_ghosts(path, atoms: Atoms, generator: np.random.Generator) -> dict:
    """Predict in mode ``ghost``: images out to hops * cutoff are atoms of their own, in any order; forces are folded to their owners."""
    module, metadata = read(path)
    assert "ghost" in metadata.modes
    n = len(atoms)
    _, owners, offsets = pairs(atoms, metadata.hops * metadata.cutoff + 1e-6)
    moved = np.abs(offsets).max(axis=1) > 1e-9
    images = np.unique(np.column_stack([owners[moved], np.round(offsets[moved], 9)]), axis=0)
    images = images[generator.permutation(len(images))]
    owners = np.concatenate([np.arange(n), images[:, 0].astype(int)])
    positions = np.concatenate([atoms.positions, atoms.positions[images[:, 0].astype(int)] + images[:, 1:]])
    everything = Atoms(atoms.numbers[owners], positions)
    pos, Z, i, j, _ = inputs_of(metadata, everything)
    # engines list pairs of ghosts as far as they have ghosts; the order of pairs is free
    order = torch.as_tensor(generator.permutation(len(i)))
    energy = module(pos, Z, i[order], j[order], torch.zeros(len(i), 3, dtype=pos.dtype))[:n].sum()
    slope = torch.autograd.grad(energy, pos)[0].numpy()
    forces = np.zeros((n, 3))
    np.add.at(forces, owners, -slope)
    strain = positions.T @ slope
    return {"energy": float(energy.detach()), "forces": forces, "stress": 0.5 * (strain + strain.T) / atoms.get_volume()}


def alone(path, atoms: Atoms, folder: Path) -> dict:
    """Load and run the file in a process where neither this package nor any host can be imported."""
    _, metadata = read(path)
    inputs = inputs_of(metadata, atoms)
    torch.save(inputs, folder / "inputs.pt")
    command = [sys.executable, "-c", ALONE, str(path), str(folder / "inputs.pt"), str(folder / "outputs.pt")]
    done = forked.run(command, modules=("torch",), cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    facts, energies, slope, _, magmoms = torch.load(folder / "outputs.pt")
    assert facts["host"] == metadata.host and facts["cutoff"] == metadata.cutoff
    return {"energy": float(energies.double().sum()), "forces": -slope.numpy(), "magmoms": magmoms}


def in_unit(predictions: dict, unit: str) -> dict:
    """Predictions in eV in another unit of energy."""
    return {name: value / ENERGY[unit] if name != "magmoms" else value for name, value in predictions.items()}
