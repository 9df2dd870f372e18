"""Memory that training frees stays in the process: glibc's thresholds, set once where a trainable activation is used.

glibc gives freed blocks of more than 128 KiB (a limit that moves) back to the system. The next step asks for the same blocks again, and
each page of them is a fault that the kernel fills with zeros: thousands a step or none, by luck. Larger thresholds (``mallopt(3)``:
M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD) keep the blocks, so that steps take the same time in every run. Freed memory then
stays at the process's largest use. ``TAAFS_MALLOC=system`` leaves the allocator alone, and so do a user's own settings of it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from collections.abc import Mapping

from taafs_plugins.errors import TaafsError

SWITCH = "TAAFS_MALLOC"
OWN = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_")  # glibc reads these itself
OTHER_ALLOCATORS = ("jemalloc", "tcmalloc", "mimalloc")
# malloc.h: parameter, value; where glibc refuses a value, the next one of the same parameter (before 2.35: half a heap at most)
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
SETTINGS = ((M_MMAP_THRESHOLD, (1 << 30, 1 << 25)), (M_TRIM_THRESHOLD, ((1 << 31) - 1,)), (M_TOP_PAD, (1 << 28,)))

_done: list[bool] = []


class AllocatorError(TaafsError, ValueError):
    """A value of ``TAAFS_MALLOC`` that means nothing."""


def left_alone(variables: Mapping[str, str]) -> str:
    """Why the allocator is not touched with these environment variables, or an empty text.

    Raises
    ------
    AllocatorError
        ``TAAFS_MALLOC`` is neither ``keep`` (the default) nor ``system``.
    """
    choice = variables.get(SWITCH, "keep") or "keep"
    if choice not in ("keep", "system"):
        raise AllocatorError(f"{SWITCH}={choice} is unknown; choose keep (the default) or system.")
    if choice == "system":
        return f"{SWITCH}=system"
    if given := [name for name in OWN if name in variables]:
        return f"{given[0]} is set"
    if "glibc.malloc." in variables.get("GLIBC_TUNABLES", ""):
        return "GLIBC_TUNABLES is set"
    if other := [name for name in OTHER_ALLOCATORS if name in variables.get("LD_PRELOAD", "")]:
        return f"{other[0]} is loaded"
    return "" if platform.libc_ver()[0] == "glibc" else "not glibc"


def keep_freed_memory(log: logging.Logger) -> bool:
    """Set glibc's thresholds, once in a process; whether they are set. Called where training with trainable activations begins.

    Parameters
    ----------
    log : gets the one line that says so

    Raises
    ------
    AllocatorError
        As :func:`left_alone`.
    """
    if not _done:
        _done.append(not left_alone(os.environ) and _set())
        if _done[0]:
            log.info("TAAFS: memory that is freed stays in this process, which makes steps equally fast (%s=system: not).", SWITCH)
    return _done[0]


def _set() -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(any(mallopt(parameter, value) for value in values) for parameter, values in SETTINGS)
