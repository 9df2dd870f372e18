"""LEAF's two-stage training, DSPT, and P24SI: in each batch the activations' numbers first, then the weights with the loss computed again.

Bodyanskiy and Kostiuk, Learnable Extended Activation Function, section III. Gradients are autograd's: the paper's eqs. 7 and 8
exchange the updates of r2 and r3. Its learning rates are 1e-3 (Adam), and with P24SI 1e-6 for r2 and r4.

>>> stages = TwoStage(model, lr=1e-3, p24si=True)
>>> for batch in batches:
...     before, after = stages.step(lambda: loss_of(model, batch))

An optimiser that somebody else's loop calls with a closure is taught the same by :func:`staged`, Lightning by a callback:

>>> trainer = Trainer(callbacks=[lightning_callback(p24si=True)])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import SpecError
from taafs_plugins.training import NOTHING, parameter_groups, trainable_activations

REDUCED = 1e-6
# P24SI: the places of r2 and r4 among LEAF's numbers
REDUCED_PLACES = (1, 3)


def _split(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    groups = {group["name"]: group["params"] for group in parameter_groups(model, 1.0)}
    return groups["coefficients"], groups.get("weights", [])


class TwoStage:
    """Double-stage parameter tuning of a model with trainable activations in a plain torch loop.

    Parameters
    ----------
    model : any module with trainable activations
    lr : learning rate of both stages
    coefficient_lr : of the first stage; default ``lr``
    p24si : LEAF's r2 and r4 at ``reduced_lr`` (``leaf`` only)
    reduced_lr : their learning rate
    optimizer : class of both optimisers, called with parameter groups

    Attributes
    ----------
    coefficients, weights : the two optimisers; save and load both with a checkpoint. ``weights`` is None when all else is frozen

    Raises
    ------
    SpecError
        No trainable activation, or ``p24si`` with a family other than LEAF.
    """

    def __init__(
        self, model: nn.Module, lr: float = 1e-3, coefficient_lr: float | None = None, p24si: bool = False, reduced_lr: float = REDUCED,
        optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    ) -> None:  # fmt: skip
        numbers, weights = _split(model)
        if not numbers:
            raise SpecError(f"{NOTHING} Or its coefficients are frozen: they need requires_grad.")
        first = lr if coefficient_lr is None else coefficient_lr
        self._parameters = numbers, weights
        self._scale = reduced_lr / first if p24si else None
        if p24si:
            check_leaf(model)
        self.coefficients = optimizer([{"params": numbers, "lr": first}])
        self.weights = optimizer([{"params": weights, "lr": lr}]) if weights else None

    def step(self, loss: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """One batch: the numbers move by the loss as it is, then the weights by the loss with the numbers as they are now.

        Parameters
        ----------
        loss : computes the batch's loss anew at each call, forces and all

        Returns
        -------
        the loss before the first and before the second stage, detached
        """
        numbers, weights = self._parameters
        before = self._stage(loss, numbers, self.coefficients)
        after = self._stage(loss, weights, self.weights) if self.weights is not None else loss().detach()
        return before, after

    def _stage(self, loss: Callable[[], torch.Tensor], parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> torch.Tensor:
        value = loss()
        gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient
        slow = self._scale if optimizer is self.coefficients else None
        with _slowed([] if slow is None else parameters, slow or 1.0):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return value.detach()


def staged(
    optimizer: torch.optim.Optimizer, model: nn.Module, p24si: bool = False, reduced_lr: float = REDUCED,
    again: Callable[[], Any] | None = None,
) -> torch.optim.Optimizer:  # fmt: skip
    """Let an optimiser's ``step`` be two: the coefficients by the gradients as they are, then the weights by those computed again.

    One optimiser does both (parameters without a gradient stay where they are), so its state, schedule and checkpoints are as before.

    Parameters
    ----------
    optimizer : of all parameters, as :class:`torch.optim.Adam`, one that skips those whose gradient is None
    model : with trainable activations
    p24si, reduced_lr : as :class:`TwoStage`
    again : computes the gradients of the same batch anew, for a loop that calls ``step()`` without a closure

    Returns
    -------
    ``optimizer`` itself

    Raises
    ------
    SpecError
        As :class:`TwoStage`; in ``step``, when there is neither a closure nor ``again``.
    """
    numbers, weights = _split(model)
    if p24si:
        check_leaf(model)
    held = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    if missing := [p for p in numbers if id(p) not in held]:
        raise SpecError(f"The optimiser does not hold {len(missing)} of {len(numbers)} coefficient tensors; use parameter_groups(model).")
    stock = optimizer.step

    def step(_: torch.optim.Optimizer, closure: Callable[[], Any] | None = None) -> Any:
        evaluate = closure or again
        if evaluate is None:
            raise SpecError("Two stages need the loss twice: call optimizer.step(closure), or step of taafs_plugins.two_stage.TwoStage.")
        value = closure() if closure is not None else None
        _forget(weights)
        slow = held[id(numbers[0])]["lr"] if p24si else 1.0
        with _slowed(numbers if p24si else [], reduced_lr / slow if slow else 0.0):
            stock()
        _forget(numbers)
        evaluate()
        _forget(numbers)
        stock()
        return value

    if hasattr(stock, "_wrapped_by_lr_sched"):  # torch's schedules look for their mark, and warn where it is gone
        step._wrapped_by_lr_sched = True  # type: ignore[attr-defined]
    optimizer.step = MethodType(step, optimizer)  # type: ignore[method-assign]
    return optimizer


def _forget(parameters: list[nn.Parameter]) -> None:
    for p in parameters:
        p.grad = None


def lightning_callback(p24si: bool = False, reduced_lr: float = REDUCED) -> Any:
    """A callback that makes Lightning's optimiser :func:`staged`; for Hydra ``_target_: taafs_plugins.two_stage.lightning_callback``.

    Raises
    ------
    SpecError
        When training starts: manual optimisation, several optimisers, gradients that are accumulated over batches, or as :func:`staged`.
    """
    from pytorch_lightning import Callback

    class TwoStageCallback(Callback):
        """See :func:`lightning_callback`."""

        def on_fit_start(self, trainer: Any, module: Any) -> None:
            """Every fit makes its optimisers anew."""
            if not module.automatic_optimization or len(trainer.optimizers) != 1 or trainer.accumulate_grad_batches != 1:
                raise SpecError(
                    "Two stages need Lightning's automatic optimisation with one optimiser and accumulate_grad_batches=1; else use "
                    "taafs_plugins.two_stage.TwoStage in manual optimisation."
                )
            staged(trainer.optimizers[0], module, p24si, reduced_lr)

    return TwoStageCallback()


@contextmanager
def _slowed(parameters: list[nn.Parameter], scale: float) -> Iterator[None]:
    """Inside the block r2 and r4 of these parameters move by ``scale`` times what they would move by.

    That is a learning rate of their own for some entries of one tensor, for every optimiser whose step is proportional to it.
    """
    before = [p.detach().clone() for p in parameters]
    yield
    with torch.no_grad():
        for p, old in zip(parameters, before, strict=True):
            for place in REDUCED_PLACES:
                p[..., place] = old[..., place] + scale * (p[..., place] - old[..., place])


def check_leaf(model: nn.Module) -> None:
    """P24SI names numbers of LEAF.

    Raises
    ------
    SpecError
        Another family is in the model.
    """
    if other := sorted({act.spec.family for act in trainable_activations(model).values()} - {"leaf"}):
        raise SpecError(f"P24SI reduces LEAF's r2 and r4, and {', '.join(other)} has none: use p24si=False.")
