"""Small helpers of tests: random coefficients, derivatives by autograd, Python code in a fresh process."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from taafs_plugins.training import trainable_activations


def randomise(model: nn.Module, size: float = 0.3, seed: int = 7) -> nn.Module:
    """Give every trained number a random value, the same for the same seed; returns the model.

    Parameters
    ----------
    model : with trainable activations, or one of them
    size : standard deviation of ``rate * delta`` around 0, and of other coefficients (``weights``) around 1
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    with torch.no_grad():
        for act in trainable_activations(model).values():
            for name, p in act.coefficients().items():
                values = size * torch.randn(p.shape, generator=generator, dtype=torch.float64, device="cpu")
                p.copy_(values / act.rate if name == "delta" else 1.0 + values)
    return model


def derivative_of(f: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor, order: int) -> torch.Tensor:
    """The order-th derivative of an elementwise function at z by nested autograd, detached; 0 gives the value."""
    x = z.detach().clone().requires_grad_()
    y = f(x)
    for _ in range(order):
        if not y.requires_grad:  # a constant
            return torch.zeros_like(z)
        (y,) = torch.autograd.grad(y.sum(), x, create_graph=True, materialize_grads=True)
    return y.detach()


def fresh(code: str, folder: Path, path: Sequence[str | Path] = (), check: bool = True, **env: str) -> subprocess.CompletedProcess:
    """Run Python code in a fresh process in ``folder``; ``path`` comes first on its ``sys.path``, that of this process after it."""
    places = [*map(str, path), *(place for place in sys.path if place), str(Path.cwd())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(places)), **env}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def stay_shared(both: nn.ModuleList) -> None:
    """Two activations of one set, by every way that torch has to load, move and materialise them."""
    state = {key: value.clone() for key, value in both.state_dict().items()}
    empty = copy.deepcopy(both).to("meta").to_empty(device="cpu")
    made = copy.deepcopy(both)
    made.load_state_dict(state, assign=True)
    made.load_state_dict(state, assign=True)  # again: what was replaced once
    back = copy.deepcopy(both)
    kept = back.state_dict(keep_vars=True)
    back.load_state_dict(state, assign=True)
    back.load_state_dict(kept, assign=True)
    late = copy.deepcopy(both).to("meta")
    late.load_state_dict(state, assign=True)
    empty.load_state_dict(state)
    for way in (empty, made, back, late):
        first, second = (act.coefficients() for act in way)
        assert all(second[name] is p for name, p in first.items())
        assert all(way[1]._buffers[name] is way[0]._buffers[name] for name in way[0].shared_buffers)
        assert all(torch.equal(value, state[key]) for key, value in way.state_dict().items())
