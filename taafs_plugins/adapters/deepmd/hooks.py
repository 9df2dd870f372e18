"""Where DeePMD-kit is patched at run time, and the code that was tested to be there."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.adapters.deepmd import activation, compress, once

if TYPE_CHECKING:
    from taafs_plugins.adapters.deepmd.adapter import DeepmdAdapter

# source of the code that is extended, of the versions in DeepmdAdapter.tested
TESTED = {
    "ActivationFn": ("000352d67032fce5",),
    "MLPLayer": ("14caf332991aec99",),
    "DPAtomicModel.__init__": ("c2c001c0bac8a149",),
    "training": ("2d2f4bbeb895c177",),
    **compress.TESTED,
}


def _layer() -> type:
    return importlib.import_module("deepmd.pt.model.network.mlp").MLPLayer


def _model() -> type:
    return importlib.import_module("deepmd.pt.model.atomic_model.dp_atomic_model").DPAtomicModel


def _activation_fn() -> type:
    return importlib.import_module("deepmd.pt.utils.utils").ActivationFn


def code() -> dict[str, tuple[Any, ...]]:
    """Name -> what is patched before training, as :func:`taafs_plugins.adapters.patching.changed_code` takes it."""
    own = {"ActivationFn": (_activation_fn(),), "MLPLayer": (_layer(),), "DPAtomicModel.__init__": (_model().__init__,)}
    return {**own, **compress.code()}


@functools.cache
def spec_class(adapter: DeepmdAdapter) -> type:
    """An ``ActivationFn`` whose constructor takes a spec and becomes the trainable activation of its family."""

    class SpecActivation(_activation_fn()):
        """Only a constructor: what it makes is of another class (:func:`taafs_plugins.adapters.deepmd.activation.host_class`)."""

        def __init__(self, name: str) -> None:
            activation.start(self, name, adapter.defaults)

    return SpecActivation


def install(adapter: DeepmdAdapter) -> None:
    """Patch the classes that make activations, layers and models, and the descriptors that serialise activations themselves."""
    patches = adapter.patches
    patches.replace(_activation_fn(), "__init__", _taking_specs(_activation_fn(), adapter))
    patches.replace(_layer(), "__init__", _then(_layer().__init__, adapter.layer_built))
    patches.replace(_model(), "__init__", _then(_model().__init__, adapter.model_built))
    patches.replace(_layer(), "serialize", _with_coefficients(_layer().serialize, lambda layer: (layer, "activate_name", layer.activate)))
    for cls, where in _blocks():
        patches.replace(cls, "serialize", _with_coefficients(cls.serialize, where))
    once.install(patches)
    compress.install(patches)


def _taking_specs(cls: type, adapter: DeepmdAdapter) -> Callable:
    stock = cls.__init__

    @functools.wraps(stock)
    def init(activation_fn, name, *args, **kwargs) -> None:
        found = adapter.activation_class(name) if type(activation_fn) is cls else None
        if found is None:
            stock(activation_fn, name, *args, **kwargs)
        else:
            found.__init__(activation_fn, name)

    return init


def _then(stock: Callable, call: Callable[[Any], None]) -> Callable:
    """A constructor, and ``call`` with the object at its end."""

    @functools.wraps(stock)
    def init(built, *args, **kwargs) -> None:
        stock(built, *args, **kwargs)
        call(built)

    return init


def _blocks() -> Iterator[tuple[type, Callable]]:
    """Descriptors that keep one activation beside their layers: its coefficients travel in their ``activation_function``."""
    for module, name, where in (
        ("repformer_layer", "RepformerLayer", lambda d: (d, "activation_function", d.act)),
        ("repflow_layer", "RepFlowLayer", lambda d: (d, "activation_function", d.act)),
        ("dpa2", "DescrptDPA2", lambda d: (d.repformer_args, "activation_function", d.repformers.act)),
        ("dpa3", "DescrptDPA3", lambda d: (d, "activation_function", d.repflows.act)),
    ):
        yield getattr(importlib.import_module(f"deepmd.pt.model.descriptor.{module}"), name), where


def _with_coefficients(serialize: Callable, where: Callable) -> Callable:
    """A ``serialize`` that writes the trained spec where the stock one writes the activation's name."""

    @functools.wraps(serialize)
    def with_coefficients(owner):
        holder, attribute, act = where(owner)
        if not isinstance(act, TrainableActivation):
            return serialize(owner)
        name = getattr(holder, attribute)
        setattr(holder, attribute, act.serialized_name)
        try:
            return serialize(owner)
        finally:
            setattr(holder, attribute, name)

    return with_coefficients
