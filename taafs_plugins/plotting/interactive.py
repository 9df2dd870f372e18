"""Learned curves as one HTML file to look around in, by plotly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from taafs_plugins.files import replacing
from taafs_plugins.plotting.common import SKY, colors, short
from taafs_plugins.plotting.curves import ORDERS, Runs, learned, names_of, stock, window

POINTS = 201
NEURONS = 8  # curves of one activation where each neuron has its own, so that the file stays small


def interactive(runs: Runs, path: Path, span: float = 4.0, title: str = "", inputs: Mapping[str, np.ndarray] | None = None) -> None:
    """Write an HTML file that needs no network: one activation at a time, chosen from a list, with its slope and curvature.

    Runs are switched on and off in the legend; values are read at the mouse. Where each neuron has its own curve, eight of them are drawn.

    Parameters
    ----------
    runs, span, inputs : as for :func:`taafs_plugins.plotting.curves_of_runs`
    path : the HTML file, about 5 MB, since plotly's own code is in it

    Raises
    ------
    ModuleNotFoundError
        plotly is not installed.
    ValueError
        Models whose activations have other names.
    """
    import plotly.graph_objects as go

    names = names_of(runs)
    figure = go.Figure()
    groups = [_traces({label: acts[name] for label, acts in runs.items()}, span, (inputs or {}).get(name)) for name in names]
    for number, group in enumerate(groups):
        for trace, _ in group:
            figure.add_trace(go.Scatter(**trace, visible=number == 0))
    owner = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    figure.update_layout(
        template="simple_white", title=title or "Learned curves", hovermode="x unified",
        xaxis={"title": "input z of the activation"}, yaxis={"title": ORDERS[0]},
        yaxis2={"overlaying": "y", "side": "right", "showticklabels": False, "ticks": "", "rangemode": "tozero"},
        updatemenus=[_sites(names, owner), _orders([values for group in groups for _, values in group])],
        margin={"t": 110},
    )  # fmt: skip
    with replacing(path) as written:
        figure.write_html(written, include_plotlyjs=True, full_html=True)


def _traces(acts: Mapping[str, Any], span: float, inputs: np.ndarray | None) -> list[tuple[dict[str, Any], list[list[float]]]]:
    """What is drawn for one activation: a trace, and its y for each order of the derivative."""
    first = next(iter(acts.values()))
    low, high = window(first, span, inputs)
    z = torch.linspace(low, high, POINTS, dtype=first.delta.dtype, device=first.delta.device)
    x = _rounded(z.cpu().numpy())
    found = []
    if inputs is not None and len(inputs):
        counts, edges = np.histogram(inputs, 60, (low, high))
        middle, share = _rounded((edges[1:] + edges[:-1]) / 2), _rounded(counts / max(counts.sum(), 1))
        look = {"fill": "tozeroy", "line": {"color": SKY, "width": 0, "shape": "hvh"}, "yaxis": "y2", "hoverinfo": "skip"}
        found.append(({"x": middle, "y": share, "name": "where inputs lie", **look}, [share] * 3))
    curves = [_rounded(stock(first, z, order)) for order in range(3)]
    found.append(({"x": x, "y": curves[0], "name": first.base_name, "line": {"color": "#595959", "dash": "dash"}}, curves))
    for color, (label, act) in zip(colors(len(acts)), acts.items(), strict=True):
        values = [learned(act, z, order).reshape(len(x), -1) for order in range(3)]
        name, count = label or act.spec.variant or act.spec.family, values[0].shape[1]
        shown = np.unique(np.linspace(0, count - 1, min(count, NEURONS)).astype(int))
        name += f" ({len(shown)} of {count} neurons)" if len(shown) < count else ""
        for i in shown:
            line = {"color": _css(color), "width": 1 if act.width else 2}
            look = {"line": line, "legendgroup": name, "showlegend": bool(i == 0)}
            found.append(({"x": x, "y": _rounded(values[0][:, i]), "name": name, **look}, [_rounded(part[:, i]) for part in values]))
    return found


def _rounded(values: np.ndarray) -> list[float]:
    """Five digits: more are not seen and make the file large. A list, since arrays would be packed where the buttons cannot unpack them."""
    return [float(f"{value:.5g}") for value in values]


def _css(color: Any) -> str:
    """A colour of matplotlib's as plotly reads it."""
    from matplotlib.colors import to_hex

    return to_hex(color)


def _sites(names: list[str], owner: np.ndarray) -> dict[str, Any]:
    """The list from which an activation is chosen."""
    buttons = [
        {"label": short(name) or name, "method": "restyle", "args": [{"visible": (owner == number).tolist()}]}
        for number, name in enumerate(names)
    ]
    return {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.18, "yanchor": "top"}


def _orders(values: list[list[list[float]]]) -> dict[str, Any]:
    """Curve, slope or curvature."""
    buttons = [
        {"label": label, "method": "update", "args": [{"y": [parts[order] for parts in values]}, {"yaxis.title.text": label}]}
        for order, label in enumerate(ORDERS)
    ]
    return {"buttons": buttons, "type": "buttons", "direction": "right", "x": 1, "xanchor": "right", "y": 1.18, "yanchor": "top"}
