"""The shipped suite on CHGNet."""

import sys

import numpy as np
import pytest
import torch
from chgnet_helpers import DTYPE_HOLDERS, mptrj, small_stock

from taafs_plugins.testing import HostSuite


class TestCHGNet(HostSuite):
    host = "chgnet"
    site_count = 8
    counts = {"taafs:bspline": 64, "taafs:chebyshev1,degree=3": 32, "taafs:bspline,share=global": 8, "taafs:bspline,share=neuron": 512}
    size = 0.3

    @pytest.fixture(autouse=True)
    def single_precision_after(self):
        yield
        for name in DTYPE_HOLDERS:
            sys.modules[name].TORCH_DTYPE = torch.float32

    def model(self, seed=0):
        import chgnet.model  # noqa: F401

        for name in DTYPE_HOLDERS:
            sys.modules[name].TORCH_DTYPE = torch.float64
        return small_stock(seed)

    def positions(self):
        structure = mptrj(3, largest=6).structures[1]
        return torch.tensor(structure.cart_coords + np.random.default_rng(0).normal(0, 0.05, structure.cart_coords.shape))

    def values(self, model, positions=None):
        structure = mptrj(3, largest=6).structures[1].copy()
        for index, place in enumerate(self.positions() if positions is None else positions):
            structure.translate_sites([index], place.numpy() - structure.cart_coords[index], frac_coords=False, to_unit_cell=False)
        out = model([model.graph_converter(structure)], task="ef")
        return {"energy": out["e"] * len(structure), "forces": out["f"][0]}
