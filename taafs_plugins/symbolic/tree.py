"""The tree of X-Net, coded by its pre-order traversal: a structure, and a structure with its w and b.

Node i outputs ``w_i f_i(children) + b_i``; a leaf is ``w_i x_j + b_i`` (paper 004, section 1.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.symbolic.library import LIBRARY, get_function

Op = str | int


@dataclass(frozen=True)
class Structure:
    """Which function stands where.

    Attributes
    ----------
    ops : pre-order traversal; a name is a library function, a number the index of a variable
    """

    ops: tuple[Op, ...]

    @classmethod
    def parse(cls, text: str) -> Structure:
        """From words in pre-order, as ``"+ cube x0 x0"``.

        Raises
        ------
        XNetError
            Unknown word, or words missing or left over.
        """
        structure = cls(tuple(int(word[1:]) if word[0] == "x" and word[1:].isdigit() else word for word in text.split()))
        structure.check()
        return structure

    def check(self) -> None:
        """Raise an XNetError unless the traversal codes exactly one tree."""
        open_places = 1
        for i, op in enumerate(self.ops):
            open_places += (get_function(op).arity if isinstance(op, str) else 0) - 1
            if open_places == 0 and i + 1 < len(self.ops):
                raise XNetError(f"The tree '{self}' is complete after {i + 1} of its {len(self.ops)} words: leave the rest out.")
        if open_places != 0:
            raise XNetError(f"The tree '{self}' lacks {open_places} leaf or leaves: each function needs its children after it.")

    def __str__(self) -> str:
        return " ".join(op if isinstance(op, str) else f"x{op}" for op in self.ops)

    def __len__(self) -> int:
        return len(self.ops)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the children of each node."""
        found: list[tuple[int, ...]] = [()] * len(self.ops)
        stack: list[int] = []
        for i in reversed(range(len(self.ops))):
            op = self.ops[i]
            if isinstance(op, str):
                found[i] = tuple(stack.pop() for _ in range(LIBRARY[op].arity))
            stack.append(i)
        return tuple(found)

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """One past the last node of the subtree at each node."""
        ends = list(range(1, len(self.ops) + 1))
        for i in reversed(range(len(self.ops))):
            if self.children[i]:
                ends[i] = ends[self.children[i][-1]]
        return tuple(ends)

    @cached_property
    def parents(self) -> tuple[tuple[int, int], ...]:
        """Parent of each node and which of its children the node is; the root has (-1, 0)."""
        found = [(-1, 0)] * len(self.ops)
        for i, children in enumerate(self.children):
            for slot, child in enumerate(children):
                found[child] = (i, slot)
        return tuple(found)

    @property
    def nodes(self) -> int:
        """Number of nodes that compute: leaves are not counted (the paper's sqrt(x) has one)."""
        return sum(isinstance(op, str) for op in self.ops)

    @property
    def parameters(self) -> int:
        """Two numbers for each node and leaf."""
        return 2 * len(self.ops)

    def subtree(self, i: int) -> tuple[Op, ...]:
        """Traversal of the subtree at node i."""
        return self.ops[i : self.ends[i]]

    def replace(self, i: int, ops: Iterable[Op]) -> Structure:
        """The structure with another subtree at node i."""
        return Structure(self.ops[:i] + tuple(ops) + self.ops[self.ends[i] :])

    def names(self) -> set[str]:
        """Functions in its nodes."""
        return {op for op in self.ops if isinstance(op, str)}

    def variables(self) -> set[int]:
        """Indices of the variables in its leaves."""
        return {op for op in self.ops if isinstance(op, int)}


@dataclass
class Tree:
    """A structure with its numbers.

    Attributes
    ----------
    structure : which function stands where
    w, b : float64 arrays of shape (len(structure),)
    """

    structure: Structure
    w: np.ndarray
    b: np.ndarray

    @classmethod
    def constant(cls, value: float) -> Tree:
        """A single leaf that outputs a constant."""
        return cls(Structure((0,)), np.zeros(1), np.array([float(value)]))

    def copy(self) -> Tree:
        """A tree whose numbers can be changed apart from this one's."""
        return Tree(self.structure, self.w.copy(), self.b.copy())
