"""AdAct's pick: the strongest member takes the site, as a stock activation."""

import pytest
import torch
from torch import nn

from taafs_plugins.activations import SpecError, TrainableActivation, make_activation
from taafs_plugins.activations.families.adact import member
from taafs_plugins.activations.members import MEMBERS, SETS
from taafs_plugins.pick import pick, stock_member


@pytest.mark.parametrize("name", list(MEMBERS))
def test_a_stock_member_is_that_member(name):
    z = torch.linspace(-5, 5, 101, dtype=torch.float64)
    torch.testing.assert_close(stock_member(name)(z), member(name).double()(z), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("variant", list(SETS))
def test_the_member_with_the_largest_mean_weight_is_picked(variant):
    act = make_activation(f"adact:{variant}", "tanh", width=4, dtype=torch.float64)
    model = nn.Sequential(nn.Linear(2, 4, dtype=torch.float64), act, act, nn.Linear(4, 1, dtype=torch.float64))
    with torch.no_grad():
        act.delta[:, 3] = 9.0
        act.delta[:, -1] = 0.1
    x = torch.randn(8, 2, dtype=torch.float64)
    before = model(x)
    (choice,) = pick(model)
    assert choice.member == SETS[variant][3] and choice.weight > 0.99 and abs(sum(choice.weights.values()) - 1) < 1e-12
    assert model[1] is model[2] and not any(isinstance(m, TrainableActivation) for m in model.modules())
    assert (model(x) - before).abs().max() < 0.05


def test_a_model_without_adact_is_one_sentence():
    with pytest.raises(SpecError, match="no adact activation"):
        pick(nn.Linear(1, 1))
