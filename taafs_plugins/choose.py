"""X-Net's choice of activations in a force field: at each site, the one that best follows the site's updated output on a few frames.

>>> from taafs_plugins.choose import choose, replace
>>> # table = choose(model, lambda model: my_loss(model, my_frames)); print(table); replace(model, table)
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from taafs_plugins.activations import SpecError, TrainableActivation, make_activation, parse_spec, resolve_spec
from taafs_plugins.adapters import adapter_for
from taafs_plugins.adapters.sites import Site, SiteTable, build_shared, select
from taafs_plugins.errors import TaafsError
from taafs_plugins.symbolic.following import STOCK, Moved, follow, move
from taafs_plugins.symbolic.formulas import number

SAMPLES = 20000  # of a site
GROUPS = ("site", "network", "group")
RATE, THRESHOLD = 0.3, 0.1
PROBE = "taafs:chebyshev1"  # starts as the stock activation to the last bit, and is one module for each site


class ChoiceError(TaafsError, ValueError):
    """A choice that cannot be made; the message is one sentence with the way out."""


@dataclass(frozen=True)
class Choice:
    """What was found for a site, or for sites that must have one activation.

    Attributes
    ----------
    sites : their names
    present : what is there, for people
    distance : mean distance of the present activation to the updated output, as a part of that output's spread
    distances : name of a candidate -> the same
    best : name of the nearest candidate
    spec : it as a spec, with its factor and offset where it is a formula
    gain : by how much it is nearer than the present one, as a part of the present distance
    """

    sites: tuple[str, ...]
    present: str
    distance: float
    distances: Mapping[str, float]
    best: str
    spec: str
    gain: float


@dataclass
class _Record:
    """Inputs and outputs of one site with the zeros that were added to them, one of each for each call."""

    inputs: list[torch.Tensor]
    outputs: list[torch.Tensor]
    to_inputs: list[torch.Tensor]
    to_outputs: list[torch.Tensor]


def choose(
    model: nn.Module, loss: Callable[[nn.Module], torch.Tensor], library: Mapping[str, str] | Sequence[str] | None = None, *,
    by: str = "site", sites: str | list[str] | None = None, rate: float = RATE, seed: int = 0,
) -> list[Choice]:  # fmt: skip
    """Judge a library of activations at a model's sites; the model is not changed.

    Parameters
    ----------
    model : of a known host, trained or fresh
    loss : gives a scalar of the model that it is called with (a copy), on a sample of frames
    library : specs, or name -> spec; a spec of the family ``formula`` without a range gets a factor and an offset. Default:
        :data:`STOCK` and MoLU
    by : ``site``, or one choice for all sites of a ``network`` or ``group`` (see :func:`taafs_plugins.sites`)
    sites : which, as for :func:`taafs_plugins.convert`
    rate : length of the step as a part of the spread of what is moved
    seed : of the samples, at most :data:`SAMPLES` for each site

    Returns
    -------
    one choice for each site or group, in the model's order

    Raises
    ------
    ChoiceError
        A loss that does not reach the sites or is not finite, an empty library, an unknown ``by``, a rate that is not above 0.
    SpecError
        A spec of the library, or a pattern that matches no site.
    """
    if by not in GROUPS:
        raise ChoiceError(f"by='{by}' is not known; write {', '.join(GROUPS)}.")
    if not (math.isfinite(rate) and rate > 0):
        raise ChoiceError(f"rate={rate} must be a number above 0.")
    candidates = _candidates(library)
    probe, chosen = _probe(model, sites)
    moved = _moved(probe, chosen, loss, rate, np.random.default_rng(seed))
    groups: dict[str, list[Site]] = {}
    for site in chosen:
        if site.name in moved:
            groups.setdefault({"site": site.name, "network": site.network, "group": site.group}[by], []).append(site)
    return [_choice(members, [moved[site.name] for site in members], candidates) for members in groups.values()]


def replace(model: nn.Module, choices: Sequence[Choice], threshold: float = THRESHOLD) -> list[Choice]:
    """Put chosen activations at a model's sites, in place, where the gain passes the threshold. Returns the choices that were used.

    Raises
    ------
    HostError, SpecError
        As :func:`taafs_plugins.convert`; the model then stays as it was.
    """
    used = [choice for choice in choices if choice.gain > threshold]
    host = adapter_for(model)
    table = {site.name: site for site in host.sites(model)}
    pairs, conversions = [], []
    for choice in used:
        spec = parse_spec(choice.spec)
        resolved, members = resolve_spec(spec, host.defaults_for(spec)), [table[name] for name in choice.sites]
        pairs += list(zip(members, build_shared(resolved, members), strict=True))
        conversions.append((resolved, members))
    if used:
        host.check_version()
        host.install_all(model, pairs, conversions)
    return used


def _candidates(library: Mapping[str, str] | Sequence[str] | None) -> dict[str, tuple[str, TrainableActivation, bool]]:
    """Name -> (spec, activation in float64, whether it gets a factor and an offset)."""
    if library is None:
        library = {**{name: f"formula:{text}" for name, text in STOCK.items()}, "molu": "molu"}
    named = library if isinstance(library, Mapping) else {spec: spec for spec in library}
    if not named:
        raise ChoiceError("The library is empty; name activations to choose from, or none for the stock ones.")
    found = {}
    for name, text in named.items():
        spec = parse_spec(f"formula:{STOCK[text]}" if text in STOCK else text)
        if spec.get("share") == "neuron":
            spec = spec.with_options(share="layer")
        plain = spec.family == "formula" and not {"low", "high"} & set(spec.options)
        resolved = resolve_spec(spec, {"share": "layer"} if spec.get("share") is None else None)
        try:
            found[name] = str(spec), make_activation(resolved.with_options(share="layer"), "tanh", dtype=torch.float64), plain
        except SpecError as error:
            raise SpecError(f"'{text}' cannot be judged: {error}") from None
    return found


def _probe(model: nn.Module, patterns: str | list[str] | None) -> tuple[nn.Module, list[Site]]:
    """A copy of the model with one activation module for each site, and the chosen sites of it."""
    probe, host = copy.deepcopy(model), adapter_for(model)
    names = [site.name for site in select(SiteTable(host.sites(probe)), patterns)]
    if stock := [site.name for site in host.sites(probe) if not site.converted and site.name in names]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            host.convert(probe, PROBE, stock)
    return probe, [site for site in host.sites(probe) if site.name in names]


def _moved(probe: nn.Module, sites: list[Site], loss: Callable, rate: float, rng: np.random.Generator) -> dict[str, Moved]:
    """Name -> moved inputs and outputs; sites that the loss does not call are left out."""
    records = {site.name: _Record([], [], [], []) for site in sites}
    handles = [handle for site in sites for handle in _hook(site.current, records[site.name])]
    try:
        value = loss(probe)
    finally:
        for handle in handles:
            handle.remove()
    if not (isinstance(value, torch.Tensor) and value.numel() == 1 and bool(torch.isfinite(value))):
        raise ChoiceError("The loss must be one finite number as a tensor; look at the frames and their labels.")
    added = [zero for record in records.values() for zero in (*record.to_inputs, *record.to_outputs)]
    if not added or not value.requires_grad:
        raise ChoiceError("The loss does not reach the chosen sites: call the model that it is given, on frames that have their elements.")
    slopes = dict(zip(map(id, added), torch.autograd.grad(value.sum(), added, allow_unused=True), strict=True))
    return {name: _step(record, slopes, rate, rng) for name, record in records.items() if record.inputs}


def _hook(act: nn.Module, record: _Record) -> list:
    def before(_module: nn.Module, inputs: tuple) -> tuple:
        zero = torch.zeros_like(inputs[0], requires_grad=True)
        record.inputs.append(inputs[0].detach())
        record.to_inputs.append(zero)
        return (inputs[0] + zero, *inputs[1:])

    def after(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros_like(output, requires_grad=True)
        record.outputs.append(output.detach())
        record.to_outputs.append(zero)
        return output + zero

    return [act.register_forward_pre_hook(before), act.register_forward_hook(after)]


def _step(record: _Record, slopes: dict, rate: float, rng: np.random.Generator) -> Moved:
    """Inputs and outputs of a site after the step, a random part of them."""

    def joined(tensors: list) -> np.ndarray:
        return torch.cat([t.detach().double().flatten() for t in tensors]).cpu().numpy()

    def slope(zeros: list) -> np.ndarray:
        return joined([slopes[id(zero)] if slopes[id(zero)] is not None else torch.zeros_like(zero) for zero in zeros])

    neurons = [torch.arange(z.shape[-1]).expand(z.shape) for z in record.inputs]
    parts = [joined(record.inputs), slope(record.to_inputs), joined(record.outputs), slope(record.to_outputs), joined(neurons)]
    keep = rng.choice(len(parts[0]), SAMPLES, replace=False) if len(parts[0]) > SAMPLES else slice(None)
    z, by_z, y, by_y, columns = (part[keep] for part in parts)
    return Moved(move(z, by_z, rate), move(y, by_y, rate), columns.astype(int))


def _choice(sites: list[Site], parts: list[Moved], candidates: dict) -> Choice:
    """Judge all candidates at sites that get one activation."""
    outputs = np.concatenate([part.outputs for part in parts])
    inputs = torch.as_tensor(np.concatenate([part.inputs for part in parts]))
    present = follow(np.concatenate([_values(site.current, part) for site, part in zip(sites, parts, strict=True)]), outputs)[0]
    with torch.no_grad():
        found = {name: follow(act.plain(inputs).numpy(), outputs, fitted) for name, (_, act, fitted) in candidates.items()}
    best = min(found, key=lambda name: found[name][0])
    distance, w, b = found[best]
    spec, _, fitted = candidates[best]
    if fitted:
        text, _, rest = spec.removeprefix("formula:").partition(",")
        spec = f"formula:{number(w)}*({text}){'+' if b >= 0 else ''}{number(b)}" + (f",{rest}" if rest else "")
    names = sorted({site.current.base_name if _untrained(site) else str(site.current.spec) for site in sites})
    return Choice(tuple(site.name for site in sites), ", ".join(names), present, {name: one[0] for name, one in found.items()}, best, spec,
                  1.0 - distance / max(present, 1e-300))  # fmt: skip


def _untrained(site: Site) -> bool:
    """Whether the site's activation is the probe, that is stock."""
    return site.current.spec.family == "taafs" and not bool(site.current.theta.detach().any())


def _values(act: TrainableActivation, moved: Moved) -> np.ndarray:
    """What an activation makes of moved inputs, each by the numbers of its neuron."""
    exact, z = copy.deepcopy(act).double().cpu(), torch.as_tensor(moved.inputs)
    with torch.no_grad():
        if not exact.width:
            return exact.plain(z).numpy()
        return exact.plain(z[:, None].expand(-1, exact.width)).gather(1, torch.as_tensor(moved.neurons)[:, None])[:, 0].numpy()
