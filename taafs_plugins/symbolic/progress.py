"""The progress display of a fit."""

from __future__ import annotations

from collections.abc import Callable

import rich.progress as bars


class Progress:
    """A bar for each tree that is searched: round, error, size and formula of the best so far.

    Parameters
    ----------
    shown : whether to show anything
    targets : number of trees
    rounds : rounds of each search
    """

    def __init__(self, shown: bool, targets: int, rounds: int):
        self.targets, self.rounds = targets, max(rounds, 1)
        columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.TextColumn("{task.completed}/{task.total}"),
                   bars.TimeElapsedColumn(), bars.TextColumn("{task.fields[best]}"))  # fmt: skip
        self.bars = bars.Progress(*columns) if shown else None

    def __enter__(self) -> Progress:
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(self, *_) -> None:
        if self.bars is not None:
            self.bars.stop()

    def target(self, k: int) -> Callable | None:
        """The function that a search of target k reports to."""
        if self.bars is None:
            return None
        task = self.bars.add_task(f"X-Net {k + 1}/{self.targets}", total=self.rounds, best="small trees")

        def report(done: int, best, trees: int) -> None:
            text = f"{trees} trees, error {best.error:.1e}, {best.tree.structure.nodes} nodes: {best.tree.structure}"
            self.bars.update(task, completed=done, best=text)

        return report
