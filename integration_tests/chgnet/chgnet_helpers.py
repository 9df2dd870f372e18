"""Shared by CHGNet's tests: real frames, models with random coefficients, fresh processes."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path

import forked
import numpy as np
import torch

from taafs_plugins import data
from taafs_plugins.adapters.chgnet.finetune import Frames
from taafs_plugins.testing import randomise  # noqa: F401 - for the tests

MPTRJ = "microsoft/mattersim/data/benchmarks/mptrj-random-1k.xyz"
IRON = "fe_magnetic/fe.extxyz"
PAPER = dict(num_radial=9, num_angular=9, mlp_hidden_dims=(64, 64), mlp_out_bias=True)
KEYS = "efsm"


@cache
def atoms_of(path: str) -> list:
    """ASE Atoms of a data file."""
    from ase.io import read

    return read(data.fetch(path), ":")


@cache
def mptrj(count: int, largest: int = 12) -> Frames:
    """The first ``count`` MPtrj frames of at most ``largest`` atoms, different materials; no magnetic moments."""
    seen, chosen = set(), []
    for frame in atoms_of(MPTRJ):
        if len(frame) <= largest and frame.info["mptrj_traj_id"] not in seen:
            seen.add(frame.info["mptrj_traj_id"])
            chosen.append(frame)
    return Frames.from_ase(chosen[:count])


def stock(name: str = "0.3.0"):
    """A pretrained CHGNet on the CPU."""
    from chgnet.model import CHGNet

    return CHGNet.load(model_name=name, use_device="cpu", verbose=False)


def predictions(model, structures) -> list[dict[str, np.ndarray]]:
    """Energies, forces, stresses and magmoms, one structure at a time (batch sizes change float32 sums)."""
    return [model.predict_structure(structure) for structure in structures]


def same(first, second) -> bool:
    """Equal to the last bit in all four quantities."""
    return all(np.array_equal(a[key], b[key]) for a, b in zip(first, second, strict=True) for key in KEYS)


def all_differ(first, second) -> bool:
    """Every structure differs in energy and stress, and the set of them in forces and magmoms."""
    each = all(not np.allclose(a[key], b[key], atol=1e-5) for a, b in zip(first, second, strict=True) for key in "es")
    return each and all(any(not np.allclose(a[key], b[key], atol=1e-5) for a, b in zip(first, second, strict=True)) for key in "fm")


def fresh(code: str, folder: Path, path: tuple[Path, ...] = ()) -> subprocess.CompletedProcess:
    """Run Python code in ``folder``, in a process that has imported CHGNet alone; a true one with ``path`` before all on ``sys.path``."""
    head = f"import sys; sys.path[:0] = {[str(p) for p in (*path, *Path(__file__).parents[:2])]!r}\n"
    words = [sys.executable, "-c", head + code]
    if path:
        return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600)
    return forked.run(words, modules=("chgnet.model",), cwd=folder)


def fresh_predictions(load: str, folder: Path, count: int) -> list[dict[str, np.ndarray]]:
    """Predictions for ``mptrj(count)`` by the ``model`` that the code in ``load`` makes in a fresh process."""
    done = fresh(
        f"{load}\n"
        "import pickle\n"
        "from chgnet_helpers import mptrj, predictions\n"
        f"pickle.dump(predictions(model, mptrj({count}).structures), open('predictions.pkl', 'wb'))\n",
        folder,
    )
    assert done.returncode == 0, done.stderr
    import pickle

    return pickle.loads((folder / "predictions.pkl").read_bytes())


DTYPE_HOLDERS = ("chgnet.graph.converter", "chgnet.graph.crystalgraph", "chgnet.model.model")


def small_stock(seed: int = 0):
    """A small CHGNet in float64, weights by seed: the modules in ``DTYPE_HOLDERS`` must be told (``TORCH_DTYPE``)."""
    from chgnet.model import CHGNet

    torch.manual_seed(seed)
    sizes = dict.fromkeys(("atom_fea_dim", "bond_fea_dim", "angle_fea_dim", "atom_conv_hidden_dim", "bond_conv_hidden_dim"), 8)
    model = CHGNet(**sizes, num_radial=5, num_angular=5, n_conv=2, mlp_hidden_dims=(8, 8)).double()
    model.composition_model = None  # a constant of the composition, which CHGNet computes in float32
    return model
