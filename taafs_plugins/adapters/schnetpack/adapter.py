"""SchNetPack: TAAFS in PaiNN, SchNet, FieldSchNet, SO3net and the output heads, from YAML or on a built model.

SchNetPack hands one activation object to every block and keeps it as a plain attribute, mostly of ``Dense``. In a config the
value of ``activation`` may be a spec: the module is then built with its stock activation, and each site gets a trainable one
of its own (the weights come from the same random numbers as without the plugin). A built or trained model is converted in place.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import SpecError, TrainableActivation, parse_spec, resolve_spec
from taafs_plugins.activations.stock import fixed_activation
from taafs_plugins.adapters.base import Adapter
from taafs_plugins.adapters.patching import HostError, changed_code
from taafs_plugins.adapters.sites import Site

log = logging.getLogger(__name__)

# the modules of schnetpack.nn whose classes apply activations, schnetpack 2.2.0
CODE = {"base": ("1c3defe00e9b5a01",), "blocks": ("4dc74b823cbf5fe3",), "equivariant": ("7fe273571011af48",), "so3": ("68b4b38486aa5280",)}
# part of a site's path inside the representation -> group
GROUPS = {
    "electronic_embeddings": "embedding",
    "interatomic_context_net": "message",  # PaiNN
    "intraatomic_context_net": "update",
    "filter_network": "message",  # SchNet, FieldSchNet
    "f2out": "update",
    "transform": "update",
    "gatings": "gate",  # SO3net
}
PLUGIN_HOOK = "plugin_activation"  # what patches/schnetpack adds to schnetpack.nn


class SchNetPackSite(Site):
    """A site whose attribute may be missing: SO3net's gate calls ``torch.sigmoid`` by name until it is converted."""

    @property
    def current(self) -> Any:
        """What is at the site now."""
        return getattr(self.owner, self.attribute, self.replaces)


class SchNetPackAdapter(Adapter):
    """Adapter for SchNetPack 2.2.0. Groups of sites: ``message``, ``update``, ``gate``, ``embedding``, ``head``."""

    host = "schnetpack"
    files = "SchNetPack (best_model, a checkpoint, a file of spkdeploy)"
    caution = (
        "trained activations did not help PaiNN (forces 1.13 [1.003, 1.28] of SiLU's error, each at its best learning rate); "
        "raise SiLU's learning rate first."
    )
    tested = ("2.2.0",)
    defaults = {"rate": 10.0}

    def check_version(self) -> str:
        """The host's version, when it and the code that is extended are what was tested; else :class:`HostError`."""
        try:
            version = super().check_version()
        except HostError as error:
            raise HostError(f"{error} Before 2.2.0 it does not import with this torch.") from None
        if changed := _changed_sources():
            raise HostError(
                f"schnetpack {version} differs from the tested source in {', '.join(changed)}: nothing was changed. "
                f"Reinstall it with: pip install --force-reinstall --no-deps schnetpack=={version}."
            )
        return version

    def register(self) -> None:
        """Let ``activation`` of every representation and head take a spec (see :meth:`Adapter.register`)."""
        import schnetpack.nn as snn

        self.check_version()
        if self.patches or hasattr(snn, PLUGIN_HOOK):  # the patched source calls build() by itself
            return
        for cls in _configurable():
            self.patches.replace(cls, "__init__", _taking_specs(cls.__init__))

    def matches(self, model: nn.Module) -> bool:
        """Whether some part of the model is one of SchNetPack's building blocks."""
        return any(True for module in model.modules() for _ in _calls(module)) or bool(_representations(model))

    def sites(self, model: nn.Module) -> list[Site]:
        """Every activation of the model; a block that ``shared_interactions`` repeats is one site."""
        roots = _representations(model)
        table: list[Site] = []
        for name, module in model.named_modules():
            root = next((r for r in roots if not r or name == r or name.startswith(f"{r}.")), None)
            for attribute, call, current, width, weight in _calls(module):
                group = _group(name) if root is not None else "head"
                replaces = _stock_of(current)
                table.append(SchNetPackSite(
                    name=f"{name}.{attribute}".lstrip("."), call=call, owner=module, attribute=attribute, replaces=replaces,
                    activation=fixed_activation(replaces)[0], width=width, network=_head(name) if root is None else root,
                    group=group, default=group not in ("embedding", "head") or not roots, dtype=weight.dtype, device=weight.device,
                ))  # fmt: skip
        return table

    def install(self, site: Site, activation: nn.Module) -> None:
        """Put ``activation`` at the site; it remembers a stock activation that is a plain function."""
        if not isinstance(site.replaces, nn.Module):
            activation.stock = site.replaces
        if _is_gate(site.owner):
            site.owner.__class__ = TrainableGate
        setattr(site.owner, site.attribute, activation)

    def uninstall(self, site: Site) -> None:
        """Put the stock activation back, function or module as it was."""
        delattr(site.owner, site.attribute)
        if isinstance(site.owner, TrainableGate):
            import schnetpack.nn as snn

            site.owner.__class__ = snn.SO3ParametricGatedNonlinearity
        else:
            setattr(site.owner, site.attribute, site.replaces)

    def pickable(self, module: nn.Module, site: Site) -> nn.Module | None:
        """Anything, but at a gate of SO3net, whose sigmoid stands in the host's code."""
        return None if _is_gate(site.owner) else module

    def read_model(self, path: Path, packages: frozenset[str]) -> tuple[nn.Module, dict[str, Any]] | None:
        """From ``best_model``, a Lightning checkpoint, or a file of ``spkdeploy``; the run's ``config.yaml`` gives unit and elements."""
        if self.host not in packages:
            return None
        from taafs_plugins.adapters.schnetpack import files as schnetpack_files

        return schnetpack_files.read_model(path), schnetpack_files.hints(path)

    def export_module(self, model: nn.Module, energy_unit: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
        from taafs_plugins.adapters.schnetpack.export import export_module

        return export_module(model, energy_unit)

    def reference(self, model: nn.Module, atoms: Any) -> dict[str, Any]:
        from taafs_plugins.adapters.schnetpack.export import reference

        return reference(model, atoms)


def activation(spec: str, **keys: Any) -> str:
    """The ``_target_`` of the config group: ``spec`` with further keys, for the ``activation`` of a representation or a head.

    >>> activation("taafs:bspline", grid=7)
    'taafs:bspline,grid=7'

    Raises
    ------
    SpecError
        A spec that cannot be used.
    HostError
        SchNetPack is not the tested one.
    """
    ADAPTER.register()
    parse_spec(spec)
    return str(parse_spec(",".join([spec, *(f"{key}={value}" for key, value in keys.items())])))


def build(module: nn.Module, init: Callable, arguments: inspect.BoundArguments) -> None:
    """Run a constructor whose ``activation`` is a spec: build the module stock, then convert it.

    Parameters
    ----------
    module : the object under construction
    init : its stock ``__init__``
    arguments : of the call, bound to the signature of ``init``

    Raises
    ------
    SpecError
        A spec that cannot be used, or one with ``scale=auto``: no frames can be measured here.
    """
    spec = parse_spec(arguments.arguments["activation"])
    if resolve_spec(spec, ADAPTER.defaults).get("scale") == "auto":
        raise SpecError(
            f"'{spec}': scale=auto measures frames, which a constructor does not have; "
            "give a number, or convert the built model and calibrate it."
        )
    base = spec.get("base")
    stock = inspect.signature(init).parameters["activation"].default
    arguments.arguments["activation"] = stock if base is None else fixed_activation(base)[1]
    init(*arguments.args, **arguments.kwargs)
    log.info("%s: %s", type(module).__name__, ADAPTER.convert(module, spec))
    ADAPTER.say_caution()


def _taking_specs(init: Callable) -> Callable:
    """``__init__`` that also takes a spec as ``activation``."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def __init__(self, *args, **kwargs):
        arguments = signature.bind(self, *args, **kwargs)
        if isinstance(arguments.arguments.get("activation"), str):
            build(self, init, arguments)
        else:
            init(self, *args, **kwargs)

    return __init__


class TrainableGate(nn.Module):
    """What a converted gate of SO3net becomes, ``y = x * activation(f(x_0))``: the host's own names ``torch.sigmoid`` there."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [n_atoms, (l_max + 1)^2, n_in]; returns the same shape."""
        h = self.scaling(x[:, 0, :]).reshape(-1, self.lmax + 1, self.n_in)
        return x * self.activation(h[:, self.lidx])


def _is_gate(module: nn.Module) -> bool:
    import schnetpack.nn as snn

    return isinstance(module, snn.SO3ParametricGatedNonlinearity | TrainableGate)


def _calls(module: nn.Module) -> Iterator[tuple[str, str, Any, int, torch.Tensor]]:
    """(attribute, host call, what is there, width, a weight) for every activation that ``module`` itself applies."""
    import schnetpack.nn as snn
    from schnetpack.nn.blocks import Residual, ResidualMLP

    if isinstance(module, snn.Dense):
        found = [("activation", module.activation, module.out_features, module.weight)]
    elif isinstance(module, snn.GatedEquivariantBlock):
        found = [("sactivation", module.sactivation, module.n_sout, module.scalar_net[0].weight)]
    elif isinstance(module, Residual):
        width, weight = module.linear1.in_features, module.linear1.weight
        found = [(name, getattr(module, name), width, weight) for name in ("activation1", "activation2")]
    elif isinstance(module, ResidualMLP):
        found = [("activation", module.activation, module.linear.in_features, module.linear.weight)]
    elif _is_gate(module):
        found = [("activation", getattr(module, "activation", torch.sigmoid), module.n_in, module.scaling.weight)]
    else:
        return
    for attribute, current, width, weight in found:
        if current is not None and not isinstance(current, nn.Identity):
            yield attribute, f"{type(module).__name__}.{attribute}", current, width, weight


def _stock_of(current: Any) -> Any:
    """The activation that is or was at a site."""
    return getattr(current, "stock", current.base) if isinstance(current, TrainableActivation) else current


def _group(path: str) -> str:
    return next((group for part, group in GROUPS.items() if part in path.split(".")), "representation")


def _head(path: str) -> str:
    """The output module that a path belongs to: ``output_modules.0`` of ``output_modules.0.outnet.1``."""
    parts = path.split(".")
    return ".".join(parts[: parts.index("output_modules") + 2]) if "output_modules" in parts else ""


def _representations(model: nn.Module) -> list[str]:
    """Paths of the representations: SchNetPack's own, and whatever a SchNetPack model has in that place."""
    import schnetpack.representation as rep
    from schnetpack.model import AtomisticModel

    own = rep.PaiNN | rep.SchNet | rep.FieldSchNet | rep.SO3net
    paths = []
    for name, module in model.named_modules():
        if isinstance(module, own):
            paths.append(name)
        elif isinstance(module, AtomisticModel) and hasattr(module, "representation"):
            paths.append(f"{name}.representation".lstrip("."))
    return list(dict.fromkeys(paths))


def _configurable() -> list[type]:
    """The host's classes that have an ``activation`` in their config."""
    from schnetpack import atomistic, representation
    from schnetpack.nn import ElectronicEmbedding

    return [
        representation.PaiNN, representation.SchNet, representation.FieldSchNet, representation.SO3net,
        atomistic.Atomwise, atomistic.DipoleMoment, atomistic.Polarizability, ElectronicEmbedding,
    ]  # fmt: skip


@functools.cache
def _changed_sources() -> list[str]:
    code = {name: (importlib.import_module(f"schnetpack.nn.{name}"),) for name in CODE}
    return [f"schnetpack/nn/{name}.py" for name in changed_code(code, CODE)]


ADAPTER = SchNetPackAdapter()
