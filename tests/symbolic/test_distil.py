"""A learned curve as a formula."""

import numpy as np
import pytest
import torch

from taafs_plugins.symbolic import XNetError
from taafs_plugins.symbolic.distil import distil

QUICK = {"rounds": 2, "listed": 40}


def test_a_curve_that_is_a_formula_is_found():
    found = distil(lambda z: 2 * torch.tanh(1.5 * z) + 0.25, -2, 3, **QUICK)
    assert found.rms < 1e-9 and found.largest < 1e-8 and found.slope_rms < 1e-8
    assert (found.nodes, found.parameters) == (1, 4)
    assert str(found.expression) == "2*tanh(3*z/2) + 1/4"
    assert found.spec == "formula:2*tanh(1.5*z)+0.25,low=-2,high=3" and found.latex == r"2 \tanh{\left(\frac{3 z}{2} \right)} + \frac{1}{4}"


def test_a_curve_that_is_none_gets_the_error_that_its_module_has():
    def curve(z):
        return torch.tanh(z) + 0.3 * torch.sin(4 * torch.tanh(z)) / (1 + z**2)

    histogram = np.exp(-(np.linspace(-3, 3, 30) ** 2))
    found = distil(curve, -3, 3, histogram, **QUICK)
    z = torch.linspace(-3, 3, 2001, dtype=torch.float64)
    assert (found.module(z) - curve(z)).abs().max().item() == pytest.approx(found.largest, rel=1e-6)
    assert found.rms < 0.5 * found.spread


def test_the_module_is_an_activation_of_any_shape_and_dtype_right_to_third_order():
    module = distil(torch.tanh, -2, 2, **QUICK).module
    assert module(torch.ones(2, 3, dtype=torch.float32)).dtype == torch.float32 and module(torch.ones(2, 3)).shape == (2, 3)
    assert not [number for number in module.parameters() if number.requires_grad]
    z = torch.linspace(-1, 1, 5, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(module(z), torch.tanh(z), rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(module, z) and torch.autograd.gradgradcheck(module, z)


@pytest.mark.parametrize(("arguments", "message"), [((1, 1), "empty"), ((0, 1, [-1, 2]), "at least 0"), ((0, 1, [0, 0]), "not all 0")])
def test_wrong_arguments_get_one_sentence(arguments, message):
    with pytest.raises(XNetError, match=message):
        distil(torch.tanh, *arguments)


def test_a_module_that_is_not_elementwise_or_not_finite_is_refused():
    with pytest.raises(XNetError, match="one finite number"):
        distil(lambda z: z.sum(), 0, 1)
    with pytest.raises(XNetError, match="one finite number"):
        distil(torch.log, -1, 1)
