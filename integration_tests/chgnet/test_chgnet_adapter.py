"""The adapter's core: counts, sites, exact conversion, files in fresh processes, gradients, bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chgnet_helpers import PAPER, all_differ, fresh, fresh_predictions, mptrj, predictions, randomise, same, stock

import taafs_plugins as taafs
from taafs_plugins.adapters.chgnet import adapter as chgnet_adapter

ENABLE = "import taafs_plugins as taafs\ntaafs.enable('chgnet')\nfrom chgnet.model import CHGNet\n"


@pytest.fixture
def tuned():
    """Pretrained 0.3.0 with random coefficients over one batch's calibrated scales."""
    model = stock()
    taafs.convert(model, "taafs:chebyshev1,scale=auto")
    with taafs.calibrate(model):
        model.predict_structure(list(mptrj(4).structures), task="e")
    randomise(model, size=0.05)
    return model


# Counts and sites -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "total"),
    [
        ("taafs:bspline,residual=scaled", 403286),  # 16 x 10
        ("taafs:bspline,grid=7", 403286),  # 16 x 10
        ("taafs:chebyshev1,degree=3", 403190),  # 16 x 4
        ("taafs:bspline,share=global", 403126 + 8),
        ("taafs:bspline,share=network", 403126 + 15 * 8),  # 14 MLPs with one hidden layer, one with two
        ("taafs:bspline,share=neuron", 403126 + 16 * 64 * 8),
    ],
)
def test_built_and_converted_models_have_the_papers_counts(spec, total):
    from chgnet.model import CHGNet

    built, converted = CHGNet(non_linearity=spec, **PAPER), CHGNet(**PAPER)
    assert converted.n_params == 403126
    report = taafs.convert(converted, spec)
    assert built.n_params == converted.n_params == report.after == total
    assert list(taafs.trainable_activations(built)) == list(taafs.trainable_activations(converted)) == list(report.sites)
    assert built.model_args == converted.model_args


@pytest.mark.parametrize(("name", "before", "sites"), [("0.3.0", 412525, 17), ("r2scan", 412525, 17), ("0.2.0", 400438, 16)])
def test_counts_of_the_shipped_checkpoints(name, before, sites):
    model = stock(name)
    report = taafs.convert(model, "taafs:bspline")
    assert (report.before, len(report.sites), report.added) == (before, sites, 8 * sites)
    assert model.n_params == before + 8 * sites


def test_the_table_lists_every_activation_that_is_called():
    model = stock()
    table = taafs.sites(model)
    groups = {group: [site for site in table if site.group == group] for group in ("hidden", "core", "gate", "unused")}
    assert {group: len(sites) for group, sites in groups.items()} == {"hidden": 17, "core": 9, "gate": 9, "unused": 2}
    assert [site.default for site in table] == [site.group == "hidden" for site in table]
    assert not any(site.name.startswith("composition_model") for site in table)

    called = []
    handles = [site.current.register_forward_hook(lambda *_, name=site.name: called.append(name)) for site in table]
    model.predict_structure(mptrj(1).structures[0], task="e")
    for handle in handles:
        handle.remove()
    assert set(called) == {site.name for site in table}
    assert all(part in str(table) for part in ("mlp.layers.1", "GatedMLP.sigmoid", "silu", "[..., 64]"))


def test_the_other_activations_of_gated_mlps_are_options():
    from chgnet.model import CHGNet

    model = CHGNet(non_linearity="taafs:chebyshev1,degree=3", taafs_sites=["gate", "core"], **PAPER)
    assert model.n_params == 403126 + 18 * 4
    assert {act.base_name for act in taafs.trainable_activations(model).values()} == {"silu", "sigmoid"}
    again = CHGNet.from_dict(model.as_dict())
    assert list(taafs.trainable_activations(again)) == list(taafs.trainable_activations(model))


def test_base_chooses_the_stock_activation():
    from chgnet.model import CHGNet

    model = CHGNet(non_linearity="taafs:chebyshev1,base=tanh")
    assert {act.base_name for act in taafs.trainable_activations(model).values()} == {"tanh"}
    taafs.restore(model)
    assert model.model_args["non_linearity"] == "tanh"


def test_a_built_model_has_the_initial_weights_of_the_stock_one():
    from chgnet.model import CHGNet

    torch.manual_seed(3)
    plain = CHGNet(**PAPER)
    torch.manual_seed(3)
    built = CHGNet(non_linearity="taafs:fourier", **PAPER)
    built_state = built.state_dict()
    assert all(torch.equal(value, built_state[key]) for key, value in plain.state_dict().items())


# Conversion changes nothing before the first step -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "spec", "sites"),
    [
        ("0.3.0", "taafs:chebyshev1", None),
        ("0.2.0", "taafs:chebyshev1", None),
        ("r2scan", "taafs:chebyshev1", None),
        ("0.3.0", "taafs:bspline,share=neuron", ["hidden", "core", "gate", "unused"]),
    ],
)
def test_conversion_keeps_every_bit_and_restore_gives_stock_back(name, spec, sites):
    """Energy, forces, stress and magmoms in float32 of 20 structures of different materials."""
    model, structures = stock(name), mptrj(20).structures
    assert len({structure.formula for structure in structures}) == 20
    arguments, state = dict(model.model_args), {key: value.clone() for key, value in model.state_dict().items()}
    before = predictions(model, structures)
    assert all(value.dtype == np.float32 for prediction in before for value in prediction.values())
    taafs.convert(model, spec, sites=sites)
    assert same(before, predictions(model, structures))

    taafs.restore(model)
    assert model.model_args == arguments
    assert list(model.state_dict()) == list(state)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert same(before[:3], predictions(model, structures[:3]))


def test_scale_auto_is_measured_and_changes_nothing_by_itself():
    model, structures = stock(), mptrj(4).structures
    before = predictions(model, structures)
    taafs.convert(model, "taafs:chebyshev1,scale=auto")
    with taafs.calibrate(model):
        model.predict_structure(list(structures), task="e")
    scales = {name: float(act.scale) for name, act in taafs.trainable_activations(model).items()}
    assert min(scales.values()) > 5 and max(scales.values()) > 100, scales  # DESIGN: 11 to 253 in this checkpoint
    assert same(before, predictions(model, structures))
    assert {act.rate for act in taafs.trainable_activations(model).values()} == {0.1}


# Files ------------------------------------------------------------------------------------------------------------------------


def test_a_converted_model_comes_back_in_a_fresh_process(tuned, tmp_path):
    expected = predictions(tuned, mptrj(3).structures)
    assert all_differ(expected, predictions(stock(), mptrj(3).structures))
    torch.save({"model": tuned.as_dict()}, tmp_path / "model.pth.tar")
    assert same(expected, fresh_predictions(ENABLE + "model = CHGNet.from_file('model.pth.tar')", tmp_path, 3))
    load = "import torch\nmodel = CHGNet.from_dict(torch.load('model.pth.tar', weights_only=True)['model'])"
    assert same(expected, fresh_predictions(ENABLE + load, tmp_path, 3))


def test_a_built_model_comes_back_in_a_fresh_process(tmp_path):
    from chgnet.model import CHGNet

    model = CHGNet(non_linearity="taafs:bspline,residual=scaled,share=network", **PAPER)
    randomise(model)
    torch.save({"model": model.as_dict()}, tmp_path / "model.pth.tar")
    expected = predictions(model, mptrj(3).structures)
    assert same(expected, fresh_predictions(ENABLE + "model = CHGNet.from_file('model.pth.tar')", tmp_path, 3))


def test_coefficients_load_onto_a_converted_model_too(tuned, tmp_path):
    taafs.save_coefficients(tuned, tmp_path / "iron.safetensors")
    expected, arguments = predictions(tuned, mptrj(2).structures), dict(tuned.model_args)
    randomise(tuned, size=0.03, seed=8)
    assert all_differ(expected, predictions(tuned, mptrj(2).structures))
    taafs.load_coefficients(tuned, tmp_path / "iron.safetensors")
    assert same(expected, predictions(tuned, mptrj(2).structures)) and tuned.model_args == arguments


def test_a_stock_process_refuses_a_converted_model(tuned, tmp_path):
    torch.save({"model": tuned.as_dict()}, tmp_path / "model.pth.tar")
    done = fresh("from chgnet.model import CHGNet\nCHGNet.from_file('model.pth.tar')", tmp_path)
    assert done.returncode != 0
    assert "NotImplementedError" in done.stderr and 'KeyError: "taafs:chebyshev1,' in done.stderr
    assert "call taafs_plugins.enable('chgnet') before chgnet loads this model" in done.stderr


def test_saved_arguments_build_the_same_model():
    """``non_linearity`` as a saved model has it, with the hint for processes that cannot read it, is a spec too."""
    from chgnet.model import CHGNet

    model = CHGNet(non_linearity="taafs:chebyshev1,degree=3", **PAPER)
    assert model.model_args["non_linearity"].endswith(chgnet_adapter.HINT)
    for arguments in (model.model_args, {**PAPER, "non_linearity": model.model_args["non_linearity"]}):
        again = CHGNet(**arguments)
        assert again.n_params == 403190 and again.model_args == model.model_args


def test_two_conversions_of_one_model_survive_a_round_trip():
    from chgnet.model import CHGNet

    model = stock()
    taafs.convert(model, "taafs:chebyshev1,degree=3")
    taafs.convert(model, "taafs:fourier,n=2", sites="gate")
    randomise(model)
    again = CHGNet.from_dict(model.as_dict())
    assert same(predictions(model, mptrj(2).structures), predictions(again, mptrj(2).structures))
    assert again.model_args == model.model_args
    assert taafs.restore(again) == 26 and again.model_args == stock().model_args


# Every coefficient is used ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sites", [None, ["hidden", "core", "gate"]])
def test_every_coefficient_gets_a_gradient_from_stress_alone(sites):
    model = stock()
    taafs.convert(model, "taafs:chebyshev1,scale=auto", sites=sites)
    structures = list(mptrj(4).structures)
    with taafs.calibrate(model):
        model.predict_structure(structures, task="e")
    graphs = [model.graph_converter(structure) for structure in structures]
    value = torch.cat(list(model(graphs, task="efs")["s"]))
    (value**2).sum().backward()
    for name, act in taafs.trainable_activations(model).items():
        assert act.delta.grad is not None and act.delta.grad.abs().max() > 0, name
    assert taafs.check_gradients(model) == []


# Bad input --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"non_linearity": "tafs:chebyshev1"}, "Did you mean 'taafs'"),
        ({"non_linearity": "sillu"}, "Did you mean 'silu'"),
        ({"non_linearity": "taafs:chebishev1"}, "Did you mean 'chebyshev1'"),
        ({"non_linearity": "taafs:chebyshev1,base=mish"}, "base=mish"),
        ({"non_linearity": "taafs:chebyshev1", "taafs_sites": "hiden"}, "Did you mean 'hidden'"),
        ({"taafs_sites": "gate"}, "needs a spec"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    from chgnet.model import CHGNet

    with pytest.raises(taafs.SpecError, match=message):
        CHGNet(**arguments)


# The host is changed as little as possible --------------------------------------------------------------------------------------


def test_numbers_stay_finite_for_random_coefficients_on_real_frames(tuned):
    for prediction in predictions(tuned, mptrj(6).structures):
        assert all(np.isfinite(prediction[key]).all() for key in "efsm")
