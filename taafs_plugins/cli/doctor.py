"""``taafs doctor``: what a machine has and what is missing, each with the way out."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from taafs_plugins.adapters import HostError, adapter, hosts


def checks() -> Iterator[tuple[str, bool | None, str]]:
    """(what, True | False | None for 'not installed, not needed', sentence) for each thing checked."""
    import torch

    yield "torch", True, torch.__version__
    for host in hosts():
        yield host, *_host(host)
    yield "LAMMPS", *_lammps()
    compiler = shutil.which("g++")
    yield "compiler", bool(compiler) or None, "g++ found" if compiler else "no g++: the Python engine is used, slower, same numbers"
    threads = os.environ.get("OMP_NUM_THREADS")
    yield "threads", True if threads else None, f"OMP_NUM_THREADS={threads or 'not set; 1 is best on small machines'}"
    mirror = os.environ.get("TAAFS_DATA_MIRROR")
    yield "data", True, f"mirror folder {mirror}" if mirror else "downloaded on demand; TAAFS_DATA_MIRROR names a folder to use instead"


def _host(host: str) -> tuple[bool | None, str]:
    if adapter(host).installed_version() is None:
        return None, f"not installed; pip install 'taafs-plugins[{host}]'"
    try:
        return True, f"version {adapter(host).check_version()}, tested"
    except HostError as error:
        return False, str(error)


def _lammps() -> tuple[bool | None, str]:
    from taafs_plugins.experiments.deepmd import command, environment

    try:
        result = subprocess.run([command("lmp"), "-h"], capture_output=True, text=True, env=environment())
    except FileNotFoundError:
        return None, "no lmp; it comes with pip install 'taafs-plugins[deepmd]'"
    if result.returncode:
        return False, f"lmp ends with status {result.returncode}; if libcudart.so.12 is missing, pip install nvidia-cuda-runtime-cu12"
    return True, result.stdout.strip().splitlines()[0].strip()
