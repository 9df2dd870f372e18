"""TorchANI 2.9: a trainable activation at every activation call of every ``AtomicNetwork``.

TorchANI calls one ``activation`` object after every layer, and shares one passed object among all elements and members; its
loader renames every key that has neither "layers" nor "final_layer" in it. So a converted network applies its activations
inside its layers: ``layers[i]`` becomes an :class:`ActivatedLinear`, which owns the activation behind it, and
``network.activation`` an identity (:class:`AppliedInLayers`). ``AtomicNetwork.forward`` stays as it is, so scripting,
pickling, ensembles and every strategy work, and the coefficients are called ``...layers.0.activation.delta``, which TorchANI
loads as it stands. ``to_infer_model()`` would keep only the first member's activation: :class:`BatchedLayer` keeps them all.
"""

from __future__ import annotations

import functools
import inspect
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import TrainableActivation, parse_spec, resolve_spec
from taafs_plugins.activations.spec import Spec
from taafs_plugins.activations.stock import fixed_activation, module_name, name_class
from taafs_plugins.adapters.base import Adapter
from taafs_plugins.adapters.patching import HostError, changed_code
from taafs_plugins.adapters.sites import Site, build_shared
from taafs_plugins.adapters.torchani.network import GUARD, ActivatedLinear, AppliedInLayers

log = logging.getLogger(__name__)

# sources of torchani.nn._core, _containers, _infer and torchani.arch: 2.9.0, and with patches/torchani applied
CODE = {"torchani": ("eeb3dd6be8f13640", "44b64e806fce444a")}
name_class("TightCELU", "celu(0.1)")  # what it is; the kernels know that one


class SpecActivation(nn.Module):
    """What a spec is between TorchANI's builders and its networks; each network replaces it by its own activations.

    Networks that are given the same object share one set of coefficients with ``share=global``.
    """

    def __init__(self, spec: Spec, default: str) -> None:
        super().__init__()
        from torchani.nn import TightCELU

        self.spec = spec
        name = spec.get("base", default)
        # TorchANI's "celu" is CELU(0.1)
        self.base = TightCELU() if name == "celu" else fixed_activation(name)[1]
        self.leader: TrainableActivation | None = None


@dataclass(kw_only=True)
class LayerSite(Site):
    """A site of an ``AtomicNetwork`` (``owner``): the activation behind ``layer``, one of its ``layers`` that have one."""

    layer: nn.Linear
    layers: list[nn.Linear]

    @property
    def current(self) -> nn.Module:
        """The activation behind the layer now."""
        return self.layer.activation if isinstance(self.layer, ActivatedLinear) else self.owner.activation


class TorchANIAdapter(Adapter):
    """Specs in ``AtomicNetwork``, ``ANINetworks.like_1x/2x/...`` and ``simple_ani``; conversion of built models and ensembles."""

    host = "torchani"
    energy_unit = "hartree"
    files = "TorchANI (torch.save(model, path))"
    tested = ("2.9.0",)
    defaults = {"rate": 1.0}

    def check_version(self) -> str:
        version = super().check_version()
        _check_code()
        return version

    def register(self) -> None:
        self.check_version()
        if self.patches:
            return
        from torchani import arch, nn
        from torchani.nn import _core

        if hasattr(_core, "activation_plugin"):  # built from source with patches/torchani
            self.patches.replace(_core, "activation_plugin", self)
            return
        for module in (_core, nn, arch):
            self.patches.replace(module, "parse_activation", _parsing(_core.parse_activation, self))
        self.patches.replace(nn.AtomicNetwork, "__init__", _filling(nn.AtomicNetwork.__init__, self))
        for name in ("like_1x", "like_2x", "like_ala", "like_dr", "default", "build"):
            self.patches.replace(nn.ANINetworks, name, _taking(nn.ANINetworks.__dict__[name], self))
        for container in (nn.SingleNN, nn.ANISharedNetworks):
            self.patches.replace(container, "build", _taking(container.__dict__["build"], self, dropped_by=container.__name__))

    def unregister(self) -> None:
        """Give back stock TorchANI, and the guard of converted networks (:mod:`.network`), which says by itself what it cannot do then."""
        super().unregister()
        GUARD.undo()

    def take(self, activation: Any, default: str = "gelu", dropped_by: str = "") -> Any:
        """A builder's ``activation``: a spec becomes a :class:`SpecActivation`, anything stock is given back.

        Parameters
        ----------
        activation : what the user wrote
        default : the builder's own default, which the trainable activation replaces unless the spec says ``base=``
        dropped_by : a builder that does not pass its activation on to all its networks

        Raises
        ------
        SpecError
            Neither TorchANI's "gelu" or "celu" nor a spec.
        HostError
            A trainable activation as an object, or a builder that would drop the spec.
        """
        if isinstance(activation, TrainableActivation):
            raise HostError(
                "TorchANI would share this one activation among all layers, elements and members and could not load it again; "
                f"pass the spec instead: activation='{activation.spec}'."
            )
        if not isinstance(activation, str) or activation in ("gelu", "celu"):
            return activation
        spec = parse_spec(activation)
        spec = resolve_spec(spec, self.defaults_for(spec))
        if dropped_by:
            raise HostError(
                f"TorchANI's {dropped_by}.build does not pass its activation on to all its networks; build the model without "
                f"the spec, then call taafs.convert(model, '{activation}')."
            )
        return SpecActivation(spec, default)

    def fill(self, network: nn.Module) -> None:
        """End of ``AtomicNetwork.__init__``: a spec that was passed becomes one activation per layer."""
        given = network.activation
        if not isinstance(given, SpecActivation):
            return
        network.activation = given.base
        sites = self._network_sites("", network)
        for site, act in zip(sites, build_shared(given.spec, sites), strict=True):
            if given.spec["share"] == "global":
                given.leader = given.leader or act
                if given.leader is not act:
                    act.share_with(given.leader)
            self.install(site, act)
        log.info("TorchANI network with %s at %d layers", given.spec, len(sites))

    def matches(self, model: nn.Module) -> bool:
        from torchani.nn import AtomicNetwork, BmmAtomicNetwork

        return any(isinstance(module, AtomicNetwork | BmmAtomicNetwork) for module in model.modules())

    def sites(self, model: nn.Module) -> list[Site]:
        """Every activation call, named after the layer before it (``...atomics.H.layers.0``); ``group`` is the element.

        Raises
        ------
        HostError
            A model made by ``to_infer_model()``, or a layer that is not TorchANI's own.
        """
        from torchani.nn import ANISharedNetworks, AtomicNetwork, BmmAtomicNetwork

        shared = {id(m.shared) for m in model.modules() if isinstance(m, ANISharedNetworks)}
        found: list[Site] = []
        for name, module in model.named_modules():
            if isinstance(module, BmmAtomicNetwork):
                raise HostError("This model was made by to_infer_model(), which is for use only; change the model it was made from.")
            if isinstance(module, AtomicNetwork):
                found += self._network_sites(name, module, output=id(module) in shared)
        return found

    def _network_sites(self, name: str, network: nn.Module, output: bool = False) -> list[Site]:
        """``output``: the container applies the network's activation once more, to its output."""
        layers = [(f"layers.{i}", layer, "AtomicNetwork.forward") for i, layer in enumerate(network.layers)]
        if output:
            layers.append(("final_layer", network.final_layer, "ANISharedNetworks.forward"))
        sites = []
        for key, layer, call in layers:
            path = f"{name}.{key}" if name else key
            if type(layer) not in (nn.Linear, ActivatedLinear):
                raise HostError(f"{path} is a {type(layer).__name__}, not a plain Linear layer; convert the model before you change it.")
            act = layer.activation if isinstance(layer, ActivatedLinear) else network.activation
            stock = act.base if isinstance(act, TrainableActivation) else act
            sites.append(LayerSite(
                name=path, call=call, owner=network, attribute="activation", layer=layer, layers=[x for _, x, _ in layers],
                replaces=stock, activation=module_name(stock), width=layer.out_features, network=name,
                group=name.rsplit(".", 1)[-1], dtype=layer.weight.dtype, device=layer.weight.device,
            ))  # fmt: skip
        return sites

    def install(self, site: Site, activation: nn.Module) -> None:
        network = site.owner
        if not isinstance(network.activation, AppliedInLayers):
            for layer in site.layers:
                layer.__class__ = ActivatedLinear
                layer.activation = network.activation
            network.activation = AppliedInLayers()
        site.layer.activation = activation

    def uninstall(self, site: Site) -> None:
        site.layer.activation = site.replaces
        if not any(isinstance(layer.activation, TrainableActivation) for layer in site.layers):
            site.owner.activation = site.replaces
            for layer in site.layers:
                del layer.activation
                layer.__class__ = nn.Linear

    def pick_unit(self, site: Site) -> str:
        """The network: stock TorchANI applies one activation after all its layers."""
        return site.network

    def read_model(self, path: Path, packages: frozenset[str]) -> tuple[nn.Module, dict[str, Any]] | None:
        """A model saved whole with ``torch.save(model, path)``."""
        if self.host not in packages:
            return None
        from taafs_plugins.adapters.torchani.export import read_model

        return read_model(path), {}

    def export_module(self, model: nn.Module, energy_unit: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
        from taafs_plugins.adapters.torchani.export import export_module

        return export_module(model, energy_unit)

    def reference(self, model: nn.Module, atoms: Any) -> dict[str, Any]:
        from taafs_plugins.adapters.torchani.export import reference

        return reference(model, atoms)

    def forces(self, model: nn.Module, atoms: Any) -> torch.Tensor:
        from taafs_plugins.adapters.torchani.export import forces

        return forces(model, atoms)


def _parsing(original, plugin: TorchANIAdapter):
    @functools.wraps(original)
    def parse_activation(module):
        return original(plugin.take(module))

    return parse_activation


def _filling(original, plugin: TorchANIAdapter):
    @functools.wraps(original)
    def __init__(self, *args, **kwargs) -> None:
        original(self, *args, **kwargs)
        plugin.fill(self)

    return __init__


def _taking(original: classmethod, plugin: TorchANIAdapter, dropped_by: str = "") -> classmethod:
    function = original.__func__
    signature = inspect.signature(function)
    default = signature.parameters["activation"].default

    @functools.wraps(function)
    def build(*args, **kwargs):
        call = signature.bind(*args, **kwargs)
        if "activation" in call.arguments:
            call.arguments["activation"] = plugin.take(call.arguments["activation"], default, dropped_by)
        return function(*call.args, **call.kwargs)

    return classmethod(build)


@functools.cache
def _check_code() -> None:
    from torchani import arch
    from torchani.nn import _containers, _core, _infer

    if changed_code({"torchani": (_core, _containers, _infer, arch)}, CODE):
        raise HostError(
            "The installed torchani differs from the 2.9.0 that taafs-plugins was tested with, so nothing was changed; "
            "install torchani==2.9.0 afresh."
        )


ADAPTER = TorchANIAdapter()
