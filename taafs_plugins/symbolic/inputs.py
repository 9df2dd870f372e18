"""What parts of a model see: the range and histogram of their inputs while it runs on frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from taafs_plugins.symbolic.errors import XNetError

BINS = 200


@dataclass
class Inputs:
    """Inputs that one part saw.

    Attributes
    ----------
    low, high : smallest and largest
    counts : histogram over :data:`BINS` equal bins from low to high
    """

    low: float
    high: float
    counts: np.ndarray


@dataclass
class _Seen:
    chunks: list[np.ndarray] = field(default_factory=list)

    def add(self, z: torch.Tensor) -> None:
        self.chunks.append(z.detach().double().cpu().numpy().ravel())

    def summary(self, name: str) -> Inputs:
        values = np.concatenate(self.chunks) if self.chunks else np.zeros(0)
        if not len(values):
            raise XNetError(f"{name} was not called on these frames: give frames that have its elements.")
        if not np.isfinite(values).all():
            raise XNetError(f"The inputs of {name} are not finite on these frames; leave the frame out that is broken.")
        low, high = float(values.min()), float(values.max())
        if not low < high:
            raise XNetError(f"{name} saw one input only, {low:g}; give more frames.")
        return Inputs(low, high, np.histogram(values, BINS, (low, high))[0])


class Watch(dict[str, Inputs]):
    """Name -> what was seen, there once the block of :func:`watch` ends."""


@contextmanager
def watch(parts: Mapping[str, nn.Module]) -> Iterator[Watch]:
    """Record the inputs of some parts of a model that runs inside the block.

    Parameters
    ----------
    parts : name -> module, the same objects that the model calls (also by ``part.forward(x)``, which has no hooks)

    Raises
    ------
    XNetError
        At the end of the block: a part that was not called, or saw one number or ones that are not finite.
    """
    seen, found = {name: _Seen() for name in parts}, Watch()
    with ExitStack() as stack:
        for name, part in parts.items():
            stack.callback(_wrap(part, seen[name]))
        yield found
    found.update({name: record.summary(name) for name, record in seen.items()})


def _wrap(part: nn.Module, seen: _Seen):
    """Record in front of ``forward``; returns what takes that away again."""
    before, stock = vars(part).get("forward"), part.forward

    def forward(z, *rest, **named):
        seen.add(z)
        return stock(z, *rest, **named)

    part.forward = forward

    def undo() -> None:
        if before is None:
            del part.forward
        else:
            part.forward = before

    return undo
