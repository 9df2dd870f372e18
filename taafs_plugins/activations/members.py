"""The functions that AdAct sums, by name."""

from __future__ import annotations

import torch

from taafs_plugins.activations.parts import gate

LEAKY, RANDOM, TRAINED = 0.01, (1 / 8 + 1 / 3) / 2, -1.0
# name -> (core, slope): slope z + (1 - slope) core(z); TRAINED stands for the trained slope
MEMBERS = {
    "relu": ("relu", 0.0), "elu": ("elu", 0.0), "leakyrelu": ("relu", LEAKY), "prelu": ("relu", TRAINED), "rrelu": ("relu", RANDOM),
    "silu": ("silu", 0.0), "mish": ("mish", 0.0), "gelu": ("gelu", 0.0), "tanh": ("tanh", 0.0), "leakygelu": ("gelu", LEAKY),
    "pgelu": ("gelu", TRAINED), "rgelu": ("gelu", RANDOM),
}  # fmt: skip
SETS = {
    "smooth": ("gelu", "tanh", "leakygelu", "pgelu", "rgelu", "silu", "mish"),
    "paper": ("relu", "elu", "leakyrelu", "prelu", "rrelu", "silu", "mish"),
}
CORES = ("gelu", "tanh", "silu", "mish")  # that the compiled kernels have
SMOOTHNESS = {"relu": "C0", "elu": "C1"}


def core(name: str, z: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    """One of the functions the members are made of; ``held`` is z within -80 ... 80. GELU is the tanh approximation."""
    if name == "relu":
        return torch.where(z >= 0, z, torch.zeros_like(z))
    if name == "elu":
        return torch.where(z >= 0, z, torch.expm1(torch.clamp(held, max=0.0)))
    if name == "tanh":
        return torch.tanh(z)
    over = torch.where(z > 80.0, z - held, torch.zeros_like(z))
    one = torch.ones_like(z)
    if name == "silu":
        return gate(z, one, torch.zeros_like(z), one)
    if name == "mish":  # softplus with its threshold where it is z to the last bit
        return held * torch.tanh(torch.nn.functional.softplus(held, 1.0, 60.0)) + over
    return held * torch.sigmoid(1.5957691216057308 * (held + 0.044715 * held * held * held)) + over
