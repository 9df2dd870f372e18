"""CHGNet (Deng et al. 2023, Nature Machine Intelligence 5, 1031): ``CHGNet(non_linearity="taafs:chebyshev1")``.

While registered, ``CHGNet.__init__`` builds the stock network of a spec's base activation and converts it, so a model that is
built from a spec and one that is converted later are the same. The saved arguments (``model_args``) carry the spec in
``non_linearity``, which a stock CHGNet refuses, and the conversions in ``taafs``; ``from_file``, ``from_dict`` and ``Trainer.load``
need nothing else.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from taafs_plugins.activations import TrainableActivation, family_names, parse_spec
from taafs_plugins.activations.spec import Spec, SpecError, nearest
from taafs_plugins.activations.stock import module_name
from taafs_plugins.adapters.base import Adapter
from taafs_plugins.adapters.patching import HostError, changed_code
from taafs_plugins.adapters.sites import Site

STOCK = ("relu", "silu", "scaledsilu", "gelu", "softplus", "sigmoid", "tanh")  # what chgnet's find_activation knows
# source of CHGNet.__init__, MLP and GatedMLP in the tested versions
CODE = {"0.4.2": {"model": ("7c4d7ada9fce9857",)}}

# Behind the spec in saved arguments: a process without the adapter ends with CHGNet's KeyError, which shows this text
HINT = " (call taafs_plugins.enable('chgnet') before chgnet loads this model)"

KEYS = ("taafs", "taafs_sites")  # of a constructor's arguments; the first is what files keep
PICKED = "picked site by site (torch.save the whole model and torch.load it with weights_only=False)"


class CHGNetAdapter(Adapter):
    """CHGNet's sites, its saved arguments, and specs in ``non_linearity``.

    Groups of sites: ``hidden`` (hidden activations of every MLP; converted by default), ``core`` and ``gate`` (the activation and the
    sigmoid after the norms of a GatedMLP), ``unused`` (those of the last AngleUpdate, whose output CHGNet never reads: their
    coefficients would get no gradient). The composition model is left alone, and so is the never-called ``activation`` of AtomConv,
    BondConv and AngleUpdate.
    """

    host = "chgnet"
    energy_unit = "eV"
    files = "CHGNet (Trainer.save, or a dict with model.as_dict())"
    caution = "trained activations gave nothing where all weights are trained (energy 1.01 [0.998, 1.03] of the stock network's error)."
    tested = tuple(CODE)
    periodic_only = True

    def defaults_for(self, spec: Spec) -> dict[str, Any]:
        """rate=1; 0.1 with scale=auto, where a coefficient moves the curve over the whole range of a pretrained site's inputs."""
        return {"rate": 0.1 if spec.get("scale") == "auto" else 1.0}

    # The host's config ------------------------------------------------------------------------------------------------------

    def register(self) -> None:
        """Let ``CHGNet(non_linearity=...)`` take specs, and its saved files with it.

        Raises
        ------
        HostError
            Unknown version, or chgnet's source is not that of the tested version; the host stays as it was.
        """
        version = self.check_version()
        if self.patches:
            return
        from chgnet.model import CHGNet, model
        from chgnet.model.functions import MLP, GatedMLP

        if hasattr(model, "ACTIVATION_EXTENSIONS"):  # built from source with patches/chgnet: nothing to wrap
            model.ACTIVATION_EXTENSIONS.append(self)
            self.patches.add("ACTIVATION_EXTENSIONS", lambda: model.ACTIVATION_EXTENSIONS.remove(self))
            return
        if changed_code({"model": (CHGNet.__init__, MLP, GatedMLP)}, CODE[version]):
            raise HostError(
                f"The source of the installed chgnet {version} is not the tested one (edited, or patched by another package): nothing "
                f"was changed. Reinstall it with: pip install --force-reinstall --no-deps chgnet=={version}."
            )
        self.patches.replace(CHGNet, "__init__", _with_specs(self, CHGNet.__init__))

    def takes(self, arguments: dict[str, Any]) -> bool:
        """Whether CHGNet itself does not know these arguments' activation; ``stock_name`` then reads it or says what is wrong.

        Raises
        ------
        SpecError
            ``taafs_sites`` without a spec, or misspelt, which CHGNet would ignore.
        """
        if unknown := [key for key in arguments if key.startswith("taafs") and key not in KEYS]:
            raise SpecError(f"CHGNet takes no {unknown[0]}=. {nearest(unknown[0], ['taafs_sites'])}".strip())
        name = arguments.get("non_linearity", "silu")
        if isinstance(name, str) and name.lower() not in STOCK:
            return True
        if "taafs_sites" in arguments:
            raise SpecError("taafs_sites= needs a spec in non_linearity=, for example 'taafs:chebyshev1'.")
        return False

    def stock_name(self, arguments: dict[str, Any]) -> str:
        """The stock activation to build the network with: the spec's ``base``, or CHGNet's default ``silu``.

        Raises
        ------
        SpecError
            ``non_linearity`` is neither a stock name nor a valid spec, or its base is unknown to CHGNet.
        """
        if arguments.get("taafs"):
            return arguments["taafs"]["stock"]
        text = arguments["non_linearity"].removesuffix(HINT)
        if not set(":,") & set(text) and text not in family_names() and (hint := nearest(text.lower(), list(STOCK))):
            raise SpecError(f"Unknown non_linearity '{text}'. {hint}CHGNet has {', '.join(STOCK)}; a spec looks like 'taafs:chebyshev1'.")
        base = parse_spec(text).get("base", "silu")
        if base not in STOCK:
            raise SpecError(f"base={base} in '{text}' is unknown to CHGNet. {nearest(base, list(STOCK))}It has: {', '.join(STOCK)}.")
        return base

    def complete(self, model: nn.Module) -> None:
        """Convert a network that was just built with its stock activation, as its ``model_args`` say; prints the report."""
        arguments = model.model_args
        stock = self.stock_name(arguments)
        spec = arguments["non_linearity"].removesuffix(HINT)
        saved, patterns = arguments.pop("taafs", None), arguments.pop("taafs_sites", None)
        arguments["non_linearity"] = stock
        conversions = saved["conversions"] if saved else [{"spec": str(parse_spec(spec).with_options(base=None)), "sites": patterns}]
        for conversion in conversions:
            print(f"CHGNet with {self.convert(model, conversion['spec'], conversion['sites'])}")
        if not saved:  # a new network, of which all weights are trained
            self.say_caution()

    def finish(self, model: nn.Module, spec: Spec | None, sites: list[Site]) -> None:
        """Keep ``model_args`` true: ``non_linearity`` becomes the first spec and ``HINT``, ``taafs`` holds each spec with its sites."""
        arguments = model.model_args
        note = arguments.pop("taafs", None) or {"stock": arguments["non_linearity"], "conversions": []}
        changed = {site.name for site in sites}
        conversions = [{"spec": c["spec"], "sites": [n for n in c["sites"] if n not in changed]} for c in note["conversions"]]
        if spec is not None:
            conversions.append({"spec": str(spec), "sites": [site.name for site in sites]})
        conversions = [c for c in conversions if c["sites"]]
        arguments["non_linearity"] = conversions[0]["spec"] + HINT if conversions else note["stock"]
        if conversions:
            arguments["taafs"] = {"stock": note["stock"], "conversions": conversions}

    def finish_pick(self, model: nn.Module, members: Mapping[str, str]) -> None:
        """Saved arguments can name one activation only: they get a text that CHGNet refuses, so that no file loses the pick silently."""
        model.model_args["non_linearity"] = PICKED

    # Export -----------------------------------------------------------------------------------------------------------------

    def read_model(self, path: Path, packages: frozenset[str]) -> tuple[nn.Module, dict[str, Any]] | None:
        """From a file of ``Trainer.save``, one with ``model.as_dict()`` in it, or a model pickled whole."""
        from taafs_plugins.adapters.chgnet.files import read_model

        model = read_model(path, packages, self)
        return None if model is None else (model, {})

    def export_module(self, model: nn.Module, energy_unit: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
        from taafs_plugins.adapters.chgnet.export import export_module

        return export_module(model, energy_unit)

    def reference(self, model: nn.Module, atoms: Any) -> dict[str, Any]:
        from taafs_plugins.adapters.chgnet.export import reference

        return reference(model, atoms)

    # Sites ------------------------------------------------------------------------------------------------------------------

    def matches(self, model: nn.Module) -> bool:
        """Whether the model is a CHGNet."""
        from chgnet.model import CHGNet

        return isinstance(model, CHGNet)

    def sites(self, model: nn.Module) -> list[Site]:
        """Every activation that the network calls, in the order of the model."""
        from chgnet.model.functions import MLP, GatedMLP

        unread = {id(part) for layer in _unread_layers(model) for part in layer.modules()}
        found = []
        for name, module in model.named_modules():
            if name.startswith("composition_model"):
                continue
            if isinstance(module, MLP):
                group = "unused" if id(module) in unread else "hidden"
                linear = None
                for key, layer in module.layers.named_children():
                    if isinstance(layer, nn.Linear):
                        linear = layer
                    elif not isinstance(layer, nn.Dropout):
                        found.append(_site(f"{name}.layers", "MLP.layers", module.layers, key, linear, name, group))
            elif isinstance(module, GatedMLP):
                linear = module.mlp_core.layers[-1]
                for attribute, group in (("activation", "core"), ("sigmoid", "gate")):
                    group = "unused" if id(module) in unread else group
                    found.append(_site(name, f"GatedMLP.{attribute}", module, attribute, linear, name, group))
        return found


def _site(path: str, call: str, owner: nn.Module, attribute: str, linear: nn.Linear, network: str, group: str) -> Site:
    current = getattr(owner, attribute)
    stock = current.base if isinstance(current, TrainableActivation) else current
    return Site(
        name=f"{path}.{attribute}", call=call, owner=owner, attribute=attribute, replaces=stock, activation=module_name(stock),
        width=linear.out_features, network=network, group=group, default=group == "hidden",
        dtype=linear.weight.dtype, device=linear.weight.device,
    )  # fmt: skip


def _unread_layers(model: nn.Module) -> list[nn.Module]:
    """Angle layers whose output CHGNet never reads: the last one, or all when there are no bond convolutions."""
    layers = [layer for layer in model.angle_layers if layer is not None]
    return layers[-1:] if isinstance(model.bond_conv_layers, nn.ModuleList) else layers


def _with_specs(adapter: CHGNetAdapter, stock_init):
    """``CHGNet.__init__`` that also takes specs, and ``taafs_sites=`` (names, groups or patterns) with them."""

    @functools.wraps(stock_init)
    def __init__(self, *args, **kwargs) -> None:
        if not adapter.takes(kwargs):
            stock_init(self, *args, **kwargs)
            return
        stock_init(self, *args, **{**kwargs, "non_linearity": adapter.stock_name(kwargs)})
        self.model_args["non_linearity"] = kwargs["non_linearity"]
        adapter.complete(self)

    return __init__


ADAPTER = CHGNetAdapter()
