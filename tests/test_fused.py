"""The compiled kernels against the Python engine and plain autograd, to every order, and what they must do beside being right."""

from __future__ import annotations

import pytest
import torch
from fused_checks import activation, force_training, fused_engine, spread, worst  # noqa: F401
from torch import nn

from taafs_plugins.activations import basis_names, make_activation

SPECS = [f"taafs:{name}" for name in basis_names()] + [
    "taafs:bspline,grid=1,order=2", "taafs:bspline,grid=40,order=5", "taafs:chebyshev1,degree=1", "taafs:jacobi,degree=12",
    "taafs:fourier,n=1", "taafs:grbf,grid=64", "taafs:wavelet,grid=2", "taafs:rational,num=1,den=1",
]  # fmt: skip
SQUASHES = ("tanh", "softsign", "algebraic", "linear")
# the bases that the kernels compute themselves
STOCK = {"tanh": torch.tanh, "silu": nn.functional.silu, "celu(0.1)": lambda z: nn.functional.celu(z, 0.1)}


@pytest.mark.parametrize("base", ["tanh", "silu", "celu(0.1)", "gelu", "none", "scaled"])
@pytest.mark.parametrize("share", ["layer", "neuron"])
@pytest.mark.parametrize("spec", SPECS)
def test_same_numbers_as_the_other_engines(spec, share, base, engine):
    for squash in SQUASHES:
        for scale in (1, 2.5):
            text = f"{spec},share={share},squash={squash},scale={scale},rate=3"
            text += {"none": ",residual=none,init=random", "scaled": ",residual=scaled"}.get(base, "")
            act = activation(text, "tanh" if base in ("none", "scaled") else base, width=7)
            z = spread(squash, 83, 7)
            results = {}
            for name in ("fused", "python", "plain"):
                engine(name)
                results[name] = force_training(act, z)
            assert worst(results["fused"], results["plain"]) < 1e-12
            assert worst(results["fused"], results["python"]) < 1e-12


@pytest.mark.parametrize("spec", SPECS)
def test_float32(spec, engine):
    for share, width in (("layer", 25), ("neuron", 25)):
        for base in STOCK:
            act = activation(f"{spec},share={share}", base, width=width, dtype=torch.float32)
            z = torch.randn(700, width)
            single = force_training(act, z)
            engine("plain")
            double = force_training(act.double(), z.double())
            engine("fused")
            assert worst([x.double() for x in single], double) < (2e-2 if "degree=12" in spec else 1e-4)


# 257: the widest period is cut into tiles; 10007 and 40009: fewer rows to a tile, fewer rows than a whole period.
@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 16, 25, 64, 240, 257, 10007, 40009])
def test_neurons_of_every_width(width, engine):
    for spec in ("taafs:chebyshev1", "taafs:bspline", "taafs:bspline,grid=20", "taafs:fourier", "taafs:grbf"):
        for rows in (600, 3) if width < 1000 else (max(2, 700000 // width),):
            if width > 1000 and spec not in ("taafs:chebyshev1", "taafs:bspline"):
                continue
            act = activation(f"{spec},share=neuron", width=width)
            z = spread("tanh", rows, width)
            results = []
            for name in ("fused", "plain"):
                engine(name)
                results.append(force_training(act, z))
            assert worst(*results) < 1e-12


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("base", list(STOCK))
def test_the_base_keeps_its_digits_under_a_curve(base, dtype):
    """Relative to the value: tanh near 0, and SiLU far on the left, where it is as small as exp(z)."""
    act = activation("taafs:chebyshev1", base, dtype=dtype)
    act.delta.data.zero_()[0] = 1e-37  # not 0: the base then comes from the kernels
    small = torch.logspace(-12, 0, 3001, dtype=dtype)
    z = torch.cat([torch.linspace(-30, 30, 20001, dtype=dtype), small, -small])
    exact = STOCK[base](z.double())
    if base == "celu(0.1)":  # by the formula: torch 2.6 loses the digits of its own celu near 0
        exact = torch.where(z > 0, z.double(), 0.1 * torch.expm1(z.double() / 0.1))
    off = (act(z).double() - exact).abs() / exact.abs().clamp_min(1e-20)
    assert off.max() < 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize("name", basis_names())
def test_sums_of_float32_over_many_elements(name):
    """Rounding of the coefficients' gradient stays small: sums of a chunk only are in float32."""
    for share in ("layer", "neuron"):
        act = activation(f"taafs:{name},share={share}", width=25, dtype=torch.float32)
        z = torch.randn(20000, 25)
        single = force_training(act, z)
        double = force_training(act.double(), z.double())
        assert worst([x.double() for x in single], double) < 3e-5


@pytest.mark.parametrize("base", ["tanh", "silu", "celu(0.1)", "gelu", "none"])
@pytest.mark.parametrize("share", ["layer", "neuron"])
@pytest.mark.parametrize("name", basis_names())
def test_gradients_over_input_and_coefficients(name, share, base):
    text = f"taafs:{name},share={share},rate=2" + (",residual=none,init=random" if base == "none" else "")
    act = activation(text, "tanh" if base == "none" else base, width=3)
    # Away from the knots of the spline, where its third derivative jumps.
    z = torch.tensor([[-1.9, -0.9, -0.3], [0.1, 0.45, 1.3]], dtype=torch.float64, requires_grad=True)
    delta = act.delta.detach().clone().requires_grad_()

    def function(z, delta):
        return with_delta(act, delta, z)

    assert torch.autograd.gradcheck(function, (z, delta))
    assert torch.autograd.gradgradcheck(function, (z, delta))

    def gradient(z, delta):
        (gz,) = torch.autograd.grad(function(z, delta).sin().sum(), z, create_graph=True)
        return gz

    assert torch.autograd.gradgradcheck(gradient, (z, delta))  # to third order


def with_delta(act: nn.Module, delta: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """act(z) with other coefficients, without torch.func (which only plain operators can follow)."""
    kept = act._parameters.pop("delta")
    act.__dict__["delta"] = delta
    try:
        return act(z)
    finally:
        del act.__dict__["delta"]
        act._parameters["delta"] = kept


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("base", list(STOCK))
def test_starts_as_stock_to_the_last_bit(base, dtype):
    for count in (1, 7, 64, 1003, 40000):
        for spec in ("taafs:chebyshev1", "taafs:bspline", "taafs:fourier,share=neuron", "taafs:grbf", "taafs:rational"):
            act = make_activation(spec, base, width=1, dtype=dtype)
            z = (3 * torch.randn(count, 1)).to(dtype)
            gy = torch.randn(count, 1).to(dtype)
            for create in (False, True):
                got, expected = [], []
                for function, out in ((act, got), (STOCK[base], expected)):
                    x = z.clone().requires_grad_()
                    y = function(x)
                    out += [y, *torch.autograd.grad(y, x, gy, create_graph=create)]
                assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
            with torch.no_grad():
                assert torch.equal(act(z), expected[0])


@pytest.mark.parametrize("spec", SPECS)
def test_extreme_inputs(spec):
    for dtype in (torch.float64, torch.float32):
        for base in STOCK:
            for squash in ("tanh", "softsign", "algebraic"):
                act = activation(f"{spec},squash={squash}", base, dtype=dtype)
                z = torch.tensor([0.0, -0.0, 1e-30, 9.02, -9.02, 50.0, -50.0, 800.0, -800.0, 1e18, -1e18, 1e30, -1e30], dtype=dtype)
                assert all(torch.isfinite(x).all() for x in force_training(act, z / (1e15 if base == "silu" else 1)))
                assert torch.isfinite(act(z)).all()
                assert torch.isnan(act(torch.full((3,), float("nan"), dtype=dtype))).all()


@pytest.mark.parametrize("spec", ["taafs:bspline", "taafs:bspline,grid=40"])
def test_knots_and_ends_of_the_spline(spec, engine):
    act = activation(f"{spec},squash=linear,share=neuron", width=2)
    grid = act.basis.pieces
    knots = torch.linspace(-1, 1, grid + 1, dtype=torch.float64)
    z = torch.cat([knots, torch.nextafter(knots, knots - 1), torch.nextafter(knots, knots + 1), knots * 1.5])[:, None].expand(-1, 2)
    results = []
    for name in ("fused", "python"):
        engine(name)
        results.append(force_training(act, z))
    assert worst(*results) < 1e-12


@pytest.mark.parametrize("share", ["layer", "neuron"])
def test_same_result_every_time_and_for_any_number_of_threads(share):
    act = activation(f"taafs:bspline,share={share}", width=25, dtype=torch.float32)
    z = torch.randn(20000, 25)
    threads = torch.get_num_threads()
    try:
        runs = []
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            runs.append(force_training(act, z))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for run in runs[1:] for a, b in zip(runs[0], run, strict=True))


@pytest.mark.parametrize("base", ["tanh", "silu", "celu(0.1)", "gelu"])
def test_layouts(base, engine):
    act = activation("taafs:fourier,share=neuron", base, width=6)
    wide = spread("tanh", 6, 40)
    views = [wide.t(), spread("tanh", 30, 12)[:, ::2], spread("tanh", 1, 6).expand(9, 6), spread("tanh", 5, 4, 3, 6), spread("tanh", 6)]
    for z in views:
        results = []
        for name in ("fused", "plain"):
            engine(name)
            results.append(force_training(act, z))
        assert worst(*results) < 1e-12
    engine("fused")
    empty = torch.zeros(0, 6, dtype=torch.float64, requires_grad=True)
    gz, gd = torch.autograd.grad(act(empty).sum(), (empty, act.delta))
    assert gz.shape == (0, 6) and torch.equal(gd, torch.zeros_like(gd))


@pytest.mark.parametrize("base", ["tanh", "silu", "celu(0.1)", "gelu"])
def test_input_or_coefficients_without_gradient(base, engine):
    act = activation("taafs:bspline", base)
    z = spread("tanh", 50, 4)
    got = torch.autograd.grad(act(z).square().sum(), act.delta)[0]
    engine("plain")
    assert worst([got], [torch.autograd.grad(act(z).square().sum(), act.delta)[0]]) < 1e-12
    results = []
    act.requires_grad_(False)
    for name in ("fused", "plain"):
        engine(name)
        x = z.clone().requires_grad_()
        (gz,) = torch.autograd.grad(act(x).sum(), x, create_graph=True)
        results.append([gz, torch.autograd.grad(gz.square().sum(), x)[0]])
    assert worst(*results) < 1e-12
