"""Where the activations are, how many numbers they add, what they start as, and how a spec gets there."""

import pytest
import torch
import torchani
from torchani.nn import ANINetworks, ANISharedNetworks, AtomicNetwork, SingleNN, TightCELU
from torchani_small import SYMBOLS, batch, frames, randomise, small_model

import taafs_plugins as taafs
from taafs_plugins import HostError, SpecError
from taafs_plugins.adapters import adapter
from taafs_plugins.adapters.torchani.network import ActivatedLinear

COUNTS = [("like_1x", 326660, {"global": 8, "network": 32, "layer": 96}), ("like_2x", 1713223, {"global": 8, "network": 56, "layer": 168})]


@pytest.mark.parametrize("share", ["global", "network", "layer"])
@pytest.mark.parametrize(("builder", "fixed", "added"), COUNTS)
def test_parameter_counts(builder, fixed, added, share, enabled):
    """Converted, and built from a spec: the same counts, to the digit."""
    model = getattr(ANINetworks, builder)()
    report = taafs.convert(model, f"taafs:bspline,share={share}")
    assert (report.before, report.added, report.after) == (fixed, added[share], fixed + added[share])
    assert len(report.sites) == {"like_1x": 12, "like_2x": 21}[builder]
    built = getattr(ANINetworks, builder)(activation=f"taafs:bspline,share={share}")
    assert taafs.count_parameters(built) == fixed + added[share]


def test_layers_of_one_network_differ():
    """share=layer: a network applies its own curve behind each layer, although TorchANI calls one object."""
    network = AtomicNetwork([5, 4, 4, 1], activation="celu", bias=True).double()
    taafs.convert(network, "taafs:bspline")
    first, second = taafs.trainable_activations(network).values()
    first.delta.data.normal_()
    second.delta.data.normal_()
    x = torch.randn(7, 5, dtype=torch.float64)
    by_hand = first(torch.nn.functional.linear(x, network.layers[0].weight, network.layers[0].bias))
    by_hand = second(torch.nn.functional.linear(by_hand, network.layers[1].weight, network.layers[1].bias))
    assert torch.equal(network(x), network.final_layer(by_hand))


def test_some_sites_only():
    model = small_model()
    report = taafs.convert(model, "taafs:bspline", sites=["H", "*atomics.O.layers.2"])
    assert report.added == 4 * 8
    assert {site.name.split("atomics.")[1] for site in taafs.sites(model) if site.converted} == {
        "H.layers.0", "H.layers.1", "H.layers.2", "O.layers.2"}  # fmt: skip
    taafs.convert(model, "taafs:fourier", sites="*atomics.O.layers.0")
    assert taafs.restore(model) == 5
    assert not any(isinstance(module, ActivatedLinear) for module in model.modules())
    with pytest.raises(SpecError, match="No site matches 'S'"):
        taafs.convert(model, "taafs:bspline", sites="S")


def test_shared_networks_have_a_site_at_their_output():
    """ANISharedNetworks applies the shared network's activation once more, to its output."""
    torch.manual_seed(0)
    elements = {s: AtomicNetwork([6, 5, 1], activation="celu") for s in SYMBOLS}
    model = ANISharedNetworks(AtomicNetwork([8, 7, 6], activation="gelu"), elements).double()
    index, aev = torch.tensor([[0, 1, 2, 3, -1]]), torch.randn(1, 5, 8, dtype=torch.float64)
    stock = model(index, aev)
    report = taafs.convert(model, "taafs:bspline")
    assert report.added == 8 * (2 + 4) and "shared.final_layer" in report.sites
    assert torch.equal(model(index, aev), stock)
    before = stock
    for act in taafs.trainable_activations(model).values():  # each of them is used
        act.delta.data.fill_(0.3)
        after = model(index, aev)
        assert not torch.equal(after, before)
        before = after
    assert torch.equal(torch.jit.script(model)(index, aev), before)
    taafs.restore(model)
    assert torch.equal(model(index, aev), stock)


def test_single_network_model_converts():
    torch.manual_seed(0)
    model = SingleNN.build(SYMBOLS, 8, (6, 5)).double()
    index, aev = torch.tensor([[0, 1, 2, 3, -1]]), torch.randn(1, 5, 8, dtype=torch.float64)
    stock = model(index, aev)
    assert taafs.convert(model, "taafs:bspline").added == 16
    assert torch.equal(model(index, aev), stock)
    randomise(model)
    assert not torch.allclose(model(index, aev), stock)


def _simple_ani(**kwargs):
    sizes = dict(radial_shifts=4, angular_shifts=2, sections=2, container_ctor="like_1x")
    return torchani.arch.simple_ani(SYMBOLS, "wb97x-631gd", **sizes, **kwargs)


@pytest.mark.parametrize(("base", "stock"), [("gelu", "gelu"), ("celu", "celu")])
def test_simple_ani_takes_a_spec(base, stock, enabled):
    """The same seed gives the same weights and energies as stock; the base is the builder's default unless named."""
    torch.manual_seed(3)
    reference = _simple_ani(activation=stock, ensemble_size=2)
    torch.manual_seed(3)
    model = _simple_ani(activation="taafs:bspline" + (",base=celu" if base == "celu" else ""), ensemble_size=2)
    assert len(taafs.trainable_activations(model)) == 24
    x = batch(frames(limit=3), dtype=torch.float32)
    assert torch.equal(model(x).energies, reference(x).energies)


@pytest.mark.parametrize(("builder", "base"), [("like_1x", TightCELU), ("like_2x", TightCELU), ("like_ala", TightCELU),
                                               ("like_dr", torch.nn.GELU), ("default", torch.nn.GELU)])  # fmt: skip
def test_builders_replace_their_own_default(builder, base, enabled):
    model = getattr(ANINetworks, builder)(SYMBOLS, 8, activation="taafs:bspline")
    assert {type(act.base) for act in taafs.trainable_activations(model).values()} == {base}


def test_global_spec_is_shared_by_all_members(enabled):
    model = _simple_ani(activation="taafs:bspline,share=global", ensemble_size=2)
    assert len({id(act.delta) for act in taafs.trainable_activations(model).values()}) == 1


def test_atomic_network_takes_a_spec_and_registration_is_undone():
    host = adapter("torchani")
    stock = AtomicNetwork.__init__, torchani.arch.parse_activation, ANINetworks.__dict__["like_1x"]
    host.register()
    host.register()
    network = AtomicNetwork([3, 4, 1], activation="taafs:fourier,n=2")
    assert [act.delta.numel() for act in taafs.trainable_activations(network).values()] == [5]
    host.unregister()
    host.unregister()
    assert (AtomicNetwork.__init__, torchani.arch.parse_activation, ANINetworks.__dict__["like_1x"]) == stock
    with pytest.raises(AssertionError):
        AtomicNetwork([3, 4, 1], activation="taafs:fourier,n=2")


def test_mistakes_get_one_sentence(enabled):
    with pytest.raises(SpecError, match="Did you mean 'taafs'"):
        AtomicNetwork([3, 4, 1], activation="taaf:bspline")
    with pytest.raises(SpecError, match="Did you mean 'grid'"):
        ANINetworks.like_1x(activation="taafs:bspline,gird=5")
    with pytest.raises(HostError, match=r"SingleNN.build .* taafs.convert"):
        SingleNN.default(SYMBOLS, 8, activation="taafs:bspline")
    with pytest.raises(HostError, match=r"ANISharedNetworks.build .* taafs.convert"):
        ANISharedNetworks.default(SYMBOLS, 8, activation="taafs:bspline")
    with pytest.raises(HostError, match="pass the spec instead: activation='taafs:bspline"):
        AtomicNetwork([3, 4, 1], activation=taafs.make_activation("taafs:bspline"))
    model = small_model()
    taafs.convert(model, "taafs:bspline")
    with pytest.raises(HostError, match="converted already"):
        taafs.convert(model, "taafs:bspline")
    changed = small_model()
    torch.nn.utils.parametrizations.weight_norm(changed.neural_networks["H"].layers[0])
    with pytest.raises(HostError, match="not a plain Linear"):
        taafs.convert(changed, "taafs:bspline")


def test_defaults_are_those_of_the_study():
    """docs/results.md: B-spline per layer with rate=1."""
    spec = taafs.convert(small_model(), "taafs").spec
    assert (spec.variant, spec["share"], spec["rate"], spec["scale"]) == ("bspline", "layer", 1.0, 1.0)


def test_scale_auto_is_measured_per_site_and_saved():
    model = small_model()
    taafs.convert(model, "taafs:bspline,scale=auto")
    with taafs.calibrate(model):
        model(batch(frames(limit=20)))
    scales = {name: float(act.scale) for name, act in taafs.trainable_activations(model).items()}
    assert len(set(scales.values())) == 12 and all(0 < s < 2 for s in scales.values())
    fresh = small_model(seed=4)
    taafs.convert(fresh, "taafs:bspline,scale=auto")
    fresh.load_state_dict(model.state_dict())
    assert {name: float(act.scale) for name, act in taafs.trainable_activations(fresh).items()} == scales
