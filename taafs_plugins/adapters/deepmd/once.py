"""A frozen model whose curves are folded is right to the first derivative: a second one becomes NaN, never a wrong number.

Every output of a model goes through the last layer of a fitting net, which is linear and has one number for each atom: where the curves are
folded, that layer's activation hands its input on with NaN for every second derivative.
"""

from __future__ import annotations

import functools
import importlib

import torch
from torch import nn

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.activations.taafs.folded import differentiable_once
from taafs_plugins.adapters.patching import Patches


@functools.cache
def linear_once() -> type:
    """DeePMD-kit's linear activation, differentiable once where it is scripted."""
    from deepmd.pt.utils.utils import ActivationFn

    class LinearOnce(ActivationFn):
        """Stands in a scripted model only for as long as its curves are folded."""

        def __init__(self) -> None:
            super().__init__("linear")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """The input; see :func:`taafs_plugins.activations.taafs.folded.differentiable_once`."""
            if torch.jit.is_scripting():
                return differentiable_once(x)
            return x

    return LinearOnce


def prepare(model: nn.Module) -> nn.Module:
    """``DPAtomicModel.__prepare_scriptable__``: called by ``torch.jit.script`` before it does the same with the model's parts."""
    from deepmd.pt.model.network.mlp import MLP
    from deepmd.pt.utils.utils import ActivationFn

    folded = any(isinstance(part, TrainableActivation) and part.scripts_once() for part in model.modules())
    for net in model.fitting_net.modules():
        if isinstance(net, MLP) and len(net.layers) and net.layers[-1].activate.activation.lower() in ("linear", "none"):
            last = net.layers[-1]
            if folded != isinstance(last.activate, linear_once()):
                last.activate = linear_once()() if folded else ActivationFn(last.activate_name)
    return model


def install(patches: Patches) -> None:
    """Let every model of DeePMD-kit be prepared before it is scripted."""
    patches.replace(
        importlib.import_module("deepmd.pt.model.atomic_model.dp_atomic_model").DPAtomicModel, "__prepare_scriptable__", prepare
    )
