"""What a person should know of trainable activations before training: a start that is not the stock's, and kinks."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from taafs_plugins.activations.base import TrainableActivation
from taafs_plugins.activations.registry import find_family
from taafs_plugins.activations.spec import Spec

WORTH_SAYING = 1e-3
SPAN = 6.0
KINKS = {
    "C0": "its slope jumps at a kink, and forces with it, which costs energy conservation in MD",
    "C1": "forces are continuous but their derivatives jump at a kink, in Hessians and phonons, and NVE may drift more",
}


def head(spec: Spec) -> str:
    """Family and variant, as people write them."""
    return ":".join(filter(None, (spec.family, spec.variant if spec.variant != find_family(spec.family).default_variant else None)))


def smoothness(act: TrainableActivation) -> str:
    """``C0``, ``C1``, ... or ``analytic``."""
    return find_family(act.spec.family).smoothness(act.spec)


def start_error(act: TrainableActivation) -> float:
    """Largest deviation of the activation, as it is now, from the stock one that it replaces, for abs(z) <= 6."""
    z = torch.linspace(-SPAN, SPAN, 241, dtype=act.delta.dtype, device=act.delta.device)[:, None].expand(-1, act.width or 1)
    with torch.no_grad():
        return float((act.plain(z) - act.base(z)).abs().max())


def start_notes(acts: Iterable[TrainableActivation]) -> list[str]:
    """One sentence for each kind of activation that does not start as the stock one; nothing for a spec that asks for its own start."""
    notes = {}
    for act in acts:
        spec, key = act.spec, (str(act.spec), act.base_name)
        if key in notes or find_family(spec.family).exact_start(spec) or spec.get("init") is not None:
            continue
        error = start_error(act)
        off = f"{head(spec)} does not start at the stock activation ({act.base_name}; off by up to {error:.2g})"
        notes[key] = f"{off}: predictions change until it is trained." if error > WORTH_SAYING else ""
    return [note for note in notes.values() if note]


def kink_notes(acts: Iterable[TrainableActivation]) -> list[str]:
    """One sentence for each spec whose first or second derivative jumps: what that does to forces, and the smooth neighbour."""
    notes = {}
    for act in acts:
        spec, smooth = act.spec, smoothness(act)
        if smooth in KINKS:
            neighbour = find_family(spec.family).neighbour(spec)
            more = f"; smooth in its place: {neighbour}." if neighbour else "."
            notes[str(spec)] = f"{head(spec)} is {smooth}: {KINKS[smooth]}{more}"
    return list(notes.values())
