"""DeePMD-kit.

Where it is taught about specs: ``activation`` (its ``ActivationFn``), ``adapter`` (the model), ``input`` (the check of input files),
``training`` (``scale=auto``, fine-tuning, what is shown), ``files`` (checkpoints).
"""

from taafs_plugins.adapters.deepmd.adapter import ADAPTER, EXPORTS_ITSELF, DeepmdAdapter

__all__ = ["ADAPTER", "DeepmdAdapter", "EXPORTS_ITSELF"]
