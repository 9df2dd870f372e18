"""Training that starts from another model: coefficients are kept, or one sentence says what would be lost and how to go on.

``--finetune``, ``--init-model``, ``--init-frz-model`` and ``--restart`` copy numbers by name. A stock input would drop coefficients, and
numbers of one spec mean nothing to another, so the specs of the file and of the input are compared before anything is copied.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from taafs_plugins.activations import is_spec, resolve_spec
from taafs_plugins.activations.registry import find_family
from taafs_plugins.activations.spec import Spec
from taafs_plugins.adapters.deepmd.input import WORD, InputError, activation_names, carry_specs, with_resolved_specs
from taafs_plugins.adapters.patching import Patches

log = logging.getLogger("deepmd.taafs")  # DeePMD-kit shows the records below "deepmd" only

# the model section of the input that --use-pretrain-script replaces, while dp train runs
_written: list[dict] = []


def model_params(path: str) -> Mapping[str, Any]:
    """The model section that a checkpoint or a frozen model keeps."""
    if str(path).endswith((".pte", ".pt2")):
        from deepmd.pt_expt.utils.serialization import serialize_from_file

        return serialize_from_file(str(path))["model_def_script"]
    if str(path).endswith(".pth"):
        return json.loads(torch.jit.load(path, map_location="cpu").get_model_def_script())
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("model", state)["_extra_state"]["model_params"]


def places(target: Any, source: Any, path: str = "") -> Iterator[tuple[str, str | None, str | None]]:
    """(place, activation of the target or None, activation of the source or None) wherever one of the two model sections names one."""
    if isinstance(target, list) and isinstance(source, list):
        for i, (a, b) in enumerate(zip(target, source, strict=False)):
            yield from places(a, b, f"{path}[{i}]")
    if not isinstance(target, dict) or not isinstance(source, dict):
        return
    if "models" in target and "models" not in source:  # a model with a pair table, from a standard one
        yield from places(target["models"][0], source, f"{path}.models[0]".lstrip("."))
        return
    if WORD in target or WORD in source:
        yield f"{path}.{WORD}".lstrip("."), target.get(WORD), source.get(WORD)
    for key in (key for key in target if key in source):
        yield from places(target[key], source[key], f"{path}.{key}".lstrip("."))


def _meaning(name: str) -> Spec:
    """What numbers stored beside a spec depend on."""
    return resolve_spec(name).with_options(init=None, seed=None, theta=None, weights=None, sigma=None)


def compare(target: Mapping[str, Any], source: Mapping[str, Any], file: str, fitting: bool = True) -> dict[str, str]:
    """Refuse a start that would lose coefficients of ``source``, or read them as those of another spec.

    Parameters
    ----------
    target, source : model sections of the input and of the file, for one task
    file : for the sentence
    fitting : False where the fitting net starts anew

    Returns
    -------
    place -> spec, where the input has one and the file a stock activation

    Raises
    ------
    InputError
        One sentence with the way out.
    """
    fresh: dict[str, str] = {}
    target, source = with_resolved_specs(dict(target)), with_resolved_specs(dict(source))
    for place, wanted, stored in places(target, source):
        if not fitting and place.startswith("fitting_net"):
            continue
        if not is_spec(stored):
            if is_spec(wanted):
                fresh[place] = wanted
            continue
        shown = resolve_spec(stored).with_options(theta=None, weights=None, sigma=None)
        if not is_spec(wanted):
            raise InputError(
                f"{file} has trained coefficients at model.{place}, which '{wanted or 'tanh'}' in the input would drop: write '{shown}' "
                "there, or start from a stock model."
            )
        if _meaning(wanted) != _meaning(stored):
            raise InputError(
                f"{file} was trained with '{shown}' at model.{place}, and its coefficients mean nothing to '{wanted}' of the input: write "
                "the file's spec there, or start from a stock model."
            )
    return fresh


def check(arguments: Mapping[str, Any]) -> None:
    """Compare the model that a ``Trainer`` starts from with its own.

    Parameters
    ----------
    arguments : of ``Trainer.__init__``, by name

    Raises
    ------
    InputError
        As :func:`compare`.
    """
    names = ("finetune_model", "init_model", "restart_model", "init_frz_model")
    file = next((arguments[name] for name in names if arguments.get(name)), None)
    if file is None:
        return
    target, source = arguments["config"]["model"], model_params(file)
    if not any(is_spec(part[WORD]) for section in (target, source) for part, _ in activation_names(section)):
        return
    links = arguments.get("finetune_links") or {}
    for key, branch in target.get("model_dict", {"Default": target}).items():
        rule = links.get(key)
        branches = source.get("model_dict", {"Default": source})
        stored = branches.get(rule.get_model_branch() if rule else key, next(iter(branches.values())))
        _say(str(file), compare(branch, stored, str(file), fitting=rule is None or not rule.get_random_fitting()))


def _say(file: str, fresh: dict[str, str]) -> None:
    """Where a network's coefficients are new: place -> spec."""
    if not fresh:
        return
    places, specs = ", model.".join(fresh), [resolve_spec(spec) for spec in fresh.values()]
    if moved := sorted({spec.family for spec in specs if not find_family(spec.family).exact_start(spec)}):
        log.warning(
            "TAAFS: %s has no coefficients at model.%s; %s does not start as exactly the stock activation, so predictions "
            "change until it is trained.", file, places, " and ".join(moved),
        )  # fmt: skip
    else:
        log.info("TAAFS: %s has no coefficients at model.%s; they start at 0, at the stock activation's predictions.", file, places)


def patch(training: Any, patches: Patches) -> None:
    """Check every ``Trainer`` before it is made, and let the host's warning of other descriptors not count the specs."""
    stock, warn = training.Trainer.__init__, training.warn_configuration_mismatch_during_finetune
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def init(trainer, *args, **kwargs):
        check(signature.bind(trainer, *args, **kwargs).arguments)
        stock(trainer, *args, **kwargs)

    @functools.wraps(warn)
    def warned(target, pretrained, *args, **kwargs):
        warn(target, carry_specs(target, pretrained), *args, **kwargs)

    patches.replace(training.Trainer, "__init__", init)
    patches.replace(training, "warn_configuration_mismatch_during_finetune", warned)


def keep_written_specs(train: Callable) -> Callable:
    """``dp train`` that remembers the input's model section while ``--use-pretrain-script`` replaces it."""

    @functools.wraps(train)
    def with_specs(*args, **kwargs):
        arguments = inspect.signature(train).bind(*args, **kwargs).arguments
        try:
            if arguments.get("use_pretrain_script"):
                from deepmd.common import j_loader

                _written.append(j_loader(arguments["input_file"])["model"])
            return train(*args, **kwargs)
        finally:
            _written.clear()

    return with_specs


def restored(config: dict) -> dict:
    """The config after ``--use-pretrain-script``: the file's model section with the specs that the input named in it."""
    if not _written:
        return config
    model = carry_specs(_written[0], config["model"])
    if model == config["model"]:
        return config
    kept = sorted({part[WORD] for part, _ in activation_names(_written[0]) if is_spec(part[WORD])})
    log.info("TAAFS: --use-pretrain-script replaced the input's model section; its specs stay: %s.", "; ".join(kept))
    return {**config, "model": model}
