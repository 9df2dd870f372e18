"""Libraries that a platform wheel brings (``prebuilt/``, made by :mod:`.prebuild`), and which of them fits this torch and processor.

A folder for each library, torch and code path, ``torch2.11.0-avx2`` with the library and ``built.json``: the digest of the sources that
it was made of, and for what. Nothing is taken that was made of other sources, for another torch or for instructions that this
processor lacks, nor what does not load; then the kernels are built on first use as without a wheel.
"""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from pathlib import Path

from taafs_plugins.native.toolchain import BUILT, instruction_sets, record, whole

ARCH = "TAAFS_KERNEL_ARCH"
PUBLIC = "TAAFS_PUBLIC_AUTOGRAD"
FOLDER = Path(__file__).with_name("prebuilt")
_AVX2 = {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"}
# What the levels x86-64-v4, -v3 and x86-64 ask for beyond each other, by Linux's names; the best first. Other kinds have a baseline.
NEEDS = {"avx512": _AVX2 | {f"avx512{part}" for part in ("f", "bw", "cd", "dq", "vl")}, "avx2": _AVX2, "baseline": set()}


def x86() -> bool:
    """Whether this processor is of the kind that has the code paths ``avx2`` and ``avx512``."""
    return platform.machine().lower() in ("x86_64", "amd64")


def made_for(sources: str) -> dict[str, str]:
    """What must be the same here as where a library was prebuilt, beside its code path; ``sources`` is their digest."""
    import torch

    abi = str(int(torch._C._GLIBCXX_USE_CXX11_ABI))
    return {"torch": torch.__version__.split("+")[0], "abi": abi, "system": f"{sys.platform} {platform.machine()}", "sources": sources}


def folder_name(prefix: str, release: str, arch: str) -> str:
    """Name of the folder of one library; ``prefix`` says which library it is."""
    return f"{prefix}torch{release}-{arch}"


def find(prefix: str, library: str, sources: str) -> Path | None:
    """The prebuilt library that fits best, loaded; None where none does, or where ``TAAFS_KERNEL_ARCH=native`` asks for one of its own.

    Parameters
    ----------
    prefix, library : as :func:`folder_name`; name of the file
    sources : digest of what the library is made of
    """
    wanted = os.environ.get(ARCH)
    if os.environ.get(PUBLIC) or not FOLDER.is_dir():
        return None
    fits = made_for(sources)
    for arch, needs in NEEDS.items():
        path = FOLDER / folder_name(prefix, fits["torch"], arch) / library
        if wanted in (None, "", arch) and needs <= instruction_sets() and _is(path, fits) and _loads(path):
            return path
    return None


def describe(path: Path) -> str:
    """``prebuilt for torch 2.11.0, avx2`` for a library of the wheel; empty for one that was built here."""
    if not path.is_relative_to(FOLDER):
        return ""
    release, _, arch = path.parent.name.partition("torch")[2].rpartition("-")
    return f"prebuilt for torch {release}, {arch}"


def _is(path: Path, fits: dict[str, str]) -> bool:
    return whole(path) and fits.items() <= record(path.parent / BUILT).items()


@cache
def _loads(path: Path) -> bool:
    """The last word: an older libstdc++ or another build of torch shows here."""
    import torch

    try:
        torch.ops.load_library(str(path))
    except OSError:
        return False
    return True
