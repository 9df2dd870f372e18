"""The shipped suite on the families of this package, and what only one of them has."""

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


MOLU = [-1.16414021e-05, -7.37305482e-05, -4.53999296e-04, -2.68370062e-03, -1.48723912e-02, -7.32298040e-02, -2.64248689e-01,
        0, 1, 2, 3, 4, 5, 6, 7, 8]  # fmt: skip


@pytest.mark.parametrize("spec", ["molu", "molu:trained"])
def test_molu_has_the_values_of_the_paper_to_all_digits(spec):
    """z = -7 ... 8 with alpha = beta = 2; from 1 on z to 9 digits."""
    act = taafs.make_activation(spec, dtype=torch.float64)
    for z, expected in zip(range(-7, 9), MOLU, strict=True):
        value = float(act(torch.tensor([float(z)], dtype=torch.float64)).detach())
        assert f"{value:.8e}" == f"{expected:.8e}", z
