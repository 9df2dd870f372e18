"""The compiled kernels of families of one formula give what plain operators give, and step aside where they cannot."""

import copy

import pytest
import torch

from taafs_plugins.activations import make_activation, use_engine
from taafs_plugins.native.formulas import library

SPECS = ["leaf:tanh", "leaf:relu", "ahaf", "swish", "molu", "molu:trained", "pelu", "adact"]


def built(spec: str, share: str, dtype, width: int):
    act = make_activation(f"{spec},share={share}", "silu", width=width, dtype=dtype)
    assert act.kernel in library.operator()[1]
    generator = torch.Generator().manual_seed(5)
    if act.coefficients():
        with torch.no_grad():
            act.delta.copy_(0.3 * torch.randn(act.delta.shape, generator=generator, dtype=torch.float64))
    return act


def everything(act, z, gy, further: bool):
    """Value, slope, and the gradients of a force-like loss; with ``further`` those of its gradient with respect to z too."""
    x, weight = z.clone().requires_grad_(), gy.clone().requires_grad_()
    y = act(x)
    (force,) = torch.autograd.grad(y, x, weight, create_graph=True)
    wanted = [x, weight, *act.coefficients().values()]
    second = torch.autograd.grad((force * force.detach().cos()).sum(), wanted, create_graph=further, allow_unused=True)
    results = [y, force, *second, *torch.autograd.grad(act(z.clone()).mul(gy).sum(), wanted[2:])] if wanted[2:] else [y, force, *second]
    if further:
        results += torch.autograd.grad(second[0].sin().sum(), wanted, allow_unused=True)
    return [r.detach() for r in results]


@pytest.mark.parametrize("dtype,further", [(torch.float64, False), (torch.float64, True), (torch.float32, False)])
@pytest.mark.parametrize("share,width", [("layer", 3), ("neuron", 7), ("neuron", 16)])
@pytest.mark.parametrize("spec", SPECS)
def test_the_kernels_give_what_plain_operators_give(spec, share, width, dtype, further):
    act = built(spec, share, dtype, width)
    generator = torch.Generator().manual_seed(7)
    z = 3 * torch.randn(5 if further else 701, width, generator=generator, dtype=torch.float64)
    gy = torch.randn(z.shape, generator=generator, dtype=torch.float64)
    fast = everything(act, z.to(dtype), gy.to(dtype), further)
    use_engine("plain")
    try:
        exact = everything(copy.deepcopy(act).double(), z.to(dtype).double(), gy.to(dtype).double(), further)
    finally:
        use_engine(None)
    accuracy = 1e-12 if dtype == torch.float64 else 2e-5
    for got, expected in zip(fast, exact, strict=True):
        assert (got - expected).abs().max() <= accuracy * (1 + expected.abs().max()) * (100 if spec == "leaf:relu" else 1)


@pytest.mark.parametrize("spec", SPECS)
def test_shapes_of_all_kinds_are_taken(spec):
    act = built(spec, "neuron", torch.float64, 5)
    z = torch.randn(4, 5, 6, dtype=torch.float64).transpose(1, 2)
    for some in (z, z[:0], z[0, 0], z[:, ::2]):
        assert torch.allclose(act(some), act.plain(some), rtol=1e-13, atol=1e-14) and act(some).shape == some.shape
    with torch.no_grad():
        assert not act(z).requires_grad


@pytest.mark.parametrize("spec", ["leaf:tanh", "adact"])
def test_transformed_gradients_are_right(spec):
    act = built(spec, "layer", torch.float64, 5)
    z = torch.randn(5, dtype=torch.float64)
    expected = torch.diag(act.derivative(z, 1))
    assert torch.allclose(torch.func.jacrev(act)(z), expected) and torch.allclose(torch.func.jacfwd(act)(z), expected)
    x = z.clone().requires_grad_()
    batched = torch.autograd.grad(act(x), x, torch.eye(5, dtype=torch.float64), is_grads_batched=True, create_graph=True)[0]
    assert torch.allclose(batched, expected)
    assert torch.allclose(torch.autograd.functional.hessian(lambda v: act(v).sum(), z), torch.diag(act.derivative(z, 2)))


def test_a_new_formula_is_generated_and_printed():
    from taafs_plugins.native.formulas.generate import Formula, sources, tanh

    text = sources([("bump", 1, lambda z, r: Formula(guard=z, left=0 * z, near=r[0] * z**2 * tanh(z), right=r[0] * z**2))])
    assert "sech2_<T>" in text["kernels.cpp"] and "plain_bump" in text["plain.inc"]
