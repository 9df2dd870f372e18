"""X-Net with scikit-learn's interface: regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import sympy
import torch
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.symbolic.expression import TreeModule, TreesModule, check_names, expanded, to_sympy
from taafs_plugins.symbolic.fitting import levenberg_marquardt
from taafs_plugins.symbolic.library import names
from taafs_plugins.symbolic.problem import Problem
from taafs_plugins.symbolic.progress import Progress
from taafs_plugins.symbolic.propagation import predict
from taafs_plugins.symbolic.search import Search, Settings
from taafs_plugins.symbolic.simplify import simplify
from taafs_plugins.symbolic.tree import Tree

_POSITIVE = ("max_nodes", "starts", "proposals", "patience")


class XNetBase(BaseEstimator):
    """What regression and classification share: parameters, search for one tree, formula, module, picture."""

    def __init__(self, unary=None, binary=None, max_nodes=8, rounds=60, listed=500, proposals=24, starts=6, optimizer="lm", threshold=0.01,
                 patience=20, size_penalty=1.0, check_fraction=0.2, verbose=False, random_state=None):  # fmt: skip
        self.unary = unary
        self.binary = binary
        self.max_nodes = max_nodes
        self.rounds = rounds
        self.listed = listed
        self.proposals = proposals
        self.starts = starts
        self.optimizer = optimizer
        self.threshold = threshold
        self.patience = patience
        self.size_penalty = size_penalty
        self.check_fraction = check_fraction
        self.verbose = verbose
        self.random_state = random_state

    def _settings(self) -> Settings:
        """The parameters, checked."""
        for name in _POSITIVE:
            if not getattr(self, name) >= 1:
                raise XNetError(f"{name}={getattr(self, name)} must be at least 1.")
        if not 0 <= self.check_fraction < 1:
            raise XNetError(f"check_fraction={self.check_fraction} must be at least 0 and below 1: it is the share of samples held out.")
        if min(self.rounds, self.listed) < 0 or self.threshold < 0 or self.size_penalty < 0:
            raise XNetError("rounds, listed, threshold and size_penalty must not be negative.")
        if self.optimizer not in ("lm", "lbfgs", "adam", "sgd"):
            raise XNetError(f"Unknown optimizer '{self.optimizer}': choose lm, lbfgs, adam or sgd.")
        unary, binary = (tuple(chosen) if chosen is not None else None for chosen in (self.unary, self.binary))
        return Settings(names(1, unary), names(2, binary), self.max_nodes, self.rounds, self.listed, self.proposals, self.starts,
                        self.threshold, self.patience, self.size_penalty, self.optimizer)  # fmt: skip

    def _search(self, x: np.ndarray, targets: np.ndarray) -> list[Tree]:
        """One tree for each column of the targets, in the user's units; an interrupted fit keeps the best so far."""
        settings, seed = self._settings(), int(check_random_state(self.random_state).randint(2**31 - 1))
        trees, self.interrupted_ = [], False
        with Progress(bool(self.verbose), targets.shape[1], settings.rounds) as progress:
            for k, y in enumerate(targets.T):
                rng = np.random.default_rng([seed, k])
                problem = Problem.build(x, y, rng, self.check_fraction)
                if not len(problem.useful) or not problem.spread or self.interrupted_:
                    trees.append(Tree.constant(y.mean()))
                    continue
                search = Search(problem, settings, rng, progress.target(k))
                try:
                    search.run()
                except KeyboardInterrupt:
                    self.interrupted_ = True
                    warnings.warn(f"The fit was interrupted in round {search.round}; the best tree so far is kept.", stacklevel=3)
                trees.append(_finish(search.best.tree if search.best else Tree.constant(0.0), problem, x, y))
        return trees

    @property
    def n_nodes_(self) -> int:
        """Nodes of all trees, leaves not counted."""
        return sum(tree.structure.nodes for tree in self.trees_)

    @property
    def n_parameters_(self) -> int:
        """Two numbers for each node and leaf of all trees."""
        return sum(tree.structure.parameters for tree in self.trees_)

    def _names(self, given: Sequence[str] | None = None) -> list[str]:
        check_is_fitted(self)
        return check_names(given if given is not None else getattr(self, "feature_names_in_", None), self.n_features_in_)

    def expressions(self, variables: Sequence[str] | None = None, digits: int = 15) -> list[sympy.Expr]:
        """Formulas of all trees.

        Parameters
        ----------
        variables : their names; those of the data frame that was fitted, else x0, x1, ...
        digits : of numbers that are not simple

        Returns
        -------
        One SymPy expression for each tree, in real symbols
        """
        labels = self._names(variables)
        found = [expanded(to_sympy(tree, labels), labels, self.sample_) for tree in self.trees_]
        return [formula.xreplace({value: sympy.Float(value, digits) for value in formula.atoms(sympy.Float)}) for formula in found]

    @property
    def expression_(self) -> sympy.Expr | list[sympy.Expr]:
        """The formula; a list of them for several trees."""
        found = self.expressions()
        return found[0] if len(found) == 1 else found

    def to_latex(self, variables: Sequence[str] | None = None, digits: int = 6) -> str:
        """The formula in LaTeX, one line for each tree; arguments as for :meth:`expressions`."""
        return " \\\\\n".join(sympy.latex(expression) for expression in self.expressions(variables, digits))

    def to_torch(self, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
        """A module of the same outputs with trainable w and b, differentiable to any order (except at ReLU's kink).

        Returns
        -------
        Module from (..., features) to (...,) for one tree, to (..., trees) for several
        """
        check_is_fitted(self)
        return TreeModule(self.trees_[0], dtype) if len(self.trees_) == 1 else TreesModule(self.trees_, dtype)

    def plot(self, tree: int = 0, ax=None):
        """Draw a tree with Matplotlib.

        Parameters
        ----------
        tree : which one
        ax : Matplotlib axes; new ones if None

        Returns
        -------
        The axes
        """
        from taafs_plugins.symbolic.drawing import draw

        return draw(self.trees_[tree], self._names(), ax)


def _finish(tree: Tree, problem: Problem, x: np.ndarray, y: np.ndarray) -> Tree:
    """Fit a tree once more to all samples, bring it to the user's units and make its numbers plain."""
    if tree.structure.nodes == 0 and tree.w[0] == 0:
        return Tree.constant(y.mean())
    scaled_x, scaled_y = np.ascontiguousarray(((x - problem.centre) / problem.half).T), (y - problem.mean) / problem.spread
    w, b, error = levenberg_marquardt(tree.structure, scaled_x, scaled_y, tree.w[None], tree.b[None], 40)
    tree = Tree(tree.structure, w, b) if np.isfinite(error) else tree
    return simplify(problem.to_user(tree), x)


class XNetRegressor(RegressorMixin, MultiOutputMixin, XNetBase):
    """Regression by a tree of learned functions (X-Net, paper 004), one tree for each output.

    Parameters
    ----------
    unary, binary : names of the functions to use; None for all of the library (see ``register_function``)
    max_nodes : largest number of nodes of a tree, leaves not counted
    rounds : rounds of proposals after the list of small trees; the search ends before when only rounding is left of the error
    listed : small trees fitted before the rounds, of each of the sizes 1 and 2; the library of terms that are tried in pairs first is
        twice as large (0: neither)
    proposals : trees fitted in a round
    starts : starts of each fit
    optimizer : "lm" (Levenberg-Marquardt, ours), or the paper's "lbfgs", "adam", "sgd"
    threshold : largest distance at which a function replaces another (the paper's 0.01)
    patience : rounds without progress before a large mutation (the paper's 20)
    size_penalty : price of a number in a tree, in units of log(samples) / samples of the logarithm of the error
    check_fraction : share of the samples by which trees are judged without being fitted to them
    verbose : show progress
    random_state : int, RandomState or None; an int gives the same tree to the bit

    Attributes
    ----------
    trees_ : fitted trees, one for each output
    expression_ : SymPy expression (a list of them for several outputs)
    n_nodes_, n_parameters_ : size of all trees
    interrupted_ : whether Ctrl-C ended the search; the best tree so far was kept
    sample_ : up to 200 rows of the training data, by which expressions are compared when they are shortened
    """

    def fit(self, X, y):
        """Search for the tree.

        Parameters
        ----------
        X : (samples, features)
        y : (samples,) or (samples, outputs)

        Returns
        -------
        self

        Raises
        ------
        XNetError
            A parameter out of its range.
        ValueError
            NaN, infinity or wrong shapes in the data (scikit-learn's messages).
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self.single_output_ = np.ndim(y) == 1
        self.sample_ = X[:200].copy()
        self.trees_ = self._search(X, np.asarray(y, np.float64).reshape(len(X), -1))
        return self

    def predict(self, X) -> np.ndarray:
        """Outputs of shape (samples,) or (samples, outputs); arguments outside a function's domain are moved to its edge."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        outputs = np.stack([predict(tree, X) for tree in self.trees_], 1)
        return outputs[:, 0] if self.single_output_ else outputs
