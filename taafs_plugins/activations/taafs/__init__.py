"""The family ``taafs``: a stock activation plus a trained sum over a basis."""

from __future__ import annotations

from taafs_plugins.activations.base import Place
from taafs_plugins.activations.registry import Family, register_family
from taafs_plugins.activations.spec import Spec
from taafs_plugins.activations.taafs.keys import DEFAULT_BASIS, check, complete, exact_start, keys, smoothness
from taafs_plugins.activations.taafs.module import TAAFS


def _build(spec: Spec, place: Place) -> TAAFS:
    return TAAFS(spec, place.replaces, place.width, dtype=place.dtype, device=place.device)


register_family(Family(
    "taafs", _build, keys, DEFAULT_BASIS, check, complete, formula="base(z) + sum_k theta_k B_k(squash(z / scale))",
    smoothness=smoothness, exact_start=exact_start,
))  # fmt: skip

__all__ = ["TAAFS"]
