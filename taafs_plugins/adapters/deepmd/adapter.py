"""DeePMD-kit (PyTorch backend): ``"activation_function": "taafs:..."`` in ``input.json``.

DeePMD makes every activation through ``ActivationFn(name)``. That class is taught to become a trainable activation when the name is a
spec (:mod:`.activation`); stock names are untouched. Three more places must know: ``MLPLayer`` (width, precision, serialised name),
``DPAtomicModel`` (coefficients shared across layers) and the training set-up (fine-tuning from a checkpoint without coefficients).
A DeePMD built from source with ``patches/deepmd`` offers the same as a registration point and is not patched at run time.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import TrainableActivation, is_spec
from taafs_plugins.activations.stock import module_name
from taafs_plugins.adapters.base import Adapter
from taafs_plugins.adapters.deepmd import activation as deepmd_activation
from taafs_plugins.adapters.deepmd import compress, dpmodel, hooks, once, pt_expt, stages
from taafs_plugins.adapters.deepmd import files as deepmd_files
from taafs_plugins.adapters.deepmd import frames as deepmd_frames
from taafs_plugins.adapters.deepmd import input as deepmd_input
from taafs_plugins.adapters.deepmd import training as deepmd_training
from taafs_plugins.adapters.deepmd.activation import CORE_NAMES
from taafs_plugins.adapters.patching import HostError, changed_code
from taafs_plugins.adapters.sites import Site

EXPORTS_ITSELF = "DeePMD-kit exports its models itself: run 'dp --pt freeze' and use the file with pair_style deepmd."


class DeepmdAdapter(Adapter):
    """See :class:`taafs_plugins.adapters.base.Adapter`."""

    host = "deepmd"
    energy_unit = "eV"
    distribution = "deepmd-kit"
    files = "DeePMD-kit (model.ckpt-....pt)"
    tested = ("3.2.0",)
    defaults = {"rate": 10.0}
    _tables_later = False

    def register(self) -> None:
        """Teach ``ActivationFn``, ``MLPLayer``, ``get_model`` and the input check about specs; idempotent."""
        if self.patches:
            return
        self.check_version()
        if importlib.util.find_spec("deepmd.utils.activation_plugins"):  # a source build with patches/deepmd
            plugins = importlib.import_module("deepmd.utils.activation_plugins").activation_plugins
            plugins.append(self)
            self.patches.add("activation_plugins", lambda: plugins.remove(self))
            self._tables_later = True  # PyTorch's modules are not loaded yet
            return
        code = hooks.code()
        if self.patches:  # that imported deepmd.pt, whose entry point registers
            return
        if changed := changed_code(code, hooks.TESTED):
            raise HostError(
                f"DeePMD-kit's {', '.join(changed)} is not the code of version {self.tested[-1]} that taafs-plugins was tested with: "
                f"nothing was changed. Reinstall deepmd-kit=={self.tested[-1]} or apply patches/deepmd to your source."
            )
        deepmd_input.install()
        dpmodel.install()  # which deepmd.pt loads
        if "deepmd.pt_expt" in sys.modules:
            pt_expt.install()
        hooks.install(self)

    def unregister(self) -> None:
        """Give back stock DeePMD-kit, the check of its input files too."""
        super().unregister()
        dpmodel.PATCHES.undo()
        pt_expt.PATCHES.undo()
        deepmd_input.CHECK.undo()

    # What the registration point of patches/deepmd calls, and what the run-time patches (hooks.py) do.

    def activation_class(self, name: Any) -> type | None:
        """The class whose ``__init__(name)`` makes a trainable activation, or None when the name is not a spec."""
        return hooks.spec_class(self) if is_spec(name) else None

    def layer_built(self, layer: nn.Module) -> None:
        """Called at the end of ``MLPLayer.__init__``."""
        if isinstance(layer.activate, TrainableActivation):
            layer.activate.fit_layer(layer.num_out, layer.prec)

    def model_built(self, model: nn.Module) -> None:
        """Called at the end of ``DPAtomicModel.__init__``, for built and deserialised models alike."""
        if self._tables_later:  # a source build, see register
            self._tables_later = False
            once.install(self.patches)
            if not changed_code(compress.code(), compress.TESTED):
                compress.install(self.patches)
        deepmd_activation.tie_shared(self.sites(model))

    def carry_specs(self, target: dict, pretrained: dict) -> dict:
        """Called by fine-tuning: the pretrained model's parameters with the target's specs."""
        return deepmd_input.carry_specs(target, pretrained)

    def check_input(self, config: dict) -> dict:
        """Called by DeePMD's own input check; returns the input with resolved specs."""
        return deepmd_input.checked(config)

    def trainer_built(self, trainer: Any) -> None:
        """Called at the end of ``Trainer.__init__``."""
        deepmd_training.prepare(trainer)
        deepmd_training.measure_scales(trainer)
        deepmd_training.report(trainer)
        stages.stage(trainer)

    def prepare_training(self) -> None:
        """Patch what only training needs, once its modules are loaded (the input check calls this)."""
        if (runtime := sys.modules.get("deepmd.pt_expt.train.training")) is not None and pt_expt.PATCHES:
            pt_expt.patch_training(runtime, self.trainer_built)
        training = sys.modules.get("deepmd.pt.train.training")
        if training is None or not self.patches or hasattr(training.get_model_for_wrapper, "taafs"):
            return
        if changed_code({"training": (training.get_model_for_wrapper,)}, hooks.TESTED):
            raise HostError("DeePMD-kit's get_model_for_wrapper is not the code that was tested; reinstall deepmd-kit==3.2.0.")
        deepmd_training.patch(training, self.trainer_built, self.patches)

    def matches(self, model: nn.Module) -> bool:
        from deepmd.pt.utils.utils import ActivationFn

        return any(isinstance(part, ActivationFn) for part in model.modules())

    def sites(self, model: nn.Module) -> list[Site]:
        from deepmd.pt.model.network.mlp import MLP, MLPLayer
        from deepmd.pt.utils.utils import ActivationFn

        nets = [name for name, part in model.named_modules() if isinstance(part, MLP)]
        found = []
        for name, owner in model.named_modules():
            for attribute, act in owner.named_children():
                if not isinstance(act, ActivationFn) or act.activation.lower() in ("linear", "none") or attribute == "base":
                    continue
                path = f"{name}.{attribute}" if name else attribute
                converted = isinstance(act, TrainableActivation)
                layer = isinstance(owner, MLPLayer)
                net = max((n for n in nets if path.startswith(f"{n}.")), key=len, default=name)
                parameter = next(owner.parameters(), None)
                found.append(Site(
                    name=path, call=f"{type(owner).__name__}.{attribute}", owner=owner, attribute=attribute,
                    replaces=CORE_NAMES.get(act.activation.lower(), act) if not converted else act.base_name,
                    activation=act.base_name if converted else act.activation.lower(),
                    width=owner.num_out if layer else None, network=net,
                    group="fitting" if "fitting_net" in path.split(".") else "embedding",
                    dtype=owner.prec if layer else None, device=parameter.device if parameter is not None else None,
                ))  # fmt: skip
        return found

    def read_model(self, path: Path, packages: frozenset[str]) -> tuple[nn.Module, dict[str, Any]] | None:
        model = deepmd_files.read_checkpoint(path, packages)
        return None if model is None else (model, {})

    def read_runnable(self, path: Path, packages: frozenset[str]) -> tuple[nn.Module, dict[str, Any]] | None:
        """Also a frozen model (``.pth``)."""
        return (deepmd_frames.load_frozen(path), {}) if "deepmd" in packages else self.read_model(path, packages)

    def in_double(self, model: nn.Module) -> tuple[nn.Module, str]:
        return deepmd_frames.in_double(model)

    def pick_unit(self, site: Site) -> str:
        return deepmd_files.place(site.name)

    def pickable(self, module: nn.Module, site: Site) -> str | None:
        name = module_name(module)
        return name if name in CORE_NAMES.values() else None

    def export_module(self, model: nn.Module, energy_unit: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
        raise HostError(EXPORTS_ITSELF)

    def reference(self, model: nn.Module, atoms: Any) -> dict[str, Any]:
        return deepmd_frames.reference(model, atoms)

    def forces(self, model: nn.Module, atoms: Any) -> torch.Tensor:
        return deepmd_frames.run(model, atoms)["force"][0]

    def chosen_by(self, by: str | None) -> str:
        if by not in (None, "group"):
            raise HostError("DeePMD-kit's config has one activation for the descriptor and one for the fitting net: leave --by out.")
        return "group"

    def write_model(self, model: nn.Module, path: Path, source: Path) -> str:
        return deepmd_files.write_checkpoint(model, path, source, self.sites(model))

    def install(self, site: Site, activation: TrainableActivation) -> None:
        deepmd_activation.become(activation, activation, str(activation.spec), self.defaults)
        setattr(site.owner, site.attribute, activation)
        if hasattr(site.owner, "activate_name"):
            site.owner.activate_name = activation.activation

    def uninstall(self, site: Site) -> None:
        from deepmd.pt.utils.utils import ActivationFn

        name = next((own for own, core in CORE_NAMES.items() if core == site.replaces), site.replaces)
        setattr(site.owner, site.attribute, ActivationFn(name))
        if hasattr(site.owner, "activate_name"):
            site.owner.activate_name = name


ADAPTER = DeepmdAdapter()
