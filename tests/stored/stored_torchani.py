"""TorchANI: a model saved whole, a state dict, a coefficient file, an exported file. Hartree, Angstrom."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")

import torch
from ase import Atoms
from stored_files import V0_1, adam, listed, randomise, strip, write_json
from torch import nn
from torchani.aev import AEVComputer, ANIAngular, ANIRadial
from torchani.arch import ANI
from torchani.nn import ANINetworks
from torchani.sae import SelfEnergy

import taafs_plugins as taafs

SYMBOLS = ("H", "O")
SPECS = {"whole.pt": "taafs:bspline", "state.pt": "taafs:chebyshev1,share=neuron,residual=scaled,rate=10"}
COEFFICIENTS = "taafs:rational,share=network,scale=auto"


def atoms() -> Atoms:
    """A water molecule and a hydroxyl in a skewed periodic cell."""
    positions = [[0, 0, 0.1], [0.8, 0.6, 0], [-0.75, 0.55, 0.05], [2.6, 0.4, 1.2], [3.3, 1.0, 1.5]]
    return Atoms("OHHOH", positions, cell=[[6, 0, 0], [0.7, 6.3, 0], [0.2, 0.3, 5.9]], pbc=True)


def build() -> ANI:
    """The stock network, float64; its numbers come from ``stock.pt`` where they must be those of the files."""
    torch.manual_seed(3)
    aev = AEVComputer(
        angular=ANIAngular.cover_linearly(start=0.9, cutoff=3.0, eta=12.5, zeta=14.1, num_shifts=2, num_sections=2),
        radial=ANIRadial.cover_linearly(start=0.9, cutoff=4.0, eta=19.7, num_shifts=4),
        num_species=2,
    )
    nets = ANINetworks.build(SYMBOLS, aev.out_dim, {}, activation="celu", bias=True, default_dims=(8, 6))
    return ANI(SYMBOLS, aev, nets, SelfEnergy(SYMBOLS, (-0.5, -75.1))).double()


def stock() -> ANI:
    """The stock network of the files."""
    model = build()
    model.load_state_dict(torch.load(V0_1 / "torchani" / "stock.pt", weights_only=True))
    return model


def evaluate(model: nn.Module) -> dict:
    """Energy [eV], forces [eV/A] and stress [eV/A^3] by TorchANI's own calculator."""
    frame = atoms()
    frame.calc = model.ase()
    return {"energy": frame.get_potential_energy(), "forces": frame.get_forces(), "stress": frame.get_stress(voigt=False)}


def make(folder: Path) -> None:
    """All files and their numbers; the exported one is written by the ``taafs`` command."""
    network = build()
    torch.save(network.state_dict(), folder / "stock.pt")
    numbers = {"stock": listed(evaluate(network)), "files": {}}
    for seed, (name, spec) in enumerate({**SPECS, "coefficients.safetensors": COEFFICIENTS}.items()):
        model = build()
        taafs.convert(model, spec)
        if "scale=auto" in spec:
            with taafs.calibrate(model):
                evaluate(model)
        randomise(model, 0.3, seed)
        numbers["files"][name] = listed(evaluate(model))
        if name == "whole.pt":
            torch.save(model, folder / name)
        elif name == "state.pt":
            torch.save(model.state_dict(), folder / name)
        else:
            taafs.save_coefficients(model, folder / name)
    command = [Path(sys.executable).parent / "taafs", "export", folder / "whole.pt", "-o", folder / "exported.pt"]
    subprocess.run(list(map(str, command)), check=True)
    strip(folder / "exported.pt")
    write_json(folder / "references.json", numbers)


def values() -> dict[str, dict]:
    """The numbers of each file by the present code."""
    folder = V0_1 / "torchani"
    state = stock()
    taafs.convert(state, SPECS["state.pt"])
    state.load_state_dict(torch.load(folder / "state.pt", weights_only=True))
    coefficients = stock()
    taafs.load_coefficients(coefficients, folder / "coefficients.safetensors")
    models = {
        "whole.pt": torch.load(folder / "whole.pt", weights_only=False),
        "state.pt": state,
        "coefficients.safetensors": coefficients,
    }
    return {name: evaluate(model) for name, model in models.items()}


def train() -> dict:
    """5 steps from the stock network of the files on energies and forces of two frames."""
    model = stock()
    taafs.convert(model, "taafs:bspline")
    frame = atoms()
    species = torch.as_tensor(frame.numbers).repeat(2, 1)
    positions = torch.as_tensor(frame.positions).repeat(2, 1, 1)
    positions[1, :, 0] *= 1.05
    positions.requires_grad_()
    wanted = torch.tensor([-151.0, -151.1], dtype=torch.float64)

    def loss() -> torch.Tensor:
        energies = model((species, positions)).energies
        (slope,) = torch.autograd.grad(energies.sum(), positions, create_graph=True)
        return ((energies - wanted) ** 2).mean() + ((slope + 0.1 * positions.detach()) ** 2).mean()

    return adam(model, loss, 5, 1e-2)
