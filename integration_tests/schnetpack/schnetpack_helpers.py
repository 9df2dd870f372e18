"""Small SchNetPack models and real ethanol frames for the tests of this folder."""

from functools import cache

import numpy as np
import schnetpack as spk
import schnetpack.nn as snn
import torch
from ase import Atoms
from schnetpack.interfaces import AtomsConverter
from schnetpack.transform import MatScipyNeighborList

import taafs_plugins as taafs
from taafs_plugins import data
from taafs_plugins.adapters.schnetpack_data import FILES

CUTOFF = 5.0
REPRESENTATIONS = {"painn": "PaiNN", "schnet": "SchNet", "so3net": "SO3net", "field_schnet": "FieldSchNet"}


def representation(kind="painn", features=16, interactions=2, rbf=8, **keys):
    """A representation by its config name."""
    extra = {"so3net": {"lmax": 1}, "field_schnet": {"external_fields": ["electric_field"]}}.get(kind, {})
    return getattr(spk.representation, REPRESENTATIONS[kind])(
        n_atom_basis=features, n_interactions=interactions, radial_basis=snn.GaussianRBF(n_rbf=rbf, cutoff=CUTOFF),
        cutoff_fn=snn.CosineCutoff(CUTOFF), **extra, **keys,
    )  # fmt: skip


def potential(kind="painn", features=16, interactions=2, rbf=8, seed=0, stress=False, head=None, **keys):
    """An energy and force model with the weights of ``seed``."""
    torch.manual_seed(seed)
    rep = representation(kind, features, interactions, rbf, **keys)
    for layer in rep.modules():  # FieldSchNet's dipole filters start at zero, and with them all that comes before
        if isinstance(layer, snn.Dense) and not layer.weight.any():
            torch.nn.init.xavier_uniform_(layer.weight)
    head = head or spk.atomistic.Atomwise(n_in=features, output_key="energy")
    inputs = [spk.atomistic.PairwiseDistances()]
    if stress:
        inputs.insert(0, spk.atomistic.Strain())
    return spk.model.NeuralNetworkPotential(
        rep, inputs, [head, spk.atomistic.Forces(calc_stress=stress)], input_dtype_str="float32"
    )  # fmt: skip


@cache
def _npz(part):
    return dict(np.load(data.fetch(FILES.format(molecule="ethanol", part=part))))


def ethanol(count=3, part="test", periodic=False):
    """The first frames of rMD17 ethanol as ASE atoms."""
    frames = _npz(part)
    return [
        Atoms(frames["nuclear_charges"], frames["coords"][i], cell=np.eye(3) * 12 if periodic else None, pbc=periodic)
        for i in range(count)
    ]


def batch(atoms=None, dtype=torch.float64):
    """Frames as a model's input; an electric field is there for FieldSchNet."""
    atoms = atoms if atoms is not None else ethanol()
    inputs = AtomsConverter(neighbor_list=MatScipyNeighborList(cutoff=CUTOFF), dtype=dtype)(atoms)
    inputs["electric_field"] = torch.tensor([[0.1, -0.2, 0.3]], dtype=dtype).expand(len(atoms), 3)
    return inputs


def predict(model, atoms=None, dtype=torch.float64):
    """Detached predictions of the frames."""
    model = model.to(dtype).eval()
    return {key: value.detach() for key, value in model(batch(atoms, dtype)).items()}


def differs(a, b, keys=("energy", "forces"), by=1e-4):
    """Whether every one of the predictions differs noticeably."""
    return all((a[key] - b[key]).abs().max() > by for key in keys)


def randomise(model, seed=1, size=0.2):
    """Give every coefficient a random value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for act in taafs.activations(model).values():
            values = size * torch.randn(act.delta.shape, generator=generator, dtype=torch.float64)
            act.delta.copy_((values / act.rate).to(act.delta.dtype))
    return model
