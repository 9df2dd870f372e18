"""What DeePMD-kit's training does beside the model: ``scale=auto`` is measured, fine-tuning carries specs, specs are shown."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from taafs_plugins.activations import SpecError, TrainableActivation
from taafs_plugins.activations.notes import kink_notes
from taafs_plugins.adapters.deepmd import optimizers, starts
from taafs_plugins.adapters.deepmd.input import InputError, carry_specs
from taafs_plugins.adapters.patching import Patches
from taafs_plugins.native.allocator import AllocatorError, keep_freed_memory
from taafs_plugins.training import calibrate

log = logging.getLogger("deepmd.taafs")  # DeePMD-kit shows the records below "deepmd" only

# Frames of each training system that scale=auto is measured on: a root mean square needs no more.
FRAMES = 4


def patch(training: ModuleType, built: Callable[[Any], None], patches: Patches) -> None:
    """Patch ``deepmd.pt.train.training``; ``built`` is called with every finished ``Trainer``."""
    stock_build, stock_init = training.get_model_for_wrapper, training.Trainer.__init__
    target: list[dict] = []

    @functools.wraps(stock_build)
    def build(params, *args, **kwargs):
        # Fine-tuning builds the pretrained model too; give it the target's specs, so that it has the same coefficients.
        if target and params is not target[0]["model"]:
            params = carry_specs(target[0]["model"], params)
        return stock_build(params, *args, **kwargs)

    build.taafs = True

    @functools.wraps(stock_init)
    def init(trainer, config, *args, **kwargs):
        if kwargs.get("finetune_model"):
            target.append(config)
        try:
            stock_init(trainer, config, *args, **kwargs)
        finally:
            target.clear()
        built(trainer)

    patches.replace(training, "get_model_for_wrapper", build)
    patches.replace(training.Trainer, "__init__", init)
    starts.patch(training, patches)


def _models(trainer: Any) -> dict[str, torch.nn.Module]:
    return trainer.model if isinstance(trainer.model, dict) else {"": trainer.model}


def measure_scales(trainer: Any) -> None:
    """Give every site of ``scale=auto`` that has no scale yet the rms of its inputs on frames of the training systems.

    Called when the trainer is complete: after statistics, checkpoints and shared networks are in place. A restarted or continued model
    has its scales already and keeps them.

    Raises
    ------
    InputError
        Sharded parameters, or a site that the training frames do not reach.
    """
    models = _models(trainer)
    acts = {id(a): a for model in models.values() for a in model.modules() if isinstance(a, TrainableActivation) and not a.calibrated}
    if not acts:
        return
    if getattr(getattr(trainer, "sharding", None), "shards_parameters", False):
        raise InputError("scale=auto cannot be measured with zero_stage of 2 or more: give a number, or start without it and restart.")
    error = _measure(trainer, models) if not trainer.is_distributed or trainer.rank == 0 else ""
    if trainer.is_distributed:  # one process has the frames of the statistics, all must have its numbers
        told: list[Any] = [error, [float(act.scale) for act in acts.values()]]
        torch.distributed.broadcast_object_list(told, src=0)
        error = told[0]
        for act, value in zip(acts.values(), told[1], strict=True):
            if trainer.rank != 0 and not error:
                act.set_scale(value)
    if error:
        raise InputError(f"{error} Give a number, such as scale=1.")
    scales = sorted(float(act.scale) for act in acts.values())
    log.info("TAAFS: scale=auto measured at %d sites: %.3g to %.3g.", len(scales), scales[0], scales[-1])


def _measure(trainer: Any, models: dict[str, torch.nn.Module]) -> str:
    """Measure; the sentence about a site that was not reached, or an empty text."""
    try:
        with calibrate(torch.nn.ModuleDict({f"model{key}": model for key, model in models.items()}), again=False):
            for key, model in models.items():
                for system in (trainer.get_sample_func[key] if key else trainer.get_sample_func)():
                    _forward(model, system)
    except SpecError as error:
        return str(error)
    return ""


def _forward(model: torch.nn.Module, system: dict[str, Any]) -> None:
    def part(key: str) -> torch.Tensor | None:
        value = system.get(key)
        return value[:FRAMES] if isinstance(value, torch.Tensor) else None

    training = model.training
    model.eval()
    try:
        coord = part("coord")
        spin = {"spin": part("spin")} if "spin" in system else {}
        model(coord.reshape(len(coord), -1, 3), part("atype"), box=part("box"), fparam=part("fparam"), aparam=part("aparam"), **spin)
    finally:
        model.train(training)


def prepare(trainer: Any) -> None:
    """Where a network of the trainer has a spec: the optimiser and the process's memory (:mod:`taafs_plugins.native.allocator`).

    Raises
    ------
    InputError
        ``TAAFS_MALLOC`` is misspelt.
    """
    if acts := [m for model in _models(trainer).values() for m in model.modules() if isinstance(m, TrainableActivation)]:
        optimizers.prepare(trainer, acts)
        try:
            keep_freed_memory(log)
        except AllocatorError as error:
            raise InputError(str(error)) from None


def report(trainer: Any) -> None:
    """Log each resolved spec once when training starts."""
    for key, model in _models(trainer).items():
        acts = [m for m in model.modules() if isinstance(m, TrainableActivation)]
        for spec in dict.fromkeys(str(act.spec) for act in acts):
            chosen = [act for act in acts if str(act.spec) == spec]
            count = sum(p.numel() for p in {id(p): p for a in chosen for p in a.coefficients().values()}.values())
            for note in kink_notes(chosen):
                log.warning("TAAFS: %s", note)
            log.info("TAAFS%s: %d sites, %d coefficients, %s", f" in {key}" if key else "", len(chosen), count, spec)
