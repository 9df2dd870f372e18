"""``dp --pt compress`` with trained activations: every descriptor, way of sharing and basis, compressed in this process."""

import logging

import numpy as np
import pytest
import torch
from compress_models import DESCRIPTORS, differences, live_values, live_water, make, within

import taafs_plugins as taafs
from taafs_plugins.activations.taafs.bases import basis_names
from taafs_plugins.adapters import adapter
from taafs_plugins.adapters.deepmd import compress as deepmd_compress

SHARES = ("layer", "network", "global", "neuron")
# The input of se_e3's nets is a cosine, and the host multiplies the step by 10 there: random curves need a smaller one.
STEPS = {"se_e3": 0.001}


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", DESCRIPTORS)
def test_every_descriptor_keeps_its_values(name, share, small_water):
    model = make(name, f"taafs:fourier,share={share}")
    found = differences(model, small_water[0], STEPS.get(name, 0.01))
    assert within(found), found


@pytest.mark.parametrize("basis", basis_names())
def test_every_basis_keeps_its_values(basis, small_water):
    found = differences(make("se_e2_a", f"taafs:{basis}"), small_water[0])
    assert within(found), found


@pytest.mark.parametrize(
    "options",
    ["residual=none", "residual=scaled", "residual=scaled,share=neuron", "squash=algebraic", "scale=2.5", "base=gelu", "base=silut:3.0"],
)
def test_every_form_of_the_formula_keeps_its_values(options, small_water):
    found = differences(make("two-sided", f"taafs:chebyshev1,{options}", 0.05), small_water[0])
    assert within(found), found


@pytest.mark.parametrize("neuron", [[4, 8], [1, 2, 2], [2, 3, 5], [4, 4, 8]])
@pytest.mark.parametrize("resnet_dt", [False, True])
def test_every_shape_of_net_and_resnet_dt_keep_their_values(neuron, resnet_dt, small_water):
    changes = {"neuron": neuron, "axis_neuron": 1, "resnet_dt": resnet_dt}
    found = differences(make("se_e2_a", "taafs:fourier", 0.05, **changes), small_water[0])
    assert within(found), found


@pytest.mark.parametrize("name", ["se_e2_a", "dpa1"])
def test_in_float32_the_error_is_that_of_stock(name, small_water):
    stock = differences(make(name, "tanh", precision="float32"), small_water[0])
    found = differences(make(name, "taafs:fourier", 0.02, precision="float32"), small_water[0])
    floor = {"energy": 1e-7, "force": 2e-6, "virial": 2e-5}
    assert all(found[key] < max(3 * stock[key], floor[key]) for key in found), (found, stock)


@pytest.mark.parametrize("spec", ["tanh", "taafs:bspline", "taafs:fourier,share=neuron", "taafs:rational"])
def test_at_the_grid_points_the_tables_are_the_nets_to_rounding(spec):
    """Value, first and second derivative as autograd takes them of the live nets, whatever the curve."""
    model = live_water(spec)
    block = model.atomic_model.descriptor.sea
    model.enable_compression(5, 0.01, 0.1, -1)
    for net, data, info in zip(block.filter_layers.networks, block.compress_data, block.compress_info, strict=True):
        lower, upper = info.tolist()[:2]
        x = (lower + 0.01 * torch.arange(0, int(upper - lower) * 100, 7).double()).reshape(-1, 1).requires_grad_()
        rows = data.detach()[::7][: len(x)].reshape(len(x), -1, 6)
        y = net(x)
        for column in range(0, y.shape[1], 5):
            (first,) = torch.autograd.grad(y[:, column].sum(), x, create_graph=True)
            (second,) = torch.autograd.grad(first.sum(), x, retain_graph=True)
            for m, exact in enumerate((y[:, column], first[:, 0], second[:, 0] / 2)):
                exact = exact.detach()
                assert float((rows[:, column, m] - exact).abs().max()) < 1e-11 * max(1.0, float(exact.abs().max())), (column, m)


# Between the grid points the error is that of a polynomial of fifth order: the sixth derivative counts, and random curves have larger
# ones than tanh; a cubic spline's third derivative jumps at its knots. The step where the limits hold on trained water:
@pytest.mark.parametrize(
    ("basis", "step"),
    [("rational", 0.01), *((name, 0.004) for name in basis_names() if name not in ("bspline", "rational")), ("bspline", 0.001)],
)
def test_on_trained_water_the_limits_hold_at_this_step(basis, step, small_water):
    found = differences(live_water(f"taafs:{basis}", 0.05), small_water[0], step)
    assert within(found), found


def test_a_curve_as_smooth_as_tanh_has_the_error_of_tanh(small_water):
    stock, found = (differences(live_water(name, 0.05), small_water[0]) for name in ("tanh", "taafs:rational"))
    assert all(found[key] <= 3 * stock[key] for key in found), (found, stock)


@pytest.mark.parametrize(("spec", "order"), [("taafs:fourier", 4), ("taafs:grbf", 3), ("taafs:bspline", 1)])
def test_the_error_falls_with_the_step(spec, order, small_water):
    """Of the forces: as its fifth power for a smooth curve, as its second for a cubic spline; a part of that is asked for."""
    coarse, fine = (differences(live_water(spec, 0.05), small_water[0], step)["force"] for step in (0.016, 0.004))
    assert fine < coarse / 4.0**order, (coarse, fine)


def test_a_step_too_coarse_for_a_curve_is_said(small_water, caplog):
    """softsign's second derivative jumps at 0: the table's error falls with the step only, and the way out stands in the log."""
    for spec, step, warned in (("taafs:fourier,squash=softsign", 0.01, True), ("taafs:fourier", 0.01, False)):
        caplog.clear()
        with caplog.at_level(logging.INFO, "deepmd.taafs"):
            differences(make("se_e2_a", spec), small_water[0], step)
        records = [record for record in caplog.records if "slopes of the tables" in record.message]
        assert len(records) == 1 and (records[0].levelname == "WARNING") == warned
        assert ("-s 0.001" in records[0].message) == warned


def test_a_layer_without_a_spec_in_a_trained_net_is_tabulated_too(small_water):
    model = make("se_e2_a", "tanh")
    taafs.convert(model, "taafs:fourier", sites="*descriptor*networks.0.layers.1*")
    act = next(iter(taafs.activations(model).values()))
    act.delta.data.normal_(std=0.02, generator=torch.Generator().manual_seed(1))
    assert len(taafs.activations(model)) == 1
    found = differences(model, small_water[0])
    assert within(found), found


def test_a_trained_fitting_net_alone_keeps_its_values_and_the_table_is_stocks(small_water):
    models = {name: make("se_e2_a", "tanh") for name in ("ours", "stock")}
    taafs.convert(models["ours"], "taafs:bspline", sites="fitting")
    for act in taafs.activations(models["ours"]).values():
        act.delta.data.normal_(std=0.02, generator=torch.Generator().manual_seed(1))
    found = [differences(model, small_water[0]) for model in models.values()]
    assert all(map(within, found)), found
    tables = [model.atomic_model.descriptor.sea.compress_data for model in models.values()]
    assert all(torch.equal(a, b) for a, b in zip(*tables, strict=True))
    assert any(not act.training for act in taafs.activations(models["ours"]).values())


def test_the_derivatives_are_those_of_finite_differences():
    model = live_water("taafs:wavelet,share=neuron")
    layer = model.atomic_model.descriptor.sea.filter_layers.networks[1].layers[1].double()
    y = torch.randn(50, layer.num_in, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    direction, h = 0.3 * torch.ones_like(y), 1e-4

    def at(t):
        with torch.no_grad():
            return layer(y + t * direction)

    value, first, second = deepmd_compress.layer_derivatives(layer, y, direction, torch.zeros_like(y))
    assert torch.equal(value.detach(), at(0.0)) or float((value - at(0.0)).detach().abs().max()) < 1e-14
    assert float(((at(h) - at(-h)) / (2 * h) - first).detach().abs().max()) < 1e-6
    assert float(((at(h) - 2 * at(0.0) + at(-h)) / h**2 - second).detach().abs().max()) < 1e-5


def test_the_ends_and_what_is_beyond_them_are_stocks(small_water):
    """Same table configuration; beyond the last point values are on a line, before it they follow the curve."""
    tables = []
    for spec in ("tanh", "taafs:chebyshev1"):
        model = make("se_e2_a", spec, 0.02)
        net = model.atomic_model.descriptor.sea.filter_layers.networks[0]
        differences(model, small_water[0])
        block = model.atomic_model.descriptor.sea
        tables.append((net, block.compress_data[0].detach(), block.compress_info[0].detach()))
    (_, stock, info), (_, ours, ours_info) = tables
    assert torch.equal(info, ours_info) and stock.shape == ours.shape and not torch.equal(stock, ours)
    upper, last = float(info[1]), float(info[2])
    for net, table, _ in tables:

        def output(s, table=table):
            x = torch.tensor([[s]], dtype=torch.float64)
            row = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]], dtype=torch.float64)
            return torch.ops.deepmd.tabulate_fusion_se_a(table, info, x, row, 8)[0][0, 0]

        ends = [output(k * last) for k in (2, 3, 4)]
        assert float((ends[0] - 2 * ends[1] + ends[2]).abs().max()) < 1e-12 and not torch.equal(ends[0], ends[1])
        with torch.no_grad():
            outside = [upper + 0.3, (upper + last) / 2]
            assert max(float((output(s) - net(torch.tensor([[s]], dtype=torch.float64))[0]).abs().max()) for s in outside) < 1e-4


REFUSED = {
    "attention layers": ("dpa1", {"attn_layer": 1, "attn": 8}),
    "strip": ("dpa1", {"tebd_input_mode": "concat"}),
    "resnet_dt": ("dpa1", {"resnet_dt": True}),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_tabulated_is_refused_in_one_sentence(reason):
    name, changes = REFUSED[reason]
    model = make(name, "taafs:bspline", **changes)
    with pytest.raises(SystemExit, match=reason) as caught:
        model.enable_compression(5, 0.01, 0.1, -1)
    assert str(caught.value).count(".") == 1 and "frozen model" in str(caught.value)


def test_a_compressed_model_is_not_compressed_again(small_water):
    model = make("se_e2_a", "taafs:bspline")
    differences(model, small_water[0])
    with pytest.raises(SystemExit, match="compressed already"):
        model.enable_compression(5, 0.01, 0.1, -1)


def test_unregistering_gives_back_stocks_tables(small_water):
    from deepmd.pt.entrypoints import compress
    from deepmd.pt.model.atomic_model.dp_atomic_model import DPAtomicModel
    from deepmd.pt.utils.tabulate import DPTabulate

    def patched():
        wrapped = DPTabulate.__init__, DPAtomicModel.enable_compression, compress.enable_compression
        return [hasattr(code, "__wrapped__") for code in wrapped] + [name in vars(DPTabulate) for name in ("_make_data", "build")]

    ours = make("se_e2_a", "tanh")
    differences(ours, small_water[0])
    assert all(patched())
    adapter("deepmd").unregister()
    try:
        assert not any(patched())
        stock = make("se_e2_a", "tanh")
        differences(stock, small_water[0])
    finally:
        adapter("deepmd").register()
    assert all(patched())
    a, b = (live_values(model, small_water[0]) for model in (ours, stock))
    assert all(np.array_equal(a[key], b[key]) for key in a)
