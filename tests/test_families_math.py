"""Derivatives of the families: right to third order, finite for every finite input, one-sided at kinks, the same when scripted."""

import copy

import pytest
import torch

from taafs_plugins.activations import make_activation
from taafs_plugins.activations.registry import find_family

SPECS = ["leaf:tanh", "leaf:relu", "ahaf", "swish", "adact", "adact:paper", "adact,members=relu/tanh/pgelu", "molu:trained", "pelu",
         "prelu", "melu", "elish", "hardelish"]  # fmt: skip
F64 = torch.float64


def make(spec: str, share: str = "neuron", dtype=F64):
    act = make_activation(f"{spec},share={share}", "silu", width=3, dtype=dtype)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        act.delta.copy_(0.3 * torch.randn(act.delta.shape, generator=generator, dtype=F64))
    return act


def points(count: int = 4) -> torch.Tensor:
    return (torch.rand(count, 3, generator=torch.Generator().manual_seed(1), dtype=F64) * 6 - 3).requires_grad_()


def slope(act, x):
    return torch.autograd.grad(act(x).sum(), x, create_graph=True, materialize_grads=True)[0]


@pytest.mark.parametrize("share", ["layer", "neuron"])
@pytest.mark.parametrize("spec", [s for s in SPECS if s != "leaf:relu"])
def test_values_slopes_and_curvatures_agree_with_differences(spec, share):
    act, z = make(spec, share), points()
    numbers = tuple(p for p in act.coefficients().values())
    assert torch.autograd.gradcheck(lambda x, *n: act(x), (z, *numbers))
    if find_family(act.spec.family).smoothness(act.spec) == "C0" and act.spec.family in ("prelu", "melu"):
        return  # straight pieces: what follows is 0
    assert torch.autograd.gradcheck(lambda x, *n: slope(act, x), (z, *numbers))
    assert torch.autograd.gradgradcheck(lambda x, *n: slope(act, x), (z, *numbers))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("spec", SPECS)
def test_values_and_derivatives_are_finite_for_every_finite_input(spec, dtype):
    act = make_activation(f"{spec},share=layer", "silu", dtype=dtype)
    top = torch.finfo(dtype).max
    z = torch.tensor([0.0, 1e-30, 1.0, 19.0, 20.0, 50.0, 80.0, 88.0, 89.0, 100.0, 700.0, 745.0, 1e4, 1e10, 1e20, 1e30, top], dtype=dtype)
    z = torch.cat([z, -z]).requires_grad_()
    y = act(z)
    for _ in range(4):
        assert y.isfinite().all()
        if not y.requires_grad:
            break
        (y,) = torch.autograd.grad(y.sum(), z, create_graph=True, materialize_grads=True)
    single = act(z)
    for p in act.coefficients().values():
        for k in range(len(z)):
            assert torch.autograd.grad(single[k], p, retain_graph=True)[0].isfinite().all() or abs(float(z[k])) > 1e30


@pytest.mark.parametrize("spec,kinks", [
    ("pelu", [0.0]), ("prelu", [0.0]), ("elish", [0.0]), ("hardelish", [-1.0, 1.0]), ("adact:paper", [0.0]),
    ("melu", [-4.0, -2.0, 0.0, 2.0, 4.0]),
])  # fmt: skip
def test_at_a_kink_the_derivative_is_the_one_from_the_right(spec, kinks):
    act, smooth = make(spec, "layer"), {"C0": 1, "C1": 2}[find_family(spec.split(":")[0]).smoothness(make(spec).spec)]
    at = torch.tensor(kinks, dtype=F64)
    for order in range(smooth + 1):
        left, here, right = (act.derivative(at + side, order) for side in (-1e-9, 0.0, 1e-9))
        assert torch.allclose(here, right, atol=1e-7)
        assert torch.allclose(here, left, atol=1e-7) == (order < smooth)


@pytest.mark.parametrize("spec", SPECS)
def test_scripted_copied_and_half_precision_forms_agree(spec):
    act, z = make(spec), points(50).detach()
    scripted = torch.jit.script(copy.deepcopy(act))
    x = z.clone().requires_grad_()
    torch.testing.assert_close(scripted(z), act(z), rtol=1e-13, atol=1e-14)
    torch.testing.assert_close(slope(scripted, x), slope(act, x), rtol=1e-12, atol=1e-13)
    single = copy.deepcopy(act).float()
    half = z.bfloat16()
    assert torch.equal(single(half), single(half.float()).bfloat16())
    whole = copy.deepcopy(act).bfloat16()
    assert whole(half).dtype == torch.bfloat16 and whole(half).isfinite().all()
    again = make_activation(act.trained_spec(), "silu", width=3, dtype=F64)
    torch.testing.assert_close(again(z), act(z), rtol=1e-14, atol=1e-15)
