"""Every descriptor and fitting net: build, 5 training steps by ``dp --pt train``, reload, freeze, with changed coefficients."""

import json

import numpy as np
import pytest
import torch
from conftest_deepmd import RCUT, SEL, checkpoint, coefficient_keys, dp, frame, load_state, randomise, water_input

SE = {"rcut": RCUT, "rcut_smth": 0.5, "neuron": [4, 8], "resnet_dt": False, "seed": 1, "activation_function": "taafs:bspline"}
DESCRIPTORS = {
    "se_e2_a": {"type": "se_e2_a", "sel": SEL, "axis_neuron": 4, **SE},
    "se_e2_r": {"type": "se_e2_r", "sel": SEL, **SE},
    "se_e3": {"type": "se_e3", **SE, "sel": [8, 16], "rcut": 2.5},
    "dpa1": {"type": "dpa1", "sel": 40, "axis_neuron": 4, "attn": 8, "attn_layer": 1, "attn_dotr": True, "attn_mask": False, **SE},
    "dpa2": {
        "type": "dpa2",
        "repinit": {"rcut": RCUT, "rcut_smth": 0.5, "nsel": 40, "neuron": [4, 8], "axis_neuron": 4, "tebd_dim": 4,
                    "activation_function": "taafs:bspline"},
        "repformer": {"rcut": 3.0, "rcut_smth": 0.5, "nsel": 20, "nlayers": 2, "g1_dim": 8, "g2_dim": 4, "axis_neuron": 4,
                      "activation_function": "taafs:bspline"},
        "seed": 1,
    },
    "dpa3": {
        "type": "dpa3",
        "repflow": {"n_dim": 8, "e_dim": 6, "a_dim": 4, "nlayers": 2, "e_rcut": RCUT, "e_rcut_smth": 0.5, "e_sel": 40, "a_rcut": 2.5,
                    "a_rcut_smth": 0.5, "a_sel": 10, "axis_neuron": 4},
        "activation_function": "taafs:bspline,base=silu",
        "seed": 1,
    },
    "hybrid": {"type": "hybrid", "list": [{"type": "se_e2_a", "sel": SEL, "axis_neuron": 4, **SE}, {"type": "se_e2_r", "sel": SEL, **SE}]},
}  # fmt: skip
FITTINGS = {
    "ener": ({}, {}),
    "dipole": ({"type": "dipole", "sel_type": [0]}, {"type": "tensor", "pref": 1.0, "pref_atomic": 0.0}),
    "polar": ({"type": "polar", "sel_type": [0]}, {"type": "tensor", "pref": 1.0, "pref_atomic": 0.0}),
    "dos": ({"type": "dos", "numb_dos": 5}, {"type": "dos", "start_pref_dos": 0.0, "limit_pref_dos": 0.0, "start_pref_ados": 1.0,
                                              "limit_pref_ados": 1.0}),
}  # fmt: skip


def outputs(model, system) -> list[np.ndarray]:
    """Everything a model predicts for one frame."""
    coord, box, types = frame(system)
    out = model(torch.tensor(coord).reshape(1, -1, 3), torch.tensor(types)[None], torch.tensor(box))
    return [value.detach().double().numpy() for key, value in sorted(out.items()) if value.is_floating_point()]


def live(path, head="Default"):
    """The model of a checkpoint, with its coefficients."""
    import deepmd.pt  # noqa: F401
    from deepmd.pt.model.model import get_model

    state = load_state(path)
    model = get_model(state["_extra_state"]["model_params"])
    model.load_state_dict({k.removeprefix(f"model.{head}."): v for k, v in state.items() if k != "_extra_state"}, strict=False)
    return model.eval()


def label(system, kind):
    """Made-up labels for the tensor fittings: what is tested is the path, not the physics."""
    from pathlib import Path

    part = Path(system) / "set.000"
    rng = np.random.default_rng(0)
    frames, atoms = 8, 192
    if kind == "dipole":
        np.save(part / "dipole.npy", rng.normal(size=(frames, 3)))
    elif kind == "polar":
        np.save(part / "polarizability.npy", rng.normal(size=(frames, 9)))
    elif kind == "dos":
        np.save(part / "atom_dos.npy", rng.normal(size=(frames, atoms * 5)))


# Coefficient tensors that cannot move: se_e3 builds a net for each ordered pair of types and calls those of i <= j alone, so nothing
# of the net of (H, O), weights neither, gets a gradient.
STILL = {"se_e3": [f"atomic_model.descriptor.seat.filter_layers.networks.1.layers.{i}.activate.delta" for i in (0, 1)]}


def build_train_freeze(config, folder, system, still=()):
    """Train 5 steps, change the coefficients, freeze; compare live, reloaded and frozen, and with the unchanged ones.

    Every coefficient tensor must have moved but those of ``still``, which must not.
    """
    (folder / "input.json").write_text(json.dumps(config))
    dp("train", "input.json", "--skip-neighbor-stat", cwd=folder)
    trained = checkpoint(folder, 5)
    state = load_state(trained)
    keys = coefficient_keys(state)
    assert keys
    assert [key.removeprefix("model.Default.") for key in keys if not bool(state[key].any())] == list(still)
    randomise(trained, folder / "random.pt", scale=0.05)
    dp("freeze", "-c", "random.pt", "-o", "frozen.pth", cwd=folder)
    ours, frozen = outputs(live(folder / "random.pt"), system), outputs(torch.jit.load(folder / "frozen.pth"), system)
    before = outputs(live(trained), system)
    for a, b in zip(ours, frozen, strict=True):
        assert np.abs(a - b).max() < 1e-8 * max(1.0, np.abs(a).max())
    assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(ours, before, strict=True))
    return keys


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in DESCRIPTORS if name not in ("se_e2_a", "se_e2_r")])  # those: below, and in hybrid
def test_descriptor(name, small_water, tmp_path):
    config = water_input("taafs:bspline", small_water, steps=5)
    config["model"]["descriptor"] = DESCRIPTORS[name]
    build_train_freeze(config, tmp_path, small_water[0], STILL.get(name, []))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FITTINGS)[1:])
def test_fitting(name, small_water, tmp_path):
    fitting, loss = FITTINGS[name]
    label(small_water[0], name)
    config = water_input("taafs:bspline", small_water, steps=5)
    config["model"]["descriptor"] = DESCRIPTORS["se_e2_r" if name == "dos" else "se_e2_a"]
    config["model"]["fitting_net"].update(fitting)
    config["loss"] = loss
    build_train_freeze(config, tmp_path, small_water[0])


@pytest.mark.parametrize("name", ["dpa1", "dpa2", "dpa3", "hybrid"])
def test_serialize_keeps_coefficients_of_blocks_too(name, small_water):
    import copy

    from conftest_deepmd import model_of
    from deepmd.pt.model.model import BaseModel

    import taafs_plugins as taafs

    config = water_input("taafs:bspline", small_water)
    config["model"]["descriptor"] = copy.deepcopy(DESCRIPTORS[name])
    model = model_of(config)
    generator = torch.Generator().manual_seed(3)
    for act in taafs.trainable_activations(model).values():
        act.delta.data = 0.05 * torch.randn(act.delta.shape, generator=generator, dtype=torch.float64)
    again = BaseModel.deserialize(copy.deepcopy(model.serialize()))
    for a, b in zip(outputs(model, small_water[0]), outputs(again, small_water[0]), strict=True):
        assert np.abs(a - b).max() < 1e-10 * max(1.0, np.abs(a).max())


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_every_descriptor_in_float32(name, small_water):
    """Coefficients take their layer's precision (those beside layers, of dpa2 and dpa3, stay float64); live and scripted model agree."""
    import copy

    from conftest_deepmd import model_of

    import taafs_plugins as taafs

    config = water_input("taafs:bspline", small_water, precision="float32")
    descriptor = copy.deepcopy(DESCRIPTORS[name])
    for part in descriptor.get("list", [descriptor]):
        part["precision"] = "float32"
    config["model"]["descriptor"] = descriptor
    model = model_of(config).eval()
    generator = torch.Generator().manual_seed(3)
    table = taafs.sites(model)
    assert {site.current.delta.dtype for site in table if site.width} == {torch.float32}
    for site in table:
        delta = site.current.delta
        delta.data = 0.01 * torch.randn(delta.shape, generator=generator).to(delta.dtype)
    for a, b in zip(outputs(model, small_water[0]), outputs(torch.jit.script(model), small_water[0]), strict=True):
        assert np.abs(a - b).max() < 2e-4 * max(1.0, np.abs(a).max())


@pytest.mark.slow
@pytest.mark.parametrize(("share", "sets"), [(("network", "neuron"), 4 + 4), (("global", "global"), 1)])
def test_shared_coefficients_stay_shared_through_training_and_freezing(share, sets, small_water, tmp_path):
    """``share`` in the descriptor, of 4 nets and 8 layers, and in the fitting nets, 2 with 2 layers each."""
    config = water_input(tuple(f"taafs:bspline,share={how}" for how in share), small_water, steps=5)
    (tmp_path / "input.json").write_text(json.dumps(config))
    dp("train", "input.json", "--skip-neighbor-stat", cwd=tmp_path)
    state = load_state(checkpoint(tmp_path, 5))
    keys = coefficient_keys(state)
    values = [state[key] for key in keys]
    assert len(keys) == 12 and all(bool(value.any()) for value in values)
    assert len({tuple(value.flatten().tolist()) for value in values}) == sets
    assert all(state[key].dim() == (2 if share["fitting" in key] == "neuron" else 1) for key in keys)
    dp("freeze", "-o", "frozen.pth", cwd=tmp_path)
    model = live(checkpoint(tmp_path, 5))
    ours, frozen = outputs(model, small_water[0]), outputs(torch.jit.load(tmp_path / "frozen.pth"), small_water[0])
    assert all(np.abs(a - b).max() < 1e-8 * max(1.0, np.abs(a).max()) for a, b in zip(ours, frozen, strict=True))
    for parameter in {id(p): p for n, p in model.named_parameters() if n.endswith(".delta")}.values():
        parameter.data.zero_()
    assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(ours, outputs(model, small_water[0]), strict=True))
