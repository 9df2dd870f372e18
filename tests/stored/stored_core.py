"""Bare activations of ``make_activation``: saved whole, as state dicts and as spec texts; and a tiny network that trains."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from stored_files import V0_1, adam, listed, randomise, write_json
from torch import nn

import taafs_plugins as taafs

BASES = ("bspline", "fourier", "grbf", "chebyshev1", "rational")
POINTS = torch.tensor([-7.0, -2.3, -1.1, -0.4, 0.05, 0.7, 1.3, 2.9, 6.5], dtype=torch.float64)
WIDTH = 4
TRAINED = ("taafs:bspline", "taafs:chebyshev1,share=neuron,residual=scaled,rate=10", "taafs:rational,scale=auto")


def specs() -> list[str]:
    """Every basis, one set and one per neuron, every residual, with a measured scale; and each basis as it comes."""
    combinations = itertools.product(BASES, ("layer", "neuron"), ("plain", "none", "scaled"))
    return [f"taafs:{b},share={s},residual={r},scale=auto" for b, s, r in combinations] + [f"taafs:{b}" for b in BASES]


def replaces(spec: str) -> str:
    """The stock activation of a case: SiLU where each neuron has its own set, else tanh."""
    return "silu" if "neuron" in spec else "tanh"


def inputs() -> torch.Tensor:
    """The 9 points, shifted a little for each neuron. [9, 4]"""
    return POINTS[:, None] + 0.03 * torch.arange(WIDTH, dtype=torch.float64)


def build(spec: str) -> nn.Module:
    """A fresh activation of a case."""
    return taafs.make_activation(spec, replaces(spec), width=WIDTH if "neuron" in spec else None, dtype=torch.float64)


def evaluate(act: nn.Module) -> dict:
    """Values and slopes at the points."""
    z = inputs().requires_grad_()
    y = act(z)
    (slope,) = torch.autograd.grad(y.sum(), z)
    return {"values": y.detach(), "slopes": slope}


def stock(spec: str) -> dict:
    """The same of the stock activation."""
    z = inputs().requires_grad_()
    y = torch.tanh(z) if replaces(spec) == "tanh" else nn.functional.silu(z)
    (slope,) = torch.autograd.grad(y.sum(), z)
    return {"values": y.detach(), "slopes": slope}


def make(folder: Path) -> None:
    """``modules.pt``, ``states.pt`` and the reference numbers."""
    modules, texts, numbers = {}, {}, {}
    for seed, spec in enumerate(specs()):
        act = build(spec)
        if "scale=auto" in spec:
            with taafs.calibrate(act):
                act(1.3 * inputs())
        randomise(act, 0.3, seed)
        modules[spec], texts[spec], numbers[spec] = act, str(act.trained_spec()), listed(evaluate(act))
    torch.save(modules, folder / "modules.pt")
    torch.save({spec: act.state_dict() for spec, act in modules.items()}, folder / "states.pt")
    write_json(folder / "references.json", {"texts": texts, "files": numbers})


def saved_whole() -> dict[str, nn.Module]:
    """Spec -> module, as unpickled."""
    return torch.load(V0_1 / "core" / "modules.pt", weights_only=False)


def from_states() -> dict[str, nn.Module]:
    """Spec -> fresh module with the numbers of its state dict."""
    found = {}
    for spec, state in torch.load(V0_1 / "core" / "states.pt", weights_only=True).items():
        found[spec] = build(spec)
        found[spec].load_state_dict(state)
    return found


def train(spec: str) -> dict:
    """30 steps of Adam on values and slopes of a smooth function of three variables."""
    torch.manual_seed(11)
    width = 6 if "neuron" in spec else None
    layers = []
    for size in (3, 6):
        layers += [nn.Linear(size, 6, dtype=torch.float64), taafs.make_activation(spec, "tanh", width=width, dtype=torch.float64)]
    model = nn.Sequential(*layers, nn.Linear(6, 1, dtype=torch.float64))
    x = torch.linspace(-1.5, 1.5, 60, dtype=torch.float64).reshape(20, 3).requires_grad_()
    target = (x * x).sum(1) + x.prod(1)
    (slope,) = torch.autograd.grad(target.sum(), x)
    if "scale=auto" in spec:
        with taafs.calibrate(model):
            model(x)

    def loss() -> torch.Tensor:
        energy = model(x).squeeze(1)
        (force,) = torch.autograd.grad(energy.sum(), x, create_graph=True)
        return ((energy - target.detach()) ** 2).mean() + ((force - slope) ** 2).mean()

    return adam(model, loss, 30, 1e-2)
