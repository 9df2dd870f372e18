"""Build the compiled kernels (``csrc/``) on first use and keep them.

The library is plain C++ that registers operators with torch and links no Python, so the one file serves training, TorchScript
and DeePMD-kit inside LAMMPS (``DP_PLUGIN_PATH``). It is cached per torch version, processor and sources under
``~/.cache/taafs-plugins/fused``, or the folder that ``TAAFS_BUILD_CACHE`` names.
"""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.resources import as_file, files
from pathlib import Path

import torch

from taafs_plugins.native import prebuilt, toolchain
from taafs_plugins.native.prebuilt import ARCH, PUBLIC
from taafs_plugins.native.toolchain import CACHE, BuildError, instruction_sets

LIBRARY = "libtaafs_fused.so"
# Code paths that can be asked for on x86-64, whatever this processor could do; the kernels choose their vectors by them.
_ARCHS = {"native": "native", "baseline": "x86-64", "avx2": "x86-64-v3", "avx512": "x86-64-v4"}
SECONDS = 20

# exact.cpp must round as torch's own kernels do: no contraction of a * b + c into one operation.
_UNITS = {
    "ops.cpp": ["-O1"],
    "sweep.cpp": ["-O3"],
    "curve.cpp": ["-O2"],
    "exact.cpp": ["-O3", "-ffp-contract=off"],
}


def _architecture(name: str) -> list[str]:
    if name not in _ARCHS:
        raise BuildError(f"{ARCH}={name} is unknown (choose {', '.join(_ARCHS)})")
    if name != "native" and not prebuilt.x86():
        if name != "baseline":
            raise BuildError(f"{ARCH}={name} is for x86-64 processors only (unset it)")
        return []  # the compiler's own choice
    return [f"-march={_ARCHS[name]}"]


def flags(arch: str | None = None) -> list[str]:
    """The compiler's flags for kernels of a code path; by default what ``TAAFS_KERNEL_ARCH`` names, else this processor's own."""
    named = _architecture(arch or os.environ.get(ARCH) or "native")
    found = ["-std=c++20", "-fPIC", "-fvisibility=hidden", *named, "-fno-math-errno", "-fno-trapping-math"]
    if os.environ.get(PUBLIC):  # for tests of the form that serves versions of torch whose internals are not known
        found.append("-DTAAFS_PUBLIC_AUTOGRAD")
    if prebuilt.x86():
        found.append("-mprefer-vector-width=512")
    if sys.platform != "darwin":
        found.append("-fopenmp")
    return found


def _key(sources: Path) -> str:
    """What the library depends on. Not the compiler: one that it was built with may be gone."""
    parts = [torch.__version__, str(torch._C._GLIBCXX_USE_CXX11_ABI), toolchain.processor(), " ".join(flags()), str(_UNITS)]
    return _digest(parts, sources)


def _digest(parts: list[str], sources: Path) -> str:
    digest = hashlib.sha256("\n".join(parts).encode())
    for path in sorted(sources.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def sources_digest() -> str:
    """What a prebuilt library must have been made of: the sources and how they are compiled."""
    with _sources() as sources:
        return _digest([str(_UNITS)], sources)


def cache_folder() -> Path:
    """Where built libraries are kept.

    Raises
    ------
    BuildError
        There is no home folder.
    """
    if named := os.environ.get(CACHE):
        return Path(named)
    return toolchain.cache_root() / "fused"


def _sources():
    return as_file(files("taafs_plugins").joinpath("native/csrc"))


def library_path() -> Path:
    """Where the library for this torch and this processor lies, or would lie when it is built.

    Raises
    ------
    BuildError
        There is no home folder.
    """
    with _sources() as sources:
        return cache_folder() / f"torch{torch.__version__.split('+')[0]}-{_key(sources)}" / LIBRARY


def library(again: bool = False) -> Path:
    """Path of the library for this torch and this processor: a prebuilt one that fits, else built if it is not there yet.

    Parameters
    ----------
    again : build although the same compiler failed on the same sources before

    Raises
    ------
    BuildError
        No compiler, or it failed; the compiler's own words are kept in ``build.log`` beside the library.
    """
    if found := prebuilt.find("", LIBRARY, sources_digest()):
        return found
    return toolchain.built_once(library_path(), "the fused kernels", build, again)


def build(compiler: str, out: Path, arch: str | None = None) -> None:
    """Compile the library to ``out``.

    Parameters
    ----------
    compiler : command
    out : the library; objects are left beside it, the compiler's words two folders above
    arch : code path of a library for other machines; by default for this one

    Raises
    ------
    BuildError
        The compiler failed.
    """
    with _sources() as sources:
        _compile(compiler, sources, out, arch)


def _compile(compiler: str, sources: Path, out: Path, arch: str | None) -> None:
    toolchain.say(f"building the fused kernels{f' for {arch}' if arch else ', once'}, about {SECONDS} s")
    abi, include, libraries = toolchain.torch_flags(wheel=arch is not None)
    if arch:
        abi.append(f"-ffile-prefix-map={sources}=csrc")
    objects = [str(out.with_name(f"{unit}.o")) for unit in _UNITS]
    commands = [
        [compiler, *flags(arch), *options, *abi, *(include if unit == "ops.cpp" else []), "-c", str(sources / unit), "-o", compiled]
        for (unit, options), compiled in zip(_UNITS.items(), objects, strict=True)
    ]
    log = out.parents[1] / toolchain.LOG
    toolchain.run(commands, log, "them")
    # libgomp is not linked: torch brings its own, and two of them would fight for the cores.
    undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
    toolchain.run([[compiler, "-shared", "-o", str(out), *objects, *undefined, *libraries, "-ltorch_cpu", "-lc10"]], log, "them")


def build_operator_library(again: bool = False) -> Path:
    """Build the library if need be and return its path; ``export DP_PLUGIN_PATH=<path>`` loads it into LAMMPS.

    Raises
    ------
    BuildError
        As :func:`library`.
    """
    return library(again)


def plugin_line(path: Path) -> str:
    """The line to set before ``lmp`` runs a model that was frozen with ``TAAFS_EXPORT=operator``."""
    return f"export DP_PLUGIN_PATH={path}"


__all__ = [
    "CACHE", "LIBRARY", "SECONDS", "BuildError", "build_operator_library", "cache_folder", "instruction_sets", "library", "library_path",
    "plugin_line",
]  # fmt: skip
