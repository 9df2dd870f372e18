"""The learned curves of a model, and parts of it with one input, as functions of one number that :mod:`.distil` takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.activations.spec import nearest
from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.training import trainable_activations

SPAN = 4.0  # of the scale, where no frames say what inputs occur: as in pictures of curves


@dataclass
class Curve:
    """One function of one number.

    Attributes
    ----------
    name : of the part of the model
    part : the module whose inputs are the function's
    function : float64 [n] -> float64 [n], differentiable
    low, high : where it is looked at when nothing else says so, or None
    """

    name: str
    part: nn.Module
    function: Callable[[torch.Tensor], torch.Tensor]
    low: float | None = None
    high: float | None = None


def learned_curves(model: nn.Module, patterns: list[str] | None = None, neuron: int | None = None) -> list[Curve]:
    """The curves of a model's trainable activations, those that share their numbers once.

    Parameters
    ----------
    patterns : shell patterns of their names; None for all
    neuron : which one, of activations with numbers for each neuron

    Raises
    ------
    XNetError
        No such activation, numbers for each neuron and no neuron named, or a neuron where there are none.
    """
    acts = trainable_activations(model)
    if not acts:
        raise XNetError("The model has no trainable activation; name a part of it with one input with --module.")
    for pattern in patterns or []:
        if not any(fnmatchcase(name, pattern) for name in acts):
            raise XNetError(f"No trainable activation matches '{pattern}'. {nearest(pattern, list(acts))}Known: {', '.join(acts)}.")
    chosen = {name: act for name, act in acts.items() if patterns is None or any(fnmatchcase(name, pattern) for pattern in patterns)}
    if neuron is not None and all(act.width is None for act in chosen.values()):
        raise XNetError("--neuron is for activations of share=neuron; these have one curve for all neurons of a layer: leave it out.")
    kept: dict[int, Curve] = {}
    for name, act in chosen.items():
        kept.setdefault(id(act.delta), _curve(name, act, neuron))
    return list(kept.values())


def _curve(name: str, act: TrainableActivation, neuron: int | None) -> Curve:
    if act.width is not None and (neuron is None or not 0 <= neuron < act.width):
        raise XNetError(f"{name} has a curve for each of {act.width} neurons; name one from 0 to {act.width - 1} with --neuron.")

    def function(z: torch.Tensor) -> torch.Tensor:
        x = z.to(act.delta.dtype)
        y = act.plain(x[:, None].expand(-1, act.width))[:, neuron] if act.width else act.plain(x)
        return y.to(z.dtype)

    scale = float(getattr(act, "scale", 1.0))
    return Curve(name, act, function, -SPAN * scale, SPAN * scale)


def part_curve(model: nn.Module, pattern: str, output: int | None = None) -> Curve:
    """A part of a model with one input, such as an embedding net, as a function.

    Parameters
    ----------
    pattern : shell pattern that one part's name matches
    output : which of its outputs, from 0; may be None for a part with one

    Raises
    ------
    XNetError
        No such part, several, one that is no function of one number, or no output named.
    """
    names = [name for name, _ in model.named_modules() if fnmatchcase(name, pattern)]
    if len(names) != 1:
        known = [name for name, _ in model.named_modules()]
        what = f"{len(names)} parts match '{pattern}', such as {', '.join(names[:3])}" if names else f"No part is named '{pattern}'"
        raise XNetError(f"{what}. {'Name one of them.' if names else nearest(pattern, known) or 'Give its whole name.'}".strip())
    part = model.get_submodule(names[0])
    dtype = next((p.dtype for p in part.parameters()), torch.float64)
    try:
        with torch.no_grad():
            outputs = part.forward(torch.zeros(3, 1, dtype=dtype)).shape
    except Exception:  # hosts' modules raise many kinds
        outputs = ()
    if len(outputs) != 2 or outputs[0] != 3:
        raise XNetError(f"{names[0]} is no function of one number; name a part with one input, such as an embedding net.")
    if output is None and outputs[1] > 1 or output is not None and not 0 <= output < outputs[1]:
        raise XNetError(f"{names[0]} has {outputs[1]} outputs; name one from 0 to {outputs[1] - 1} with --neuron.")
    return Curve(names[0], part, lambda z: part.forward(z.to(dtype)[:, None])[:, output or 0].to(z.dtype))
