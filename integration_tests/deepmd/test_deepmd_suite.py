"""The shipped suite on DeePMD-kit."""

import torch
from conftest_deepmd import model_of, water_input

from taafs_plugins.testing import HostSuite


class TestDeepmd(HostSuite):
    host = "deepmd"
    site_count = 8
    counts = {"taafs:bspline": 64, "taafs:bspline,share=network": 32, "taafs:bspline,share=global": 8, "taafs:bspline,share=neuron": 560}
    size = 0.05
    keeps_spec = False  # checkpoints hold it among the model's parameters
    pickles = False  # a stock model's class is made inside a function

    def model(self, seed=0):
        return model_of(water_input("tanh", [], seed=seed + 1)).train()

    def positions(self):
        generator = torch.Generator().manual_seed(0)
        grid = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 3) * 2.2
        return 3.0 + grid + 0.4 * torch.rand(8, 3, generator=generator, dtype=torch.float64)

    def values(self, model, positions=None):
        x = (self.positions() if positions is None else positions)[None]
        box = 12 * torch.eye(3, dtype=torch.float64).reshape(1, 9)
        out = model(x, torch.tensor([[0, 1, 1, 0, 1, 1, 0, 1]]), box)
        return {"energy": out["energy"], "forces": out["force"][0]}
