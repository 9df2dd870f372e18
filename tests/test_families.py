"""The shipped suite on every family of this package, and what only one of them has."""

import math

import pytest
import torch

import taafs_plugins as taafs
from taafs_plugins.testing import FamilySuite


class TestTaafs(FamilySuite):
    specs = {
        "taafs": 8,
        "taafs:fourier,residual=none": 9,
        "taafs:chebyshev1,scale=auto,rate=10": 8,
        "taafs:rational,residual=scaled": 10,
        "taafs:legendre,degree=3,squash=softsign,init=random": 4,
    }

    def kinks(self, spec):
        if "softsign" in spec:
            return (0.0,)
        return [math.atanh(knot) for knot in (-0.6, -0.2, 0.2, 0.6)] if spec == "taafs" else ()


class TestMolu(FamilySuite):
    specs = {"molu": 0, "molu:trained": 2}


class TestLeaf(FamilySuite):
    specs = {"leaf": 4, "leaf:tanh,rate=10": 4, "leaf:swish,beta=1.5": 4}


class TestAhafAndSwish(FamilySuite):
    specs = {"ahaf": 2, "swish": 1}


class TestAdAct(FamilySuite):
    specs = {"adact": 8, "adact:paper": 8, "adact,members=gelu/silu/tanh": 3}

    def kinks(self, spec):
        return (0.0,) if "paper" in spec else ()


class TestOfTwoPieces(FamilySuite):
    specs = {"pelu": 2, "elish": 0, "hardelish": 0}

    def kinks(self, spec):
        return (-1.0, 1.0) if spec == "hardelish" else (0.0,)


class TestOfStraightPieces(FamilySuite):
    specs = {"prelu": 1, "melu": 4, "melu,k=8,span=3": 8}

    def kinks(self, spec):
        return {"prelu": (0.0,), "melu": (-4.0, -2.0, 0.0, 2.0, 4.0)}.get(spec, (-3.0, -2.25, -1.5, -0.75, 0.0, 0.75, 1.5, 2.25, 3.0))


MOLU = [-1.16414021e-05, -7.37305482e-05, -4.53999296e-04, -2.68370062e-03, -1.48723912e-02, -7.32298040e-02, -2.64248689e-01,
        0, 1, 2, 3, 4, 5, 6, 7, 8]  # fmt: skip


@pytest.mark.parametrize("spec", ["molu", "molu:trained"])
def test_molu_has_the_values_of_the_paper_to_all_digits(spec):
    """z = -7 ... 8 with alpha = beta = 2; from 1 on z to 9 digits."""
    act = taafs.make_activation(spec, dtype=torch.float64)
    for z, expected in zip(range(-7, 9), MOLU, strict=True):
        value = float(act(torch.tensor([float(z)], dtype=torch.float64)).detach())
        assert f"{value:.8e}" == f"{expected:.8e}", z
