"""What ``torch.jit.script`` makes of a TAAFS: one of three forms, chosen when it is scripted.

``plain`` (default) and ``folded`` need nothing but torch where the model is used. ``plain`` follows its parameters and is differentiable
to any order. ``folded`` is faster, has fixed coefficients and is differentiable once (default of ``dp freeze``). ``operator`` is the
fastest on the CPU, and needs the library of :func:`taafs_plugins.native.operators.build_operator_library` loaded before the model
(``DP_PLUGIN_PATH`` in LAMMPS). ``taafs export`` writes ``folded`` and ``operator`` into one file (:mod:`taafs_plugins.md.contract`).

TorchScript reads attributes of the module, and it has no moment after scripting at which they could be taken away again: they are all
there from the start, with placeholders that scripting overwrites.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations.base import EXPORT_FORMS
from taafs_plugins.activations.taafs import fused
from taafs_plugins.activations.taafs.codes import shape_of
from taafs_plugins.activations.taafs.folded import fold

EXPORT = "TAAFS_EXPORT"


def reset(module: nn.Module) -> None:
    """The placeholders of a module that was not scripted yet."""
    for name, value in _placeholders().items():
        setattr(module, name, value)


def _placeholders() -> dict[str, Any]:
    nothing = torch.zeros(1, dtype=torch.float64, device="cpu")
    return {
        "scripts_operator": False, "scripts_folded": False, "base_outside": False, "operator_matrix": nothing, "operator_kind": [0],
        "folded_rows": [nothing], "folded_value": [0.0], "folded_slope": [0.0], "folded_interval_count": 0, "folded_width": 0,
    }  # fmt: skip


def forms(module: nn.Module) -> tuple[str, ...]:
    """The forms that can be made of a TAAFS here."""
    can = {"folded": shape_of(module.basis) in ("polynomial", "piecewise"), "operator": _call(module) is not None}
    return tuple(form for form in EXPORT_FORMS if form == "plain" or can[form] and (form != "operator" or fused.operator() is not None))


def _call(module: nn.Module) -> fused.Call | None:
    return fused.plan(module, module.sigma()).call


def _wanted(module: nn.Module) -> str:
    return os.environ.get(EXPORT) or module.export_form


def scripts_once(module: nn.Module) -> bool:
    """Whether scripting a TAAFS now would make the folded form, which is right to the first derivative only."""
    return _wanted(module) == "folded" and not module.training and shape_of(module.basis) in ("polynomial", "piecewise")


def prepare(module: nn.Module) -> None:
    """Set what TorchScript reads, by ``TAAFS_EXPORT`` or, where it is not set, by the module's ``export_form``.

    A module in training mode, or of a basis that cannot be folded, is written as ``plain`` where ``folded`` is asked for.

    Raises
    ------
    ValueError
        Another value of ``TAAFS_EXPORT``, or an activation that the operator does not know.
    RuntimeError
        The library cannot be built here.
    """
    form = _wanted(module)
    if form not in EXPORT_FORMS:
        raise ValueError(f"{EXPORT}={form} is unknown; choose {', '.join(EXPORT_FORMS[:-1])} or {EXPORT_FORMS[-1]}.")
    reset(module)
    if form == "operator":
        _prepare_operator(module)
    elif scripts_once(module) and (folded := fold(module)) is not None:
        module.scripts_folded = True
        module.base_outside = module.with_base and not folded.base_inside
        module.folded_rows, module.folded_value, module.folded_slope = folded.rows, folded.value, folded.slope
        module.folded_interval_count, module.folded_width = folded.pieces, folded.width


def _prepare_operator(module: nn.Module) -> None:
    call = _call(module)
    if call is None:
        raise ValueError(f"{EXPORT}=operator: '{module.spec}' is not known to the fused operator; export it with {EXPORT}=plain.")
    if fused.operator() is None:
        raise RuntimeError(f"{EXPORT}=operator needs the fused kernels, and they cannot be built here; use {EXPORT}=plain.")
    module.scripts_operator = True
    module.operator_matrix, module.operator_kind = call.matrix, call.kind
    module.base_outside = module.with_base and not call.base_inside


def brought_up_to_date(state: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a pickled TAAFS, of this version or of 0.1, which kept the scale as a number and had no plan."""
    if "auto" in state:
        return state
    spec, scale = state["spec"], state["_buffers"]["scale"]
    old = ("_scale_value", "by_operator", "by_folded", "operator_matrix", "operator_kind", "base_outside", "folded_unscaled", "calibrated")
    kept = {key: value for key, value in state.items() if key not in old}
    kept["_modules"] = {key: value for key, value in state["_modules"].items() if key != "folded_curve"}
    auto = spec["scale"] == "auto"
    fixed = float(scale) if not auto else 1.0
    return {**kept, **_placeholders(), "auto": auto, "fixed_scale": fixed, "_calibrated": state["calibrated"], "_plan": None}
