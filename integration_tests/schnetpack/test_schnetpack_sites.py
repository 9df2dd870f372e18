"""Sites, counts, sharing, conversion and specs in constructors."""

import io

import pytest
import schnetpack as spk
import torch
from schnetpack_helpers import REPRESENTATIONS, batch, differs, ethanol, potential, predict, randomise, representation
from torch import nn

import taafs_plugins as taafs
from taafs_plugins.adapters import adapter


@pytest.fixture
def registered():
    adapter("schnetpack").register()
    yield
    adapter("schnetpack").unregister()


@pytest.mark.parametrize(
    ("features", "interactions", "rbf", "stock", "added"),
    [(128, 2, 16, 396673, 32), (64, 3, 32, 164225, 48), (128, 3, 16, 584449, 48)],
)
def test_parameter_counts(features, interactions, rbf, stock, added):
    model = potential("painn", features, interactions, rbf)
    assert taafs.count_parameters(model) == stock
    report = taafs.convert(model, "taafs:bspline")
    assert (report.before, report.added, report.after) == (stock, added, stock + added)
    assert taafs.convert(model, "taafs:bspline", sites="head").added == 8


def test_groups_select_sites():
    for group, count in (("message", 2), ("update", 2), ("head", 1)):
        report = taafs.convert(potential(), "taafs", sites=group)
        assert len(report.sites) == count and report.added == 8 * count
    assert len(taafs.convert(potential(), "taafs", sites=["message", "representation.mixing.1.*"]).sites) == 3
    with pytest.raises(taafs.SpecError, match="Did you mean 'message'"):
        taafs.convert(potential(), "taafs", sites="mesage")


@pytest.mark.parametrize(("share", "added"), [("global", 8), ("network", 16), ("layer", 40), ("neuron", 8 * (4 * 16 + 8))])
def test_share(share, added):
    model = potential()
    assert taafs.convert(model, f"taafs:bspline,share={share}", sites=["message", "update", "head"]).added == added
    stock = predict(potential())
    assert differs(predict(randomise(model)), stock)


def test_one_passed_activation_object_becomes_independent_sites():
    shared = nn.SiLU()
    model = potential(activation=shared)
    taafs.convert(model, "taafs", sites="representation.interactions.0.*")
    assert [site.converted for site in taafs.sites(model)] == [True, False, False, False, False]
    taafs.restore(model)
    assert all(site.current is shared for site in taafs.sites(model)[:4])


def test_shared_interactions_are_one_site_per_block():
    model = potential(interactions=3, shared_interactions=True)
    assert taafs.convert(model, "taafs").added == 16


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_conversion_changes_nothing_to_the_last_bit_and_restores(kind):
    for dtype in (torch.float32, torch.float64):
        model = potential(kind)
        before, keys = predict(model, dtype=dtype), list(model.state_dict())
        types = [type(module) for module in model.modules()]
        activations = [site.current for site in taafs.sites(model)]
        taafs.convert(model, "taafs:chebyshev1", sites=["*"])
        after = predict(model, dtype=dtype)
        assert torch.equal(before["energy"], after["energy"]) and torch.equal(before["forces"], after["forces"])
        taafs.restore(model)
        assert list(model.state_dict()) == keys and [type(module) for module in model.modules()] == types
        assert [site.current for site in taafs.sites(model)] == activations


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_every_site_changes_energy_and_forces(kind):
    model = potential(kind)
    names = taafs.convert(model, "taafs", sites=["*"]).sites
    stock = predict(model)
    for name in names:
        act = model.get_submodule(name)
        with torch.no_grad():
            act.delta.copy_(torch.linspace(-0.03, 0.05, act.delta.numel()))
        assert differs(predict(model), stock, by=1e-7), name
        with torch.no_grad():
            act.delta.zero_()
    assert len(names) == {"painn": 5, "schnet": 5, "so3net": 3, "field_schnet": 11}[kind]


@pytest.mark.parametrize("kind", REPRESENTATIONS)
@pytest.mark.parametrize("target", ["energy", "forces"])
def test_every_coefficient_gets_a_gradient(kind, target):
    model = potential(kind).double().train()
    taafs.convert(model, "taafs", sites=["*"])
    randomise(model, size=0.05)
    (model(batch())[target] ** 2).sum().backward()
    assert taafs.check_gradients(model) == []
    assert all((act.delta.grad != 0).any() for act in taafs.trainable_activations(model).values())


def test_sites_outside_dense():
    gated = spk.atomistic.DipoleMoment(n_in=16, use_vector_representation=True, dipole_key="dipole")
    embedding = spk.nn.ElectronicEmbedding("total_charge", 16, is_charged=True)
    torch.manual_seed(0)
    rep = representation("painn", electronic_embeddings=[embedding])
    model = spk.model.NeuralNetworkPotential(rep, [spk.atomistic.PairwiseDistances()], [gated]).double()
    inputs = batch() | {"total_charge": torch.tensor([1.0, -1.0, 2.0], dtype=torch.float64)}
    # the last layer of a fresh embedding is zero, and with it everything before it
    nn.init.orthogonal_(embedding.resblock.residual.stack[0].linear2.weight)
    nn.init.orthogonal_(embedding.resblock.linear.weight)
    table = taafs.sites(model)
    outside = [site.name for site in table if not site.call.startswith("Dense")]
    assert [name.rsplit(".", 1)[1] for name in outside] == ["activation", "activation1", "activation2", "sactivation"]
    assert [site.group for site in table if not site.default] == ["embedding"] * 3 + ["head"] * 3
    stock = model(dict(inputs))["dipole"]
    taafs.convert(model, "taafs", sites=outside)
    assert torch.equal(model(dict(inputs))["dipole"], stock)
    for name in outside:
        with torch.no_grad():
            model.get_submodule(name).delta.copy_(torch.linspace(-0.03, 0.05, 8))
        assert (model(dict(inputs))["dipole"] - stock).abs().max() > 1e-8, name
        with torch.no_grad():
            model.get_submodule(name).delta.zero_()


def test_spec_as_activation_keeps_the_weights_of_the_seed(registered):
    stock, model = potential(), potential(activation="taafs:chebyshev1")
    assert taafs.count_parameters(model) == taafs.count_parameters(stock) + 32
    assert all(site.current.spec["rate"] == 10 for site in taafs.sites(model) if site.converted)
    state = model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in stock.state_dict().items())
    a, b = predict(stock), predict(model)
    assert torch.equal(a["energy"], b["energy"]) and torch.equal(a["forces"], b["forces"])


@pytest.mark.parametrize(("kind", "sites"), [("schnet", 4), ("so3net", 2), ("field_schnet", 10)])
def test_spec_as_activation_of_other_representations(registered, kind, sites):
    model = potential(kind, activation="taafs:bspline,share=layer")
    assert len(taafs.trainable_activations(model)) == sites
    assert torch.equal(predict(model)["energy"], predict(potential(kind))["energy"])


def test_spec_as_activation_of_a_head_and_with_a_base(registered):
    head = spk.atomistic.Atomwise(n_in=16, output_key="energy", activation="taafs:fourier,n=2")
    model = potential(head=head, activation="taafs,base=tanh")
    assert [site.current.base_name for site in taafs.sites(model)] == ["tanh"] * 4 + ["silu"]
    assert head.outnet[0].activation.delta.shape == (5,)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("taafs:chebishev1", "chebyshev1"),
        ("silu", "'silu' is a stock activation and no spec"),
        ("taafs:bspline,gird=5", "Did you mean 'grid'"),
        ("taafs,scale=auto", "convert the built model and calibrate"),
    ],
)
def test_mistakes_in_a_config_are_one_sentence(registered, spec, message):
    with pytest.raises(taafs.SpecError, match=message):
        potential(activation=spec)


@pytest.mark.parametrize("kind", REPRESENTATIONS)
def test_pickled_whole_and_state_dict(kind):
    model = randomise_all(kind)
    before = predict(model)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    after = predict(torch.load(file, weights_only=False))
    assert torch.equal(before["energy"], after["energy"]) and torch.equal(before["forces"], after["forces"])
    other = potential(kind, seed=5)
    taafs.convert(other, "taafs:bspline", sites=["*"])
    other.load_state_dict(model.state_dict())
    assert torch.equal(before["forces"], predict(other)["forces"])


def randomise_all(kind):
    model = potential(kind)
    taafs.convert(model, "taafs:bspline", sites=["*"])
    return randomise(model)


def test_scale_auto_after_building():
    model = potential()
    taafs.convert(model, "taafs,scale=auto")
    with taafs.calibrate(model):
        predict(model, ethanol(10))
    assert all(act.scale != 1 for act in taafs.trainable_activations(model).values())
