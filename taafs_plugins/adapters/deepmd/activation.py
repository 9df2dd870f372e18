"""DeePMD-kit's ``ActivationFn`` as a trainable activation of any family."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import SpecError, TrainableActivation, make_activation, resolve_spec
from taafs_plugins.activations.spec import Spec
from taafs_plugins.adapters.sites import Site, shared_by

# DeePMD's names for activations of the core; "gelu" there is the tanh approximation.
CORE_NAMES = {"tanh": "tanh", "relu": "relu", "relu6": "relu6", "softplus": "softplus", "sigmoid": "sigmoid", "silu": "silu",
              "gelu": "gelu_tanh", "gelu_tf": "gelu_tanh", "gelu_tanh": "gelu_tanh"}  # fmt: skip


class InCheckpoint:
    """How DeePMD-kit's checkpoints hold a trainable activation."""

    # DeePMD's checkpoints keep the spec among the model's parameters; a second place would only be reported as an unexpected key
    # whenever a scripted model loads them.
    get_extra_state = nn.Module.get_extra_state
    set_extra_state = nn.Module.set_extra_state

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, *rest) -> None:
        if f"{prefix}delta" not in state_dict:
            # A checkpoint of the stock network: start at its predictions, as a fresh conversion would.
            state_dict = {**state_dict, **{prefix + key: value for key, value in self.state_dict().items()}}
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, *rest)


class InDeepmd(InCheckpoint):
    """What a trainable activation is beside itself in DeePMD-kit; ``activation`` is the spec as the config has it."""

    __jit_unused_properties__ = [*TrainableActivation.__jit_unused_properties__, "calibrated", "serialized_name"]
    export_form = "folded"  # a frozen model is differentiated once

    def fit_layer(self, width: int, dtype: torch.dtype) -> None:
        """Build the coefficients for the layer this activation belongs to, unless they are of its dtype and need no width."""
        if self.unfinished or self.delta.dtype != dtype:
            become(self, _built(self.activation, self.host_defaults, width, dtype), self.activation, self.host_defaults)

    @property
    def serialized_name(self) -> str:
        """The name DeePMD's files keep: the spec with the trained coefficients in it."""
        return str(self.trained_spec())


@functools.cache
def checkpoint_class(kind: type[TrainableActivation]) -> type:
    """The class of an activation that DeePMD-kit's checkpoints hold, where it is a part of a layer and no ``ActivationFn``."""
    return type(f"Deepmd{kind.__name__}", (InCheckpoint, kind), {"__doc__": f"A {kind.__name__} in DeePMD-kit."})


@functools.cache
def host_class(kind: type[TrainableActivation]) -> type:
    """The ``ActivationFn`` that is a trainable activation of this class; made on first use because it derives from DeePMD's class."""
    from deepmd.pt.utils.utils import ActivationFn

    return type(f"Deepmd{kind.__name__}", (InDeepmd, kind, ActivationFn), {"__doc__": f"A {kind.__name__} in DeePMD-kit."})


_FINISHED: ContextVar[bool] = ContextVar("finished", default=False)


@contextmanager
def finished() -> Iterator[None]:
    """Models made inside come out of a file to go into one: their activations are written in the form for forces.

    Elsewhere layers are made, and scripted, before their coefficients are read.
    """
    token = _FINISHED.set(True)
    try:
        yield
    finally:
        _FINISHED.reset(token)


def become(holder: nn.Module, made: TrainableActivation, name: str, defaults: Mapping[str, Any]) -> None:
    """Make a module, an ``ActivationFn`` of DeePMD-kit, the activation that was built; ``name`` is what the config calls it."""
    training = holder.training and not _FINISHED.get()
    state = {**vars(made), "activation": name, "host_defaults": defaults, "unfinished": False, "training": training}
    holder.__class__ = host_class(type(made))
    vars(holder).clear()
    vars(holder).update(state)


def start(holder: nn.Module, name: str, defaults: Mapping[str, Any]) -> None:
    """``ActivationFn.__init__`` where the name is a spec.

    Parameters
    ----------
    defaults : values of DeePMD-kit for keys that the spec leaves out

    Raises
    ------
    SpecError
        A spec that cannot be used.
    """
    from deepmd.pt.utils import env

    nn.Module.__init__(holder)
    act = _built(name, defaults, None, env.GLOBAL_PT_FLOAT_PRECISION)
    become(holder, act, name, defaults)
    holder.unfinished = act.width is not None  # its layer knows the width; until then one neuron stands in


@functools.lru_cache(maxsize=64)  # DeePMD-kit hands the same text to every layer, and builds each net twice
def _resolved(name: str, defaults: tuple[tuple[str, Any], ...]) -> Spec:
    return resolve_spec(name, dict(defaults))


def _built(name: str, defaults: Mapping[str, Any], width: int | None, dtype: torch.dtype) -> TrainableActivation:
    from deepmd.pt.utils import env

    return built(name, defaults, width, dtype, env.DEVICE)


def built(name: str, defaults: Mapping[str, Any], width: int | None, dtype: torch.dtype, device: torch.device | str) -> TrainableActivation:
    """The activation of a spec whose ``base`` is one of DeePMD-kit's names.

    Parameters
    ----------
    name : the spec; with ``theta=`` in it a trained one
    defaults : values of DeePMD-kit for keys that the spec leaves out
    width : of the layer, or None where it is not known: ``share=neuron`` then begins with one neuron

    Raises
    ------
    SpecError
        A spec that cannot be used.
    """
    spec = _resolved(name, tuple(defaults.items()))
    base = spec.get("base", "tanh")
    if base in CORE_NAMES:
        replaces: Any = CORE_NAMES[base]
        spec = spec.with_options(base=replaces)
    else:
        replaces = _stock(base)
    neuron = spec["share"] == "neuron"
    if neuron and width is None:
        spec, width = spec.with_options(theta=None, weights=None), 1
    return make_activation(spec, replaces, width=width if neuron else None, dtype=dtype, device=device)


def _stock(name: str) -> nn.Module:
    """DeePMD's own module for a stock activation that the core does not have (``silut:3.0``, ``custom_silu``)."""
    from deepmd.pt.utils.utils import ActivationFn

    if not name.startswith(("silut", "custom_silu")):
        known = ", ".join([*CORE_NAMES, "silut", "custom_silu"])
        raise SpecError(f"base={name} is not an activation of DeePMD-kit; known: {known}.")
    module = ActivationFn(name)
    module.taafs_name = name
    return module


def tie_shared(sites: list[Site]) -> None:
    """Let activations of ``share=network|global`` hold the same Parameter.

    Raises
    ------
    SpecError
        ``share=neuron`` at a site that no layer gave a width.
    """
    leaders: dict[tuple[str, str], TrainableActivation] = {}
    for site in sites:
        if not site.converted:
            continue
        act = site.current
        if getattr(act, "unfinished", False):
            raise SpecError(f"share=neuron cannot be used at {site.name}: it is called on inputs of several widths; use share=layer.")
        if (key := shared_by(act.spec, site.network)) is not None:
            leader = leaders.setdefault((str(act.spec), key), act)
            if leader is not act:
                act.share_with(leader)
