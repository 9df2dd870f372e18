"""DeePMD-kit (PyTorch backend): ``"activation_function": "taafs:..."`` in ``input.json``.

DeePMD makes every activation through ``ActivationFn(name)``. That class is taught to build a :class:`DeepmdActivation` when the
name is a spec; stock names are untouched. Three more places must know: ``MLPLayer`` (width, precision, serialised name),
``DPAtomicModel`` (coefficients shared across layers) and the training set-up (fine-tuning from a checkpoint without coefficients).
A DeePMD built from source with ``patches/deepmd`` offers the same as a registration point and is not patched at run time.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import SpecError, is_spec, parse_spec
from taafs_plugins.activations.taafs import TAAFS
from taafs_plugins.adapters import deepmd_compress, deepmd_files, deepmd_input, deepmd_training
from taafs_plugins.adapters.base import Adapter, HostError, Site

# DeePMD's names for activations of the core; "gelu" there is the tanh approximation.
_CORE_NAMES = {"tanh": "tanh", "relu": "relu", "relu6": "relu6", "softplus": "softplus", "sigmoid": "sigmoid", "silu": "silu",
               "gelu": "gelu_tanh", "gelu_tf": "gelu_tanh", "gelu_tanh": "gelu_tanh"}  # fmt: skip
# SHA-256 of the code that is extended, of the versions in `tested`.
_KNOWN_CODE = {
    "ActivationFn": "000352d67032fce5",
    "MLPLayer": "14caf332991aec99",
    "DPAtomicModel.__init__": "c2c001c0bac8a149",
    "get_model_for_wrapper": "2d2f4bbeb895c177",
    **deepmd_compress.KNOWN_CODE,
}


def _code() -> dict[str, Any]:
    utils = importlib.import_module("deepmd.pt.utils.utils")
    mlp = importlib.import_module("deepmd.pt.model.network.mlp")
    atomic = importlib.import_module("deepmd.pt.model.atomic_model.dp_atomic_model")
    return {"ActivationFn": utils.ActivationFn, "MLPLayer": mlp.MLPLayer, "DPAtomicModel.__init__": atomic.DPAtomicModel.__init__,
            **deepmd_compress.code()}  # fmt: skip


def fingerprint(code: Any) -> str:
    """First 16 digits of the SHA-256 of a class's or function's source."""
    return hashlib.sha256(inspect.getsource(code).encode()).hexdigest()[:16]


@functools.cache
def activation_class() -> type:
    """The ``ActivationFn`` that holds a trainable activation; made on first use because it derives from DeePMD's class."""
    from deepmd.pt.utils import env
    from deepmd.pt.utils.utils import ActivationFn

    class DeepmdActivation(TAAFS, ActivationFn):
        """A :class:`TAAFS` that DeePMD takes for its ``ActivationFn``; ``activation`` is the spec."""

        __jit_unused_properties__ = ("serialized_name",)
        from_stock = False  # no annotation: torch.jit cannot read one made of text
        export_form: str = "folded"  # a frozen model is differentiated once

        def __init__(self, activation: str) -> None:
            self._build(activation, None, env.GLOBAL_PT_FLOAT_PRECISION)
            self.unfinished = self.width is not None

        def _build(self, activation: str, width: int | None, dtype: torch.dtype) -> None:
            spec = parse_spec(activation)
            neuron = spec.get("share", ADAPTER.defaults.get("share")) == "neuron"
            base = spec.get("base", "tanh")
            replaces = _CORE_NAMES.get(base) or _stock(ActivationFn, base)
            if base in _CORE_NAMES:
                spec = spec.with_options(base=_CORE_NAMES[base])
            # share=neuron is built again by its layer, which knows the width; until then one neuron stands in.
            if neuron and width is None:
                spec, width = spec.with_options(theta=None, weights=None), 1
            super().__init__(spec, replaces, width if neuron else None, ADAPTER.defaults, dtype, env.DEVICE)
            self.activation = activation

        def fit_layer(self, width: int, dtype: torch.dtype) -> None:
            """Build the coefficients for the layer this activation belongs to."""
            self._build(self.activation, width, dtype)
            self.unfinished = False

        @property
        def serialized_name(self) -> str:
            """The name DeePMD's files keep: the spec with the trained coefficients in it."""
            return str(self.trained_spec())

        def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, *rest) -> None:
            if f"{prefix}delta" not in state_dict:
                # A checkpoint of the stock network: start at its predictions, as a fresh conversion would.
                self.from_stock = True  # said when training starts
                state_dict = {**state_dict, **{prefix + key: value for key, value in self.state_dict().items()}}
            super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, *rest)

    return DeepmdActivation


def _stock(activation_fn: type, name: str) -> nn.Module:
    """DeePMD's own module for a stock activation that the core does not have (``silut:3.0``, ``custom_silu``)."""
    if not name.startswith(("silut", "custom_silu")):
        known = ", ".join([*_CORE_NAMES, "silut", "custom_silu"])
        raise SpecError(f"base={name} is not an activation of DeePMD-kit; known: {known}.")
    module = activation_fn(name)
    module.taafs_name = name
    return module


def tie_shared(model: nn.Module) -> None:
    """Let activations of ``share=network|global`` hold the same Parameter; refuse what cannot be built."""
    leaders: dict[tuple[str, str], TAAFS] = {}
    for site in ADAPTER.sites(model):
        if not site.converted:
            continue
        act = site.current
        if getattr(act, "unfinished", False):
            raise SpecError(f"share=neuron cannot be used at {site.name}: it is called on inputs of several widths; use share=layer.")
        if (share := act.spec["share"]) in ("network", "global"):
            leader = leaders.setdefault((str(act.spec), site.network if share == "network" else ""), act)
            act.delta, act.weights, act.theta_start = leader.delta, leader.weights, leader.theta_start


EXPORTS_ITSELF = "DeePMD-kit exports its models itself: run 'dp --pt freeze' and use the file with pair_style deepmd."


class DeepmdAdapter(Adapter):
    """See :class:`taafs_plugins.adapters.base.Adapter`."""

    host = "deepmd"
    tested = ("3.2.0",)
    defaults = {"rate": 10.0}

    def __init__(self) -> None:
        self._undo: list = []
        self._compress_later = False

    def register(self) -> None:
        """Teach ``ActivationFn``, ``MLPLayer``, ``get_model`` and the input check about specs; idempotent."""
        if self._undo:
            return
        self.check_version()
        if importlib.util.find_spec("deepmd.utils.activation_plugins"):  # a source build with patches/deepmd
            plugins = importlib.import_module("deepmd.utils.activation_plugins").activation_plugins
            plugins.append(self)
            self._undo.append(lambda: plugins.remove(self))
            self._compress_later = True  # PyTorch's modules are not loaded yet
            return
        code = _code()
        if changed := [name for name, item in code.items() if fingerprint(item) != _KNOWN_CODE[name]]:
            raise HostError(
                f"DeePMD-kit's {', '.join(changed)} is not the code of version {self.tested[-1]} that taafs-plugins was tested with: "
                f"nothing was changed. Reinstall deepmd-kit=={self.tested[-1]} or apply patches/deepmd to your source."
            )
        deepmd_input.install()
        self._undo.append(deepmd_input.uninstall)
        self._patch_activation_fn(code["ActivationFn"])
        self._patch_layer(code["MLPLayer"])
        self._patch_blocks()
        self._undo.append(deepmd_compress.install())
        self._patch_model()

    def unregister(self) -> None:
        """Give back stock DeePMD-kit."""
        while self._undo:
            self._undo.pop()()

    # What the registration point of patches/deepmd calls, and what the run-time patches below do.

    def activation_class(self, name: Any) -> type | None:
        """The class for an activation's name, or None when the name is not a spec."""
        return activation_class() if is_spec(name) else None

    def layer_built(self, layer: nn.Module) -> None:
        """Called at the end of ``MLPLayer.__init__``."""
        if isinstance(layer.activate, TAAFS):
            layer.activate.fit_layer(layer.num_out, layer.prec)

    def model_built(self, model: nn.Module) -> None:
        """Called at the end of ``DPAtomicModel.__init__``, for built and deserialised models alike."""
        if self._compress_later:
            self._compress_later = False
            self._undo.extend(deepmd_compress.install_if_known(fingerprint))
        tie_shared(model)

    def carry_specs(self, target: dict, pretrained: dict) -> dict:
        """Called by fine-tuning: the pretrained model's parameters with the target's specs."""
        return deepmd_input.carry_specs(target, pretrained)

    def check_input(self, config: dict) -> dict:
        """Called by DeePMD's own input check; returns the input with resolved specs."""
        return deepmd_input.checked(config)

    def trainer_built(self, trainer: Any) -> None:
        """Called at the end of ``Trainer.__init__``."""
        deepmd_training.measure_scales(trainer)
        deepmd_training.report(trainer)

    def _patch_activation_fn(self, cls: type) -> None:
        stock = cls.__init__

        @functools.wraps(stock)
        def init(activation_fn, activation, *args, **kwargs) -> None:
            found = self.activation_class(activation) if type(activation_fn) is cls else None
            if found is None:
                stock(activation_fn, activation, *args, **kwargs)
            else:
                activation_fn.__class__ = found
                activation_fn.__init__(activation)

        cls.__init__ = init
        self._undo.append(lambda: setattr(cls, "__init__", stock))

    def _patch_layer(self, cls: type) -> None:
        init, serialize = cls.__init__, cls.serialize

        @functools.wraps(init)
        def init_and_fit(layer, *args, **kwargs) -> None:
            init(layer, *args, **kwargs)
            self.layer_built(layer)

        cls.__init__ = init_and_fit
        cls.serialize = _serialize_with_coefficients(serialize, lambda layer: (layer, "activate_name", layer.activate))
        self._undo.append(lambda: (setattr(cls, "__init__", init), setattr(cls, "serialize", serialize)))

    def _patch_model(self) -> None:
        cls = importlib.import_module("deepmd.pt.model.atomic_model.dp_atomic_model").DPAtomicModel
        stock = cls.__init__

        @functools.wraps(stock)
        def init(model, *args, **kwargs) -> None:
            stock(model, *args, **kwargs)
            self.model_built(model)

        cls.__init__ = init
        self._undo.append(lambda: setattr(cls, "__init__", stock))

    def _patch_blocks(self) -> None:
        """Descriptors that keep one activation beside their layers: its coefficients travel in their ``activation_function``."""
        for module, name, where in (
            ("repformer_layer", "RepformerLayer", lambda d: (d, "activation_function", d.act)),
            ("repflow_layer", "RepFlowLayer", lambda d: (d, "activation_function", d.act)),
            ("dpa2", "DescrptDPA2", lambda d: (d.repformer_args, "activation_function", d.repformers.act)),
            ("dpa3", "DescrptDPA3", lambda d: (d, "activation_function", d.repflows.act)),
        ):
            cls = getattr(importlib.import_module(f"deepmd.pt.model.descriptor.{module}"), name)
            stock = cls.serialize
            cls.serialize = _serialize_with_coefficients(stock, where)
            self._undo.append(lambda cls=cls, stock=stock: setattr(cls, "serialize", stock))

    def prepare_training(self) -> None:
        """Patch what only training needs, once its modules are loaded (the input check calls this)."""
        training = sys.modules.get("deepmd.pt.train.training")
        if training is None or not self._undo or hasattr(training.get_model_for_wrapper, "taafs"):
            return
        if fingerprint(training.get_model_for_wrapper) != _KNOWN_CODE["get_model_for_wrapper"]:
            raise HostError("DeePMD-kit's get_model_for_wrapper is not the code that was tested; reinstall deepmd-kit==3.2.0.")
        self._undo.append(deepmd_training.patch(training, self.trainer_built))

    def matches(self, model: nn.Module) -> bool:
        from deepmd.pt.utils.utils import ActivationFn

        return any(isinstance(part, ActivationFn) for part in model.modules())

    def sites(self, model: nn.Module) -> list[Site]:
        from deepmd.pt.model.network.mlp import MLP, MLPLayer
        from deepmd.pt.utils.utils import ActivationFn

        nets = [name for name, part in model.named_modules() if isinstance(part, MLP)]
        found = []
        for name, owner in model.named_modules():
            for attribute, act in owner.named_children():
                if not isinstance(act, ActivationFn) or act.activation.lower() in ("linear", "none") or attribute == "base":
                    continue
                path = f"{name}.{attribute}" if name else attribute
                converted = isinstance(act, TAAFS)
                layer = isinstance(owner, MLPLayer)
                net = max((n for n in nets if path.startswith(f"{n}.")), key=len, default=name)
                parameter = next(owner.parameters(), None)
                found.append(Site(
                    name=path, call=f"{type(owner).__name__}.{attribute}", owner=owner, attribute=attribute,
                    replaces=_CORE_NAMES.get(act.activation.lower(), act) if not converted else act.base_name,
                    activation=act.base_name if converted else act.activation.lower(),
                    width=owner.num_out if layer else None, network=net,
                    group="fitting" if "fitting_net" in path.split(".") else "embedding",
                    dtype=owner.prec if layer else None, device=parameter.device if parameter is not None else None,
                ))  # fmt: skip
        return found

    def read_model(self, path: Path, packages: frozenset[str]) -> tuple[nn.Module, dict[str, Any]] | None:
        model = deepmd_files.read_checkpoint(path, packages)
        return None if model is None else (model, {})

    def export_module(self, model: nn.Module, energy_unit: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
        raise HostError(EXPORTS_ITSELF)

    def install(self, site: Site, activation: nn.Module) -> None:
        activation.__class__ = activation_class()
        activation.activation, activation.unfinished = str(activation.spec), False
        setattr(site.owner, site.attribute, activation)
        if hasattr(site.owner, "activate_name"):
            site.owner.activate_name = activation.activation

    def uninstall(self, site: Site) -> None:
        from deepmd.pt.utils.utils import ActivationFn

        name = next((own for own, core in _CORE_NAMES.items() if core == site.replaces), site.replaces)
        setattr(site.owner, site.attribute, ActivationFn(name))
        if hasattr(site.owner, "activate_name"):
            site.owner.activate_name = name


def _serialize_with_coefficients(serialize, where):
    """A ``serialize`` that writes the trained spec where the stock one writes the activation's name."""

    @functools.wraps(serialize)
    def with_coefficients(owner):
        holder, attribute, act = where(owner)
        if not isinstance(act, TAAFS):
            return serialize(owner)
        name = getattr(holder, attribute)
        setattr(holder, attribute, act.serialized_name)
        try:
            return serialize(owner)
        finally:
            setattr(holder, attribute, name)

    return with_coefficients


ADAPTER = DeepmdAdapter()
