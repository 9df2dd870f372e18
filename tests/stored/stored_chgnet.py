"""CHGNet: a file of its ``Trainer.save``, a model saved whole, a coefficient file. eV, Angstrom; evaluated in float64."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import torch
from chgnet.graph import converter, crystalgraph
from chgnet.model import CHGNet
from chgnet.model import model as chgnet_model
from pymatgen.core import Lattice, Structure
from stored_files import V0_1, adam, listed, randomise, write_json
from torch import nn

import taafs_plugins as taafs

SIZES = dict(
    atom_fea_dim=6, bond_fea_dim=6, angle_fea_dim=6, num_radial=5, num_angular=5, n_conv=2, atom_conv_hidden_dim=6,
    bond_conv_hidden_dim=6, mlp_hidden_dims=(6, 6), atom_graph_cutoff=4, mlp_out_bias=True,
)  # fmt: skip
SPECS = {
    "trainer.pth.tar": "taafs:bspline,scale=auto",
    "whole.pt": "taafs:chebyshev1,share=neuron,residual=scaled,rate=10",
    "coefficients.safetensors": "taafs:rational,share=network",
}


def structure() -> Structure:
    """Rock salt's primitive cell, strained, with the anion off its place: both elements count the same in the composition energy."""
    lattice = Lattice([[0, 2.1, 2.2], [2.15, 0, 2.1], [2.1, 2.1, 0.1]])
    return Structure(lattice, ["Mg", "O"], [[0, 0, 0], [0.53, 0.49, 0.52]])


@contextlib.contextmanager
def in_float64():
    """CHGNet makes its graphs in float64 inside; it has a constant for it, and no setting."""
    modules = (converter, crystalgraph, chgnet_model)
    before = [module.TORCH_DTYPE for module in modules]
    for module in modules:
        module.TORCH_DTYPE = torch.float64
    try:
        yield
    finally:
        for module, dtype in zip(modules, before, strict=True):
            module.TORCH_DTYPE = dtype


def quiet(build, *arguments, **keys) -> CHGNet:
    """A model without the line that CHGNet prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        return build(*arguments, **keys)


def stock() -> CHGNet:
    """The stock network of the files."""
    return quiet(CHGNet.from_file, str(V0_1 / "chgnet" / "stock.pt"))


def predict(model: nn.Module, training: bool = False) -> dict[str, torch.Tensor]:
    """CHGNet's own forward pass in float64."""
    model.double()
    model.composition_model.float()  # CHGNet counts elements in float32, whatever the network has; exact for these two
    with in_float64():
        graph = model.graph_converter(structure())
        found = model([graph], task="efsm", return_site_energies=not training)
    return found


def evaluate(model: nn.Module) -> dict:
    """Energy [eV/atom], forces [eV/A], stress [GPa], magnetic moments."""
    found = predict(model)
    names = {"energy": "e", "forces": "f", "stress": "s", "magmoms": "m"}
    return {name: (found[key] if key == "e" else found[key][0]).detach().numpy() for name, key in names.items()}


def save(model: nn.Module, path: Path) -> None:
    """By the way that belongs to the file's name."""
    from chgnet.trainer import Trainer

    if path.name == "trainer.pth.tar":
        Trainer(model, targets="efsm", epochs=1, use_device="cpu").save(str(path))
    elif path.name == "whole.pt":
        torch.save(model, path)
    else:
        taafs.save_coefficients(model, path)


def make(folder: Path) -> None:
    """All files and their numbers; needs ``enable("chgnet")``."""
    torch.manual_seed(5)
    network = quiet(CHGNet, **SIZES)
    torch.save({"model": network.as_dict()}, folder / "stock.pt")
    numbers = {"stock": listed(evaluate(network)), "files": {}}
    for seed, (name, spec) in enumerate(SPECS.items()):
        model = stock()
        taafs.convert(model, spec)
        if "scale=auto" in spec:
            with taafs.calibrate(model):
                model.predict_structure(structure(), task="e")
        randomise(model, 0.3, seed)
        save(model, folder / name)
        numbers["files"][name] = listed(evaluate(model))
    write_json(folder / "references.json", numbers)


def values() -> dict[str, dict]:
    """The numbers of each file by the present code; needs ``enable("chgnet")``."""
    folder = V0_1 / "chgnet"
    coefficients = stock()
    taafs.load_coefficients(coefficients, folder / "coefficients.safetensors")
    models = {
        "trainer.pth.tar": quiet(CHGNet.from_file, str(folder / "trainer.pth.tar")),
        "whole.pt": torch.load(folder / "whole.pt", weights_only=False),
        "coefficients.safetensors": coefficients,
    }
    return {name: evaluate(model) for name, model in models.items()}


def train() -> dict:
    """5 steps from the stock network of the files on energy, forces, stress and magnetic moments, in float64."""
    model = stock()
    taafs.convert(model, "taafs:bspline")
    model.double()

    def loss() -> torch.Tensor:
        found = predict(model, training=True)
        parts = (found["e"] + 5.0, found["f"][0] - 0.3, 0.1 * found["s"][0], found["m"][0] - 0.5)
        return sum((part**2).mean() for part in parts)

    return adam(model, loss, 5, 1e-3)
