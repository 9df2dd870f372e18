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

from taafs_plugins.activations.base import Place, TrainableActivation
from taafs_plugins.activations.choice import chosen_engine, needs_plain_operators
from taafs_plugins.activations.registry import find_family
from taafs_plugins.activations.spec import Spec, SpecError
from taafs_plugins.activations.taafs import exported, fused
from taafs_plugins.activations.taafs.bases import basis_kind
from taafs_plugins.activations.taafs.engine import evaluate
from taafs_plugins.activations.taafs.fit import fit
from taafs_plugins.activations.taafs.folded import folded_pieces, folded_polynomial
from taafs_plugins.activations.taafs.fused import Plan
from taafs_plugins.activations.taafs.squash import squash

log = logging.getLogger(__name__)

FIT_WARNING = 1e-3


class TAAFS(TrainableActivation):
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
    scale : buffer, sigma; with ``scale=auto`` it is 1 until calibrated and the only place that says what it is
    spec : the resolved :class:`Spec`
    fit_error : largest deviation of ``init=fit`` on |z| <= 6, else None

    Raises
    ------
    SpecError
        A spec that cannot be used, or ``share=neuron`` without a width.
    """

    trained_keys = ("theta", "weights", "sigma")
    __jit_unused_properties__ = [*TrainableActivation.__jit_unused_properties__, "calibrated"]
    __constants__ = ["scripts_operator", "scripts_folded", "base_is_squash", "base_outside", "auto", "folded_interval_count"]

    def __init__(
        self,
        spec: Spec | str,
        replaces: str | Callable | nn.Module = "tanh",
        width: int | None = None,
        defaults: Mapping[str, Any] | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        if isinstance(spec, str):
            from taafs_plugins.activations import parse_spec

            spec = parse_spec(spec)
        family = find_family(spec.family)
        spec = family.resolve(spec, defaults)
        basis = basis_kind(spec.variant).build(**{key: spec[key] for key in basis_kind(spec.variant).keys})
        super().__init__(spec, Place(replaces, width, dtype, device), torch.zeros(basis.numbers, dtype=torch.float64, device="cpu"))
        self.basis = basis
        self.plain_curve = basis.curve()
        self.squash: str = spec["squash"]
        self.with_base: bool = spec["residual"] != "none"
        self.scaled: bool = spec["residual"] == "scaled"
        self.auto: bool = spec["scale"] == "auto"
        # tanh is its own squash: its value is u, and no second tanh is needed.
        self.base_is_squash: bool = self.base_name == "tanh" and self.squash == "tanh" and spec["scale"] == 1.0
        kind = {"dtype": self.delta.dtype, "device": self.delta.device}
        sigma = spec.get("sigma", 1.0) if self.auto else spec["scale"]
        self.fixed_scale: float = float(torch.tensor(sigma, dtype=self.delta.dtype, device="cpu"))
        self.register_buffer("scale", torch.tensor(sigma, **kind))
        self.calibrated = not self.auto or spec.get("sigma") is not None
        if spec.get("theta") is None:
            self.theta_start.copy_(self._start(spec))
        self.register_parameter("weights", self._residual_weights(spec, kind) if self.scaled else None)
        self._plan: Plan | None = None
        exported.reset(self)

    def _residual_weights(self, spec: Spec, kind: dict[str, Any]) -> nn.Parameter:
        shape = (2,) if self.width is None else (self.width, 2)
        values = torch.tensor(spec.get("weights", (1.0, 1.0)), **kind)
        if values.numel() not in (2, 2 * (self.width or 1)):
            raise SpecError(f"weights needs 2 numbers, or 2 for each of the {self.width} neurons; got {values.numel()}.")
        return nn.Parameter(values.reshape(-1, 2).expand(self.width or 1, 2).reshape(shape).clone())

    def _start(self, spec: Spec) -> torch.Tensor:
        """The coefficients' start as ``init`` says, float64 on the CPU, of the shape of ``delta``."""
        shape = tuple(self.delta.shape)
        if spec["init"] == "fit":
            scale = 1.0 if spec["scale"] == "auto" else spec["scale"]
            values, self.fit_error = fit(self.basis, self.squash, scale, self.base)
            if self.fit_error > FIT_WARNING:
                log.warning(
                    "init=fit of %s to %s is off by up to %.2g within |z| <= 6; residual=plain starts exactly at %s.",
                    self.spec, self.base_name, self.fit_error, self.base_name,
                )  # fmt: skip
            return torch.from_numpy(values).expand(shape).clone()
        start = torch.zeros(shape, dtype=torch.float64, device="cpu")
        if spec["init"] == "random":
            # A generator of its own: the host's weights stay those of the same seed without the plugin.
            seed = spec.get("seed", zlib.crc32(str(self.spec).encode()))
            generator = torch.Generator("cpu").manual_seed(seed)
            start = torch.randn(shape, dtype=torch.float64, generator=generator, device="cpu") / shape[-1] ** 0.5
        elif not self.basis.linear and spec.get("residual") != "none":
            # P = 0 leaves Q without gradient; Q starts away from 0 so that both move after the first step.
            start[..., self.basis.num + 1 :] = 0.5
        return start

    # The scale --------------------------------------------------------------------------------------------------------------------

    @property
    def calibrated(self) -> bool:
        """Whether the scale is a fixed number or was measured, here or in the copy that the buffer's number came from."""
        return self._calibrated or self.sigma() != 1.0

    @calibrated.setter
    def calibrated(self, value: bool) -> None:
        self._calibrated = value

    def sigma(self) -> float:
        """The scale as a number: the spec's, or with ``scale=auto`` what the buffer holds now, whoever wrote it there."""
        if not self.auto:
            return self.fixed_scale
        return 1.0 if self.scale.is_meta else self.scale.item()

    def set_scale(self, value: float) -> None:
        """Set the measured scale (a positive finite number) of ``scale=auto``.

        Raises
        ------
        ValueError
            Not such a number, or a spec with a fixed scale.
        """
        if not 0 < value < float("inf"):
            raise ValueError(f"A scale is a positive finite number, not {value}.")
        if not self.auto:
            raise SpecError(f"'{self.spec}' has a fixed scale; write scale=auto to measure one, or scale={value:g}.")
        self.scale.fill_(value)
        self.calibrated = True
        if self._is_fitted_start():
            # init=fit was made for scale 1; the start must be the stock activation with the new one too.
            self.theta_start.copy_(self._start(self.spec.with_options(scale=self.sigma())))

    def _is_fitted_start(self) -> bool:
        """Whether the coefficients are those of ``init=fit``, made here and not trained since."""
        return self.fit_error is not None and not bool(self.delta.any())

    def trained_options(self) -> dict[str, Any]:
        """``theta``, ``weights`` and ``sigma`` as they are now."""
        options = super().trained_options()
        if self.scaled:
            options["weights"] = tuple(self.weights.detach().double().flatten().tolist())
        if self.auto and self.calibrated:
            options["sigma"] = float(self.scale)
        elif self._is_fitted_start():
            options["theta"] = None  # fitted again by the reader, and once more when the scale is measured
        return options

    # Values -----------------------------------------------------------------------------------------------------------------------

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Activation of z, same shape and dtype. bfloat16 and float16 are computed in float32."""
        if torch.jit.is_scripting():
            if self.scripts_operator:
                return self._operator(z)
            elif self.scripts_folded:
                return self._folded(z)
            return self.plain(z)
        return self._eager(z)

    def with_residual(self, base: torch.Tensor, curve: torch.Tensor) -> torch.Tensor:
        """The residual rule: ``base + curve``, or ``w_b base + w_s curve`` with ``residual=scaled``."""
        weights = self.weights
        if weights is not None:
            weights = weights.to(base.dtype)
            return weights[..., 0] * base + weights[..., 1] * curve
        return base + curve

    def plain(self, z: torch.Tensor) -> torch.Tensor:
        """The same in plain operators only, differentiable by autograd; what TorchScript compiles."""
        dtype = self.delta.dtype
        x = z.to(dtype)
        theta = torch.add(self.theta_start, self.delta, alpha=self.rate)
        u = squash(self._divided(x), self.squash)
        y = self.plain_curve(u, theta)
        if self.with_base:
            y = self.with_residual(u if self.base_is_squash else self.base(x), y)
        return y.to(z.dtype)

    def _divided(self, x: torch.Tensor) -> torch.Tensor:
        if self.auto:
            return x / self.scale
        return x if self.fixed_scale == 1.0 else x / self.fixed_scale

    @torch.jit.unused
    def _eager(self, z: torch.Tensor) -> torch.Tensor:
        if z.dtype in (torch.bfloat16, torch.float16):
            return self._eager(z.float()).to(z.dtype)
        if self.width is not None and z.shape[-1] != self.width:
            raise ValueError(f"share=neuron was built for width {self.width} but is called on width {z.shape[-1]}.")
        if self.auto and self.training:
            self._warn_once()
        engine = chosen_engine()
        if engine == "plain" or needs_plain_operators():
            return self.plain(z)
        plan = self.plan() if self.auto or self._plan is None else self._plan
        if engine != "python" and (y := fused.activation(self, z, plan)) is not None:
            return y
        if not self.basis.linear:
            return self.plain(z)
        y = evaluate(z, self.theta.to(z.dtype), plan.curve)
        return self.with_residual(self.base(z), y) if self.with_base else y

    @torch.jit.unused
    def _warn_once(self) -> None:
        if not self.calibrated and torch.is_grad_enabled():
            self.calibrated = True  # said once
            warnings.warn("scale=auto was not measured, 1 is used; run the model inside 'with taafs.calibrate(model):' first.")

    @torch.jit.unused
    def plan(self) -> Plan:
        """What the engines need beside the numbers, made anew when the scale has changed."""
        sigma = self.sigma()
        if self._plan is None or self._plan.curve.scale != sigma:
            self._plan = fused.plan(self, sigma)
        return self._plan

    def _operator(self, z: torch.Tensor) -> torch.Tensor:
        """The exported form that calls the fused operator from a loaded library."""
        sigma = float(self.scale) if self.auto else self.fixed_scale
        y = torch.ops.taafs.activation(z, self.delta, self.theta_start, self.operator_matrix, self.operator_kind, self.rate, sigma)
        return self.with_residual(self.base(z), y) if self.base_outside else y

    def _folded(self, z: torch.Tensor) -> torch.Tensor:
        """The exported form with fixed coefficients, right to the first derivative; see :mod:`taafs_plugins.activations.taafs.folded`."""
        dtype = self.delta.dtype
        x = z if z.dtype == dtype else z.to(dtype)
        u = squash(self._divided(x), self.squash)
        v = u.detach()
        if self.folded_interval_count > 0:
            y, slope = folded_pieces(v, self.folded_rows, self.folded_interval_count, self.folded_width)
        else:
            y, slope = folded_polynomial(v, self.folded_rows, self.folded_value, self.folded_slope, self.folded_width)
        if self.base_outside:  # the curve's weight is folded into it
            base = self.base(x)
            weights = self.weights
            if weights is not None:
                base = weights[..., 0] * base
            y = base + y
        y = torch.addcmul(y, u - v, slope)
        return y if z.dtype == dtype else y.to(z.dtype)

    # Exported forms and state -------------------------------------------------------------------------------------------------------

    def export_forms(self) -> tuple[str, ...]:
        """``plain``, ``folded`` where the basis can be folded, ``operator`` where the fused operator takes it and can be had."""
        return exported.forms(self)

    @property
    def once(self) -> bool:
        """Whether scripting made the folded form last."""
        return self.scripts_folded

    def scripts_once(self) -> bool:
        """Whether scripting would make the folded form now."""
        return exported.scripts_once(self)

    def __prepare_scriptable__(self) -> TAAFS:
        """Called by ``torch.jit.script``: which of the exported forms is wanted."""
        exported.prepare(self)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plan": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(exported.brought_up_to_date(state))

    def _load_from_state_dict(self, state_dict, prefix, *rest) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        self._plan = None
