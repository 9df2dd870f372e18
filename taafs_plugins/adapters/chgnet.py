"""CHGNet (Deng et al. 2023, Nature Machine Intelligence 5, 1031): ``CHGNet(non_linearity="taafs:chebyshev1")``.

While registered, ``CHGNet.__init__`` builds the stock network of a spec's base activation and converts it, so a model that is
built from a spec and one that is converted later are the same. The saved arguments (``model_args``) carry the spec in
``non_linearity``, which a stock CHGNet refuses, and the conversions in ``taafs``; ``from_file``, ``from_dict`` and ``Trainer.load``
need nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
from pathlib import Path
from typing import Any

from torch import nn

from taafs_plugins.activations import parse_spec
from taafs_plugins.activations.fixed import module_name
from taafs_plugins.activations.spec import Spec, SpecError, nearest
from taafs_plugins.activations.taafs import TAAFS
from taafs_plugins.adapters.base import Adapter, HostError, Site

STOCK = ("relu", "silu", "scaledsilu", "gelu", "softplus", "sigmoid", "tanh")  # what chgnet's find_activation knows
# Source of CHGNet.__init__, MLP and GatedMLP in the tested versions, see _fingerprint
FINGERPRINTS = {"0.4.2": "7c4d7ada9fce9857f1be19ad47e598d1b148e7588c45215ff3d255904c37d060"}

# Behind the spec in saved arguments: a process without the adapter ends with CHGNet's KeyError, which shows this text
HINT = " (call taafs_plugins.enable('chgnet') before chgnet loads this model)"


class CHGNetAdapter(Adapter):
    """CHGNet's sites, its saved arguments, and specs in ``non_linearity``.

    Groups of sites: ``hidden`` (hidden activations of every MLP; converted by default), ``core`` and ``gate`` (the activation and the
    sigmoid after the norms of a GatedMLP), ``unused`` (those of the last AngleUpdate, whose output CHGNet never reads: their
    coefficients would get no gradient). The composition model is left alone, and so is the never-called ``activation`` of AtomConv,
    BondConv and AngleUpdate.
    """

    host = "chgnet"
    tested = tuple(FINGERPRINTS)
    periodic_only = True
    _wrapper: Any = None

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
        from chgnet.model import CHGNet, model

        if hasattr(model, "ACTIVATION_EXTENSIONS"):  # built from source with patches/chgnet: nothing to wrap
            if self not in model.ACTIVATION_EXTENSIONS:
                model.ACTIVATION_EXTENSIONS.append(self)
            return
        if self._wrapper is not None and CHGNet.__init__ is self._wrapper:
            return
        if _fingerprint() != FINGERPRINTS[version]:
            raise HostError(
                f"The source of the installed chgnet {version} is not the tested one (edited, or patched by another package): nothing "
                f"was changed. Reinstall it with: pip install --force-reinstall --no-deps chgnet=={version}."
            )
        self._wrapper = _with_specs(self, CHGNet.__init__)
        CHGNet.__init__ = self._wrapper

    def unregister(self) -> None:
        """Give back the stock ``CHGNet.__init__``; models that exist stay as they are.

        Raises
        ------
        HostError
            Another package has wrapped ``CHGNet.__init__`` since.
        """
        from chgnet.model import CHGNet, model

        if self in getattr(model, "ACTIVATION_EXTENSIONS", ()):
            model.ACTIVATION_EXTENSIONS.remove(self)
        if self._wrapper is None:
            return
        if CHGNet.__init__ is not self._wrapper:
            raise HostError("CHGNet.__init__ was patched again by another package after taafs-plugins; undo that patch first.")
        CHGNet.__init__ = self._wrapper.__wrapped__
        self._wrapper = None

    def takes(self, arguments: dict[str, Any]) -> bool:
        """Whether CHGNet itself does not know these arguments' activation; ``stock_name`` then reads it or says what is wrong.

        Raises
        ------
        SpecError
            ``taafs_sites`` without a spec, which CHGNet would ignore.
        """
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
        if ":" not in text and "," not in text and (hint := nearest(text.lower(), list(STOCK))):
            raise SpecError(f"Unknown non_linearity '{text}'. {hint}CHGNet has {', '.join(STOCK)}; a spec looks like 'taafs:chebyshev1'.")
        base = parse_spec(text).get("base", "silu")
        if base not in STOCK:
            raise SpecError(f"base={base} in '{text}' is unknown to CHGNet. {nearest(base, list(STOCK))}It has: {', '.join(STOCK)}.")
        return base

    def complete(self, model: nn.Module) -> None:
        """Convert a network that was just built with its stock activation, as its ``model_args`` say; prints the report."""
        from taafs_plugins.conversion import convert

        arguments = model.model_args
        stock = self.stock_name(arguments)
        spec = arguments["non_linearity"].removesuffix(HINT)
        saved, patterns = arguments.pop("taafs", None), arguments.pop("taafs_sites", None)
        arguments["non_linearity"] = stock
        conversions = saved["conversions"] if saved else [{"spec": str(parse_spec(spec).with_options(base=None)), "sites": patterns}]
        for conversion in conversions:
            print(f"CHGNet with {convert(model, conversion['spec'], conversion['sites'])}")

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

    # Export -----------------------------------------------------------------------------------------------------------------

    def read_model(self, path: Path, packages: frozenset[str]) -> tuple[nn.Module, dict[str, Any]] | None:
        """From a file of ``Trainer.save``, one with ``model.as_dict()`` in it, or a model pickled whole."""
        from taafs_plugins.adapters.chgnet_files import read_model

        model = read_model(path, packages, self)
        return None if model is None else (model, {})

    def export_module(self, model: nn.Module, energy_unit: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
        from taafs_plugins.adapters.chgnet_export import export_module

        return export_module(model, energy_unit)

    def reference(self, model: nn.Module, atoms: Any) -> dict[str, Any]:
        from taafs_plugins.adapters.chgnet_export import reference

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
    stock = current.base if isinstance(current, TAAFS) else current
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


def _fingerprint() -> str:
    """SHA-256 over the source of what is wrapped or relied on."""
    from chgnet.model import CHGNet
    from chgnet.model.functions import MLP, GatedMLP

    try:
        source = "".join(inspect.getsource(part) for part in (CHGNet.__init__, MLP, GatedMLP))
    except OSError:
        return "no source"
    return hashlib.sha256(source.encode()).hexdigest()


ADAPTER = CHGNetAdapter()
