"""The five rules by which a node takes another function (paper 004, section 1.4)."""

from __future__ import annotations

from taafs_plugins.symbolic.errors import XNetError
from taafs_plugins.symbolic.library import get_function
from taafs_plugins.symbolic.tree import Op, Structure


def arity(op: Op) -> int:
    """0 for a variable, else the function's number of arguments."""
    return 0 if isinstance(op, int) else get_function(op).arity


def substitute(structure: Structure, node: int, op: Op, leaves: tuple[int, ...] = (), keep: int = 0) -> Structure:
    """The structure with another function (or variable) at a node.

    1. same arity: replaced; 2. unary to binary: the child stays on the left, a leaf is added; 3. binary to unary: one child stays;
    4. to a leaf: the children go; 5. a leaf that becomes a node gets leaves.

    Parameters
    ----------
    structure : the structure
    node : index in its traversal
    op : library function or variable index
    leaves : variables of the leaves that rules 2 and 5 add
    keep : which child rule 3 keeps: 0 or 1, the one that fits better

    Raises
    ------
    XNetError
        Unknown function, no such node, or too few leaves for rules 2 and 5.
    """
    if not 0 <= node < len(structure):
        raise XNetError(f"The tree has no node {node}: choose 0 to {len(structure) - 1}.")
    children = [structure.subtree(c) for c in structure.children[node]]
    if arity(op) < len(children):
        children = [children[keep]] if arity(op) == 1 else []
    missing = arity(op) - len(children)
    if missing > len(leaves):
        raise XNetError(f"'{op}' at node {node} needs {missing} new leaf or leaves: name their variables.")
    for variable in leaves[:missing]:
        children.append((variable,))
    return structure.replace(node, (op, *(word for child in children for word in child)))
