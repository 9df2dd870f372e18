"""Small files for the tests of endurance and for benchmarks/endurance.py, and how they are damaged."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from torch import Tensor, nn

import taafs_plugins as taafs
from taafs_plugins.md.contract import Metadata, write


class Springs(nn.Module):
    """An exported model, as small as can be."""

    def forward(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> Tensor:
        """Energies [n]."""
        r = (pos[idx_j] + offsets - pos[idx_i]).square().sum(1)
        return torch.zeros(pos.shape[0], dtype=pos.dtype, device=pos.device).index_add(0, idx_i, r)


def exported_file(folder: Path) -> Path:
    """An exported model in ``folder``."""
    write(torch.jit.script(Springs()), folder / "model.pt", Metadata("springs", 5.0, 1, ("owner", "ghost"), "eV", (1, 8), "float64"))
    return folder / "model.pt"


def model() -> nn.Module:
    """A small TorchANI network, which coefficients are saved of."""
    from torchani.nn import AtomicNetwork

    torch.manual_seed(0)
    return AtomicNetwork((4, 3, 1), activation="gelu").double()


def coefficient_file(folder: Path) -> Path:
    """A coefficient file in ``folder``."""
    converted = model()
    taafs.convert(converted, "taafs:bspline")
    taafs.save_coefficients(converted, folder / "c.safetensors")
    return folder / "c.safetensors"


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """``whole`` cut off, with bytes flipped, taken out, doubled, or with words of its text changed."""
    data, way = bytearray(whole), rng.randrange(5)
    if way == 0:
        return bytes(data[: rng.randrange(len(data))])
    if way == 1:
        for _ in range(rng.randint(1, 20)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif way == 2:
        start = rng.randrange(len(data))
        del data[start : start + rng.randint(1, 200)]
    elif way == 3:
        start = rng.randrange(len(data))
        data[start:start] = data[start : start + rng.randint(1, 200)]
    else:
        old = rng.choice([b"cutoff", b"format", b"torch", b"specs", b"base", b"bspline", b"delta", b"F64", b"[", b"{", b"1", b"8"])
        return bytes(data).replace(old, rng.choice([b"", b"x", b"null", b"-1", b"9" * len(old), old[::-1]]))
    return bytes(data)
