"""Small SchNetPack models and real ethanol frames for the tests of this folder."""

import os
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import forked
import numpy as np
import schnetpack as spk
import schnetpack.nn as snn
import torch
from ase import Atoms
from pytorch_lightning import Callback
from schnetpack.interfaces import AtomsConverter
from schnetpack.transform import MatScipyNeighborList

import taafs_plugins as taafs
from taafs_plugins import data, testing
from taafs_plugins.adapters.schnetpack.data import FILES

randomise = partial(testing.randomise, size=0.2, seed=1)
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
        Atoms(frames["nuclear_charges"], frames["coords"][i], cell=np.eye(3) * 12 if periodic else None, pbc=periodic) for i in range(count)
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


class DumpCoefficients(Callback):
    """A callback for configs: every process writes its coefficients at the end of training."""

    def on_train_end(self, trainer, module):
        values = {name: act.delta.detach().clone() for name, act in taafs.trainable_activations(module.model).items()}
        torch.save(values, f"rank_{trainer.global_rank}.pt")


def command(*words, cwd, env=None):
    """What SchNetPack's scripts (of this environment's bin) and Python code that begins with ``import schnetpack.cli`` do and print."""
    # both register the same resolvers of OmegaConf: no process can import both
    module = "schnetpack.md.cli" if Path(words[0]).name == "spkmd" else "schnetpack.cli"
    return forked.run(words, modules=(module,), cwd=cwd, env=env)


def spktrain(folder, run_id, *overrides, epochs=6):
    """The stock command on 200 frames of rMD17 ethanol below ``folder/data``; returns the run's folder and what was printed."""
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here), str(here.parent), str(here.parents[1]), os.environ.get("PYTHONPATH", "")])
    # SchNetPack 2.2.0 keeps the whole model in its checkpoints, which Lightning 2.6 under torch 2.6 does not read without this
    environment = os.environ | {"PYTHONPATH": path, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"}
    words = [
        Path(sys.executable).parent / "spktrain", "experiment=rmd17", "data.molecule=ethanol", "data.split_id=0", "data.num_train=200",
        "data.num_val=50", "data.num_test=200", "data.num_workers=0", "+data.val_batch_size=50", "model.representation.n_atom_basis=16",
        "trainer.accelerator=cpu", f"trainer.max_epochs={epochs}", "globals.lr=2e-3", "+seed=1", f"run.id={run_id}", *overrides,
    ]  # fmt: skip
    if "trainer=ddp_trainer" in overrides:  # starts its second process itself, from this one's command line
        done = subprocess.run(list(map(str, words)), cwd=folder, env=environment, capture_output=True, text=True, timeout=500)
    else:
        done = command(*words, cwd=folder, env=environment)
    return folder / "runs" / run_id, done
