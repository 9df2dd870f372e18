"""What the tests of the compiled kernels share."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from taafs_plugins.activations import make_activation, use_engine
from taafs_plugins.activations.taafs import fused


@pytest.fixture(name="engine", autouse=True)
def fused_engine():
    assert fused.operator() is not None, "the fused kernels cannot be built here"
    torch.manual_seed(0)
    use_engine("fused")
    yield use_engine
    use_engine(None)


def activation(spec: str, replaces="tanh", width=None, dtype=torch.float64) -> nn.Module:
    """An activation with every number at random."""
    act = make_activation(spec, replaces, width=width, dtype=dtype)
    with torch.no_grad():
        act.delta.copy_(0.3 * torch.randn_like(act.delta))
        if act.weights is not None:
            act.weights.copy_(1 + 0.3 * torch.randn_like(act.weights))
    return act


def force_training(act: nn.Module, z: torch.Tensor) -> list[torch.Tensor]:
    """Value, force-like gradient, and the gradients of a loss on both with respect to input and coefficients."""
    z = z.clone().requires_grad_()
    y = act(z)
    gy = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    (gz,) = torch.autograd.grad((y * gy).sum(), z, create_graph=True)
    return [y, gz, *torch.autograd.grad((gz**2).sum() + (y**2).sum(), (z, *act.parameters()))]


def worst(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return max(((x - y).abs().max() / y.abs().max().clamp(min=1e-30)).item() for x, y in zip(a, b, strict=True))


def spread(squash: str, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64) * 2 - 1 if squash == "linear" else 1.5 * torch.randn(*shape, dtype=torch.float64)
