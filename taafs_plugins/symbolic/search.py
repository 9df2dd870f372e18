"""The search for a tree: small trees listed, then rounds of fitting, moving outputs, choosing functions and mutating."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from taafs_plugins.symbolic.descent import fit_by
from taafs_plugins.symbolic.fitting import fit_structure
from taafs_plugins.symbolic.library import SYNONYMS
from taafs_plugins.symbolic.mutation import canonical, mutate, neighbours, redundant, shrunk
from taafs_plugins.symbolic.problem import Problem
from taafs_plugins.symbolic.propagation import forward
from taafs_plugins.symbolic.screening import screen
from taafs_plugins.symbolic.selection import select
from taafs_plugins.symbolic.tree import Structure, Tree

SOLVED = 1e-20  # relative squared error at which nothing but rounding is left to explain
NICHE = 30  # trees remembered of each size
ALIKE = 2  # of them, with the same set of functions: else variants of one good tree crowd out every other way
SCREENED = 12  # two-term formulas of each kind, at most


@dataclass
class Settings:
    """What a search may use; see :class:`~taafs_plugins.symbolic.XNetRegressor` for the meaning."""

    unary: tuple[str, ...]
    binary: tuple[str, ...]
    max_nodes: int = 8
    rounds: int = 60
    listed: int = 500
    proposals: int = 24
    starts: int = 6
    threshold: float = 0.01
    patience: int = 20
    size_penalty: float = 1.0
    optimizer: str = "lm"


@dataclass
class Entry:
    """A fitted tree in scaled units, its relative squared error on all samples, its score (smaller is better) and its use so far."""

    tree: Tree
    error: float
    score: float
    expanded: int = 0
    waiting: list[Tree] | None = field(default=None, repr=False)


class Search:
    """One target's search. ``run`` may be interrupted at any time; ``best`` is the best tree so far.

    Parameters
    ----------
    problem : the data
    settings : what may be used
    rng : generator of everything random
    report : called after each round with (round, best entry, trees fitted)
    """

    def __init__(self, problem: Problem, settings: Settings, rng: np.random.Generator, report: Callable | None = None):
        self.problem, self.settings, self.rng = problem, settings, rng
        self.report = report or (lambda *_: None)
        self.niches: dict[int, list[Entry]] = {}
        self.seen: set[Structure] = set()
        self.best: Entry | None = None
        self.stale = self.round = 0
        self.listed = tuple(name for name in settings.unary if name not in SYNONYMS or name == "cos")
        self.joined = tuple(name for name in settings.binary if name not in SYNONYMS)

    def run(self) -> Entry:
        """The whole search.

        Returns
        -------
        The best entry
        """
        self._consider(Tree(Structure((j,)), np.ones(1), np.zeros(1)) for j in self._variables(8))
        self._consider(self._screened())
        self._consider(Tree(s, np.ones(len(s)), np.zeros(len(s))) for s in self._small())
        while self.round < self.settings.rounds and not self.solved:
            self.round += 1
            before = self.best.score
            self._consider(self._proposals())
            self.stale = self.stale + 1 if self.best.score > before - 1e-3 else 0
            self.report(self.round, self.best, len(self.seen))
        self._shrink()
        return self.best

    @property
    def solved(self) -> bool:
        """Whether the best tree leaves only rounding."""
        return self.best is not None and self.best.error < SOLVED

    def _variables(self, count: int) -> list[int]:
        """At most `count` variables, the relevant ones more often."""
        useful = self.problem.useful
        if len(useful) <= count:
            return useful.tolist()
        return sorted(self.rng.choice(len(self.problem.relevance), count, replace=False, p=self.problem.relevance).tolist())

    def _screened(self) -> Iterator[Tree]:
        """The best two-term formulas with plain numbers."""
        problem = self.problem
        x, y = problem.x * problem.half[:, None] + problem.centre[:, None], problem.y * problem.spread + problem.mean
        count, most = min(SCREENED, self.settings.listed // 20), min(900, 2 * self.settings.listed)
        for tree in screen(x, y, self._variables(4), self.listed, self.joined, count, most) if count else ():
            yield problem.to_scaled(tree)

    def _small(self) -> Iterator[Structure]:
        """Trees of one and two nodes, smaller first; a random part of them where there are many."""
        leaves = [(j,) for j in self._variables(4)]
        one = self._above(leaves, leaves)
        two = self._above(one, leaves)
        for level in (one, two):
            yield from (Structure(level[k]) for k in np.sort(self.rng.permutation(len(level))[: self.settings.listed]))

    def _above(self, below: list[tuple], leaves: list[tuple]) -> list[tuple]:
        unary = [(name, *ops) for ops in below for name in self.listed]
        return unary + [(name, *first, *second) for first, second in itertools.product(below, leaves) for name in self.joined]

    def _consider(self, trees: Iterable[Tree]) -> None:
        """Fit each tree that is new and small enough, and remember the good ones."""
        for tree in trees:
            tree = canonical(tree)
            if tree.structure in self.seen or tree.structure.nodes > self.settings.max_nodes or redundant(tree.structure):
                continue
            self.seen.add(tree.structure)
            niche = self.niches.get(tree.structure.nodes, [])
            hopeless = 30 * max(entry.error for entry in niche) if len(niche) == NICHE else np.inf
            self._remember(self._fit(tree, self.settings.starts, 12, hopeless))
            if self.solved:
                return

    def _fit(self, warm: Tree, starts: int, iterations: int, hopeless: float = np.inf) -> Entry:
        fit = fit_structure if self.settings.optimizer == "lm" else fit_by(self.settings.optimizer)
        tree, error = fit(warm.structure, self.problem, self.rng, starts, iterations, warm, hopeless)
        return self._judge(tree, error)

    def _judge(self, tree: Tree, error: float) -> Entry:
        """Error on the fitted and the held-out samples together, and the score: its logarithm plus a price for each number (BIC)."""
        fitted, held = len(self.problem.y), len(self.problem.y_check)
        if held and np.isfinite(error):
            with np.errstate(all="ignore"):
                outputs = forward(tree.structure, self.problem.x_check, tree.w[None], tree.b[None])
                check = float(((outputs.values[0][0] - self.problem.y_check) ** 2).mean())
            check = check if outputs.inside[0] and np.isfinite(check) else np.inf
            error = (fitted * error + held * check) / (fitted + held)
        samples = fitted + held
        price = self.settings.size_penalty * np.log(max(samples, 2)) / max(samples, 2)
        return Entry(tree, error, float(np.log(error + 1e-24) + price * tree.structure.parameters))

    def _remember(self, entry: Entry) -> None:
        """Put an entry in its niche; one that leads it is fitted longer first."""
        if not np.isfinite(entry.score):
            return
        niche = self.niches.setdefault(entry.tree.structure.nodes, [])
        if (len(niche) < 3 or entry.score < niche[2].score) and entry.error > SOLVED:
            longer = self._fit(entry.tree, self.settings.starts, 60)
            entry = longer if longer.score < entry.score else entry
        niche.append(entry)
        niche.sort(key=lambda one: one.score)
        alike = [one for one in niche if set(one.tree.structure.names()) == set(entry.tree.structure.names())]
        for surplus in alike[ALIKE:] + niche[NICHE:]:
            niche[:] = [one for one in niche if one is not surplus]
        if self.best is None or entry.score < self.best.score:
            self.best = entry

    def _proposals(self) -> Iterator[Tree]:
        """Trees of one round: nearest functions first (the paper's step), then edits; large mutations when nothing helped for long."""
        count = self.settings.proposals
        if self.stale and self.stale % self.settings.patience == 0:
            pool = [entry for niche in self.niches.values() for entry in niche]
            for _ in range(count):
                start = pool[int(self.rng.integers(len(pool)))].tree
                yield mutate(start, self.listed, self.joined, self._variables(3), self.rng, self.settings.max_nodes)
            return
        parent = self._parent()
        if parent is None:
            return
        if parent.waiting is None:
            parent.waiting = neighbours(parent.tree, self.listed, self.joined, self._variables(4), self.rng)
            yield from self._chosen(parent.tree)
        parent.expanded += 1
        while parent.waiting and count:
            tree = parent.waiting.pop()
            if canonical(tree).structure not in self.seen:
                count -= 1
                yield tree

    def _chosen(self, tree: Tree) -> Iterator[Tree]:
        """Substitutions by the nearest functions, numbers kept where they have a counterpart."""
        names = self.settings.unary + self.settings.binary
        choices = select(tree, self.problem.x, self.problem.y, names, self._variables(4), self.settings.threshold)
        for choice in choices[: self.settings.proposals // 3]:
            structure = choice.apply(tree.structure)
            same = len(structure) == len(tree.structure)
            yield Tree(structure, tree.w if same else np.ones(len(structure)), tree.b if same else np.zeros(len(structure)))

    def _parent(self) -> Entry | None:
        """The entry whose turn it is: sizes in turn, within a size the best and least used one; None when all edits were tried."""
        sizes = sorted(size for size in self.niches if any(entry.waiting != [] for entry in self.niches[size]))
        if not sizes:
            return None
        # 0 0 1 0 1 2 0 1 2 3 ...: small trees have most turns, for their edits lead everywhere
        row = int((np.sqrt(8 * self.round + 1) - 1) / 2)
        niche = self.niches[sizes[(self.round - row * (row + 1) // 2) % len(sizes)]]
        order = [np.inf if entry.waiting == [] else rank + 2 * entry.expanded for rank, entry in enumerate(niche)]
        return niche[int(np.argmin(order))]

    def _shrink(self) -> None:
        """Leave out nodes of the best tree as long as the score allows."""
        improved = True
        while improved:
            start = self.best
            for tree in shrunk(start.tree):
                if not tree.structure.nodes and start.error < 1e-3:
                    continue
                entry = self._fit(canonical(tree), self.settings.starts, 60)
                if entry.score < self.best.score:
                    self.best = entry
            improved = self.best is not start
