"""DeePMD-kit's NumPy backend (``dpmodel``), and JAX's, which is built on it: they evaluate the trained curves that others hand them.

There a layer keeps the name of its activation and nothing else; the name is the spec with ``theta=...`` in it. The function of that name
(``deepmd.dpmodel.utils.network.get_activation_fn``) is the only place that needs to know: the same module as elsewhere computes it, in
plain operators on NumPy's memory; JAX runs those operators itself. NumPy is the reference of the other backends. Neither trains curves.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from taafs_plugins.activations import TrainableActivation, is_spec
from taafs_plugins.adapters.deepmd import jax
from taafs_plugins.adapters.deepmd.activation import built
from taafs_plugins.adapters.deepmd.input import InputError
from taafs_plugins.adapters.patching import HostError, Patches, changed_code

TESTED = {"get_activation_fn": ("efa5967895c76783",)}
PATCHES = Patches("deepmd")  # apart from the adapter's: this backend is loaded without PyTorch's too


@functools.lru_cache(maxsize=1024)  # a layer asks by name whenever it is called
def _activation(name: str, width: int | None, dtype: torch.dtype, device: str) -> TrainableActivation:
    from taafs_plugins.adapters.deepmd.adapter import ADAPTER

    act = built(name, ADAPTER.defaults, width, dtype, device)
    return act.eval().requires_grad_(False)


def _values(name: str, x: torch.Tensor) -> torch.Tensor:
    dtype = x.dtype if x.dtype in (torch.float32, torch.float64) else torch.float32
    return _activation(name, x.shape[-1] if x.ndim else None, dtype, str(x.device)).plain(x)


def _numpy_values(name: str, x: np.ndarray) -> np.ndarray:
    native = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
    with torch.no_grad():
        y = _values(name, torch.from_numpy(np.require(native, requirements=["C", "W"])))
    return y.numpy().astype(x.dtype, copy=False)


def activation_function(name: str) -> Callable[[Any], Any]:
    """The function of a spec: arrays [..., C] to arrays of the same shape and dtype.

    Parameters
    ----------
    name : a spec, with ``theta=`` in it the trained one

    Returns
    -------
    a function of NumPy arrays and others of the array API, and of tensors and JAX's arrays, through which it is differentiable; of
    anything else it raises :class:`InputError`
    """

    def fn(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            return _values(name, x)
        if jax.is_jax(x):
            return jax.values(_activation(name, x.shape[-1], getattr(torch, str(x.dtype)), "cpu"), x)
        if isinstance(x, np.ndarray):
            return _numpy_values(name, x)
        if not hasattr(x, "__array_namespace__"):
            raise InputError(f"'{name[:60]}' is not computed for arrays of {type(x).__module__}; use a model of PyTorch or of NumPy (.dp).")
        return x.__array_namespace__().asarray(_numpy_values(name, np.asarray(x)))

    return fn


def _taking_specs(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def get_activation_fn(activation_function_name):
        if is_spec(activation_function_name):
            return activation_function(activation_function_name)
        return stock(activation_function_name)

    return get_activation_fn


def install() -> None:
    """Let the backend's ``get_activation_fn`` take specs; idempotent.

    Raises
    ------
    HostError
        Its code is not the tested one.
    """
    if PATCHES:
        return
    stock = importlib.import_module("deepmd.dpmodel.utils.network").get_activation_fn
    if changed_code({"get_activation_fn": (stock,)}, TESTED):
        raise HostError("DeePMD-kit's get_activation_fn is not the code that was tested; reinstall deepmd-kit==3.2.0.")
    PATCHES.rebind("deepmd", "get_activation_fn", stock, _taking_specs(stock))
