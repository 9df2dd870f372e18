"""Trained curves in JAX: the operators of a module's plain form, traced once by PyTorch, run on JAX's arrays.

So no family needs a second formula: what ``plain`` does is a short list of elementwise operators, and the table below names JAX's
operator for each. The function can be traced, compiled and differentiated by JAX to any order, and exported with unknown numbers of
rows.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Callable
from typing import Any

import torch

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.adapters.deepmd.input import InputError


def _dtype(jnp: Any, dtype: torch.dtype) -> Any:
    return getattr(jnp, str(dtype).removeprefix("torch."))


def _softplus(jax: Any, x: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return jax.numpy.where(beta * x > threshold, x, jax.nn.softplus(beta * x) / beta)


def _cast(jax: Any, x: Any, dtype: torch.dtype | None = None, **_: Any) -> Any:
    return x if dtype is None else x.astype(_dtype(jax.numpy, dtype))


def _arange(jax: Any, end: int, dtype: torch.dtype | None = None, **_: Any) -> Any:
    return jax.numpy.arange(end, dtype=_dtype(jax.numpy, dtype or torch.int64))


_SAME = ("abs", "ceil", "cos", "cosh", "exp", "expm1", "floor", "isinf", "isnan", "log", "log1p", "maximum", "minimum", "reciprocal",
         "sign", "sin", "sinh", "sqrt", "square", "tanh", "where")  # fmt: skip
_ARRAY: dict[str, Callable] = {  # PyTorch's name -> (jax, its arguments) -> array
    **{name: functools.partial(lambda jax, *a, name: getattr(jax.numpy, name)(*a), name=name) for name in _SAME},
    "_softmax": lambda jax, x, axis, half: jax.nn.softmax(x, axis=axis),
    "_to_copy": _cast,
    "add": lambda jax, a, b, alpha=1: a + alpha * b,
    "addcmul": lambda jax, a, b, c, value=1: a + value * b * c,
    "arange": _arange,
    "asinh": lambda jax, x: jax.numpy.arcsinh(x),
    "atan": lambda jax, x: jax.numpy.arctan(x),
    "bitwise_and": lambda jax, a, b: a & b,
    "bitwise_not": lambda jax, a: ~a,
    "bitwise_or": lambda jax, a, b: a | b,
    "clamp": lambda jax, x, low=None, high=None: jax.numpy.clip(x, low, high),
    "clone": lambda jax, x, **_: x,
    "detach": lambda jax, x: jax.lax.stop_gradient(x),
    "div": lambda jax, a, b: a / b,
    "erf": lambda jax, x: jax.scipy.special.erf(x),
    "full_like": lambda jax, x, value, **_: jax.numpy.full_like(x, value),
    "ge": lambda jax, a, b: a >= b,
    "gelu": lambda jax, x, approximate="none": jax.nn.gelu(x, approximate=approximate == "tanh"),
    "getitem": lambda jax, x, i: x[i],
    "gt": lambda jax, a, b: a > b,
    "hardtanh": lambda jax, x, low=-1.0, high=1.0: jax.numpy.clip(x, low, high),
    "index_select": lambda jax, x, axis, i: jax.numpy.take(x, i, axis=axis),
    "le": lambda jax, a, b: a <= b,
    "lt": lambda jax, a, b: a < b,
    "mm": lambda jax, a, b: a @ b,
    "mul": lambda jax, a, b: a * b,
    "nan_to_num": lambda jax, x, nan=0.0, *_: jax.numpy.nan_to_num(x, nan=nan or 0.0),
    "neg": lambda jax, x: -x,
    "ones_like": lambda jax, x, **_: jax.numpy.ones_like(x),
    "pow": lambda jax, x, power: x**power,
    "relu": lambda jax, x: jax.nn.relu(x),
    "rsub": lambda jax, a, b, alpha=1: b - alpha * a,
    "select": lambda jax, x, axis, i: jax.numpy.take(x, i, axis=axis),
    "sigmoid": lambda jax, x: jax.nn.sigmoid(x),
    "silu": lambda jax, x: jax.nn.silu(x),
    "softplus": _softplus,
    "squeeze": lambda jax, x, axis: jax.numpy.squeeze(x, axis) if x.shape[axis] == 1 else x,
    "stack": lambda jax, parts, axis=0: jax.numpy.stack(parts, axis),
    "sub": lambda jax, a, b, alpha=1: a - alpha * b,
    "sum": lambda jax, x, axis=None, keepdims=False, **_: jax.numpy.sum(x, tuple(axis) if axis else None, keepdims=keepdims),
    "t": lambda jax, x: x.T,
    "unbind": lambda jax, x, axis=0: [jax.numpy.take(x, i, axis=axis) for i in range(x.shape[axis])],
    "unsqueeze": lambda jax, x, axis: jax.numpy.expand_dims(x, axis),
    "view": lambda jax, x, shape: x.reshape(shape),
    "zeros_like": lambda jax, x, **_: jax.numpy.zeros_like(x),
}


def _name(target: Any) -> str:
    """``squeeze`` for ``aten.squeeze_.dim``."""
    if target is operator.getitem:
        return "getitem"
    name = str(target).split(".")[1]
    return name if name in _ARRAY else name.rstrip("_")


def is_jax(x: Any) -> bool:
    """Whether an array belongs to JAX; JAX is not loaded for the question."""
    jax = sys.modules.get("jax")
    return jax is not None and isinstance(x, jax.Array)


@functools.lru_cache(maxsize=1024)  # a layer asks whenever it is traced
def _graph(act: TrainableActivation, width: int, dtype: torch.dtype) -> torch.fx.GraphModule:
    """The plain form on one row of ``width`` numbers."""
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(lambda z: act.plain(z))(torch.zeros(width, dtype=dtype))
    missing = sorted({_name(n.target) for n in graph.graph.nodes if n.op == "call_function" and _name(n.target) not in _ARRAY})
    if missing:
        raise InputError(f"'{act.spec}' is not computed in JAX: no operator for {', '.join(missing)}; use a model of PyTorch (.pth).")
    return graph


def _run(graph: torch.fx.GraphModule, row: Any) -> Any:
    """The graph on one row [C] of JAX; numbers of the module become constants."""
    import jax

    found: dict[Any, Any] = {}
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            found[node] = row
        elif node.op == "get_attr":
            found[node] = jax.numpy.asarray(operator.attrgetter(node.target)(graph).detach().cpu().numpy())
        elif node.op == "output":
            return torch.fx.map_arg(node.args[0], found.__getitem__)
        else:
            args, kwargs = torch.fx.map_arg(node.args, found.__getitem__), torch.fx.map_arg(node.kwargs, found.__getitem__)
            found[node] = _ARRAY[_name(node.target)](jax, *args, **kwargs)
    raise AssertionError("a graph without output")


def values(act: TrainableActivation, x: Any) -> Any:
    """The activation's values.

    Parameters
    ----------
    act : its coefficients are taken as they are when it is first called
    x : array of JAX [..., C] of float32 or float64, traced or not

    Returns
    -------
    array of the same shape and dtype

    Raises
    ------
    InputError
        The activation's plain form has an operator that is not known here.
    """
    import jax

    width = x.shape[-1]
    graph = _graph(act, width, getattr(torch, str(x.dtype)))
    return jax.vmap(functools.partial(_run, graph))(x.reshape(-1, width)).reshape(x.shape)
