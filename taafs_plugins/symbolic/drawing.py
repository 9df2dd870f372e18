"""A picture of a tree."""

from __future__ import annotations

from collections.abc import Sequence

from taafs_plugins.symbolic.tree import Structure, Tree

_SYMBOLS = {"*": "×", "/": "÷", "-": "−", "square": "( )²", "cube": "( )³", "sqrt": "√", "negative": "−"}


def positions(structure: Structure) -> list[tuple[float, float]]:
    """Where each node stands: leaves side by side, a node in the middle above its children, depth downwards."""
    places: list = [None] * len(structure)
    column = 0

    def place(i: int, depth: int) -> float:
        nonlocal column
        children = structure.children[i]
        if children:
            across = [place(child, depth + 1) for child in children]
            middle = sum(across) / len(across)
        else:
            middle, column = float(column), column + 1
        places[i] = (middle, -float(depth))
        return middle

    place(0, 0)
    return places


def draw(tree: Tree, names: Sequence[str], ax=None):
    """Nodes with their functions, leaves with their variables, and each one's w and b.

    Parameters
    ----------
    tree : the tree
    names : of the variables
    ax : Matplotlib axes; new ones if None

    Returns
    -------
    The axes
    """
    places = positions(tree.structure)
    if ax is None:
        from matplotlib import pyplot

        width = 2.4 * (1 + max(across for across, _ in places))
        _, ax = pyplot.subplots(figsize=(max(3.0, width), 1.2 * (1 - min(down for _, down in places))))
    for i, children in enumerate(tree.structure.children):
        for child in children:
            ax.plot(*zip(places[i], places[child], strict=True), color="0.6", zorder=1)
    for i, (op, (across, down)) in enumerate(zip(tree.structure.ops, places, strict=True)):
        leaf = isinstance(op, int)
        label = names[op] if leaf else _SYMBOLS.get(op, op)
        colour = "#dcecf7" if leaf else "#fbe5c8"
        box = {"boxstyle": "round", "facecolor": colour, "edgecolor": "0.4"}
        ax.text(across, down, label, ha="center", va="center", bbox=box, zorder=2)
        ax.text(across + 0.22, down, f"w {tree.w[i]:.4g}\nb {tree.b[i]:.4g}", ha="left", va="center", fontsize=7, color="0.3")
    ax.set_xlim(-0.6, max(across for across, _ in places) + 0.9)
    ax.set_ylim(min(down for _, down in places) - 0.5, 0.5)
    ax.axis("off")
    return ax
