"""The check of DeePMD-kit's input files: a spec that cannot work stops ``dp train`` before data is read or a file is written."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

from taafs_plugins.activations import SpecError, family_names, is_spec, resolve_spec, suggestion
from taafs_plugins.activations.spec import nearest
from taafs_plugins.adapters.deepmd import optimizers
from taafs_plugins.adapters.deepmd.activation import built
from taafs_plugins.adapters.patching import HostError, Patches

DESCRIPTORS = ("se_e2_a", "se_a", "se_e2_r", "se_r", "se_e3", "se_at", "se_a_3be", "se_atten", "dpa1", "dpa2", "dpa3", "hybrid")
LAYERS_ONLY = tuple(name for name in DESCRIPTORS if name not in ("dpa2", "dpa3"))  # no activation beside their layers
TRAIN = ("pt", "pt_expt")  # backends that train coefficients
FITTINGS = ("ener", "dipole", "polar", "dos", "property")
_STOCK = ("tanh", "relu", "relu6", "softplus", "sigmoid", "silu", "gelu", "gelu_tf", "linear", "none")
WORD = "activation_function"
_OTHER_BACKENDS = ("tf", "tf2", "pt_expt", "jax", "pd", "dpmodel")


class InputError(SpecError, SystemExit):
    """A mistake in an input file. A ``ValueError`` for programs; at the end of ``dp`` one sentence instead of a traceback."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = f"taafs-plugins: {message}"


def activation_names(config: Any, path: str = "") -> Iterator[tuple[dict, str]]:
    """(dict, path) of every dict in a config that has an ``activation_function``."""
    if isinstance(config, dict):
        if WORD in config:
            yield config, path
        for key, value in config.items():
            yield from activation_names(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, list):
        for i, value in enumerate(config):
            yield from activation_names(value, f"{path}[{i}]")


def _has_spec(config: Any) -> bool:
    return any(is_spec(part[WORD]) for part, _ in activation_names(config))


def check(config: dict, backend: str) -> None:
    """Judge every ``activation_function`` of an input.

    Parameters
    ----------
    config : the input as read from JSON
    backend : ``pt``, ``tf``, ``pt_expt``, ...; those in ``TRAIN`` take specs

    Raises
    ------
    InputError
        An empty, misspelt or impossible spec, or one where it is not supported; names the place in the file.
    """
    if not isinstance(config, dict):
        raise InputError(f"An input is a JSON object with the key 'model', not a {type(config).__name__}.")
    _check_names(config, backend)
    _check_places(config)
    training = config.get("training")
    sharded = training.get("zero_stage") if isinstance(training, dict) else 0
    if _has_spec(config.get("model", config)) and isinstance(sharded, int) and sharded > 1:
        raise InputError(f"zero_stage={sharded} shards parameters, which was not tested with TAAFS; use 0 or 1.")
    _check_supported(config.get("model", config), backend)


def _check_names(config: dict, backend: str) -> None:
    """Judge each ``activation_function`` by itself."""
    for part, path in activation_names(config.get("model", config)):
        name = part[WORD]
        place = f"model.{path}.{WORD}" if path else WORD
        if isinstance(name, (list, dict)):
            raise InputError(f"{place} is a {type(name).__name__}; give one text for all layers, such as 'taafs:chebyshev1'.")
        if not isinstance(name, str):
            continue
        if not is_spec(name):
            plain = name.strip().lower().split(":")[0].split(",")[0]
            close = nearest(plain, [*_STOCK, *family_names()])
            if not name.strip():
                raise InputError(f"{place} is empty; write a stock name such as 'tanh' or a spec such as 'taafs:chebyshev1'.")
            if plain not in (*_STOCK, "silut", "custom_silu"):
                if hint := suggestion(name):
                    raise InputError(f"{place}: unknown activation '{name}'. Did you mean '{hint}'?")
                if any(f"'{family}'" in close for family in family_names()):
                    raise InputError(f"{place}: unknown activation '{name}'. {close}".strip())
            continue
        if backend not in TRAIN:
            raise InputError(f"{place} = '{name}' works with the PyTorch backends only, not with '{backend}'; run: dp --pt train ...")
        try:
            spec = resolve_spec(name)
            built(name, {}, None, torch.float64, "cpu")  # a base that there is not, another number of coefficients
        except SpecError as error:
            raise InputError(f"{place}: {error}") from None
        if backend == "pt_expt" and spec.get("scale") == "auto":
            raise InputError(f"{place}: scale=auto is not measured by --pt-expt; give a number, such as scale=1, or run: dp --pt train ...")


def _check_places(config: dict) -> None:
    """A spec under another key than ``activation_function``, or where no network is."""
    model = config.get("model", config)
    if isinstance(model, dict) and is_spec(model.get(WORD)):
        raise InputError(f"model.{WORD} is read by nothing; write it into model.descriptor, model.fitting_net or both.")
    for key, path in _specs(config, ""):
        if key != WORD:
            raise InputError(f"{path} holds a spec, but the key is '{WORD}', in model.descriptor or model.fitting_net.")


def _specs(config: Any, path: str) -> Iterator[tuple[str, str]]:
    """(key, place) of every spec in a config."""
    pairs = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    for key, value in pairs:
        place = f"{path}.{key}" if path else str(key)
        if isinstance(value, str) and ":" in value and is_spec(value):
            yield str(key), place
        yield from _specs(value, place)


def _check_supported(model: Any, backend: str) -> None:
    for branch in model.get("model_dict", {"": model}).values() if isinstance(model, dict) else ():
        if isinstance(branch, dict) and _has_spec(branch):
            _check_model(branch, backend)


def _check_model(model: dict, backend: str) -> None:
    """Refuse kinds of models, descriptors and fitting nets that were not tested; of a sum each part that has a spec."""
    kind = model.get("type", "standard")
    if kind not in ("standard", "linear_ener"):
        raise InputError(f"A model of type '{kind}' does not take a TAAFS spec; use a stock activation_function there.")
    new = backend == "pt_expt"
    if new and (kind != "standard" or "spin" in model or "use_srtab" in model):
        raise InputError(
            "--pt-expt trains a TAAFS spec in plain standard models only, not in spin, pair table or linear_ener: dp --pt train"
        )
    for part in model.get("models") or []:
        if isinstance(part, dict) and _has_spec(part):
            _check_model(part, backend)
    known = LAYERS_ONLY if new else DESCRIPTORS
    descriptor = model.get("descriptor", {})
    for part in (descriptor.get("list") or [descriptor]) if isinstance(descriptor, dict) else []:
        if isinstance(part, dict) and _has_spec(part) and (kind := part.get("type", "se_e2_a")) not in known:
            raise InputError(f"The descriptor '{kind}' was not tested with TAAFS here; tested: {', '.join(known)}.")
    fitting = model.get("fitting_net", {})
    if isinstance(fitting, dict) and _has_spec(fitting) and (kind := fitting.get("type", "ener")) not in FITTINGS:
        raise InputError(f"The fitting net '{kind}' was not tested with TAAFS; tested: {', '.join(FITTINGS)}.")


def with_resolved_specs(config: dict) -> dict:
    """A copy of a checked input with every key of its specs set: what a checkpoint stores must not depend on tomorrow's defaults."""
    from taafs_plugins.adapters.deepmd.adapter import ADAPTER

    config = copy.deepcopy(config)
    defaults = optimizers.defaults(config, {"base": "tanh", **ADAPTER.defaults})
    for part, _ in activation_names(config):
        if is_spec(part[WORD]):
            spec = resolve_spec(part[WORD], defaults)
            part[WORD] = str(spec)
    return config


def carry_specs(target: Any, pretrained: Any) -> Any:
    """A copy of a pretrained model's parameters with the target's specs in the same places (every branch of a multi-task one)."""
    if isinstance(target, dict) and isinstance(pretrained, dict):
        result = dict(pretrained)
        if "model_dict" in pretrained:
            source = next(iter(target["model_dict"].values())) if "model_dict" in target else target
            result["model_dict"] = {
                key: carry_specs(target.get("model_dict", {}).get(key, source), branch) for key, branch in pretrained["model_dict"].items()
            }
            return result
        for key, value in target.items():
            if key == WORD and is_spec(value):
                result[key] = value
            elif key in pretrained:
                result[key] = carry_specs(value, pretrained[key])
            elif _has_spec(value):
                result[key] = copy.deepcopy(value)
        return result
    if isinstance(target, list) and isinstance(pretrained, list) and len(target) == len(pretrained):
        return [carry_specs(a, b) for a, b in zip(target, pretrained, strict=True)]
    return copy.deepcopy(pretrained)


def _calling_backend() -> str:
    """The DeePMD backend whose code called; code outside DeePMD counts as PyTorch, and ``dpmodel`` has code that others share."""
    frame, found = sys._getframe(1), "pt"
    while frame is not None:
        parts = frame.f_globals.get("__name__", "").split(".")
        if parts[0] == "deepmd" and len(parts) > 2 and parts[1] in (*_OTHER_BACKENDS, "pt"):
            found = parts[1]
            if found != "dpmodel":
                break
        frame = frame.f_back
    return found


def checked(config: dict) -> dict:
    """The input that DeePMD goes on with: checked for the backend that reads it, with resolved specs.

    Raises
    ------
    InputError
        As :func:`check`.
    """
    from taafs_plugins.adapters.deepmd.adapter import ADAPTER

    backend = _calling_backend()
    check(config, backend)
    if backend in TRAIN and _has_spec(config.get("model", config)):
        try:
            ADAPTER.register()  # done already, unless this DeePMD-kit is not known
        except HostError as error:
            raise InputError(str(error)) from None
    return with_resolved_specs(config) if backend in TRAIN else config


CHECK = Patches("deepmd")  # apart from the adapter's: the check alone is there for every backend (entry_points/deepmd_backend.py)


def install() -> None:
    """Put the check in front of DeePMD's own reading of inputs; idempotent."""
    from deepmd.utils import argcheck, compat

    from taafs_plugins.adapters.deepmd import backends

    if not CHECK:
        for module, name in ((argcheck, "normalize"), (compat, "update_deepmd_input")):
            stock = getattr(module, name)
            CHECK.rebind("deepmd", name, stock, _checking(stock))
        backends.install(CHECK)
        _check_before_missing_backends()


def _checking(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def with_check(config, *args, **kwargs):
        from taafs_plugins.adapters.deepmd.adapter import ADAPTER
        from taafs_plugins.adapters.deepmd.starts import restored

        config = checked(restored(config))
        ADAPTER.prepare_training()
        return stock(config, *args, **kwargs)

    return with_check


def _check_before_missing_backends() -> None:
    """``dp train`` without ``--pt`` and without TensorFlow: judge the input before the missing module ends the command."""
    from deepmd.backend.backend import Backend
    from deepmd.common import j_loader

    def hooked(stock: property, backend: str) -> property:
        def entry_point_hook(self):
            try:
                return stock.fget(self)
            except ImportError as error:
                missing = error

            def main(args):
                if args.command == "train":
                    check(j_loader(args.INPUT), backend)
                raise missing

            return main

        return property(entry_point_hook)

    for cls in dict.fromkeys(Backend.get_backends().values()):
        if (name := cls.__module__.split(".")[-1]) != "pytorch":
            CHECK.replace(cls, "entry_point_hook", hooked(cls.entry_point_hook, name))
        else:
            CHECK.replace(cls, "entry_point_hook", _remembering(cls.entry_point_hook))


def _remembering(stock: property) -> property:
    """PyTorch's commands, with ``dp train`` and ``dp change-bias`` patched once their module is loaded."""

    def entry_point_hook(self):
        from taafs_plugins.adapters.deepmd.backends import changing_bias
        from taafs_plugins.adapters.deepmd.starts import keep_written_specs

        found = stock.fget(self)
        main = sys.modules["deepmd.pt.entrypoints.main"]
        if not hasattr(main.train, "__wrapped__"):
            CHECK.replace(main, "train", keep_written_specs(main.train))
            CHECK.replace(main, "change_bias", changing_bias(main.change_bias))
        return found

    return property(entry_point_hook)
