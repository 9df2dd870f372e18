"""A model whose energies look two cutoffs far: neighbours weigh with how crowded they are themselves."""

import torch

from taafs_plugins.md.contract import Metadata, write


class Layered(torch.nn.Module):
    """E_i = sum_j g(r_ij) tanh(rho_j), rho_j = sum_k g(r_jk), g smooth at the cutoff."""

    def __init__(self, cutoff: float):
        super().__init__()
        self.cutoff = cutoff

    def forward(self, pos: torch.Tensor, Z: torch.Tensor, idx_i: torch.Tensor, idx_j: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        r = (pos[idx_j] + offsets - pos[idx_i]).square().sum(1).sqrt()
        g = torch.where(r < self.cutoff, (1 - r / self.cutoff).clamp(min=0) ** 3, torch.zeros_like(r)) * Z[idx_j] / 10.0
        rho = torch.zeros(pos.shape[0], dtype=pos.dtype, device=pos.device).index_add(0, idx_i, g)
        return torch.zeros_like(rho).index_add(0, idx_i, g * torch.tanh(rho[idx_j]))

    @torch.jit.export
    def magmoms(self, pos: torch.Tensor, Z: torch.Tensor, idx_i: torch.Tensor, idx_j: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Something per atom: its number of pairs."""
        r = (pos[idx_j] + offsets - pos[idx_i]).square().sum(1).sqrt()
        return torch.zeros(pos.shape[0], dtype=pos.dtype, device=pos.device).index_add(0, idx_i, (r < self.cutoff).to(pos.dtype))


def export(path, cutoff=4.2, modes=("owner", "ghost")):
    """Write it."""
    write(torch.jit.script(Layered(cutoff)), path, Metadata("layered", cutoff, 2, modes, "eV", (10, 18), "float64"))
    return path
