"""A second derivative of a file whose activations are folded would be wrong (``activations/taafs/folded.py``): here it becomes NaN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from taafs_plugins.activations.taafs.folded import differentiable_once


class DifferentiableOnce(nn.Module):
    """An exported module (:mod:`taafs_plugins.md.contract`) whose energies are differentiated once, for forces and virial."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> Tensor:
        return differentiable_once(self.module(pos, Z, idx_i, idx_j, offsets))


class DifferentiableOnceWithMagmoms(DifferentiableOnce):
    """The same with the second method of a model that has magnetic moments."""

    @torch.jit.export
    def magmoms(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> Tensor:
        return self.module.magmoms(pos, Z, idx_i, idx_j, offsets)


class DifferentiableOnceOnRanks(DifferentiableOnceWithMagmoms):
    """The same of a model that computes owned atoms alone, too."""

    @torch.jit.export
    def owned(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor, ends: Tensor, any_angle: bool) -> Tensor:
        return differentiable_once(self.module.owned(pos, Z, idx_i, idx_j, offsets, ends, any_angle))

    @torch.jit.export
    def owned_magmoms(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor, ends: Tensor, any_angle: bool) -> Tensor:
        return self.module.owned_magmoms(pos, Z, idx_i, idx_j, offsets, ends, any_angle)


def once(module: nn.Module) -> nn.Module:
    """The wrapper with the methods that ``module`` has."""
    if hasattr(module, "owned"):
        return DifferentiableOnceOnRanks(module)
    return (DifferentiableOnceWithMagmoms if hasattr(module, "magmoms") else DifferentiableOnce)(module)
