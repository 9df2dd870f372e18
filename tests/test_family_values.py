"""The families' numbers as the papers print them, their counts, and what a wrong spec says."""

import math

import pytest
import torch
from torch.nn import functional as F

from taafs_plugins.activations import SpecError, make_activation, resolve_spec
from taafs_plugins.activations.families.adact import member
from taafs_plugins.activations.members import MEMBERS, SETS

KIND = {"dtype": torch.float64}
Z = torch.linspace(-8, 8, 321, **KIND)

# MoLU, Table 1: GELU (the tanh approximation), Swish, Mish, ELU, MoLU at -7 ... 8. Mish at -3 is printed without its exponent's
# last digit; GELU at -7 is the rounding of 1 + tanh there, 1.5 units of 2^-52, where the value is 2.3e-15.
TABLE = {
    -7: (-2.33146835e-15, -6.37735836e-03, -6.38026341e-03, -9.99088118e-01, -1.16414021e-05),
    -6: (-8.43964898e-11, -1.48357389e-02, -1.48540805e-02, -9.97521248e-01, -7.37305482e-05),
    -5: (-2.29179620e-07, -3.34642546e-02, -3.35762377e-02, -9.93262053e-01, -4.53999296e-04),
    -4: (-7.02459482e-05, -7.19448398e-02, -7.25917408e-02, -9.81684361e-01, -2.68370062e-03),
    -3: (-3.63739208e-03, -1.42277620e-01, -1.45647461e-01, -9.50212932e-01, -1.48723912e-02),
    -2: (-4.54023059e-02, -2.38405844e-01, -2.52501483e-01, -8.64664717e-01, -7.32298040e-02),
    -1: (-1.58808009e-01, -2.68941421e-01, -3.03401461e-01, -6.32120559e-01, -2.64248689e-01),
    0: (0.0, 0.0, 0.0, 0.0, 0.0),
    1: (8.41191991e-01, 7.31058579e-01, 8.65098388e-01, 1.0, 1.0),
    2: (1.95459769, 1.76159416, 1.94395896, 2.0, 2.0),
    3: (2.99636261, 2.85772238, 2.98653500, 3.0, 3.0),
    4: (3.99992975, 3.92805516, 3.99741281, 4.0, 4.0),
    5: (4.99999977, 4.96653575, 4.99955208, 5.0, 5.0),
    6: (6.0, 5.98516426, 5.99992663, 6.0, 6.0),
    7: (7.0, 6.99362264, 6.99998838, 7.0, 7.0),
    8: (8.0, 7.99731720, 7.99999820, 8.0, 8.0),
}


def printed(value: float) -> float:
    """Half a unit of the last of nine digits, and the rounding of the printed column's own float64."""
    return 0.51 * 10.0 ** (math.floor(math.log10(abs(value))) - 8) + 5e-16 if value else 0.0


def make(spec: str, replaces="tanh", width=3, **more):
    return make_activation(spec, replaces, width=width, **{**KIND, **more})


@pytest.mark.parametrize("name,column", [("gelu", 0), ("silu", 1), ("mish", 2), ("elu", 3), ("molu", 4)])
def test_the_molu_papers_table_comes_out_to_all_printed_digits(name, column):
    act = make("molu,alpha=2,beta=2") if name == "molu" else member(name).double()
    for z, row in TABLE.items():
        assert abs(float(act(torch.tensor([float(z)] * 3, **KIND))[0].detach()) - row[column]) <= printed(row[column]), z


@pytest.mark.parametrize("variant", ["tanh", "sigmoid", "silu"])
def test_leafs_table_1_is_exact(variant):
    stock = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "silu": F.silu}[variant]
    act = make(f"leaf:{variant},share=layer")
    assert (act(Z) - stock(Z)).abs().max() < 1e-15
    assert torch.equal(make("leaf,share=layer", variant)(Z), act(Z))  # leaf alone starts as what it replaces


def test_leaf_as_swish_ahaf_and_relu():
    beta = 1.7
    assert (make(f"leaf:swish,beta={beta},share=layer")(Z) - Z * torch.sigmoid(beta * Z)).abs().max() < 1e-15
    leaf, ahaf = make("leaf:silu,share=layer,theta=1.3/0/0.7/0"), make("ahaf,share=layer,theta=1.3/0.7")
    assert torch.allclose(leaf(Z), ahaf(Z), rtol=1e-15, atol=1e-15)
    fine = torch.linspace(-1e-3, 1e-3, 100001, **KIND)
    for spec in ("leaf:relu,share=layer", "ahaf:relu,share=layer"):
        assert 4e-6 < (make(spec)(fine) - F.relu(fine)).abs().max() < 4.3e-6


@pytest.mark.parametrize("spec,stock,error", [
    ("leaf", "gelu", 0.03), ("leaf", "celu", 0.1), ("leaf", "celu(0.1)", 0.2), ("swish", "gelu", 0.03), ("ahaf", "gelu_tanh", 0.03),
])  # fmt: skip
def test_a_fitted_start_says_how_far_off_it_is(spec, stock, error):
    act = make(f"{spec},share=layer", stock)
    z = torch.linspace(-6, 6, 601, **KIND)
    found = float((act(z) - act.base(z)).abs().max().detach())
    assert found == pytest.approx(act.fit_error, rel=1e-6) and found < error


@pytest.mark.parametrize("spec,stock", [
    ("pelu", "celu"), ("pelu", "elu"), ("pelu", "celu(0.1)"), ("prelu,share=layer", "relu"), ("swish", "silu"),
    ("ahaf,share=layer", "silu"), ("melu,share=layer", "relu"),
])  # fmt: skip
def test_a_family_that_can_starts_as_the_stock_activation(spec, stock):
    act = make(spec, stock)
    assert (act(Z) - act.base(Z)).abs().max() < 2e-15


def test_adacts_weights_sum_to_one_and_its_members_are_torchs():
    torch.manual_seed(0)
    for variant, names in SETS.items():
        act = make(f"adact:{variant}")
        with torch.no_grad():
            act.delta.normal_()
        w = torch.softmax(act.theta[:, : len(names)], -1)
        assert len(names) == 7 and torch.allclose(w.sum(-1), torch.ones(3, **KIND), rtol=1e-15)
        z, total = torch.randn(50, 3, **KIND), 0.0
        for i, name in enumerate(names):
            each = member(name).double()
            if MEMBERS[name][1] < 0:
                slope = act.theta[:, -1]
                core = F.relu(z) if variant == "paper" else F.gelu(z, approximate="tanh")
                total = total + w[:, i] * (slope * z + (1 - slope) * core)
            else:
                total = total + w[:, i] * each(z)
        torch.testing.assert_close(act(z), total, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(member("rrelu").double()(Z), F.rrelu(Z, training=False), rtol=1e-15, atol=0)
    torch.testing.assert_close(member("leakyrelu").double()(Z), F.leaky_relu(Z), rtol=1e-15, atol=1e-17)
    torch.testing.assert_close(member("mish").double()(Z), F.mish(Z), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("spec,count", [
    ("leaf", 12), ("leaf:relu", 12), ("ahaf", 6), ("adact", 24), ("adact:paper", 24), ("pelu", 2), ("prelu", 3), ("swish", 1), ("molu", 0),
    ("molu:trained", 2), ("melu", 12), ("melu,k=8", 24), ("melu,k=1", 3), ("leaf,share=layer", 4), ("swish,share=neuron", 3), ("elish", 0),
    ("hardelish", 0),
])  # fmt: skip
def test_counts_and_default_sharing_are_the_papers(spec, count):
    assert sum(p.numel() for p in make(spec).coefficients().values()) == count


@pytest.mark.parametrize("spec,words", [
    ("leaf:tnah", "Did you mean 'tanh'"), ("adact:smoth", "Did you mean 'smooth'"), ("adact:smooth,members=", "'members='"),
    ("adact,members=silu/geul", "Did you mean 'gelu'"), ("melu,k=0", "k takes a whole number from 1 to 64"), ("pelu:x", "leave ':x' out"),
    ("laef", "Did you mean 'leaf'"), ("leaf,beta=2", "unknown key 'beta'"), ("prelu,share=nueron", "share takes"),
])  # fmt: skip
def test_a_wrong_spec_is_one_sentence_with_the_nearest_right_one(spec, words):
    with pytest.raises(SpecError, match=words) as error:
        resolve_spec(spec)
    assert "\n" not in str(error.value)


def test_one_set_per_unit_needs_a_width():
    with pytest.raises(SpecError, match="needs the width"):
        make_activation("leaf", "tanh")
