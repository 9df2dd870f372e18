"""ELiSH (C1) and HardELiSH (C0), no numbers: TAAFS paper, eq. 8, citing Basirat and Roth, 2018.

``z sigmoid(z)`` for z >= 0, ``(exp(z) - 1) sigmoid(z)`` below; the hard one has ``max(0, min(1, (z + 1) / 2))`` for the sigmoid. At a
kink a derivative is the one from the right.
"""

from __future__ import annotations

import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.parts import gate, keys_of
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Spec


class ELiSH(FormulaActivation):
    """Nothing is trained."""

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """What is not chosen by ``where`` is held where it has no infinite derivative."""
        low, one = torch.clamp(z, min=-80.0, max=0.0), torch.ones_like(z)
        return torch.where(z >= 0, gate(z, one, torch.zeros_like(z), one), torch.expm1(low) * torch.sigmoid(low))


class HardELiSH(FormulaActivation):
    """Nothing is trained."""

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """z from 1 on, z (z + 1) / 2 from 0, (exp(z) - 1) (z + 1) / 2 from -1, 0 below."""
        held = torch.clamp(z, min=-1.0, max=1.0)
        half = 0.5 * (held + 1.0)
        inner = torch.where(z >= 0, held * half, torch.expm1(held) * half)
        return torch.where(z >= 1.0, z, torch.where(z >= -1.0, inner, torch.zeros_like(z)))


def _family(name: str, module: type[FormulaActivation], formula: str, smoothness: str) -> Family:
    def build(spec: Spec, place: Place) -> FormulaActivation:
        return module(spec, place, torch.zeros(0, dtype=torch.float64, device="cpu"), trained=False)

    return Family(
        name, build, keys_of(name, (), {}, "layer"), formula=formula, smoothness=lambda spec: smoothness, exact_start=lambda spec: False,
        neighbour=lambda spec: "swish",
    )  # fmt: skip


register_family(_family("elish", ELiSH, "z sigmoid(z) for z >= 0, (exp(z) - 1) sigmoid(z) below", "C1"))
register_family(_family("hardelish", HardELiSH, "z h for z >= 0, (exp(z) - 1) h below, h = max(0, min(1, (z + 1) / 2))", "C0"))
