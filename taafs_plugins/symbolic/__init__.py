"""X-Net (paper 004): regression and classification by trees of learned functions. Knows nothing of force fields or hosts."""

try:
    import sklearn as _  # noqa: F401
except ImportError as error:
    raise ImportError("X-Net needs scikit-learn: pip install 'taafs-plugins[symbolic]'.") from error

from taafs_plugins.symbolic.classifier import XNetClassifier
from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.symbolic.estimator import XNetRegressor
from taafs_plugins.symbolic.library import LIBRARY, Argument, Function, register_function
from taafs_plugins.symbolic.tree import Structure, Tree

__all__ = ["LIBRARY", "Argument", "Function", "Structure", "Tree", "XNetClassifier", "XNetError", "XNetRegressor", "register_function"]
