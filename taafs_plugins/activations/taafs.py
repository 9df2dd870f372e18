"""The TAAFS activation module: ``y = base(z) + sum_k theta_k B_k(squash(z / scale))``.

TAAFS, E. Li 2024, section 3 and eqs. 11-16. The paper adds the layer's bias after the sum; hosts add theirs before it.
"""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import fused
from taafs_plugins.activations.bases import basis_kind
from taafs_plugins.activations.engine import Curve, chosen_engine, evaluate, needs_plain_operators
from taafs_plugins.activations.fit import fit
from taafs_plugins.activations.fixed import fixed_activation
from taafs_plugins.activations.spec import Key, Spec, SpecError, read_options, shared_keys
from taafs_plugins.activations.squash import KINDS, squash

log = logging.getLogger(__name__)

FAMILY = "taafs"
FIT_WARNING = 1e-3


def parse(text: str, variant: str | None, pairs: list[tuple[str, str]]) -> Spec:
    """Read the options of a ``taafs`` spec; called by :func:`taafs_plugins.activations.parse_spec`."""
    basis = basis_kind(variant or "bspline")
    options = read_options(text, pairs, keys(basis.name))
    spec = Spec(FAMILY, basis.name, options)
    _check_together(spec)
    return spec


def keys(basis: str) -> dict[str, Key]:
    """All keys that ``taafs:<basis>`` takes: the basis's own, then the shared ones."""
    return {**basis_kind(basis).keys, **shared_keys(KINDS)}


def _check_together(spec: Spec) -> None:
    residual, init = spec.get("residual", "plain"), spec.get("init")
    if residual != "none" and init == "fit":
        raise SpecError(f"'{spec}': init=fit needs residual=none; with residual={residual} the sum starts at 0 and needs no fit.")
    if residual == "none" and init == "zero":
        raise SpecError(f"'{spec}': residual=none with init=zero is 0 everywhere and cannot train; use init=fit or init=random.")
    if spec.get("weights") is not None and residual != "scaled":
        raise SpecError(f"'{spec}': weights belong to residual=scaled.")
    if residual == "none" and init in (None, "fit") and spec.get("scale") == "auto" and spec.get("share") in ("network", "global"):
        raise SpecError(f"'{spec}': with scale=auto each site has its own scale, so that one fit cannot serve several; use share=layer.")


def resolve(spec: Spec, defaults: Mapping[str, Any] | None = None) -> Spec:
    """The spec with every key set: what it says, then a host's measured ``defaults``, then the general ones."""
    entries = keys(spec.variant)
    options: dict[str, Any] = {}
    for key, entry in entries.items():
        value = spec.get(key, (defaults or {}).get(key, entry.default))
        if value is not None:
            options[key] = value
    options.setdefault("init", "fit" if options["residual"] == "none" else "zero")
    resolved = Spec(FAMILY, spec.variant, {key: options[key] for key in entries if key in options})
    _check_together(resolved)
    return resolved


class TAAFS(nn.Module):
    """A trainable activation, elementwise.

    Parameters
    ----------
    spec : a parsed spec (:func:`taafs_plugins.parse_spec`) or its text
    replaces : the stock activation (name, function or module); it is the base of ``residual=plain|scaled`` and the target of
        ``init=fit``. The spec's ``base=`` wins over it.
    width : size of the last axis, only for ``share=neuron``
    defaults : a host's defaults for keys that the spec leaves out
    dtype, device : of the coefficients; default: torch's

    Attributes
    ----------
    delta : Parameter [K] or [width, K]; what training changes
    theta : the coefficients ``theta_start + rate * delta``
    weights : Parameter [2] (w_b, w_s) or [width, 2] with ``residual=scaled``, else None
    scale : buffer, sigma; 1 until calibrated when the spec says ``auto``
    spec : the resolved :class:`Spec`
    fit_error : largest deviation of ``init=fit`` on |z| <= 6, else None

    Raises
    ------
    SpecError
        A spec that cannot be used, or ``share=neuron`` without a width.
    """

    # What scripting makes of the module where TAAFS_EXPORT does not say; set by exporters. See fused.prepare_export.
    export_form: str = "plain"
    # What it made: a call of the fused operator, or the folded curve, which is differentiated once.
    by_operator: bool = False
    by_folded: bool = False
    __constants__ = ["by_operator", "by_folded", "export_form"]

    def __init__(
        self,
        spec: Spec | str,
        replaces: str | Callable | nn.Module = "tanh",
        width: int | None = None,
        defaults: Mapping[str, Any] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        nn.Module.__init__(self)  # not super(): a host's own activation class may come next in the order of bases
        if isinstance(spec, str):
            from taafs_plugins.activations import parse_spec

            spec = parse_spec(spec)
        spec = resolve(spec, defaults)
        entries = basis_kind(spec.variant).keys
        basis = basis_kind(spec.variant).build(**{key: spec[key] for key in entries})
        if spec["share"] == "neuron" and width is None:
            raise SpecError("share=neuron needs the width of the layer: pass width=.")
        base = replaces if spec.get("base") is None or not isinstance(replaces, str) else spec["base"]
        self.base_name, self.base = fixed_activation(base)
        self.spec = spec.with_options(theta=None, weights=None, sigma=None)
        self.basis = basis
        self.plain_curve = basis.curve()
        self.squash: str = spec["squash"]
        self.rate: float = float(spec["rate"])
        self.with_base: bool = spec["residual"] != "none"
        self.scaled: bool = spec["residual"] == "scaled"
        self.width = width if spec["share"] == "neuron" else None
        # tanh is its own squash: its value is u, and no second tanh is needed.
        self.base_is_squash: bool = self.base_name == "tanh" and self.squash == "tanh" and spec["scale"] == 1.0
        self.fit_error: float | None = None

        dtype = dtype or torch.get_default_dtype()
        shape = (basis.numbers,) if self.width is None else (self.width, basis.numbers)
        sigma = spec.get("sigma", 1.0) if spec["scale"] == "auto" else spec["scale"]
        self.register_buffer("scale", torch.tensor(sigma, dtype=dtype, device=device))
        self._scale_value: float = float(self.scale)
        self.calibrated: bool = spec["scale"] != "auto" or spec.get("sigma") is not None
        start = self._start(spec, shape)
        self.register_buffer("theta_start", start.to(dtype=dtype, device=device))
        self.delta = nn.Parameter(torch.zeros(shape, dtype=dtype, device=device))
        weights = None
        if self.scaled:
            shape = (2,) if self.width is None else (self.width, 2)
            values = torch.tensor(spec.get("weights", (1.0, 1.0)), dtype=dtype, device=device)
            if values.numel() not in (2, 2 * (self.width or 1)):
                raise SpecError(f"weights needs 2 numbers, or 2 for each of the {self.width} neurons; got {values.numel()}.")
            weights = nn.Parameter(values.reshape(-1, 2).expand(self.width or 1, 2).reshape(shape).clone())
        self.register_parameter("weights", weights)

    def _start(self, spec: Spec, shape: tuple[int, ...]) -> torch.Tensor:
        numbers = shape[-1]
        if (values := spec.get("theta")) is not None:
            if len(values) != torch.Size(shape).numel():
                raise SpecError(f"theta of '{self.spec}' needs {torch.Size(shape).numel()} numbers, got {len(values)}.")
            return torch.tensor(values, dtype=torch.float64).reshape(shape)
        if spec["init"] == "fit":
            scale = 1.0 if spec["scale"] == "auto" else spec["scale"]
            values, self.fit_error = fit(self.basis, self.squash, scale, self.base)
            if self.fit_error > FIT_WARNING:
                log.warning(
                    "init=fit of %s to %s is off by up to %.2g within |z| <= 6; residual=plain starts exactly at %s.",
                    self.spec, self.base_name, self.fit_error, self.base_name,
                )  # fmt: skip
            return torch.as_tensor(values).expand(shape).clone()
        start = torch.zeros(shape, dtype=torch.float64)
        if spec["init"] == "random":
            # A generator of its own: the host's weights stay those of the same seed without the plugin.
            seed = spec.get("seed", zlib.crc32(str(self.spec).encode()))
            generator = torch.Generator().manual_seed(seed)
            start = torch.randn(shape, dtype=torch.float64, generator=generator) / numbers**0.5
        elif not self.basis.linear and spec.get("residual") != "none":
            # P = 0 leaves Q without gradient; Q starts away from 0 so that both move after the first step.
            start[..., self.basis.num + 1 :] = 0.5
        return start

    @property
    def theta(self) -> torch.Tensor:
        """The coefficients, [K] or [width, K]: ``theta_start + rate * delta``."""
        return torch.add(self.theta_start, self.delta, alpha=self.rate)

    def trained_spec(self) -> Spec:
        """The spec with the present coefficients, weights and scale in it: a plain string carries them anywhere."""
        options: dict[str, Any] = {"base": self.base_name, "theta": tuple(self.theta.detach().double().flatten().tolist())}
        if self.scaled:
            options["weights"] = tuple(self.weights.detach().double().flatten().tolist())
        if self.spec["scale"] == "auto" and self.calibrated:
            options["sigma"] = float(self.scale)
        elif self._is_fitted_start():
            options["theta"] = None  # fitted again by the reader, and once more when the scale is measured
        spec = self.spec.with_options(**options)
        return Spec(FAMILY, spec.variant, {key: spec[key] for key in keys(spec.variant) if spec.get(key) is not None})

    def _is_fitted_start(self) -> bool:
        """Whether the coefficients are those of ``init=fit``, made here and not trained since."""
        return self.fit_error is not None and not bool(self.delta.any())

    def set_scale(self, value: float) -> None:
        """Set sigma (a positive finite number), for ``scale=auto`` by the calibration of a host's frames."""
        if not 0 < value < float("inf"):
            raise ValueError(f"A scale is a positive finite number, not {value}.")
        self.scale.fill_(value)
        self.calibrated = True
        self._scale_value = float(self.scale)
        self.base_is_squash = self.base_is_squash and self._scale_value == 1.0
        if self._is_fitted_start():
            # init=fit was made for scale 1; the start must be the stock activation with the new one too.
            self.theta_start.copy_(self._start(self.spec.with_options(scale=self._scale_value), tuple(self.delta.shape)))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Activation of z, same shape and dtype. bfloat16 and float16 are computed in float32."""
        if torch.jit.is_scripting():
            if self.by_operator:
                return self._operator(z)
            elif self.by_folded:
                return self._folded(z)
            return self.plain(z)
        return self._eager(z)

    def __prepare_scriptable__(self) -> TAAFS:
        """Called by ``torch.jit.script``: which of the two exported forms is wanted."""
        fused.prepare_export(self)
        return self

    def _operator(self, z: torch.Tensor) -> torch.Tensor:
        """The exported form that calls the fused operator from a loaded library."""
        y = torch.ops.taafs.activation(
            z, self.delta, self.theta_start, self.operator_matrix, self.operator_kind, self.rate, self._scale_value
        )
        if self.base_outside:
            weights = self.weights
            if weights is not None:
                weights = weights.to(z.dtype)
                return weights[..., 0] * self.base(z) + weights[..., 1] * y
            return self.base(z) + y
        return y

    def _folded(self, z: torch.Tensor) -> torch.Tensor:
        """The exported form with fixed coefficients, right to the first derivative; see :mod:`taafs_plugins.activations.folded`."""
        dtype = self.delta.dtype
        x = z if z.dtype == dtype else z.to(dtype)
        u = squash(x if self.folded_unscaled else x / self.scale, self.squash)
        v = u.detach()
        y, slope = self.folded_curve(v)
        if self.base_outside:
            base = self.base(x)
            weights = self.weights
            if weights is not None:
                base = weights[..., 0] * base
            y = base + y
        y = torch.addcmul(y, u - v, slope)
        return y if z.dtype == dtype else y.to(z.dtype)

    def plain(self, z: torch.Tensor) -> torch.Tensor:
        """The same in plain operators only, differentiable by autograd; what TorchScript compiles."""
        dtype = self.delta.dtype
        x = z.to(dtype)
        theta = torch.add(self.theta_start, self.delta, alpha=self.rate)
        u = squash(x if self.base_is_squash else x / self.scale, self.squash)
        y = self.plain_curve(u, theta)
        if self.with_base:
            base = u if self.base_is_squash else self.base(x)
            weights = self.weights
            if weights is not None:
                y = weights[..., 0] * base + weights[..., 1] * y
            else:
                y = base + y
        return y.to(z.dtype)

    @torch.jit.unused
    def _eager(self, z: torch.Tensor) -> torch.Tensor:
        if z.dtype in (torch.bfloat16, torch.float16):
            return self._eager(z.float()).to(z.dtype)
        if self.width is not None and z.shape[-1] != self.width:
            raise ValueError(f"share=neuron was built for width {self.width} but is called on width {z.shape[-1]}.")
        if not self.calibrated and self.training and torch.is_grad_enabled():
            self.calibrated = True  # said once
            warnings.warn("scale=auto was not measured, 1 is used; run the model inside 'with taafs.calibrate(model):' first.")
        engine = chosen_engine()
        if engine == "plain" or needs_plain_operators():
            return self.plain(z)
        curve = Curve(self.basis, self.squash, self._scale_value)
        if engine != "python" and (y := fused.activation(self, z, curve)) is not None:
            return y
        if not self.basis.linear:
            return self.plain(z)
        theta = self.theta.to(z.dtype)
        y = evaluate(z, theta, curve)
        if not self.with_base:
            return y
        base = self.base(z)
        if self.scaled:
            weights = self.weights.to(z.dtype)
            return weights[..., 0] * base + weights[..., 1] * y
        return base + y

    def get_extra_state(self) -> torch.Tensor:
        """The part of the spec that gives the stored numbers their meaning, as bytes: a tensor like all else in a state dict."""
        text = f"{self.spec.with_options(base=None, init=None, seed=None)},base={self.base_name}"
        return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8).clone()

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Nothing to set: a state dict of another spec was refused before (see :meth:`_load_from_state_dict`)."""

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, strict, missing, unexpected, errors) -> None:
        """Refuses numbers of another spec: many bases have as many, and ``rate`` and ``squash`` do not show in their shape."""
        own = self.get_extra_state()
        key = f"{prefix}_extra_state"
        if key not in state_dict:  # a file from before this check, or one that keeps numbers only
            state_dict = {**state_dict, key: own}
        stored = state_dict[key]
        if not torch.equal(stored.cpu().to(own.dtype), own):
            saved, here = (bytes(x.cpu().to(torch.uint8).tolist()).decode() for x in (stored, own))
            errors.append(
                f"The coefficients at {prefix.rstrip('.') or 'this activation'} were saved with '{saved}', this model has '{here}': "
                "build or convert it with the spec of the file."
            )
            return
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, missing, unexpected, errors)
        self._scale_value = float(self.scale)
        self.calibrated = self.calibrated or self._scale_value != 1.0
        self.base_is_squash = self.base_is_squash and self._scale_value == 1.0

    def extra_repr(self) -> str:
        return f"{self.spec}, replaces={self.base_name}"
