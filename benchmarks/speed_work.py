"""The pieces of work that ``benchmarks/speed.py`` times: each makes a pair of functions, stock and TAAFS, that do one step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from taafs_plugins.activations import TrainableActivation, make_activation
from taafs_plugins.experiments import deepmd as deepmd_runs
from taafs_plugins.experiments import lammps as lammps_runs
from taafs_plugins.experiments.step_times import ALLOCATOR

Step = Callable[[], None]
STOCK = {"tanh": nn.Tanh, "silu": nn.SiLU}
WATER_SEL = [46, 92]


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Give every coefficient a random value: a curve that is 0 would be a special case."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, TrainableActivation):
                module.delta.copy_(0.1 / module.rate * torch.randn(module.delta.shape, generator=generator, dtype=torch.float64))


def activation_alone(spec: str, base: str, dtype: torch.dtype, size: int) -> tuple[Step, Step]:
    """Forward, force-like gradient and the gradient of a loss on it, of one activation on ``size`` elements [size / 25, 25]."""
    z = torch.randn(max(1, size // 25), 25, dtype=dtype)
    gy = torch.randn_like(z)
    act = make_activation(spec, base, width=25, dtype=dtype)
    randomise(act)

    def step_of(act: nn.Module) -> Step:
        def step() -> None:
            x = z.detach().requires_grad_()
            (gz,) = torch.autograd.grad(act(x), x, gy, create_graph=True)
            gz.backward(gy)

        return step

    return step_of(STOCK[base]()), step_of(act)


def mlp(spec: str, base: str, dtype: torch.dtype, rows: int) -> tuple[Step, Step]:
    """A 3x25 network with three inputs: energy, force, gradient of a loss on both for every weight and coefficient."""

    def network(activation: Callable[[], nn.Module]) -> nn.Module:
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for width in (3, 25, 25):
            layers += [nn.Linear(width, 25), activation()]
        return nn.Sequential(*layers, nn.Linear(25, 1)).to(dtype)

    x = torch.randn(rows, 3, dtype=dtype, generator=torch.Generator().manual_seed(1))

    def step_of(model: nn.Module) -> Step:
        def step() -> None:
            inputs = x.detach().requires_grad_()
            energy = model(inputs).sum()
            (force,) = torch.autograd.grad(energy, inputs, create_graph=True)
            model.zero_grad(set_to_none=True)
            (force.square().sum() + energy.square()).backward()

        return step

    trainable = network(lambda: make_activation(spec, base, width=25, dtype=dtype))
    randomise(trainable)
    return step_of(network(STOCK[base])), step_of(trainable)


def water_frame() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions [192, 3] and cell [3, 3] in Angstrom and types [192] of one frame of liquid water."""
    from taafs_plugins import data

    folder = f"{deepmd_runs.WATER}/data_0"
    coordinates = np.load(data.fetch(f"{folder}/set.000/coord.npy"))[0].reshape(-1, 3).astype(np.float64)
    cell = np.load(data.fetch(f"{folder}/set.000/box.npy"))[0].reshape(3, 3).astype(np.float64)
    types = np.array([int(t) for t in data.fetch(f"{folder}/type.raw").read_text().split()])
    return coordinates, cell, types


def _water_model(activation: str) -> nn.Module:
    import deepmd.pt  # noqa: F401  (teaches DeePMD the specs)
    from deepmd.pt.model.model import get_model

    torch.manual_seed(0)
    model = get_model(deepmd_runs.model_section(activation, ["O", "H"], sel=WATER_SEL))
    randomise(model)
    return model


def deepmd_step(spec: str) -> tuple[Step, Step]:
    """One Adam step of a DeePMD-kit model ([25, 25, 25] and [50, 50, 50], float64) on a frame of water, energy and force loss."""
    coordinates, cell, types = water_frame()

    def step_of(model: nn.Module) -> Step:
        device = next(model.parameters()).device
        coord = torch.tensor(coordinates[None], device=device)
        atype = torch.tensor(types[None], device=device)
        box = torch.tensor(cell.reshape(1, 9), device=device)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-9)
        model.train()

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            result = model(coord.detach().requires_grad_(), atype, box=box)
            (result["energy"].square().sum() * 1e-6 + result["force"].square().sum()).backward()
            optimizer.step()

        return step

    return step_of(_water_model("tanh")), step_of(_water_model(spec))


def frozen_water(activation: str, path: Path) -> Path:
    """A frozen, untrained model of water with random coefficients."""
    model = _water_model(activation)
    torch.jit.save(torch.jit.script(model.eval()), str(path))
    return path


def lammps_seconds(model: Path, folder: Path, steps: int) -> float:
    """Seconds of CPU time per LAMMPS step of NVE with 192 atoms of water; LAMMPS's own loop time times its CPU share."""
    folder.mkdir(parents=True, exist_ok=True)
    coordinates, cell, types = water_frame()
    lammps_runs.write_data(folder / "frame.data", coordinates, cell, types, ["O", "H"])
    script = lammps_runs.header(f"deepmd {model}\npair_coeff * * O H")
    script += f"velocity all create 10 1\ntimestep 0.00001\nfix 1 all nve\nrun {steps}\n"
    lammps_runs.run_script(folder, script, log="speed", variables=ALLOCATOR)
    lines = (folder / "speed.lammps").read_text().splitlines()
    loop = float(next(line for line in lines if line.startswith("Loop time of")).split()[3])
    share = float(next(line for line in lines if "CPU use with" in line).split("%")[0]) / 100
    return loop * share / steps
