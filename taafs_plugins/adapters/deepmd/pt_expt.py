"""DeePMD-kit's new PyTorch runtime (``dp --pt-expt``): layers of the NumPy backend whose coefficients are real parameters.

A layer there keeps the name of its activation; the spec's layer keeps the trainable activation beside its weights, so that optimisers,
checkpoints, averages and distributed training see the coefficients as they see those. Files keep the name with ``theta=...`` in it.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from taafs_plugins.activations import TrainableActivation, is_spec
from taafs_plugins.adapters.deepmd import compress, starts
from taafs_plugins.adapters.deepmd.activation import built, checkpoint_class, tie_shared
from taafs_plugins.adapters.patching import HostError, Patches, changed_code
from taafs_plugins.adapters.sites import Site

TESTED = {
    "NativeLayer": ("929dfe6ac3d21f93",),
    "pt_expt's DPTabulate": ("650403bbe83b806e",),
    "dpmodel's enable_compression": ("28d67c0036664a1b",),
    **{name: compress.TESTED[name] for name in ("tabulate_math.DPTabulate", "BaseTabulate")},
}
PATCHES = Patches("deepmd")


def _activation(layer: nn.Module) -> TrainableActivation | None:
    return layer._modules.get("activation")


def _with_activation(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def init(layer, *args, **kwargs) -> None:
        from taafs_plugins.adapters.deepmd.adapter import ADAPTER

        stock(layer, *args, **kwargs)
        if is_spec(layer.activation_function):
            act = built(layer.activation_function, ADAPTER.defaults, layer.w.shape[-1], layer.w.dtype, layer.w.device)
            act.__class__ = checkpoint_class(type(act))
            layer.activation = act.requires_grad_(layer.trainable)

    return init


def _calling_it(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def call(layer, x: torch.Tensor) -> torch.Tensor:
        act = _activation(layer)
        if act is None:
            return stock(layer, x)
        y = torch.matmul(x, layer.w) if layer.b is None else torch.matmul(x, layer.w) + layer.b
        if not layer.autocast_output and y.dtype != x.dtype:
            y = y.to(x.dtype)
        y = act(y) if get_proxy_mode() is None else act.plain(y)  # a trace can follow plain operators only
        if layer.idt is not None:
            y = y * layer.idt
        copies = layer.w.shape[1] // layer.w.shape[0]
        if layer.resnet and layer.w.shape[1] in (layer.w.shape[0], 2 * layer.w.shape[0]):
            y = y + (x if copies == 1 else torch.cat([x, x], dim=-1))
        return y

    return call


def _with_coefficients(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def serialize(layer) -> dict:
        data, act = stock(layer), _activation(layer)
        return data if act is None else {**data, "activation_function": str(act.trained_spec())}

    return serialize


def sites(model: nn.Module) -> list[Site]:
    """Every layer with a trained activation, in the order of the model."""
    from deepmd.pt_expt.utils.network import EmbeddingNet, FittingNet, NativeLayer, NativeNet

    nets = [name for name, part in model.named_modules() if isinstance(part, EmbeddingNet | FittingNet | NativeNet)]
    found = []
    for name, owner in model.named_modules():
        if isinstance(owner, NativeLayer) and (act := _activation(owner)) is not None:
            net = max((n for n in nets if name.startswith(f"{n}.")), key=len, default=name)
            found.append(Site(
                name=f"{name}.activation", call="NativeLayer.activation", owner=owner, attribute="activation", replaces=act.base_name,
                activation=act.base_name, width=owner.w.shape[-1], network=net,
                group="fitting" if "fitting" in name else "embedding", dtype=owner.w.dtype, device=owner.w.device,
            ))  # fmt: skip
    return found


def _tied(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def get_model(*args: Any, **kwargs: Any) -> nn.Module:
        model = stock(*args, **kwargs)
        tie_shared(sites(model))
        return model

    return get_model


def _code() -> dict[str, tuple[Any, ...]]:
    importlib.import_module("deepmd.dpmodel")  # which the next one imports in a circle
    shared = importlib.import_module("deepmd.utils.tabulate_math")
    found = {
        "NativeLayer": importlib.import_module("deepmd.pt_expt.utils.network").NativeLayer,
        "pt_expt's DPTabulate": importlib.import_module("deepmd.pt_expt.utils.tabulate").DPTabulate,
        "dpmodel's enable_compression": _atomic_model().enable_compression,
        "tabulate_math.DPTabulate": shared.DPTabulate, "BaseTabulate": shared.BaseTabulate,
    }  # fmt: skip
    return {name: (part,) for name, part in found.items()}


def _atomic_model() -> type:
    return importlib.import_module("deepmd.dpmodel.atomic_model.dp_atomic_model").DPAtomicModel


def _checking(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def enable_compression(model, *args, **kwargs) -> None:
        if isinstance(model, nn.Module) and sites(model):
            compress.check_compressible(model.descriptor)
        stock(model, *args, **kwargs)

    return enable_compression


def install() -> None:
    """Let the runtime's layers and tables take specs; idempotent.

    Raises
    ------
    HostError
        Its code is not the tested one.
    """
    if PATCHES:
        return
    code = _code()
    if PATCHES:  # the import came here too
        return
    if changed := changed_code(code, TESTED):
        raise HostError(f"DeePMD-kit's {', '.join(changed)} is not the code that was tested; reinstall deepmd-kit==3.2.0.")
    layer, tables = code["NativeLayer"][0], code["pt_expt's DPTabulate"][0]
    PATCHES.replace(layer, "__init__", _with_activation(layer.__init__))
    PATCHES.replace(layer, "call", _calling_it(layer.call))
    PATCHES.replace(layer, "serialize", _with_coefficients(layer.serialize))
    PATCHES.replace(_atomic_model(), "enable_compression", _checking(_atomic_model().enable_compression))
    compress.patch_tables(tables, PATCHES)


def patch_training(training: ModuleType, built_trainer: Callable[[Any], None]) -> None:
    """Patch ``deepmd.pt_expt.train.training``; ``built_trainer`` is called with every finished ``Trainer``."""
    if hasattr(training.get_model, "__wrapped__"):
        return
    stock = training.Trainer.__init__

    @functools.wraps(stock)
    def init(trainer, *args, **kwargs) -> None:
        stock(trainer, *args, **kwargs)
        built_trainer(trainer)

    PATCHES.replace(training, "get_model", _tied(training.get_model))
    PATCHES.replace(training.Trainer, "__init__", init)
    starts.patch(training, PATCHES)
