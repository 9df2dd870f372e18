"""X-Net with scikit-learn's interface: classification by one tree for each class and softmax."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from taafs_plugins.symbolic.candidates import alternatives, best_of
from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.symbolic.estimator import XNetBase
from taafs_plugins.symbolic.propagation import backward, forward, jacobian, predict
from taafs_plugins.symbolic.tree import Tree

LOGIT_PRICE = 1e-2  # times the mean square of the logits: keeps them finite where classes are separable


class XNetClassifier(ClassifierMixin, XNetBase):
    """Classification by trees of learned functions (X-Net, paper 004): one tree for each class gives its logit.

    Parameters
    ----------
    unary, binary, max_nodes, rounds, listed, proposals, starts, optimizer, threshold, patience, size_penalty, check_fraction, verbose, \
    random_state :
        as for :class:`~taafs_plugins.symbolic.XNetRegressor`; `max_nodes` is for each class

    Attributes
    ----------
    classes_ : labels
    trees_ : one for each class
    expression_, n_nodes_, n_parameters_, interrupted_, sample_ : as for the regressor
    """

    def fit(self, X, y):
        """Search a tree for each class against the rest, then fit the numbers of all together by cross-entropy.

        Ours: straight trees of all variables, and their sums with those of the search, stand beside them where `max_nodes` allows; which
        are kept is decided by the cross-entropy on held-out thirds of the training data.

        Parameters
        ----------
        X : (samples, features)
        y : labels, (samples,)

        Returns
        -------
        self

        Raises
        ------
        XNetError
            A parameter out of its range, or a single class.
        ValueError
            NaN, infinity or wrong shapes in the data (scikit-learn's messages).
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, index = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise XNetError("XNetClassifier needs at least two classes; the data has 1 class: add samples of another.")
        self.sample_ = X[:200].copy()
        hot = np.eye(len(self.classes_))[index]
        targets = 6.0 * (hot - 0.5)
        found = alternatives(self._search(X, targets), X, targets, self.max_nodes)
        self.trees_ = cross_entropy_fit(best_of(found, X, index, _quick, held_out_loss), X, index)
        return self

    def predict_proba(self, X) -> np.ndarray:
        """Probability of each class, shape (samples, classes)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return softmax(np.stack([predict(tree, X) for tree in self.trees_], 1), 1)

    def predict(self, X) -> np.ndarray:
        """The likeliest label of each sample, shape (samples,)."""
        probabilities = self.predict_proba(X)
        return self.classes_[np.argmax(probabilities, 1)]


def cross_entropy_fit(trees: list[Tree], x: np.ndarray, index: np.ndarray, iterations: int = 100) -> list[Tree]:
    """Fit w and b of all trees together by the cross-entropy of their softmax (L-BFGS, numbers scaled to their start).

    Parameters
    ----------
    trees : one for each class, in the user's units
    x : (samples, features)
    index : class of each sample, (samples,)
    iterations : at most this many

    Returns
    -------
    Trees with new numbers; the ones given where nothing better was found
    """
    x = np.ascontiguousarray(x.T)
    start = np.concatenate([np.concatenate([tree.w, tree.b]) for tree in trees])
    scale = np.maximum(np.abs(start), 1e-3)

    def objective(numbers: np.ndarray) -> tuple[float, np.ndarray]:
        loss, gradient = _cross_entropy(_with(trees, numbers * scale), x, index)
        return loss, gradient * scale

    found = minimize(objective, start / scale, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    return _with(trees, found.x * scale) if np.isfinite(found.x).all() else trees


def _quick(trees: list[Tree], x: np.ndarray, index: np.ndarray) -> list[Tree]:
    """A shorter fit, to compare trees by."""
    return cross_entropy_fit(trees, x, index, 40)


def held_out_loss(trees: list[Tree], x: np.ndarray, index: np.ndarray) -> float:
    """Mean cross-entropy of trees on samples (samples, features) of classes (samples,)."""
    logits = np.nan_to_num(np.stack([predict(tree, x) for tree in trees], 1), posinf=1e10, neginf=-1e10)
    return float(-log_softmax(logits, 1)[np.arange(len(index)), index].mean())


def _with(trees: list[Tree], numbers: np.ndarray) -> list[Tree]:
    """The trees with their numbers from one vector."""
    result, at = [], 0
    for tree in trees:
        size = len(tree.structure)
        result.append(Tree(tree.structure, numbers[at : at + size], numbers[at + size : at + 2 * size]))
        at += 2 * size
    return result


def _cross_entropy(trees: list[Tree], x: np.ndarray, index: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean cross-entropy with a small price on the logits, and its gradient by all numbers."""
    samples, logits, slopes = x.shape[1], [], []
    with np.errstate(all="ignore"):
        for tree in trees:
            outputs = forward(tree.structure, x, tree.w[None], tree.b[None], project=True)
            one = jacobian(tree.structure, outputs, backward(tree.structure, outputs, tree.w[None]))[0]
            logits.append(np.nan_to_num(outputs.values[0][0], posinf=1e10, neginf=-1e10))
            slopes.append(np.nan_to_num(one, posinf=1e10, neginf=-1e10))
        z = np.stack(logits, 1)
        logs = log_softmax(z, 1)
        loss = float(-logs[np.arange(samples), index].mean() + LOGIT_PRICE * (z**2).mean())
        by_logit = (np.exp(logs) - np.eye(z.shape[1])[index]) / samples + 2 * LOGIT_PRICE * z / z.size
    return loss, np.concatenate([one @ by_logit[:, k] for k, one in enumerate(slopes)])
