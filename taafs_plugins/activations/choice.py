"""Which engine computes: of every family, asked for by the user or free."""

from __future__ import annotations

import os

import torch
from torch.autograd import forward_ad

ENGINES = ("fused", "python", "plain")

_forced: str | None = None


def use_engine(name: str | None) -> None:
    """Choose the engine for this process: ``fused``, ``python``, ``plain``, or ``None`` for the fastest that works.

    The environment variable ``TAAFS_ENGINE`` does the same from outside.

    Raises
    ------
    ValueError
        Unknown engine.
    """
    global _forced
    if name is not None and name not in ENGINES:
        raise ValueError(f"Unknown engine '{name}'; choose from {', '.join(ENGINES)}.")
    _forced = name


def chosen_engine() -> str | None:
    """The engine chosen by :func:`use_engine` or ``TAAFS_ENGINE``; ``None`` when the choice is free."""
    name = _forced or os.environ.get("TAAFS_ENGINE") or None
    if name is not None and name not in ENGINES:
        raise ValueError(f"TAAFS_ENGINE={name} is unknown; choose from {', '.join(ENGINES)}.")
    return name


def needs_plain_operators() -> bool:
    """Inside torch.func transforms, forward mode, torch.export and torch.compile, only plain operators can be followed."""
    return torch.compiler.is_compiling() or torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0
