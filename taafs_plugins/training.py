"""What training a model with trainable activations needs beside the host's own loop: calibration, parameter groups, checks.

For any ``nn.Module`` that holds trainable activations; it knows no host.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import SpecError, TrainableActivation
from taafs_plugins.activations.spec import nearest

NOTHING = "The model has no trainable activation; call convert(model, spec) first."


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, each counted once however often it is shared."""
    return sum(p.numel() for p in model.parameters())


def trainable_activations(model: nn.Module) -> dict[str, TrainableActivation]:
    """Name -> trainable activation, for every one in the model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, TrainableActivation)}


def _coefficient_ids(model: nn.Module) -> set[int]:
    return {id(p) for act in trainable_activations(model).values() for p in act.coefficients().values()}


def parameter_groups(model: nn.Module, lr: float, coefficient_lr: float | None = None) -> list[dict[str, Any]]:
    """Two parameter groups for a torch optimiser: the host's own weights, and all coefficients.

    Parameters
    ----------
    lr : learning rate of the host's weights
    coefficient_lr : learning rate of the coefficients, default ``lr``. It multiplies with the spec's ``rate``: set one of the two.

    Raises
    ------
    SpecError
        The model has no trainable activation, or a rate is no number from 0 on.

    Examples
    --------
    >>> from taafs_plugins import make_activation
    >>> model = nn.Sequential(nn.Linear(3, 4), make_activation("taafs:chebyshev1"), nn.Linear(4, 1))
    >>> [(group["name"], group["lr"]) for group in parameter_groups(model, lr=1e-3, coefficient_lr=1e-2)]
    [('weights', 0.001), ('coefficients', 0.01)]
    >>> count_parameters(model), list(trainable_activations(model))
    (29, ['1'])
    """
    ids = _coefficient_ids(model)
    if not ids:
        raise SpecError(NOTHING)
    for name, rate in (("lr", lr), ("coefficient_lr", coefficient_lr)):
        if rate is not None and (not isinstance(rate, (int, float)) or not 0 <= rate < float("inf")):
            raise SpecError(f"{name}={rate!r} is no learning rate; give a number from 0 on, such as 1e-3.")
    trained = [p for p in model.parameters() if p.requires_grad]
    coefficients = [p for p in trained if id(p) in ids]
    weights = [p for p in trained if id(p) not in ids]
    groups = [{"params": weights, "lr": lr, "name": "weights"}] if weights else []
    return [*groups, {"params": coefficients, "lr": lr if coefficient_lr is None else coefficient_lr, "name": "coefficients"}]


def freeze_all_but_coefficients(model: nn.Module, also: str | list[str] | None = None) -> list[str]:
    """Leave only the coefficients trainable, and parameters whose names match a pattern in ``also``. Returns the trained names.

    Raises
    ------
    SpecError
        No trainable activation, or a pattern that matches no parameter.
    """
    ids = _coefficient_ids(model)
    if not ids:
        raise SpecError(NOTHING)
    names = [name for name, _ in model.named_parameters()]
    also = [also] if isinstance(also, str) else also
    for pattern in also or []:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SpecError(f"No parameter matches '{pattern}'. {nearest(pattern, names)}".strip())
    for name, p in model.named_parameters():
        p.requires_grad_(id(p) in ids or any(fnmatchcase(name, pattern) for pattern in also or []))
    return [name for name, p in model.named_parameters() if p.requires_grad]


def check_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of activations whose coefficients the optimiser does not hold; warns when there are any.

    Raises
    ------
    SpecError
        Not an optimiser, such as one's name.
    """
    if not hasattr(optimizer, "param_groups"):
        raise SpecError(f"{optimizer!r} is no optimiser of torch; build it first: torch.optim.Adam(parameter_groups(model, lr=1e-3)).")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [
        name for name, act in trainable_activations(model).items()
        if any(p.requires_grad and id(p) not in held for p in act.coefficients().values())
    ]  # fmt: skip
    if missing:
        warnings.warn(f"The optimiser does not train the coefficients of {', '.join(missing)}; build it with parameter_groups(model, ...).")
    return missing


def check_gradients(model: nn.Module) -> list[str]:
    """Call after ``backward``: names of activations whose trained coefficients got no gradient; warns when there are any."""
    dead = [
        name
        for name, act in trainable_activations(model).items()
        if any(p.requires_grad and (p.grad is None or not bool(p.grad.any())) for p in act.coefficients().values())
    ]
    if dead:
        warnings.warn(f"The coefficients of {', '.join(dead)} got no gradient: the loss does not reach these sites.")
    return dead


class _Measured:
    """Sum of squares and count of an activation's inputs."""

    def __init__(self) -> None:
        self.total: float = 0.0
        self.count: int = 0

    def record(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A forward pre-hook."""
        z = inputs[0].detach().double()
        self.total += float((z * z).sum())
        self.count += z.numel()

    @property
    def rms(self) -> float:
        """Root mean square."""
        return max(float((self.total / self.count) ** 0.5), 1e-12)


@contextmanager
def calibrate(model: nn.Module, *, again: bool = True) -> Iterator[None]:
    """Measure ``scale=auto``: run the model on your frames inside this block; each such site then gets the rms of its inputs.

    Parameters
    ----------
    again : also measure sites whose scale was measured before

    Raises
    ------
    SpecError
        No site of the model has ``scale=auto``, or one of them was not called inside the block.
    """
    acts = {name: act for name, act in trainable_activations(model).items() if act.wants_scale and (again or not act.calibrated)}
    if not acts:
        raise SpecError("No site has scale=auto; convert with 'taafs:...,scale=auto' first.")
    measured = {name: _Measured() for name in acts}
    before = {name: act.calibrated for name, act in acts.items()}
    for act in acts.values():
        act.calibrated = True  # said so before the forward passes below, which would warn
    handles = [act.register_forward_pre_hook(measured[name].record) for name, act in acts.items()]
    try:
        yield
        _check_measured(measured)
    except BaseException:
        for name, act in acts.items():
            act.calibrated = before[name]
        raise
    finally:
        for handle in handles:
            handle.remove()
    for name, act in acts.items():
        act.set_scale(measured[name].rms)


def _check_measured(measured: dict[str, _Measured]) -> None:
    if unseen := [name for name, found in measured.items() if found.count == 0]:
        raise SpecError(f"scale=auto: {', '.join(unseen)} was not called on the given frames; no scale was changed.")
    if wrong := [name for name, found in measured.items() if not math.isfinite(found.total)]:
        raise SpecError(f"scale=auto: the inputs of {', '.join(wrong)} are not finite on the given frames; no scale was changed.")
