"""What DeePMD-kit's optimisers take coefficients for.

AdaMuon and HybridMuon orthogonalise the step of every parameter of two dimensions, as is right for a weight matrix; coefficients of
``share=neuron`` are rows of numbers that have nothing to do with each other. During the optimiser's step they are one-dimensional, which
both hand to Adam. LKF is a Kalman filter whose covariance starts at 1 for every parameter: ``rate`` is then the standard deviation that a
coefficient has before training, so that 1, LKF's own default here, treats it as the filter treats a weight; Adam's 10 is far too loose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from taafs_plugins.activations import TrainableActivation

MATRIX = ("AdaMuon", "HybridMuon")
LKF_RATE = 1.0


def defaults(config: Mapping[str, Any], general: Mapping[str, Any]) -> dict[str, Any]:
    """Values for keys that a spec of this input leaves out: LKF has a ``rate`` of its own."""
    sections = [config.get("optimizer"), config.get("training")]
    optimizer, training = (section if isinstance(section, dict) else {} for section in sections)  # DeePMD-kit says what else is wrong
    kind = optimizer.get("type") or training.get("opt_type")
    return {**general, "rate": LKF_RATE} if kind == "LKF" else dict(general)


def _reshape(parameter: torch.nn.Parameter, shape: Iterable[int]) -> None:
    shape, grad = tuple(shape), parameter.grad
    parameter.grad = None  # which must have the parameter's shape whenever it is set
    parameter.data = parameter.data.reshape(shape)
    if grad is not None:
        parameter.grad = grad.reshape(shape)


def flatten_during_steps(optimizer: torch.optim.Optimizer, activations: Iterable[TrainableActivation]) -> int:
    """Let coefficients be one-dimensional while the optimiser makes its steps; returns how many tensors that concerns.

    Parameters
    ----------
    optimizer : any of torch's kind; memory is not copied, and its state of these parameters is one-dimensional
    activations : whose coefficients it moves
    """
    found = {id(p): p for act in activations for p in act.coefficients().values() if isinstance(p, torch.nn.Parameter) and p.ndim > 1}
    shapes = [(p, p.shape) for p in found.values()]

    def before(*_: Any) -> None:
        for parameter, _shape in shapes:
            _reshape(parameter, (-1,))

    def after(*_: Any) -> None:
        for parameter, shape in shapes:
            _reshape(parameter, shape)

    if shapes:
        optimizer.register_step_pre_hook(before)
        optimizer.register_step_post_hook(after)
    return len(shapes)


def prepare(trainer: Any, activations: Iterable[TrainableActivation]) -> None:
    """Called with every finished ``Trainer``."""
    if getattr(trainer, "opt_type", "") in MATRIX:
        flatten_during_steps(trainer.optimizer, activations)
