"""SchNetPack 2.2. Where to look: ``adapter`` (the model and its YAML), ``files``, ``export``, ``data`` (rMD17 as its database)."""

from taafs_plugins.adapters.schnetpack.adapter import ADAPTER, SchNetPackAdapter, TrainableGate, activation, build

__all__ = ["ADAPTER", "SchNetPackAdapter", "TrainableGate", "activation", "build"]
