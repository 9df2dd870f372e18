"""Convert a built or pretrained model of any host in place, look at its sites, and take it back to stock."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from taafs_plugins.activations import make_activation, parse_spec, resolve_spec
from taafs_plugins.activations.spec import Spec, SpecError, nearest
from taafs_plugins.activations.taafs import TAAFS
from taafs_plugins.adapters import Site, adapter_for


class SiteTable(list):
    """The sites of a model; prints as a table."""

    def __str__(self) -> str:
        rows = [("site", "group", "call", "activation", "shape", "coefficients", "by default")]
        for site in self:
            act = site.current if site.converted else None
            rows.append((
                site.name, site.group, site.call,
                f"{act.spec.family}:{act.spec.variant} over {act.base_name}" if act is not None else site.activation,
                f"[..., {site.width}]" if site.width else "[...]",
                str(act.delta.numel()) if act is not None else "-", "yes" if site.default else "no",
            ))  # fmt: skip
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


@dataclass(frozen=True)
class Report:
    """What a conversion did.

    Attributes
    ----------
    added : trainable numbers that were added
    before, after : the model's trainable and fixed parameters, counted once when shared
    sites : names of the converted sites
    spec : the resolved spec
    fit_error : largest error of ``init=fit`` over the sites, or None
    """

    added: int
    before: int
    after: int
    sites: tuple[str, ...]
    spec: Spec
    fit_error: float | None = None

    def __str__(self) -> str:
        text = f"{self.spec}: {len(self.sites)} sites, {self.before} + {self.added} = {self.after} parameters"
        return text if self.fit_error is None else f"{text}; largest error of the fit {self.fit_error:.2g}"


def count_parameters(model: nn.Module) -> int:
    """Number of parameters, each counted once however often it is shared."""
    return sum(p.numel() for p in model.parameters())


def sites(model: nn.Module) -> SiteTable:
    """Every place where the model applies an activation; nothing is changed. ``print(sites(model))`` shows a table.

    Raises
    ------
    HostError
        The model belongs to no known host.
    """
    return SiteTable(adapter_for(model).sites(model))


def _select(table: SiteTable, patterns: str | list[str] | None) -> list[Site]:
    """Sites whose name or group matches a pattern (shell wildcards), or the host's default ones."""
    if patterns is None:
        chosen = [site for site in table if site.default]
        if not chosen:
            raise SpecError("This model has no site that is converted by default; name some with sites=.\n" + str(table))
        return chosen
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(site.name, pattern) or site.group == pattern for site in table):
            known = sorted({site.group for site in table}) + [site.name for site in table]
            raise SpecError(f"No site matches '{pattern}'. {nearest(pattern, known)}The sites are:\n{table}")
    return [s for s in table if any(fnmatchcase(s.name, p) or s.group == p for p in patterns)]


def build_shared(spec: Spec, chosen: list[Site], defaults=None) -> list[nn.Module]:
    """One activation per site; sites that share coefficients (spec's ``share``) hold the same Parameter.

    Raises
    ------
    SpecError
        ``share=neuron`` at a site without one fixed width, or ``init=fit`` shared among different stock activations.
    """
    share = spec["share"]
    first: dict[str, TAAFS] = {}
    built = []
    for site in chosen:
        if share == "neuron" and site.width is None:
            raise SpecError(f"share=neuron cannot be used at {site.name}: it is called on inputs of several widths.")
        act = make_activation(
            spec, site.replaces, width=site.width if share == "neuron" else None, defaults=defaults,
            dtype=site.dtype, device=site.device,
        )  # fmt: skip
        key = {"global": "", "network": site.network}.get(share)
        if key is not None:
            leader = first.setdefault(key, act)
            if spec["residual"] == "none" and leader.base_name != act.base_name and spec["init"] == "fit":
                raise SpecError(f"share={share} with init=fit needs one stock activation, not {leader.base_name} and {act.base_name}.")
            act.delta, act.weights, act.theta_start = leader.delta, leader.weights, leader.theta_start
        built.append(act)
    return built


def convert(model: nn.Module, spec: str | Spec, sites: str | list[str] | None = None) -> Report:
    """Replace a model's activations by trainable ones, in place. Everything is checked and built before anything is changed.

    Parameters
    ----------
    model : a model of a known host, built or pretrained
    spec : for example ``"taafs:chebyshev1"``
    sites : names, groups or shell patterns of sites (see :func:`sites`); default: the host's default sites

    Raises
    ------
    SpecError
        A spec that cannot be used, or a pattern that matches no site.
    HostError
        The model belongs to no known host, or is converted already.
    """
    from taafs_plugins.adapters.base import HostError

    adapter = adapter_for(model)
    adapter.check_version()
    resolved = resolve_spec(spec, adapter.defaults_for(parse_spec(str(spec))))
    table = SiteTable(adapter.sites(model))
    chosen = _select(table, sites)
    if taken := [site.name for site in chosen if site.converted]:
        raise HostError(f"{', '.join(taken[:3])}{' ...' if len(taken) > 3 else ''} is converted already; call restore(model) first.")
    if (base := resolved.get("base")) is not None:
        other = sorted({site.activation for site in chosen} - {base})
        if other:
            raise SpecError(f"base={base} does not fit: these sites apply {', '.join(other)}. Leave base= out; convert keeps theirs.")
    built = build_shared(resolved, chosen)
    before = count_parameters(model)
    for site, act in zip(chosen, built, strict=True):
        act.train(model.training)
        adapter.install(site, act)
    adapter.finish(model, resolved, chosen)
    after = count_parameters(model)
    errors = [act.fit_error for act in built if act.fit_error is not None]
    return Report(after - before, before, after, tuple(s.name for s in chosen), resolved, max(errors, default=None))


def restore(model: nn.Module) -> int:
    """Back to stock: every trainable activation is replaced by the activation it replaced. Returns how many.

    Raises
    ------
    HostError
        The model belongs to no known host.
    """
    adapter = adapter_for(model)
    changed = [site for site in adapter.sites(model) if site.converted]
    for site in changed:
        adapter.uninstall(site)
    adapter.finish(model, None, changed)
    return len(changed)


def activations(model: nn.Module) -> dict[str, TAAFS]:
    """Name -> trainable activation, for every one in the model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, TAAFS)}


def _coefficient_ids(model: nn.Module) -> set[int]:
    return {id(p) for act in activations(model).values() for p in act.parameters(recurse=False)}


def parameter_groups(model: nn.Module, lr: float, coefficient_lr: float | None = None) -> list[dict]:
    """Two parameter groups for a torch optimiser: the host's own weights, and all coefficients.

    Parameters
    ----------
    lr : learning rate of the host's weights
    coefficient_lr : learning rate of the coefficients, default ``lr``. It multiplies with the spec's ``rate``: set one of the two.

    Raises
    ------
    SpecError
        The model has no trainable activation.
    """
    ids = _coefficient_ids(model)
    if not ids:
        raise SpecError("The model has no trainable activation; call convert(model, spec) first.")
    trained = [p for p in model.parameters() if p.requires_grad]
    coefficients = [p for p in trained if id(p) in ids]
    weights = [p for p in trained if id(p) not in ids]
    groups = [{"params": weights, "lr": lr, "name": "weights"}] if weights else []
    return [*groups, {"params": coefficients, "lr": lr if coefficient_lr is None else coefficient_lr, "name": "coefficients"}]


def freeze_all_but_coefficients(model: nn.Module, also: list[str] | None = None) -> list[str]:
    """Leave only the coefficients trainable, and parameters whose names match a pattern in ``also``. Returns the trained names.

    Raises
    ------
    SpecError
        No trainable activation, or a pattern that matches no parameter.
    """
    ids = _coefficient_ids(model)
    if not ids:
        raise SpecError("The model has no trainable activation; call convert(model, spec) first.")
    names = [name for name, _ in model.named_parameters()]
    for pattern in also or []:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise SpecError(f"No parameter matches '{pattern}'. {nearest(pattern, names)}".strip())
    for name, p in model.named_parameters():
        p.requires_grad_(id(p) in ids or any(fnmatchcase(name, pattern) for pattern in also or []))
    return [name for name, p in model.named_parameters() if p.requires_grad]


def check_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names of activations whose coefficients the optimiser does not hold; warns when there are any."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, act in activations(model).items() if act.delta.requires_grad and id(act.delta) not in held]
    if missing:
        warnings.warn(f"The optimiser does not train the coefficients of {', '.join(missing)}; build it with parameter_groups(model, ...).")
    return missing


def check_gradients(model: nn.Module) -> list[str]:
    """Call after ``backward``: names of activations whose trained coefficients got no gradient; warns when there are any."""
    dead = [
        name
        for name, act in activations(model).items()
        if act.delta.requires_grad and (act.delta.grad is None or not bool(act.delta.grad.any()))
    ]
    if dead:
        warnings.warn(f"The coefficients of {', '.join(dead)} got no gradient: the loss does not reach these sites.")
    return dead


@contextmanager
def calibrate(model: nn.Module, *, again: bool = True) -> Iterator[None]:
    """Measure ``scale=auto``: run the model on your frames inside this block; each such site then gets the rms of its inputs.

    Parameters
    ----------
    again : also measure sites whose scale was measured before

    Raises
    ------
    SpecError
        No site of the model has ``scale=auto``, or one of them was not called inside the block.
    """
    acts = {name: act for name, act in activations(model).items() if act.spec["scale"] == "auto" and (again or not act.calibrated)}
    if not acts:
        raise SpecError("No site has scale=auto; convert with 'taafs:...,scale=auto' first.")
    sums = {name: [0.0, 0] for name in acts}

    def hook(name):
        def record(_module, inputs):
            z = inputs[0].detach().double()
            sums[name][0] += float((z * z).sum())
            sums[name][1] += z.numel()

        return record

    before = {name: act.calibrated for name, act in acts.items()}
    for act in acts.values():
        act.calibrated = True  # said so before the forward passes below, which would warn
    handles = [act.register_forward_pre_hook(hook(name)) for name, act in acts.items()]
    try:
        yield
        if unseen := [name for name, (_, n) in sums.items() if n == 0]:
            raise SpecError(f"scale=auto: {', '.join(unseen)} was not called on the given frames; no scale was changed.")
        if wrong := [name for name, (total, _) in sums.items() if not math.isfinite(total)]:
            raise SpecError(f"scale=auto: the inputs of {', '.join(wrong)} are not finite on the given frames; no scale was changed.")
    except BaseException:
        for name, act in acts.items():
            act.calibrated = before[name]
        raise
    finally:
        for handle in handles:
            handle.remove()
    for name, act in acts.items():
        act.set_scale(max((sums[name][0] / sums[name][1]) ** 0.5, 1e-12))
