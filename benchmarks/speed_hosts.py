"""Real training steps of the hosts for ``benchmarks/speed.py``: energy, forces, backward through both, Adam; stock and TAAFS."""

from __future__ import annotations

from collections.abc import Callable

import torch
from speed_work import Step, deepmd_step, randomise
from torch import nn

import taafs_plugins as taafs


def _converted(build: Callable[[], nn.Module], spec: str) -> tuple[nn.Module, nn.Module]:
    """The same model twice, the second one with ``spec`` at the host's default sites and random coefficients."""
    stock, ours = build(), build()
    taafs.convert(ours, spec)
    randomise(ours)
    return stock, ours


def _adam(model: nn.Module, loss: Callable[[nn.Module], torch.Tensor]) -> Step:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-9)
    model.train()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(model).backward()
        optimizer.step()

    return step


def torchani_step(spec: str) -> tuple[Step, Step]:
    """ANI-1x architecture (CELU, float32) on 32 molecules, AEVs included."""
    from torchani.arch import simple_ani

    from taafs_plugins.experiments import torchani as runs

    frames = runs.read("train")[:32]
    atoms = max(len(elements) for elements, *_ in frames)
    species, x = torch.full((len(frames), atoms), -1), torch.zeros(len(frames), atoms, 3)
    for i, (elements, positions, *_) in enumerate(frames):
        species[i, : len(elements)] = torch.tensor(runs.NUMBERS)[torch.as_tensor(elements)]
        x[i, : len(elements)] = torch.as_tensor(positions, dtype=torch.float32)

    def build() -> nn.Module:
        torch.manual_seed(0)
        return simple_ani(runs.SYMBOLS, "wb97x-631gd", container_ctor="like_1x", activation="celu", bias=True, repulsion=False)

    def loss(model: nn.Module) -> torch.Tensor:
        positions = x.clone().requires_grad_()
        energies = model((species, positions)).energies
        (slope,) = torch.autograd.grad(energies.sum(), positions, create_graph=True)
        return energies.square().mean() + slope.square().mean()

    return tuple(_adam(model, loss) for model in _converted(build, spec))


def schnetpack_step(spec: str) -> tuple[Step, Step]:
    """PaiNN (SiLU, width 64, three interactions, float32) on 10 frames of rMD17 ethanol."""
    import schnetpack_gain as runs

    inputs, energy, forces = runs.Frames("ethanol", "train", slice(0, 10)).batch(list(range(10)))

    def loss(model: nn.Module) -> torch.Tensor:
        out = model(dict(inputs))
        return 0.01 * (out["energy"] - energy).square().mean() + 0.99 * (out["forces"] - forces).square().mean()

    return tuple(_adam(model, loss) for model in _converted(lambda: runs.build(64, 0), spec))


def chgnet_step(spec: str) -> tuple[Step, Step]:
    """Pretrained CHGNet 0.3.0 (SiLU, float32), all weights, on 8 materials of up to 12 atoms; forces and stress."""
    from taafs_plugins.experiments import chgnet as runs

    frames = runs.known(8)
    graphs = [runs.pretrained().graph_converter(structure) for structure in frames.structures]

    def loss(model: nn.Module) -> torch.Tensor:
        out = model(graphs, task="efs")
        return out["e"].square().mean() + sum(f.square().mean() for f in out["f"]) + sum(s.square().mean() for s in out["s"])

    return tuple(_adam(model, loss) for model in _converted(runs.pretrained, spec))


# host -> what makes its pair of steps, stock activation, dtype, atoms of a step
HOSTS: dict[str, tuple[Callable[[str], tuple[Step, Step]], str, str, int]] = {
    "deepmd": (deepmd_step, "tanh", "float64", 192),
    "torchani": (torchani_step, "celu(0.1)", "float32", 0),
    "schnetpack": (schnetpack_step, "silu", "float32", 90),
    "chgnet": (chgnet_step, "silu", "float32", 0),
}
