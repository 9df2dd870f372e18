"""TorchANI 2.9. Where to look: ``adapter`` (the model and its builders), ``network`` (what a converted one is made of), ``export``."""

from taafs_plugins.adapters.torchani.adapter import ADAPTER, TorchANIAdapter

__all__ = ["ADAPTER", "TorchANIAdapter"]
