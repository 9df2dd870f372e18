"""The shipped suite on SchNetPack."""

import torch
from schnetpack_helpers import batch, ethanol, potential

from taafs_plugins.testing import HostSuite


class TestSchNetPack(HostSuite):
    host = "schnetpack"
    site_count = 4
    counts = {"taafs:bspline": 32, "taafs:bspline,share=network": 8, "taafs:bspline,share=neuron": 512}

    def model(self, seed=0):
        return potential(seed=seed).double().train()

    def positions(self):
        return torch.tensor(ethanol(1)[0].positions)

    def values(self, model, positions=None):
        atoms = ethanol(1)
        if positions is not None:
            atoms[0].set_positions(positions.numpy())
        return {key: value for key, value in model(batch(atoms)).items() if key in ("energy", "forces")}
