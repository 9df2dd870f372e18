"""CHGNet 0.4.2. Where to look: ``adapter`` (the model and its config), ``files``, ``export`` with ``graph``, ``finetune``."""

from taafs_plugins.adapters.chgnet.adapter import ADAPTER, HINT, STOCK, CHGNetAdapter

__all__ = ["ADAPTER", "CHGNetAdapter", "HINT", "STOCK"]
