"""Where the names lie that files and programs of earlier versions use: pickles find classes by module name.

``import taafs_plugins.activations.shapes`` gives a module that forwards to the one of today. Imported first by the package.
"""

from __future__ import annotations

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_CURVES = "taafs_plugins.activations.taafs"
# module of 0.1 -> module of today
MOVED = {
    **{f"taafs_plugins.activations.{name}": f"{_CURVES}.{name}" for name in
       ("bases", "shapes", "squash", "fit", "engine", "fused", "gpu", "gpu_kernels", "folded")},
    "taafs_plugins.activations.fixed": "taafs_plugins.activations.stock",
    "taafs_plugins.activations.families": "taafs_plugins.activations.registry",
    "taafs_plugins.activations.fused_build": "taafs_plugins.native.operators",
    "taafs_plugins.md.build": "taafs_plugins.native.lammps",
    **{f"taafs_plugins.adapters.{host}_{part}": f"taafs_plugins.adapters.{host}.{part}" for host, parts in {
        "deepmd": ("input", "training", "files"), "chgnet": ("files", "graph", "export", "finetune"),
        "torchani": ("network", "export"), "schnetpack": ("files", "data", "export")}.items() for part in parts},
}  # fmt: skip


class Forwarding(MetaPathFinder, Loader):
    """Imports a moved module under its old name."""

    def find_spec(self, name: str, path=None, target=None) -> ModuleSpec | None:
        """A spec for the names in :data:`MOVED`, else ``None``."""
        return ModuleSpec(name, self) if name in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        """Let every name of the old module be looked up in the new one."""
        target = importlib.import_module(MOVED[module.__name__])
        module.__getattr__ = lambda name: getattr(target, name)
        module.__doc__ = f"Moved to {target.__name__}."


def install() -> None:
    """Forward moved modules from now on; idempotent."""
    if not any(isinstance(finder, Forwarding) for finder in sys.meta_path):
        sys.meta_path.append(Forwarding())
