"""Trees one edit away, with numbers to start from: what a mutation draws from (paper, 1.6) and what our search lists."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from taafs_plugins.symbolic.library import LIBRARY
from taafs_plugins.symbolic.tree import Op, Structure, Tree

COMMUTATIVE = ("+", "*")


def _splice(tree: Tree, start: int, stop: int, ops: tuple, w: np.ndarray, b: np.ndarray) -> Tree:
    """A tree with the words start ... stop of its traversal replaced."""
    whole = tree.structure.ops
    return Tree(Structure(whole[:start] + ops + whole[stop:]), np.concatenate([tree.w[:start], w, tree.w[stop:]]),
                np.concatenate([tree.b[:start], b, tree.b[stop:]]))  # fmt: skip


def canonical(tree: Tree) -> Tree:
    """The same tree with the children of + and * in a fixed order, so that one function is not fitted twice."""
    ops, w, b = _ordered(tree, 0)
    return Tree(Structure(tuple(ops)), np.array(w), np.array(b))


def _ordered(tree: Tree, i: int) -> tuple[list, list, list]:
    parts = [_ordered(tree, c) for c in tree.structure.children[i]]
    if tree.structure.ops[i] in COMMUTATIVE:
        parts.sort(key=lambda part: (len(part[0]), [str(op) for op in part[0]]))
    ops, w, b = [tree.structure.ops[i]], [tree.w[i]], [tree.b[i]]
    for part in parts:
        ops += part[0]
        w += part[1]
        b += part[2]
    return ops, w, b


def redundant(structure: Structure) -> bool:
    """Whether some node says nothing that w and b do not say already (a sum of two leaves of one variable and the like)."""
    for i, op in enumerate(structure.ops):
        if op in ("+", "-") and structure.ops[i + 1] == structure.ops[structure.children[i][1]] and isinstance(structure.ops[i + 1], int):
            return True
        if op in ("identity", "negative"):
            return True
    return False


def _new_branch(name: str, branch: tuple[Op, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """w, b of a branch that joins by + (starts small) or by * and / (starts near 1)."""
    w, b = np.ones(len(branch)), np.zeros(len(branch))
    w[0], b[0] = 0.1 * rng.standard_normal(), 0.0 if name in ("+", "-") else 1.0
    return w, b


def _join(tree: Tree, i: int, name: str, branch: tuple[Op, ...], left: bool, rng: np.random.Generator) -> Tree:
    """Node i becomes name(node i, branch), or name(branch, node i)."""
    stop = tree.structure.ends[i]
    w, b = _new_branch(name, branch, rng)
    old = tree.structure.ops[i:stop], tree.w[i:stop], tree.b[i:stop]
    new = branch, w, b
    first, second = (new, old) if left else (old, new)
    return _splice(tree, i, stop, (name, *first[0], *second[0]), np.concatenate([[1.0], first[1], second[1]]),
                   np.concatenate([[0.0], first[2], second[2]]))  # fmt: skip


def _changed(tree: Tree, unary: tuple[str, ...], binary: tuple[str, ...], variables) -> Iterator[Tree]:
    """Another function or variable in a place (substitution rule 1)."""
    for i, op in enumerate(tree.structure.ops):
        others = variables if isinstance(op, int) else (unary if LIBRARY[op].arity == 1 else binary)
        for other in others:
            if other != op:
                yield _splice(tree, i, i + 1, (other,), tree.w[i : i + 1], tree.b[i : i + 1])


def _topped(tree: Tree, unary: tuple[str, ...]) -> Iterator[Tree]:
    """A function above a node."""
    for i in range(len(tree.structure)):
        for name in unary:
            yield _splice(tree, i, i, (name,), np.ones(1), np.zeros(1))


def _grown(tree: Tree, binary: tuple[str, ...], branches: list[tuple[Op, ...]], rng: np.random.Generator) -> Iterator[Tree]:
    """A branch beside a node."""
    for i in range(len(tree.structure)):
        for name in binary:
            for branch in branches:
                yield _join(tree, i, name, branch, False, rng)
                if name not in COMMUTATIVE:
                    yield _join(tree, i, name, branch, True, rng)


def shrunk(tree: Tree) -> Iterator[Tree]:
    """Every tree in which a node has given its place to one of its children."""
    for i, children in enumerate(tree.structure.children):
        for child in children:
            stop = tree.structure.ends[child]
            ops = tree.structure.ops[child:stop]
            yield _splice(tree, i, tree.structure.ends[i], ops, tree.w[child:stop], tree.b[child:stop])


def neighbours(tree: Tree, unary: tuple[str, ...], binary: tuple[str, ...], variables, rng: np.random.Generator) -> list[Tree]:
    """All trees one edit away, in random order, those that add most (a function of a leaf) first: lists are used from their end.

    Parameters
    ----------
    tree : the tree
    unary, binary : functions that may be used
    variables : indices of the variables that may be used
    rng : generator of the order and of new numbers
    """
    leaves = [(j,) for j in variables]
    near = [*_changed(tree, unary, binary, variables), *_topped(tree, unary), *_grown(tree, binary, leaves, rng), *shrunk(tree)]
    far = list(_grown(tree, binary, [(name, j) for j in variables for name in unary], rng))
    return [group[k] for group in (far, near) for k in rng.permutation(len(group))]


def mutate(tree: Tree, unary: tuple[str, ...], binary: tuple[str, ...], variables, rng: np.random.Generator, most_nodes: int) -> Tree:
    """One to three random edits in a row: the paper's mutation, made larger."""
    for _ in range(int(rng.integers(1, 4))):
        options = [near for near in neighbours(tree, unary, binary, variables, rng) if near.structure.nodes <= most_nodes]
        tree = options[int(rng.integers(len(options)))] if options else tree
    return tree
