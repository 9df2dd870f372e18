"""``dp --pt compress`` for trained activations: the tables of the embedding nets, made from each layer's own curve.

DeePMD-kit tabulates value, first and second derivative of every embedding net on a grid of its one input and puts a polynomial of fifth
order between the points (``deepmd.pt.utils.tabulate``). It takes the activation's two derivatives from its name, one for all layers. Here
they are asked of the activation of each layer; the grid, the polynomials, the file and what reads it stay DeePMD-kit's.
"""

from __future__ import annotations

import functools
import importlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from taafs_plugins.activations import is_spec
from taafs_plugins.activations.base import derivatives
from taafs_plugins.activations.taafs.fused import operator
from taafs_plugins.adapters.deepmd.input import WORD, InputError, activation_names
from taafs_plugins.adapters.patching import Patches

log = logging.getLogger("deepmd.taafs")  # DeePMD-kit shows the records below "deepmd" only

# source of the code that is extended, of the versions in DeepmdAdapter.tested
TESTED = {
    "DPTabulate": ("cd094b9e25c27c53",),
    "tabulate_math.DPTabulate": ("6f61cfa29d98d856",),
    "BaseTabulate": ("a2b2c5c8d15e973e",),
    "DPAtomicModel.enable_compression": ("28d67c0036664a1b",),
    "compress": ("4c3cba94e9ef8983",),
}
COARSE = 1e-5  # error of a table's slope, in parts of the largest, from which a smaller step is advised
_ROWS = 8192  # of the grid at once: a derivative keeps every intermediate array of its rows


def layer_derivatives(layer: nn.Module, y: torch.Tensor, dy: torch.Tensor, d2y: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Value, first and second derivative with respect to the net's input, carried through one ``MLPLayer``.

    Parameters
    ----------
    layer : in float64
    y, dy, d2y : [n, num_in], float64

    Returns
    -------
    the same three, [n, num_out]
    """
    z = y @ layer.matrix if layer.bias is None else y @ layer.matrix + layer.bias
    dz, d2z = dy @ layer.matrix, d2y @ layer.matrix
    a, a1, a2 = derivatives(layer.activate, z, 2)
    out = [a, a1 * dz, a2 * dz * dz + a1 * d2z]
    if layer.idt is not None:
        out = [part * layer.idt for part in out]
    if layer.resnet and layer.num_out in (layer.num_in, 2 * layer.num_in):
        copies = layer.num_out // layer.num_in
        out = [part + torch.cat([old] * copies, dim=-1) for part, old in zip(out, (y, dy, d2y), strict=True)]
    return tuple(out)


@torch.no_grad()
def net_derivatives(layers: list[nn.Module], x: np.ndarray) -> list[np.ndarray]:
    """Value, first and second derivative of an embedding net of one input at the points x [n]: three of [n, width], float64."""
    device = layers[0].matrix.device
    blocks = []
    for rows in torch.as_tensor(x, dtype=torch.float64, device=device).reshape(-1, 1).split(_ROWS):
        found = (rows, torch.ones_like(rows), torch.zeros_like(rows))
        for layer in layers:
            found = layer_derivatives(layer, *found)
        blocks.append(found)
    return [torch.cat(parts).cpu().numpy() for parts in zip(*blocks, strict=True)]


def slope_error(layers: list[nn.Module], rows: np.ndarray, starts: np.ndarray, stride: float) -> float:
    """How far the table's slope is from the net's between grid points, as a part of the largest slope.

    Parameters
    ----------
    layers : of the net, float64
    rows : [n, 6 * width], the polynomials' coefficients, those of a neuron side by side, lowest first
    starts : [n], where each interval begins
    stride : their length
    """
    c = rows.reshape(len(rows), -1, 6).astype(np.float64)
    worst = largest = 0.0
    for t in stride * np.array([0.25, 0.5, 0.75]):
        exact = net_derivatives(layers, starts + t)[1]
        slope = sum(m * c[:, :, m] * t ** (m - 1) for m in range(1, 6))
        worst, largest = max(worst, float(np.abs(slope - exact).max())), max(largest, float(np.abs(exact).max()))
    return worst / max(largest, 1e-300)


class _Curves:
    """The trained nets of one table, and how well the table follows them."""

    def __init__(self, table: Any) -> None:
        from deepmd.pt.model.network.mlp import MLPLayer

        # Beside the weights, so that the host's own order of nets finds them.
        for net in table.embedding_net_nodes:
            for data in net["layers"]:
                data["@variables"]["layer"] = MLPLayer.deserialize(data).double()
        self._layers = table._get_network_variable("layer")
        self.errors: list[float] = []

    def net(self, idx: int) -> list[nn.Module]:
        """The layers of the net that makes table number ``idx``."""
        return [nets[idx] for nets in self._layers.values()]

    def compare(self, data: np.ndarray, xx: np.ndarray, idx: int, span: tuple[float, float], stride: float) -> None:
        """Add the slope's error in the fine part of a table, at up to _ROWS intervals."""
        inside = np.flatnonzero((xx >= span[0]) & (xx < span[1] - 1.5 * stride))[1:]
        inside = inside[inside < len(data)]
        if chosen := list(inside[:: -(-len(inside) // _ROWS) or 1]):
            self.errors.append(slope_error(self.net(idx), data[chosen], xx[chosen].astype(np.float64), stride))

    def report(self, step: float) -> None:
        """Say how good the tables are, and warn where the user's ``step`` is too coarse for a curve."""
        worst = max(self.errors, default=0.0)
        words = f"TAAFS: the slopes of the tables differ from those of the trained nets by at most {worst:.1e} of the largest"
        if worst > COARSE:
            log.warning("%s: too coarse for these curves. Try a smaller step: dp --pt compress -s %g ...", words, step / 10)
        else:
            log.info("%s.", words)


def _without_spec(value: Any) -> Any:
    """The name that the host chooses derivatives by; they are not asked of it where a layer is trained."""
    return "linear" if is_spec(getattr(value, "activation", value)) else value


def _init_with_curves(init: Callable) -> Callable:
    @functools.wraps(init)
    def wrapped(table, *args, **kwargs) -> None:
        init(table, *map(_without_spec, args), **{key: _without_spec(value) for key, value in kwargs.items()})
        names = [layer["activation_function"] for net in table.embedding_net_nodes for layer in net["layers"]]
        table.curves = _Curves(table) if any(map(is_spec, names)) else None

    return wrapped


def _data_of_curves(make_data: Callable) -> Callable:
    @functools.wraps(make_data)
    def wrapped(table, xx, idx):
        return make_data(table, xx, idx) if table.curves is None else tuple(net_derivatives(table.curves.net(idx), xx))

    return wrapped


def _lower_and_compare(build_lower: Callable) -> Callable:
    @functools.wraps(build_lower)
    def wrapped(table, net, xx, idx, upper, lower, stride0, *rest) -> None:
        build_lower(table, net, xx, idx, upper, lower, stride0, *rest)
        if table.curves is not None:
            table.curves.compare(table.data[net], xx, idx, (lower, upper), stride0)

    return wrapped


def _build_and_report(build: Callable) -> Callable:
    @functools.wraps(build)
    def wrapped(table, min_nbor_dist, extrapolate, stride0, stride1):
        found = build(table, min_nbor_dist, extrapolate, stride0, stride1)
        if table.curves is not None:
            # the host multiplies the user's step by 10 where the input is a cosine
            table.curves.report(stride0 / 10 if table.descrpt_type.startswith("T") else stride0)
        return found

    return wrapped


def patch_tables(cls: type, patches: Patches) -> None:
    """Let DeePMD-kit's ``DPTabulate`` take trained activations."""
    patches.replace(cls, "__init__", _init_with_curves(cls.__init__))
    for name, wrap in (("_make_data", _data_of_curves), ("_build_lower", _lower_and_compare), ("build", _build_and_report)):
        patches.replace(cls, name, wrap(getattr(cls, name)))


def check_compressible(descriptor: nn.Module) -> None:
    """Refuse a descriptor with trained activations that cannot be tabulated.

    Raises
    ------
    InputError
        One sentence with the reason.
    """
    for part in getattr(descriptor, "descrpt_list", [descriptor]):
        name = type(part).__name__.removeprefix("Descrpt")
        block = getattr(part, "se_atten", None)
        if getattr(part, "compress", False) or getattr(part, "geo_compress", False):
            reason = "is compressed already"
        elif name in ("SeA", "SeR", "SeT"):
            continue
        elif name != "DPA1":
            reason = f"has a descriptor ({name}) that cannot be tabulated"
        elif block.attn_layer:
            reason = "has attention layers, which cannot be tabulated"
        elif block.tebd_input_mode != "strip":
            reason = 'needs "tebd_input_mode": "strip" in its descriptor from the start of training'
        elif block.resnet_dt:
            reason = 'has "resnet_dt": true, which DeePMD-kit does not tabulate for dpa1 and se_atten'
        else:
            continue
        raise InputError(f"dp compress: this model {reason}; use the frozen model as it is.")


def patch_model(cls: type, patches: Patches) -> None:
    """Let ``DPAtomicModel.enable_compression`` refuse in one sentence and export the fitting net in its form for MD."""
    stock = cls.enable_compression

    @functools.wraps(stock)
    def enable_compression(model, *args, **kwargs) -> None:
        if any(is_spec(getattr(part, "activation", None)) for part in model.descriptor.modules()):
            check_compressible(model.descriptor)
        stock(model, *args, **kwargs)
        for part in model.modules():  # the command scripts the model in training mode, where the curves are not folded
            if is_spec(getattr(part, "activation", None)):
                part.eval()

    patches.replace(cls, "enable_compression", enable_compression)


def _file_has_spec(path: str) -> bool:
    config = json.loads(torch.jit.load(path, map_location="cpu").model_def_script)
    return any(is_spec(part[WORD]) for part, _ in activation_names(config))


def patch_command(module: Any, patches: Patches) -> None:
    """Let ``dp compress`` read files that call the fused operator, and say in one sentence what is wrong with a trained model's file."""
    stock = module.enable_compression

    @functools.wraps(stock)
    def enable_compression(input_file, *args, **kwargs) -> None:
        try:
            with_operator(lambda: stock(input_file, *args, **kwargs), "dp compress")
        except (RuntimeError, ValueError) as error:
            if isinstance(error, InputError) or not Path(input_file).is_file() or not _file_has_spec(input_file):
                raise
            if "compress_data" in str(error):
                raise InputError("dp compress: this model is compressed already; take the file that dp freeze wrote.") from error
            if "minimum neighbor distance" in str(error):
                raise InputError("dp compress: the model was trained without neighbor statistics; name its input with -t.") from error
            raise

    patches.replace(module, "enable_compression", enable_compression)


def with_operator(work: Callable[[], Any], command: str) -> Any:
    """Read a frozen file; again with the fused operator loaded where the file turns out to call it.

    Raises
    ------
    InputError
        The operator cannot be built here.
    """
    try:
        return work()
    except RuntimeError as error:
        if "taafs::activation" not in str(error):
            raise
    if operator() is None:
        raise InputError(
            f"{command}: this file calls the fused operator, which cannot be built here; freeze it again without TAAFS_EXPORT."
        )
    return work()


def code() -> dict[str, tuple[Any, ...]]:
    """The code of DeePMD-kit that is extended here, as :func:`taafs_plugins.adapters.patching.changed_code` takes it."""
    tables = importlib.import_module("deepmd.pt.utils.tabulate")
    atomic = importlib.import_module("deepmd.pt.model.atomic_model.dp_atomic_model")
    command = importlib.import_module("deepmd.pt.entrypoints.compress")
    shared = importlib.import_module("deepmd.utils.tabulate_math")
    found = {
        "DPTabulate": tables.DPTabulate, "tabulate_math.DPTabulate": shared.DPTabulate, "BaseTabulate": shared.BaseTabulate,
        "DPAtomicModel.enable_compression": atomic.DPAtomicModel.enable_compression, "compress": command.enable_compression,
    }  # fmt: skip
    return {name: (part,) for name, part in found.items()}


def install(patches: Patches) -> None:
    """Patch DeePMD-kit. The caller compares :func:`code` with :data:`TESTED` first."""
    patch_tables(importlib.import_module("deepmd.pt.utils.tabulate").DPTabulate, patches)
    patch_model(importlib.import_module("deepmd.pt.model.atomic_model.dp_atomic_model").DPAtomicModel, patches)
    patch_command(importlib.import_module("deepmd.pt.entrypoints.compress"), patches)
