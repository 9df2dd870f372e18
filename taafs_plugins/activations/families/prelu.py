"""PReLU, ``z`` for z >= 0 and ``a z`` below: C0, a = 0.25 at the start (He et al., 2015), 0 in the place of ReLU."""

from __future__ import annotations

import torch

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.formula import FormulaActivation
from taafs_plugins.activations.parts import keys_of, negative_slope
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Spec, number


class PReLU(FormulaActivation):
    """The number is the slope a below 0; at 0 the slope is 1, the one from the right."""

    def formula(self, z: torch.Tensor, p: list[torch.Tensor]) -> torch.Tensor:
        """z for z >= 0, a z below."""
        return torch.where(z >= 0, z, p[0] * z)


def _build(spec: Spec, place: Place) -> PReLU:
    return PReLU(spec, place, torch.tensor([negative_slope(spec, place)], dtype=torch.float64, device="cpu"))


register_family(Family(
    "prelu", _build, keys_of("prelu", (), {"slope": number(-1e6, 1e6)}, "neuron"), formula="z for z >= 0, a z below",
    smoothness=lambda spec: "C0", exact_start=lambda spec: False, neighbour=lambda spec: "leaf or swish",
))  # fmt: skip
