"""LEAF's two-stage training in ``dp --pt train``: ``TAAFS_TWO_STAGE=dspt``, or ``p24si``.

The host's loop computes a loss, its gradients, and calls ``step()`` of one optimiser. The model's last call is remembered and repeated
between the two stages (:func:`taafs_plugins.two_stage.staged`); checkpoints, restarts and the learning rate's schedule stay the host's own.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import torch

from taafs_plugins.activations import SpecError
from taafs_plugins.activations.spec import nearest
from taafs_plugins.adapters.deepmd.input import InputError
from taafs_plugins.two_stage import staged

log = logging.getLogger("deepmd.taafs")

VARIABLE = "TAAFS_TWO_STAGE"
WAYS = ("dspt", "p24si")
OPTIMIZERS = ("Adam", "AdamW")


def stage(trainer: Any) -> None:
    """Let a finished ``Trainer`` train in two stages where the environment asks for it.

    Raises
    ------
    InputError
        An unknown word, another optimiser than Adam or AdamW, several processes, or no trainable activation.
    """
    way = os.environ.get(VARIABLE, "").strip().lower()
    if not way:
        return
    if way not in WAYS:
        raise InputError(f"{VARIABLE}={way} is unknown. {nearest(way, list(WAYS))}Known: {', '.join(WAYS)}; unset it for one stage.")
    if trainer.opt_type not in OPTIMIZERS or trainer.is_distributed:
        found = "several processes" if trainer.is_distributed else f"the optimiser {trainer.opt_type}"
        raise InputError(f"{VARIABLE} works with {' and '.join(OPTIMIZERS)} in one process, not with {found}; unset it.")
    calls: list[tuple[tuple, dict]] = []

    def remember(_module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        calls[:] = [(args, kwargs)]

    trainer.wrapper.register_forward_pre_hook(remember, with_kwargs=True)

    def again() -> None:
        args, kwargs = calls[0]
        trainer.optimizer.zero_grad(set_to_none=True)
        trainer.wrapper(*args, **kwargs)[1].backward()
        if trainer.gradient_max_norm > 0.0:
            torch.nn.utils.clip_grad_norm_(trainer.wrapper.parameters(), trainer.gradient_max_norm)

    try:
        staged(trainer.optimizer, trainer.wrapper, p24si=way == "p24si", again=again)
    except SpecError as error:
        raise InputError(str(error)) from None
    log.info("TAAFS: two stages in each step (%s): the coefficients, then the weights by the loss computed again.", way)
