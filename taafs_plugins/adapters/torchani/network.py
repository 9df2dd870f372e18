"""What a converted TorchANI network is made of, and the guard that makes TorchANI's inference paths respect it.

These classes are pickled with models, so they live in a module that imports TorchANI only when it is there anyway.
"""

from __future__ import annotations

import copy
import functools

import torch
from torch import nn

from taafs_plugins.adapters.patching import HostError, Patches

GUARD = Patches("torchani")


class ActivatedLinear(nn.Linear):
    """A ``Linear`` layer of a converted network with the activation behind it; a stock layer becomes one by its ``__class__``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., in] -> [..., out], activated."""
        return self.activation(nn.functional.linear(x, self.weight, self.bias))


class AppliedInLayers(nn.Module):
    """``activation`` of a converted network: the identity, since each layer applies its own."""

    def __init__(self) -> None:
        super().__init__()
        _guard()

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        _guard()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [atoms, features], unchanged.

        Raises
        ------
        RuntimeError
            Called by the networks of ``to_infer_model()`` (x is [members, atoms, features]) that TorchANI built without the guard below:
            they hold no trained activation.
        """
        if x.dim() == 3:
            raise RuntimeError(
                "to_infer_model() was called after taafs_plugins.disable('torchani') and lost the trained activations; call "
                "taafs_plugins.enable('torchani') first, then to_infer_model() of the model again."
            )
        return x

    def batch(self, batched: nn.Module, networks: list[nn.Module]) -> None:
        """Give a ``BmmAtomicNetwork`` that was just built from ``networks`` each member's own activations."""
        layers = [BatchedLayer(linear, [n.layers[j] for n in networks]) for j, linear in enumerate(batched.layers)]
        batched.layers = nn.ModuleList(layers)
        batched.activation = nn.Identity()

    def refuse_mnp(self) -> None:
        """Called when TorchANI is about to build its MNP networks of a converted model."""
        raise HostError(
            "TorchANI's MNP path computes CELU only and cannot follow trainable activations; use the model as it is, or "
            "to_infer_model() of an ensemble without use_mnp."
        )

    def refuse_legacy(self) -> None:
        """Called when TorchANI is about to write the state dict of its old versions."""
        raise HostError("Old versions of TorchANI know no trainable activations; save state_dict() or taafs.save_coefficients().")


class BatchedLayer(nn.Module):
    """One layer of all ensemble members: a ``BmmLinear`` and each member's own activation. [members, atoms, in] -> [..., out]."""

    def __init__(self, linear: nn.Module, layers: list[ActivatedLinear]) -> None:
        super().__init__()
        self.linear = linear
        self.activations = nn.ModuleList([copy.deepcopy(layer.activation) for layer in layers])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Members beyond the first x.shape[0] are not active."""
        z = self.linear(x)
        out: list[torch.Tensor] = []
        for i, activation in enumerate(self.activations):
            if i < z.shape[0]:
                out.append(activation(z[i]))
        return torch.stack(out)

    @torch.jit.export
    def select_first_n(self, n: int) -> None:
        """TorchANI's way to make only the first n members active."""
        self.linear.select_first_n(n)


def _guard() -> None:
    """Make ``to_infer_model()`` and ``legacy_state_dict()`` see converted networks, once.

    Whoever holds a converted network holds this guard, also after ``unregister`` or unpickling: without it TorchANI would
    answer with wrong energies. Stock networks pass through untouched.
    """
    from torchani import arch, nn
    from torchani.nn import _core, _infer

    if hasattr(_core, "activation_plugin") or GUARD:
        return

    def batched(original):
        @functools.wraps(original)
        def __init__(self, networks) -> None:
            original(self, networks)
            if isinstance(self.activation, AppliedInLayers):
                self.activation.batch(self, networks)

        return __init__

    def checked(original, refuse):
        @functools.wraps(original)
        def call(first, *args, **kwargs):
            for part in (args[0] if args and isinstance(args[0], torch.nn.Module) else first).modules():
                if isinstance(part, AppliedInLayers):
                    refuse(part)
            return original(first, *args, **kwargs)

        return call

    GUARD.replace(_infer.BmmAtomicNetwork, "__init__", batched(_infer.BmmAtomicNetwork.__init__))
    GUARD.replace(_infer.MNPNetworks, "__init__", checked(_infer.MNPNetworks.__init__, AppliedInLayers.refuse_mnp))
    for owner in (arch._ANI, nn.ANINetworks, nn.Ensemble):
        GUARD.replace(owner, "legacy_state_dict", checked(owner.legacy_state_dict, AppliedInLayers.refuse_legacy))
