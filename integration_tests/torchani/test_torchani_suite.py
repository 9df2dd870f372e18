"""The shipped suite on TorchANI."""

import torch
from torchani_small import batch, small_model, with_all_elements

from taafs_plugins.testing import HostSuite


class TestTorchANI(HostSuite):
    host = "torchani"
    site_count = 24
    counts = {"taafs:bspline": 192, "taafs:bspline,share=network": 64, "taafs:bspline,share=neuron": 1920, "taafs:bspline,share=global": 8}
    size = 0.3

    def model(self, seed=0):
        return small_model(members=2, seed=seed)

    def positions(self):
        return batch([with_all_elements()])[1][0]

    def values(self, model, positions=None):
        species, x = batch([with_all_elements()])
        x = (x if positions is None else positions[None]).requires_grad_(True)
        energy = model((species, x)).energies
        return {"energy": energy, "forces": -torch.autograd.grad(energy.sum(), x, create_graph=True)[0][0]}
