"""What the parts of a model see, and its learned curves as functions of one number."""

import numpy as np
import pytest
import torch
from torch import nn

import taafs_plugins as taafs
from taafs_plugins.symbolic import XNetError
from taafs_plugins.symbolic.curves import learned_curves, part_curve
from taafs_plugins.symbolic.distil import distil
from taafs_plugins.symbolic.inputs import watch
from taafs_plugins.testing.helpers import randomise


def net(*specs, width=3):
    torch.manual_seed(0)
    layers = [nn.Linear(1, width), *(taafs.make_activation(spec, width=width) for spec in specs), nn.Linear(width, 2)]
    return randomise(nn.Sequential(*layers))


def test_what_a_part_sees_is_measured_also_where_forward_is_called_and_the_part_is_left_as_it_was():
    model, x = net("taafs:chebyshev1"), torch.linspace(-1, 2, 50)[:, None]
    before = [set(vars(module)) for module in model.modules()]
    with watch({"act": model[1], "all": model}) as seen:
        model(x)
        model.forward(-x)
    assert before == [set(vars(module)) for module in model.modules()]
    z = model[0](torch.cat([x, -x])).detach().double().numpy()
    assert (seen["act"].low, seen["act"].high) == (z.min(), z.max()) and seen["act"].counts.sum() == z.size
    assert (seen["all"].low, seen["all"].high) == (-2, 2)


@pytest.mark.parametrize(
    ("x", "message"), [(None, "was not called"), (torch.full((2, 1), np.nan), "not finite"), (torch.ones(2, 1), "one input")]
)
def test_a_part_that_shows_no_range_is_named(x, message):
    model = net("taafs:chebyshev1")
    with pytest.raises(XNetError, match=f"^first .*{message}|first {message}|inputs of first are {message}"), watch({"first": model}):
        if x is not None:
            model(x)


def test_a_learned_curve_is_the_activation_and_shared_numbers_count_once():
    model = net("taafs:chebyshev1", "taafs:chebyshev1", "leaf")
    model[2].share_with(model[1])
    with pytest.raises(XNetError, match="3 neurons.*--neuron"):
        learned_curves(model)
    first, third = learned_curves(model, neuron=2)
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    torch.testing.assert_close(first.function(z), model[1](z.float()).double(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(third.function(z), model[3](z.float()[:, None].expand(-1, 3))[:, 2].double(), rtol=1e-4, atol=1e-5)
    assert (first.low, first.high) == (-4, 4)
    with pytest.raises(XNetError, match="Known: 1, 2, 3"):
        learned_curves(model, ["nothing"])
    with pytest.raises(XNetError, match="no trainable activation"):
        learned_curves(nn.Linear(1, 1))


def test_a_part_with_one_input_is_a_function_and_becomes_a_formula():
    model = nn.Sequential(nn.ModuleDict({"embedding": net("taafs:chebyshev1")}))
    curve = part_curve(model, "*.embedding", 1)
    found = distil(curve.function, -1, 1, rounds=1, listed=40, max_nodes=2)
    z = torch.linspace(-1, 1, 301, dtype=torch.float64)
    error = (taafs.make_activation(found.spec, dtype=torch.float64)(z) - model[0]["embedding"](z.float()[:, None])[:, 1]).abs().max()
    assert float(error.detach()) == pytest.approx(found.largest, rel=0.05) and found.rms < found.spread
    for pattern, output, message in (("*embeding", 0, "No part is named"), ("*", 0, "parts match"),
                                     ("0.embedding.2", 0, "no function of one"),
                                     ("0.embedding", None, "from 0 to 1 with --neuron"), ("0.embedding", 2, "from 0 to 1")):  # fmt: skip
        with pytest.raises(XNetError, match=message):
            part_curve(model, pattern, output)
