"""``dp --pt-expt``: the same numbers as ``--pt``, coefficients that train, restart and freeze."""

import copy
import json

import numpy as np
import pytest
import torch
from compress_models import DESCRIPTORS, NEAREST, compare, make, within
from conftest_deepmd import frame, largest_difference, live_values, python_values, water_input
from test_deepmd_backends import load, main, same
from test_deepmd_compress import STEPS

from taafs_plugins.activations.taafs.bases import basis_names


def in_runtime(model: torch.nn.Module) -> torch.nn.Module:
    """The same model as the new runtime has it."""
    import deepmd.pt_expt  # noqa: F401 - loads the plugin
    from deepmd.pt_expt.model import BaseModel

    return BaseModel.deserialize(copy.deepcopy(model.serialize()))


def values(model: torch.nn.Module, system) -> dict[str, torch.Tensor]:
    coord, box, types = frame(system)
    x = torch.tensor(coord).reshape(1, -1, 3).requires_grad_()
    return model(x, torch.tensor(types)[None], torch.tensor(box))


def arrays(out: dict) -> dict[str, np.ndarray]:
    found = {key: out[key].detach().numpy() for key in ("energy", "force", "virial")}
    return {"energy": found["energy"].ravel(), "force": found["force"][0], "virial": found["virial"].reshape(3, 3)}


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_every_descriptor_has_pytorchs_values(name, small_water):
    model = make(name, "taafs:fourier,share=neuron")
    assert largest_difference(arrays(values(in_runtime(model), small_water[0])), live_values(model, small_water[0])) < 1e-10


@pytest.mark.parametrize("attention", [0, 1])
def test_dpa1_with_concatenated_types_goes_through_the_runtimes_graph_with_pytorchs_values(attention, small_water):
    """There the runtime computes on a list of edges, in code of its own; DeePMD-kit's two attentions differ, so theirs are compared."""
    changes = {"tebd_input_mode": "concat", "attn_layer": attention, "attn": 8}
    difference = {}
    for activation in ("tanh", "taafs:fourier,share=neuron"):
        model = make("dpa1", activation, **changes)
        difference[activation] = largest_difference(arrays(values(in_runtime(model), small_water[0])), live_values(model, small_water[0]))
    assert difference["taafs:fourier,share=neuron"] < max(1e-10, 10 * difference["tanh"])


@pytest.mark.parametrize("activation", [*(f"taafs:{basis}" for basis in basis_names()), "taafs,base=silut:3.0", "leaf", "adact"])
def test_every_basis_has_pytorchs_values_and_gradients_of_the_coefficients(activation, small_water):
    model = make("se_e2_a", f"{activation},rate=3")
    ours = in_runtime(model)
    gradients = []
    for live in (model, ours):
        out = values(live.train(), small_water[0])
        (out["energy"].sum() + out["force"].square().sum()).backward()
        found = {name: p.grad for name, p in live.named_parameters() if name.endswith(".delta")}
        gradients.append(list(found.values()))
    assert largest_difference(arrays(values(ours, small_water[0])), live_values(model, small_water[0])) < 1e-10
    assert len(gradients[0]) == len(gradients[1]) == 8
    for a, b in zip(*gradients, strict=True):
        assert float(a.abs().max()) > 0 and float((a - b).abs().max()) < 1e-10 * max(1.0, float(a.abs().max()))


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_tables_keep_the_values_of_every_descriptor(name, small_water):
    model = in_runtime(make(name, "taafs:fourier,share=neuron"))
    model.min_nbor_dist = NEAREST
    before = arrays(values(model, small_water[0]))
    model.enable_compression(5, STEPS.get(name, 0.01), 0.1, -1)
    found = compare(arrays(values(model, small_water[0])), before)
    assert within(found), found


def test_what_cannot_be_tabulated_is_refused_in_one_sentence():
    model = in_runtime(make("dpa1", "taafs:bspline", attn_layer=1, attn=8))
    model.min_nbor_dist = NEAREST
    with pytest.raises(SystemExit, match="attention layers"):
        model.enable_compression(5, 0.01, 0.1, -1)


def train(folder, systems, activation, *options, steps, **changes) -> str | None:
    """``dp --pt-expt train`` in this process; the sentence it was refused with, or None."""
    folder.mkdir(exist_ok=True)
    config = water_input(activation, systems, steps=steps, save=2)
    config["model"]["descriptor"].update({"type_one_side": True, **changes})
    (folder / "input.json").write_text(json.dumps(config))
    return main("--pt-expt", "train", "input.json", "--skip-neighbor-stat", *options)


@pytest.fixture(scope="module")
def trained(small_water, tmp_path_factory):
    """The folder of four steps."""
    folder = tmp_path_factory.mktemp("runtime")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert train(folder, small_water, "taafs:chebyshev1,share=network", steps=4) is None
    return folder


def coefficients(path) -> dict[str, torch.Tensor]:
    state = torch.load(path, weights_only=True)["model"]
    return {key: value for key, value in state.items() if key.endswith("activation.delta")}


def test_every_coefficient_trains_and_is_shared_as_the_spec_says(trained):
    found = coefficients(trained / "model.ckpt-4.pt")
    assert found and all(float(value.abs().max()) > 1e-4 for value in found.values())
    nets = {}
    for key, value in found.items():
        nets.setdefault(key.split(".layers.")[0], []).append(value)
    assert all(all(torch.equal(values[0], value) for value in values) for values in nets.values())


def test_a_restart_goes_on_and_another_spec_is_refused(trained, small_water, monkeypatch):
    monkeypatch.chdir(trained)
    before = coefficients(trained / "model.ckpt-4.pt")
    spec = "taafs:chebyshev1,share=network"
    assert train(trained, small_water, spec, "--restart", "model.ckpt-4.pt", steps=6) is None
    after = coefficients(trained / "model.ckpt-6.pt")
    moved = [float((after[key] - before[key]).abs().max()) for key in before]
    assert all(0 < change < 0.1 for change in moved)
    for activation, words in (("tanh", "would drop"), ("taafs:legendre,share=network", "mean nothing to")):
        refused = train(trained, small_water, activation, "--init-model", "model.ckpt-4.pt", steps=2)
        assert words in refused and "\n" not in refused


def test_a_checkpoint_is_evaluated_as_it_was_trained(trained, small_water):
    from deepmd.pt_expt.model import get_model

    whole = torch.load(trained / "model.ckpt-4.pt", weights_only=True)["model"]
    model = get_model(copy.deepcopy(whole["_extra_state"]["model_params"]))
    model.load_state_dict({key.removeprefix("model.Default."): v for key, v in whole.items() if key != "_extra_state"})
    found = python_values(trained / "model.ckpt-4.pt", small_water[0])
    assert largest_difference(found, arrays(values(model.eval(), small_water[0]))) < 1e-10


@pytest.mark.slow
def test_an_exported_file_has_the_same_values_and_comes_back_exactly(small_water, tmp_path):
    model = make("se_e2_a", "taafs:bspline,share=neuron")
    torch.jit.save(torch.jit.script(model), tmp_path / "a.pth")
    for source, target in (("a.pth", "a.pte"), ("a.pte", "b.dp"), ("a.pth", "c.dp")):
        assert main("convert-backend", tmp_path / source, tmp_path / target) is None
    assert largest_difference(python_values(tmp_path / "a.pte", small_water[0]), live_values(model, small_water[0])) < 1e-10
    assert same(load(str(tmp_path / "b.dp"))["model"], load(str(tmp_path / "c.dp"))["model"])


@pytest.mark.long
@pytest.mark.slow
def test_the_freeze_command_writes_the_checkpoints_values(trained, small_water, monkeypatch):
    monkeypatch.chdir(trained)
    whole = torch.load("model.ckpt-4.pt", weights_only=True)
    for key, value in whole["model"].items():
        if key.endswith("activation.delta"):
            value.copy_(0.005 * torch.linspace(-1, 1, value.numel(), dtype=value.dtype).reshape(value.shape))
    torch.save(whole, "random.pt")
    assert main("--pt-expt", "freeze", "-c", "random.pt", "-o", "random.pte") is None
    wanted = python_values("random.pt", small_water[0])
    assert largest_difference(python_values("random.pte", small_water[0]), wanted) < 1e-10
    assert largest_difference(python_values("model.ckpt-4.pt", small_water[0]), wanted) > 1e-4
    assert main("test", "-m", "random.pte", "-s", small_water[0], "-n", "2") is None


REFUSED = {
    "scale=auto is not measured": ("taafs:bspline,scale=auto", {}),
    "not tested with TAAFS here": ("taafs:bspline", {"type": "dpa3"}),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_the_runtime_cannot_train_is_refused_before_anything_is_read(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    activation, changes = REFUSED[words]
    refused = train(tmp_path, ["nowhere"], activation, steps=2, **changes)
    assert words in refused and "\n" not in refused
    assert [path.name for path in tmp_path.iterdir()] == ["input.json"]
