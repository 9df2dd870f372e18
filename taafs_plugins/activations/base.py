"""What every kind of trainable activation is as a module: :class:`TrainableActivation`.

Whatever handles activations (conversion, coefficient files, training, plots, export, the adapters) speaks to this class and to
:class:`taafs_plugins.activations.registry.Family`, and to no family in particular.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from taafs_plugins.activations.registry import family_names, find_family
from taafs_plugins.activations.spec import Spec, SpecError
from taafs_plugins.activations.stock import fixed_activation

# What a spec says of the start or of the numbers themselves: without meaning for numbers that are stored beside it.
_NOT_STORED = ("base", "init", "seed")
SUCCESSOR, STAYS = "_taafs_successor", True  # on a tensor: the one that took its place, or that it was given once more
EXPORT_FORMS = ("plain", "folded", "operator")


@dataclass(frozen=True)
class Place:
    """Where an activation is built for; an adapter's ``Site`` has the same attributes.

    Attributes
    ----------
    replaces : the stock activation: name, function or module
    width : size of the last axis of the inputs, or None when it is not one number
    dtype, device : of the coefficients; None for torch's defaults
    """

    replaces: str | Callable[..., Any] | nn.Module = "tanh"
    width: int | None = None
    dtype: torch.dtype | None = None
    device: torch.device | str | None = None


class TrainableActivation(nn.Module):
    """An elementwise activation with trained coefficients ``theta = theta_start + rate * delta`` in the place of a stock one.

    A subclass calls ``__init__`` with the start of its numbers and implements :meth:`plain`; what it knows to do better than
    autograd on plain operators (speed, exported forms, derivatives) it overrides.

    Parameters
    ----------
    spec : resolved; with ``theta=`` in it the coefficients start there
    place : where it is built for
    start : the coefficients' start [K], float64 on the CPU; one row for each neuron is made of it with ``share=neuron``
    trained : False for an activation with fixed numbers, which then has no parameter

    Attributes
    ----------
    spec : the resolved spec without trained numbers
    base_name, base : the stock activation that is replaced, its name and its module
    width : how many neurons have coefficients of their own, or None
    delta : Parameter [K] or [width, K]: what training changes; a buffer of zeros when nothing is trained
    theta_start : buffer of its shape
    fit_error : largest deviation from the stock activation of a fitted start, or None
    calibrated : False while a scale waits to be measured (:meth:`set_scale`)

    Raises
    ------
    SpecError
        ``share=neuron`` without a width, or ``theta=`` with another number of values.
    """

    __jit_unused_properties__ = ["theta", "wants_scale", "once"]
    # What scripting makes of it where TAAFS_EXPORT does not say; set by exporters.
    export_form = "plain"
    # What a spec carries of trained numbers; not part of :attr:`spec`.
    trained_keys = ("theta",)
    # Buffers that belong to the coefficients, so that sharing those shares them.
    shared_buffers = ("theta_start",)

    if TYPE_CHECKING:  # for type checkers alone: TorchScript cannot read a class's annotations as text
        theta_start: torch.Tensor
        delta: torch.Tensor

    def __init__(self, spec: Spec, place: Place, start: torch.Tensor, trained: bool = True) -> None:
        nn.Module.__init__(self)  # not super(): a host's own activation class may come next in the order of bases
        if spec["share"] == "neuron" and place.width is None:
            raise SpecError("share=neuron needs the width of the layer: pass width=.")
        replaces = place.replaces if spec.get("base") is None or not isinstance(place.replaces, str) else spec["base"]
        self.base_name, self.base = fixed_activation(replaces)
        self.spec = spec.with_options(**dict.fromkeys(self.trained_keys))
        self.width: int | None = place.width if spec["share"] == "neuron" else None
        self.rate: float = float(spec["rate"])
        self.fit_error: float | None = None
        self.calibrated: bool = True
        shape = start.shape if self.width is None else (self.width, start.shape[-1])
        if (values := spec.get("theta")) is not None:
            if len(values) != torch.Size(shape).numel():
                raise SpecError(f"theta of '{self.spec}' needs {torch.Size(shape).numel()} numbers, got {len(values)}.")
            start = torch.tensor(values, dtype=torch.float64, device="cpu").reshape(shape)
        # Where no device is named, the one that torch would give a stock layer's weights.
        dtype, device = place.dtype or torch.get_default_dtype(), place.device or torch.get_default_device()
        self.register_buffer("theta_start", start.expand(shape).clone().to(dtype=dtype, device=device))
        if trained:
            self.delta = nn.Parameter(torch.zeros(shape, dtype=dtype, device=device))
        else:
            self.register_buffer("delta", torch.zeros(shape, dtype=dtype, device=device))

    # Coefficients ---------------------------------------------------------------------------------------------------------------

    @property
    def theta(self) -> torch.Tensor:
        """The coefficients, [K] or [width, K]: ``theta_start + rate * delta``."""
        return torch.add(self.theta_start, self.delta, alpha=self.rate)

    def coefficients(self) -> dict[str, nn.Parameter]:
        """Name -> Parameter of everything that training changes; never those of the stock activation."""
        return {name: p for name, p in self._parameters.items() if p is not None}

    def numbers(self) -> dict[str, torch.Tensor]:
        """Name -> tensor of all that gives the activation its shape, as a coefficient file holds it."""
        state = self.state_dict()
        return {key: value for key, value in state.items() if key != "_extra_state" and not key.startswith("base.")}

    def share_with(self, leader: TrainableActivation) -> None:
        """Hold the leader's coefficients, the same Parameters, from now on.

        Raises
        ------
        SpecError
            Of another shape, or fitted to another stock activation.
        """
        if type(leader) is not type(self) or leader.delta.shape != self.delta.shape:
            raise SpecError(f"'{self.spec}' cannot share the coefficients of '{leader.spec}': they differ in shape.")
        if self.fit_error is not None and leader.base_name != self.base_name:
            share = self.spec["share"]
            raise SpecError(f"share={share} with init=fit needs one stock activation, not {leader.base_name} and {self.base_name}.")
        self._parameters.update(leader._parameters)
        self._buffers.update({name: leader._buffers[name] for name in self.shared_buffers})

    def trained_options(self) -> dict[str, Any]:
        """What :meth:`trained_spec` adds to the spec: the present numbers, by key; ``None`` takes a key away."""
        return {"theta": tuple(self.theta.detach().double().flatten().tolist()) or None}

    def trained_spec(self) -> Spec:
        """The spec with the present numbers in it: a plain string carries them anywhere."""
        spec = self.spec.with_options(base=self.base_name, **self.trained_options())
        order = find_family(spec.family).keys(spec.variant)
        return Spec(spec.family, spec.variant, {key: spec[key] for key in order if spec.get(key) is not None}, resolved=True)

    # Calibration ----------------------------------------------------------------------------------------------------------------

    @property
    def wants_scale(self) -> bool:
        """Whether the spec asks for a scale that is measured on frames."""
        return bool(self.spec.get("scale") == "auto")

    def set_scale(self, value: float) -> None:
        """Take a measured scale.

        Raises
        ------
        SpecError
            This family has no scale.
        """
        raise SpecError(f"'{self.spec}' has no scale that could be set.")

    # Values and derivatives -----------------------------------------------------------------------------------------------------

    def plain(self, z: torch.Tensor) -> torch.Tensor:
        """The activation of z [..., C], same shape and dtype, in plain operators that autograd differentiates and TorchScript compiles."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is computed: its class needs plain(z).")

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Activation of z, same shape and dtype."""
        return self.plain(z)

    def derivative(self, z: torch.Tensor, order: int) -> torch.Tensor:
        """The order-th derivative with respect to z, elementwise, with the coefficients fixed.

        Parameters
        ----------
        z : tensor [..., C], of the coefficients' dtype
        order : 0 for the value
        """
        return derivatives(self, z, order)[order]

    # Exported forms -------------------------------------------------------------------------------------------------------------

    def export_forms(self) -> tuple[str, ...]:
        """Those of :data:`EXPORT_FORMS` that scripting can make of it, here and now: ``plain`` always."""
        return ("plain",)

    @property
    def once(self) -> bool:
        """Whether what scripting made last is right to the first derivative only."""
        return False

    def scripts_once(self) -> bool:
        """Whether scripting it now would make a form that is right to the first derivative only."""
        return False

    # State ----------------------------------------------------------------------------------------------------------------------

    def meaning(self) -> str:
        """The part of the spec that gives stored numbers their meaning."""
        return f"{self.spec.with_options(**dict.fromkeys(_NOT_STORED))},base={self.base_name}"

    def get_extra_state(self) -> torch.Tensor:
        """:meth:`meaning` as character codes, float64: a tensor like all else in a state dict, and averages of equal ones are equal."""
        return torch.tensor(list(self.meaning().encode()), dtype=torch.float64, device="cpu")

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Nothing to set: a state dict of another spec was refused before (see :meth:`_load_from_state_dict`)."""

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: dict[str, Any], strict: bool, missing: list[str],
        unexpected: list[str], errors: list[str],
    ) -> None:  # fmt: skip
        """Refuses numbers of another spec: many have as many, and ``rate`` does not show in their shape."""
        key = f"{prefix}_extra_state"
        own = self.meaning()
        saved = own if key not in state_dict else read_meaning(state_dict[key])
        if saved != own:
            place = prefix.rstrip(".") or "this activation"
            errors.append(
                f"The spec stored beside the coefficients at {place} is damaged, as by averaging files of different specs; average those "
                f"of one spec only ('{own}' here)." if saved is None else
                f"The coefficients at {place} were saved with '{saved}', this model has '{own}': "
                "build or convert it with the spec of the file."
            )  # fmt: skip
            return
        state_dict = {name: value for name, value in state_dict.items() if name != key}
        if type(self).get_extra_state is not nn.Module.get_extra_state:  # a file may keep numbers only
            state_dict[key] = self.get_extra_state()
        with self._kept_shared(state_dict, prefix):
            super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> TrainableActivation:
        """Moves, casts and materialises; what is shared stays shared."""
        with self._kept_shared():
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    @contextmanager
    def _kept_shared(self, given: Mapping[str, Any] | None = None, prefix: str = "") -> Iterator[None]:
        """Around what replaces tensors one module at a time (``assign=True``, ``to_empty``): sets that are shared stay shared.

        A replaced tensor remembers its successor. A module that still holds it takes that one too, with the numbers of its own, so that
        the last one's numbers hold, as in loading without ``assign``. ``given``: the state dict whose tensors the module may take.
        """
        both: tuple[dict[str, Any], ...] = (self._parameters, self._buffers)
        before = [(held, name, tensor) for held in both for name, tensor in held.items() if tensor is not None]
        yield
        for held, name, old in before:
            own, newest = held.get(name), getattr(old, SUCCESSOR, None)
            if own is None or (own is old and (given is None or given.get(f"{prefix}{name}") is not own)):
                continue
            while (further := getattr(newest, SUCCESSOR, None)) is not None and further is not STAYS:
                newest = further
            newest = old if newest is STAYS else newest
            if newest is not None and (newest.device, newest.dtype, newest.shape) == (own.device, own.dtype, own.shape):
                newest.data.copy_(own.data)
                own = held[name] = newest
            setattr(old, SUCCESSOR, own if own is not old else STAYS)
            if own is not old and hasattr(own, SUCCESSOR):  # an earlier one that came back
                setattr(own, SUCCESSOR, STAYS)

    def extra_repr(self) -> str:
        """The spec and the replaced activation, for ``print(model)``."""
        return f"{self.spec}, replaces={self.base_name}"


def derivatives(activation: Callable[..., Any], z: torch.Tensor, order: int) -> list[torch.Tensor]:
    """``[y, dy/dz, ...]`` up to ``order`` of an elementwise activation, trained or stock, each of the shape and dtype of z.

    Parameters
    ----------
    activation : with parameters in the dtype of z; of a trainable one its plain form is differentiated
    z : [..., C]
    """
    with torch.enable_grad():
        x = z.detach().requires_grad_()
        found = [getattr(activation, "plain", activation)(x)]
        for _ in range(order):
            last = found[-1]
            if not last.requires_grad:  # relu' is a constant
                found.append(torch.zeros_like(x))
                continue
            found += torch.autograd.grad(last.sum(), x, create_graph=True, materialize_grads=True)
    return [y.detach() for y in found]


def read_meaning(state: torch.Tensor) -> str | None:
    """The text in a stored ``_extra_state`` (character codes, of any dtype and little rounding), or None where it is no spec."""
    codes = state.detach().double().cpu().round().flatten().tolist()
    if not codes or not all(32 <= code < 127 for code in codes):
        return None
    text = bytes(int(code) for code in codes).decode()
    family = text.split(",")[0].split(":")[0]
    return text if family in family_names() else None
