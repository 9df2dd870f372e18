"""Transformations of autograd give the numbers of the loop over rows, and of reverse mode, with every engine.

The reference is always a plain loop of ``torch.autograd.grad`` over single rows, with the same engine: its numbers are the subject of
test_engine.py and test_fused.py.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad, functional
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

from taafs_plugins.activations import make_activation
from taafs_plugins.activations.choice import use_engine
from taafs_plugins.activations.taafs.exported import EXPORT

WIDTH = 7
F64 = torch.float64
CASES = [  # spec, what it replaces: bases that the kernels have inside (tanh, silu, celu) and one that they have not
    ("taafs:bspline", "tanh"),
    ("taafs:bspline,grid=3,share=neuron", "gelu"),
    ("taafs:chebyshev1,share=neuron", "tanh"),
    ("taafs:chebyshev1,squash=softsign,scale=1.7,rate=3", "celu(0.1)"),
    ("taafs:fourier,residual=scaled", "tanh"),
    ("taafs:fourier,share=neuron,residual=scaled", "silu"),
    ("taafs:grbf,residual=none,init=random", "tanh"),
    ("taafs:wavelet,squash=algebraic", "silu"),
    ("taafs:rational", "tanh"),
    ("taafs:rational,share=neuron", "silu"),
]
cases = pytest.mark.parametrize(("spec", "base"), CASES)
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop because we have not yet implemented the batching rule")


def activation(spec: str, base: str = "tanh", dtype: torch.dtype = F64) -> nn.Module:
    """An activation with every number at random."""
    act = make_activation(spec, base, width=WIDTH if "neuron" in spec else None, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=F64).to(dtype))
    return act


def numbers(*shape: int, dtype: torch.dtype = F64, seed: int = 2) -> torch.Tensor:
    """Inputs away from knots of the splines, from 0 and from the ends of a linear squash."""
    return (0.83 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)).to(dtype)


def network(spec: str, base: str) -> nn.Module:
    torch.manual_seed(3)
    layers = nn.Linear(3, WIDTH), activation(spec, base), nn.Linear(WIDTH, WIDTH), activation(spec, base), nn.Linear(WIDTH, 2)
    return nn.Sequential(*layers).double()


def rows(y: torch.Tensor, x, create_graph: bool = False) -> list[torch.Tensor]:
    """d y_i / d x for each entry of y, one call each; x is one tensor or a list."""
    many = [x] if isinstance(x, torch.Tensor) else list(x)
    single = [torch.autograd.grad(c, many, retain_graph=True, create_graph=create_graph) for c in y.flatten()]
    return [torch.stack(column) for column in zip(*single, strict=True)]


def same(got, expected, tolerance: float = 1e-11) -> None:
    got, expected = ([x] if isinstance(x, torch.Tensor) else list(x) for x in (got, expected))
    for a, b in zip(got, expected, strict=True):
        assert (a.reshape(b.shape) - b).abs().max() <= tolerance * b.abs().max().clamp_min(1)


@cases
def test_batched_gradients_are_those_of_the_loop(spec, base, engine):
    act, z = activation(spec, base), numbers(2, WIDTH).requires_grad_()
    y = act(z)
    (g,) = torch.autograd.grad(y.sin().sum(), z, create_graph=True)
    inputs = [z, *act.parameters()]
    for out in (y, g):
        eye = torch.eye(out.numel(), dtype=F64).reshape(-1, *out.shape)
        expected = rows(out, inputs)
        same(torch.autograd.grad(out, inputs, eye, retain_graph=True, is_grads_batched=True), expected)
        same(vmap(lambda v, out=out: torch.autograd.grad(out, inputs, v, retain_graph=True))(eye), expected)
        for x, one in zip(inputs, expected, strict=True):
            same(torch.autograd.grad(out, x, eye, retain_graph=True, is_grads_batched=True), one)
        twice = torch.stack([eye, 2 * eye])
        got = vmap(vmap(lambda v, out=out: torch.autograd.grad(out, inputs, v, retain_graph=True)))(twice)
        same([x[0] for x in got], expected)
        same([x[1] / 2 for x in got], expected)


@cases
def test_batched_gradients_can_be_differentiated_again(spec, base, engine):
    """``create_graph`` with batched gradients: a loss on a Jacobian trains every parameter as the loop does."""
    net, x = network(spec, base), numbers(4, 3).requires_grad_()
    inputs = [x, *net.parameters()]
    y = net(x)
    eye = torch.eye(y.numel(), dtype=F64).reshape(-1, *y.shape)

    def gradients(jacobian):
        return torch.autograd.grad(jacobian.sin().sum(), inputs, allow_unused=True, materialize_grads=True, retain_graph=True)

    expected = gradients(rows(y, x, create_graph=True)[0])
    same(gradients(torch.autograd.grad(y, x, eye, create_graph=True, is_grads_batched=True)[0]), expected)
    same(gradients(vmap(lambda v: torch.autograd.grad(y, x, v, create_graph=True)[0])(eye)), expected)
    same(gradients(functional.jacobian(net, x, create_graph=True, vectorize=True)), expected)


@cases
def test_jacobians_and_hessians_of_autograd_functional(spec, base, engine):
    net, x = network(spec, base), numbers(2, 3)
    leaf = x.clone().requires_grad_()
    first = rows(net(leaf), leaf)[0]
    (g,) = torch.autograd.grad(net(leaf).sin().sum(), leaf, create_graph=True)
    second = rows(g, leaf)[0]
    for strategy in ("reverse-mode", "forward-mode"):
        same(functional.jacobian(net, x, vectorize=True, strategy=strategy), first)
        same(functional.hessian(lambda x: net(x).sin().sum(), x, vectorize=True, outer_jacobian_strategy=strategy), second)


@cases
def test_transforms_of_torch_func(spec, base, engine):
    net, x = network(spec, base), numbers(2, 3)
    leaf = x.clone().requires_grad_()
    first = rows(net(leaf), leaf)[0]
    (g,) = torch.autograd.grad(net(leaf).sin().sum(), leaf, create_graph=True)
    second = rows(g, leaf)[0]
    same(jacrev(net)(x), first)
    same(jacfwd(net)(x), first)
    same(hessian(lambda x: net(x).sin().sum())(x), second)
    along = numbers(2, 3, seed=5)
    same(jvp(net, (x,), (along,))[1].flatten(), first.flatten(1) @ along.flatten())
    same(vmap(lambda t: jvp(net, (x,), (t,))[1])(torch.stack([along, -along])).flatten(1)[0], first.flatten(1) @ along.flatten())


@cases
def test_gradients_per_sample(spec, base, engine):
    net, x = network(spec, base), numbers(5, 3)
    parameters = dict(net.named_parameters())
    expected = [torch.stack(p) for p in zip(*(torch.autograd.grad(net(row).sin().sum(), parameters.values()) for row in x), strict=True)]
    same(vmap(grad(lambda p, row: functional_call(net, p, row).sin().sum()), in_dims=(None, 0))(parameters, x).values(), expected)
    y = net(x).sin().sum(-1)
    same(torch.autograd.grad(y, list(parameters.values()), torch.eye(5, dtype=F64), is_grads_batched=True), expected)


@cases
@pytest.mark.parametrize(("frozen", "quiet"), list(itertools.product((False, True), repeat=2)))
def test_tangents_are_those_of_reverse_mode(spec, base, frozen, quiet, engine):
    """Also with frozen coefficients and under ``no_grad``, where no graph is asked for."""
    act, z, along = activation(spec, base), numbers(2, WIDTH), numbers(2, WIDTH, seed=6)
    leaf = z.clone().requires_grad_()
    expected = torch.autograd.grad(act(leaf).sum(), leaf)[0] * along
    act.requires_grad_(not frozen)
    with torch.set_grad_enabled(not quiet), forward_ad.dual_level():
        same(forward_ad.unpack_dual(act(forward_ad.make_dual(z, along))).tangent, expected)


@cases
def test_tangents_along_the_coefficients(spec, base, engine):
    act, z = activation(spec, base), numbers(2, WIDTH)
    values = {name: p.detach() for name, p in act.named_parameters()}
    along = {name: numbers(*p.shape, seed=7) for name, p in values.items()}
    jacobians = dict(zip(values, rows(act(z), act.parameters()), strict=True))
    expected = sum(jacobians[name].flatten(1) @ along[name].flatten() for name in values)
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(values[name], along[name]) for name in values}
        same(forward_ad.unpack_dual(functional_call(act, duals, z)).tangent.flatten(), expected)


@cases
def test_forward_mode_over_reverse_mode(spec, base, engine):
    """A Hessian times a vector; the graph made inside the level, or before it with the tangent on the incoming gradient."""
    act, z, along = activation(spec, base), numbers(2, WIDTH).requires_grad_(), numbers(2, WIDTH, seed=8)
    y = act(z)
    inputs = [z, *act.parameters()]
    (g,) = torch.autograd.grad(y.sin().sum(), z, create_graph=True)
    expected = torch.autograd.grad(g, inputs, along, retain_graph=True)
    first = torch.autograd.grad(y, inputs, along, retain_graph=True)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(z, along)
        (of_dual,) = torch.autograd.grad(act(dual).sin().sum(), dual, create_graph=True)  # torch's own silu_backward needs it
        same(forward_ad.unpack_dual(of_dual).tangent, expected[0])
        gy = forward_ad.make_dual(torch.ones_like(y), along)
        same([forward_ad.unpack_dual(x).tangent for x in torch.autograd.grad(y, inputs, gy, create_graph=True)], first)
        hz = forward_ad.make_dual(torch.ones_like(g), along)
        same([forward_ad.unpack_dual(x).tangent for x in torch.autograd.grad(g, inputs, hz, create_graph=True)], expected)


@cases
def test_float32(spec, base, engine):
    act, z = activation(spec, base, torch.float32), numbers(2, WIDTH, dtype=torch.float32).requires_grad_()
    y = act(z)
    inputs = [z, *act.parameters()]
    eye = torch.eye(y.numel()).reshape(-1, *y.shape)
    expected = rows(y, inputs)
    same(torch.autograd.grad(y, inputs, eye, retain_graph=True, is_grads_batched=True), expected, 1e-5)
    same(vmap(lambda v: torch.autograd.grad(y, inputs, v, retain_graph=True))(eye), expected, 1e-5)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(act(forward_ad.make_dual(z.detach(), torch.ones_like(z)))).tangent
    same(tangent, torch.autograd.grad(y.sum(), z)[0], 1e-5)


@cases
def test_a_lazy_minus_sign_or_zero_is_seen(spec, base, engine):
    """torch keeps ``x.conj().imag`` as x with a mark; numbers read from memory have the other sign."""
    act = activation(spec, base)
    pairs = torch.view_as_complex(numbers(2, WIDTH, 2))
    lazy = pairs.conj().imag
    assert lazy.is_neg()
    plain, y = lazy.resolve_neg().clone(), numbers(2, WIDTH, seed=9).requires_grad_()
    same(act(lazy), act(plain))
    out = act(y)
    (of_zero,) = torch.autograd.grad(out, y, torch._efficientzerotensor(out.shape, dtype=F64), retain_graph=True)
    assert not (of_zero + 0.0).any()
    same(torch.autograd.grad(out, y, lazy, retain_graph=True), torch.autograd.grad(out, y, plain))


@pytest.mark.parametrize("base", ["tanh", "silu", "gelu"])
def test_exported_with_the_operator(base, monkeypatch):
    """The operator itself hands over, so a scripted model needs nothing of this package for it."""
    monkeypatch.setenv(EXPORT, "operator")
    act = activation("taafs:bspline,share=neuron", base)
    model = torch.jit.script(act)
    assert "taafs::activation" in str(model.inlined_graph)
    z = numbers(3, WIDTH)
    leaf = z.clone().requires_grad_()
    first = rows(act(leaf), leaf)[0]
    same(vmap(model)(z), act(z))
    same(jacrev(model)(z), first)
    same(functional.jacobian(model, z, vectorize=True), first)
    with forward_ad.dual_level():
        same(forward_ad.unpack_dual(model(forward_ad.make_dual(z, torch.ones_like(z)))).tangent, first.sum(0))


def test_the_python_engine_s_primitives_under_vmap():
    """Directly, as the GPU's functions call them: over every argument, nested, and through the older vmap."""
    from taafs_plugins.activations.taafs.engine import Curve, evaluate, project

    use_engine(None)
    curve = Curve(activation("taafs:chebyshev1").basis, "tanh", 1.3)
    z, g = numbers(4, 5, WIDTH), numbers(4, 5, WIDTH, seed=3)
    for shape in ((8,), (WIDTH, 8)):
        w, neurons = numbers(4, *shape, seed=4), len(shape) == 2
        for order in range(4):
            loop = torch.stack([evaluate(*x, curve, order) for x in zip(z, w, strict=True)])
            same(vmap(lambda z, w, order=order: evaluate(z, w, curve, order))(z, w), loop)
            loop = torch.stack([project(*x, curve, order, neurons) for x in zip(z, g, strict=True)])
            same(vmap(lambda z, g, order=order, n=neurons: project(z, g, curve, order, n))(z, g), loop)
