"""SchNetPack: a ``best_model`` saved whole and files of ``spkdeploy``. kcal/mol, Angstrom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import schnetpack as spk
import schnetpack.nn as snn
import torch
from ase import Atoms
from schnetpack.interfaces import AtomsConverter
from schnetpack.transform import MatScipyNeighborList
from stored_files import V0_1, adam, listed, randomise, strip, write_json
from torch import nn

import taafs_plugins as taafs

CUTOFF = 4.0
SPECS = {"layer": "taafs:bspline", "neuron": "taafs:chebyshev1,share=neuron,residual=scaled"}


def atoms() -> Atoms:
    """Ammonia and a hydroxyl in a periodic cell."""
    positions = [[0, 0, 0.1], [0.9, 0.3, -0.2], [-0.5, 0.8, -0.2], [-0.4, -0.9, -0.1], [2.8, 0.5, 0.4], [3.4, 1.2, 0.6]]
    return Atoms("NHHHOH", positions, cell=[[6, 0, 0], [0.4, 6.2, 0], [0, 0.3, 5.8]], pbc=True)


def batch(scale: float = 1.0) -> dict[str, torch.Tensor]:
    """The frame, its positions multiplied, as a model's input in float64."""
    frame = atoms()
    frame.positions *= scale
    return AtomsConverter(neighbor_list=MatScipyNeighborList(cutoff=CUTOFF), dtype=torch.float64)(frame)


def build() -> nn.Module:
    """A stock PaiNN with an energy head, forces and stress, in float64."""
    torch.manual_seed(4)
    representation = spk.representation.PaiNN(
        n_atom_basis=8, n_interactions=2, radial_basis=snn.GaussianRBF(n_rbf=4, cutoff=CUTOFF), cutoff_fn=snn.CosineCutoff(CUTOFF)
    )
    inputs = [spk.atomistic.Strain(), spk.atomistic.PairwiseDistances()]
    outputs = [spk.atomistic.Atomwise(n_in=8, output_key="energy"), spk.atomistic.Forces(calc_stress=True)]
    return spk.model.NeuralNetworkPotential(representation, inputs, outputs, input_dtype_str="float64").double()


def evaluate(model: nn.Module) -> dict:
    """Energy, forces and stress of the frame."""
    found = model(batch())
    return {key: found[key].detach() for key in ("energy", "forces", "stress")}


def make(folder: Path) -> None:
    """All files and their numbers."""
    network = build()
    torch.save(network.state_dict(), folder / "stock.pt")
    numbers = {"stock": listed(evaluate(network.eval())), "files": {}}
    for seed, (name, spec) in enumerate(SPECS.items()):
        model = build().eval()
        taafs.convert(model, spec, sites=["*"])
        randomise(model, 0.2, seed)
        best, deployed = f"{name}_best_model", f"{name}_deployed.pt"
        numbers["files"][best] = numbers["files"][deployed] = listed(evaluate(model))
        torch.save(model, folder / best)
        subprocess.run([str(Path(sys.executable).parent / "spkdeploy"), best, deployed], cwd=folder, check=True)
        strip(folder / deployed)
    write_json(folder / "references.json", numbers)


def values() -> dict[str, dict]:
    """The numbers of each file by the present code."""
    found = {}
    for name in SPECS:
        best, deployed = f"{name}_best_model", f"{name}_deployed.pt"
        found[best] = evaluate(spk.utils.load_model(str(V0_1 / "schnetpack" / best)).eval())
        found[deployed] = evaluate(torch.jit.load(V0_1 / "schnetpack" / deployed))
    return found


def train() -> dict:
    """5 steps from the stock network of the files on energy, forces and stress."""
    model = build()
    model.load_state_dict(torch.load(V0_1 / "schnetpack" / "stock.pt", weights_only=True))
    taafs.convert(model, "taafs:bspline", sites=["*"])
    model.train()
    wanted = 0.2 * batch()["_positions"]

    def loss() -> torch.Tensor:
        found = model(batch(1.02))
        parts = (found["energy"] + 1.5, found["forces"] + wanted, found["stress"])
        return sum((part**2).mean() for part in parts)

    return adam(model, loss, 5, 1e-3)
