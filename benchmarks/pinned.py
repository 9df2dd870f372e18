"""What a program that times does first: glibc's thresholds held for the whole process, and page faults counted beside the times.

Blocks that a step frees go back to the system by default and come back page by page, thousands of faults a step or none, by luck.
"""

from __future__ import annotations

import os
import resource
import sys

from taafs_plugins.experiments.step_times import ALLOCATOR


def pin_malloc() -> None:
    """Start this program again with malloc's thresholds fixed, on one thread; they are read when a process starts."""
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": "1"})


def faults(who: int = resource.RUSAGE_SELF) -> int:
    """Page faults so far, of this process or (``resource.RUSAGE_CHILDREN``) of its children that have ended."""
    return resource.getrusage(who).ru_minflt


__all__ = ["ALLOCATOR", "faults", "pin_malloc"]
