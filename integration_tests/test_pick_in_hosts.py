"""``taafs pick`` on a file of each host: what it writes has stock activations only, and runs where this package is not."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins.adapters import adapter
from taafs_plugins.cli import app
from taafs_plugins.md.export import read_model
from taafs_plugins.pick import pick
from taafs_plugins.testing import fresh, randomise

HERE = Path(__file__).parent
ALONE = """
import sys
sys.modules["taafs_plugins"] = None  # importing it raises
sys.path.insert(0, {folder!r})
import torch
{values}
model = torch.load("picked.pt", weights_only=False)
torch.save(values(model), "values.pt")
"""
SCHNETPACK = """
def values(model):
    from schnetpack import properties
    from schnetpack.interfaces import AtomsConverter
    from schnetpack.transform import MatScipyNeighborList
    from ase.build import molecule
    inputs = AtomsConverter(neighbor_list=MatScipyNeighborList(cutoff=5.0))([molecule("CH3CH2OH")])
    found = model.eval()(inputs)
    return found["energy"].detach(), found["forces"].detach()
"""
CHGNET = """
def values(model):
    from pymatgen.core import Lattice, Structure
    structure = Structure(Lattice.cubic(4.2), ["Li", "O"], [[0, 0, 0], [0.45, 0.5, 0.52]])
    found = model.eval().predict_structure(structure)
    return torch.tensor(found["e"]), torch.tensor(found["f"])
"""
TORCHANI = """
def values(model):
    species = torch.tensor([[1, 6, 7, 8]])
    x = torch.tensor([[[0, 0, 0], [1.1, 0, 0], [0.2, 1.3, 0], [0.1, 0.2, 1.4]]], dtype=torch.float64, requires_grad=True)
    energy = model((species, x)).energies
    return energy.detach(), -torch.autograd.grad(energy.sum(), x)[0]
"""


def helpers(host: str, name: str):
    sys.path.insert(0, str(HERE / host))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(HERE / host))


def invoke(*arguments) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    return f"{done.exit_code} " + " ".join((done.output + done.stderr).split())


def torchani_model():
    return helpers("torchani", "torchani_small").small_model()


def schnetpack_model():
    return helpers("schnetpack", "schnetpack_helpers").potential()


def chgnet_model():
    return helpers("chgnet", "chgnet_helpers").stock()


@pytest.mark.parametrize("build,code", [(torchani_model, TORCHANI), (schnetpack_model, SCHNETPACK), (chgnet_model, CHGNET)])
def test_the_picked_file_is_stock_and_needs_nothing_of_this_package(build, code, tmp_path):
    scope = {"torch": torch}
    exec(code, scope)
    values, model = scope["values"], build()
    stock = values(model)
    taafs.convert(model, "adact")
    randomise(model, 1.0)
    torch.save(model, tmp_path / "trained.pt")
    said = invoke("pick", tmp_path / "trained.pt", "-o", tmp_path / "picked.pt")
    assert said.startswith("0 ") and "weight 0." in said and "torch.load('picked.pt', weights_only=False)" in said
    assert not any("taafs" in name for name in torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "picked.pt"))
    fresh(ALONE.format(folder=str(HERE), values=code), tmp_path)
    found, before, expected = torch.load(tmp_path / "values.pt"), values(model), copy.deepcopy(model)
    pick(expected)
    for ours, picked, trained, plain in zip(found, values(expected), before, stock, strict=True):
        torch.testing.assert_close(ours, picked, rtol=1e-5, atol=1e-6)
        assert (ours - trained).abs().max() > 1e-4 and (ours - plain).abs().max() > 1e-4
    assert "--overwrite" in invoke("pick", tmp_path / "trained.pt", "-o", tmp_path / "picked.pt")
    assert "is the file that is read" in invoke("pick", tmp_path / "trained.pt", "-o", tmp_path / "trained.pt", "--overwrite")
    assert "no adact activation" in invoke("pick", tmp_path / "picked.pt", "-o", tmp_path / "again.pt")
    assert not (tmp_path / "again.pt").exists()


def test_chgnets_saved_arguments_do_not_lose_the_pick():
    """They name one activation for the whole network: another network would be built without a word."""
    from chgnet.model import CHGNet

    model = chgnet_model()
    taafs.convert(model, "adact")
    pick(model)
    with pytest.raises(NotImplementedError):
        CHGNet.from_dict(model.as_dict())
    host = adapter("chgnet")
    host.register()
    try:
        with pytest.raises(taafs.SpecError, match="picked site by site.*torch.save the whole model"):
            CHGNet.from_dict(model.as_dict())
    finally:
        host.unregister()


def test_what_a_host_cannot_keep_is_one_sentence():
    small = helpers("schnetpack", "schnetpack_helpers")
    model = small.potential("so3net")
    taafs.convert(model, "adact")
    with pytest.raises(taafs.HostError, match="can keep none of gelu, .* at representation.gatings.0.activation: nothing was picked"):
        pick(model)
    model = torchani_model()
    taafs.convert(model, "adact", "*.C.layers.0")
    with pytest.raises(taafs.HostError, match="one activation for all of .*C, and .*C.layers.1 holds no adact: nothing was picked"):
        pick(model)
    assert len(taafs.trainable_activations(model)) == 1


@pytest.fixture(scope="module")
def water(tmp_path_factory) -> Path:
    """A checkpoint with random AdActs of the smallest water model, and its input with relative systems."""
    folder = tmp_path_factory.mktemp("pick")
    own = helpers("deepmd", "conftest_deepmd")
    helpers("deepmd", "lammps_runs")
    files = helpers("deepmd", "compress_models")
    own.cut_system(taafs_data() / "data_0", folder / "system", slice(0, 2))
    model = files.live_water("adact", 3.0)
    model.min_nbor_dist.fill_(-1.0)
    files.write_checkpoint(model, folder / "trained.pt")
    config = own.water_input("adact", ["system"])
    config["model"] = json.loads(model.get_model_def_script())
    (folder / "input.json").write_text(json.dumps(config))
    return folder


def taafs_data() -> Path:
    from taafs_plugins import data
    from taafs_plugins.experiments import deepmd

    return data.fetch_folder(deepmd.WATER)


@pytest.mark.slow
def test_deepmds_picked_checkpoint_is_trained_on_compared_frozen_and_compressed(water, monkeypatch):
    from deepmd.pt.entrypoints.compress import enable_compression as compress

    monkeypatch.chdir(water)
    own = helpers("deepmd", "conftest_deepmd")
    said = invoke("pick", water / "trained.pt", "-o", water / "picked.pt", "--input", water / "input.json", "--steps", 2)
    assert said.startswith("0 descriptor: ") and "fitting_net: " in said
    for row in ("adact, as it was trained", "picked", "picked, trained on", "stock, trained on"):
        assert row in said.replace("│", ""), said
    state = own.load_state(water / "picked.pt")
    names = {state["_extra_state"]["model_params"][part]["activation_function"] for part in ("descriptor", "fitting_net")}
    assert names <= {"gelu", "tanh", "silu"} and not own.coefficient_keys(state)
    model, _ = read_model(water / "picked.pt")
    torch.jit.save(torch.jit.script(model.eval()), water / "picked.pth")  # as dp freeze does it
    stock = {**json.loads((water / "input.json").read_text()), "model": state["_extra_state"]["model_params"]}
    (water / "stock.json").write_text(json.dumps(stock))
    compress(str(water / "picked.pth"), str(water / "small.pth"), stride=0.01, extrapolate=4, training_script=str(water / "stock.json"))
    frozen, compressed, trained = (own.python_values(water / name, water / "system") for name in ("picked.pth", "small.pth", "trained.pt"))
    assert np.abs(frozen["force"] - compressed["force"]).max() < 1e-4 < np.abs(frozen["force"] - trained["force"]).max()


def test_deepmds_picked_checkpoint_without_data_says_how_to_go_on(water):
    said = invoke("pick", water / "trained.pt", "-o", water / "alone.pt")
    assert said.startswith("0 ") and "dp --pt train input.json --init-model alone.pt" in said and "activation_function '" in said
    for file, words in (("none.json", "No such file"), ("trained.pt", "is no input of dp train")):
        said = invoke("pick", water / "trained.pt", "-o", water / "x.pt", "--input", water / file)
        assert said.startswith("1 ") and words in said and "name the input.json" in said
    assert not (water / "x.pt").exists()
