"""Lennard-Jones of argon, neon mixed in, as an exported model: what LAMMPS itself knows as ``lj/cut``."""

import torch

from taafs_plugins.md.contract import DTYPES, Metadata, write

CUTOFF = 5.5
# epsilon eV, sigma Angstrom by element; mixed arithmetically so that lj/cut can be told the same pairs
EPSILON = {18: 0.0104, 10: 0.0031}
SIGMA = {18: 3.40, 10: 2.75}


class LennardJones(torch.nn.Module):
    """Half of each pair's energy to either atom, cut at the cutoff without a shift."""

    def __init__(self, cutoff: float = CUTOFF, factor: float = 1.0):
        super().__init__()
        self.cutoff, self.factor = cutoff, factor
        epsilon, sigma = torch.zeros(119, dtype=torch.float64), torch.zeros(119, dtype=torch.float64)
        for z in EPSILON:
            epsilon[z], sigma[z] = EPSILON[z], SIGMA[z]
        self.register_buffer("epsilon", epsilon)
        self.register_buffer("sigma", sigma)

    def forward(self, pos: torch.Tensor, Z: torch.Tensor, idx_i: torch.Tensor, idx_j: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        r2 = (pos[idx_j] + offsets - pos[idx_i]).square().sum(1)
        epsilon = 0.5 * (self.epsilon[Z[idx_i]] + self.epsilon[Z[idx_j]])
        sigma = 0.5 * (self.sigma[Z[idx_i]] + self.sigma[Z[idx_j]])
        s6 = (sigma.square() / r2) ** 3
        pair = torch.where(r2 < self.cutoff**2, 2 * self.factor * epsilon * (s6 * s6 - s6), torch.zeros_like(r2))
        return torch.zeros(pos.shape[0], dtype=pos.dtype, device=pos.device).index_add(0, idx_i, pair)


class WithConstant(torch.nn.Module):
    """Lennard-Jones and ``constant`` eV per atom, as models with atomic energies; not a number where two atoms are nearer than ``hole``."""

    def __init__(self, constant: float, hole: float = 0.0):
        super().__init__()
        self.lj, self.constant, self.hole = LennardJones(), constant, hole

    def forward(self, pos: torch.Tensor, Z: torch.Tensor, idx_i: torch.Tensor, idx_j: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        energies = self.lj(pos, Z, idx_i, idx_j, offsets) + self.constant
        r2 = (pos[idx_j] + offsets - pos[idx_i]).square().sum(1)
        return torch.where((r2 < self.hole**2).any(), torch.full_like(energies, float("nan")), energies)


def export(path, model=None, **changes):
    """Write the model, or another one of the same elements and cutoff; ``changes`` go into its metadata."""
    facts = {"host": "lj", "cutoff": CUTOFF, "hops": 1, "modes": ("owner", "ghost"), "energy_unit": "eV", "elements": (10, 18)}
    metadata = Metadata(**{**facts, "dtype": "float64", **changes})
    write(torch.jit.script((model or LennardJones()).to(DTYPES[metadata.dtype])), path, metadata)
    return path
