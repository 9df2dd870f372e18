"""Build the compiled kernels (``csrc/``) on first use and keep them.

The library is plain C++ that registers operators with torch and links no Python, so the one file serves training, TorchScript
and DeePMD-kit inside LAMMPS (``DP_PLUGIN_PATH``). It is cached per torch version, compiler and processor under
``~/.cache/taafs-plugins/fused``, or the folder that ``TAAFS_BUILD_CACHE`` names.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import torch

CACHE = "TAAFS_BUILD_CACHE"
LIBRARY = "libtaafs_fused.so"
ARCH = "TAAFS_KERNEL_ARCH"
PUBLIC = "TAAFS_PUBLIC_AUTOGRAD"
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


class BuildError(RuntimeError):
    """The kernels cannot be built here; the message is one sentence that says why."""


def _compiler() -> str:
    for name in (os.environ.get("CXX"), "g++", "c++", "clang++"):
        if name and shutil.which(name):
            return name
    raise BuildError("no C++ compiler was found (install g++, or name one in CXX)")


def _architecture() -> str:
    name = os.environ.get(ARCH) or "native"
    if name not in _ARCHS:
        raise BuildError(f"{ARCH}={name} is unknown (choose {', '.join(_ARCHS)})")
    if name != "native" and platform.machine().lower() not in ("x86_64", "amd64"):
        raise BuildError(f"{ARCH}={name} is for x86-64 processors only (unset it)")
    return f"-march={_ARCHS[name]}"


def _flags() -> list[str]:
    flags = ["-std=c++20", "-fPIC", "-fvisibility=hidden", _architecture(), "-fno-math-errno", "-fno-trapping-math"]
    if os.environ.get(PUBLIC):  # for tests of the form that serves versions of torch whose internals are not known
        flags.append("-DTAAFS_PUBLIC_AUTOGRAD")
    if platform.machine().lower() in ("x86_64", "amd64"):
        flags.append("-mprefer-vector-width=512")
    if sys.platform != "darwin":
        flags.append("-fopenmp")
    return flags


@cache
def _processor() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("flags", "model name", "Features"))}))
    except OSError:
        return platform.processor() + platform.machine()


def instruction_sets() -> set[str]:
    """Of this processor, those that compiled code may use, by Linux's names; empty where they are not known."""
    names = set(re.findall(r"[a-z0-9_]+", _processor()))
    return {name for name in names if re.match(r"avx|sse|ssse|fma|f16c|bmi|abm|movbe|asimd|sve", name)}


def _key(sources: Path, compiler: str) -> str:
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
    parts = [torch.__version__, str(torch._C._GLIBCXX_USE_CXX11_ABI), version, _processor(), " ".join(_flags()), str(_UNITS)]
    digest = hashlib.sha256("\n".join(parts).encode())
    for path in sorted(sources.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Where built libraries are kept."""
    if named := os.environ.get(CACHE):
        return Path(named)
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "taafs-plugins" / "fused"


@contextmanager
def _lock(path: Path):
    """One process builds, the others wait for it."""
    try:
        import fcntl
    except ImportError:
        raise BuildError("the kernels are only built on Linux and macOS") from None
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def library() -> Path:
    """Path of the library for this torch and this processor; built if it is not there yet.

    Raises
    ------
    BuildError
        No compiler, or it failed; the compiler's own words are kept in ``build.log`` beside the library.
    """
    compiler = _compiler()
    with as_file(files("taafs_plugins").joinpath("csrc")) as sources:
        folder = cache_folder() / f"torch{torch.__version__.split('+')[0]}-{_key(sources, compiler)}"
        target = folder / LIBRARY
        if target.is_file():
            return target
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder / "lock"):
                if not target.is_file():
                    print(f"taafs: building the fused kernels, once, about {SECONDS} s", file=sys.stderr, flush=True)
                    _build(compiler, sources, folder, target)
        except OSError as error:
            raise BuildError(f"{folder} cannot be written ({error.strerror}); name another folder in {CACHE}") from None
    return target


def _build(compiler: str, sources: Path, folder: Path, target: Path) -> None:
    root = Path(torch.__file__).parent
    include = [f"-I{root / 'include'}", f"-I{root / 'include/torch/csrc/api/include'}"]
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"
    with tempfile.TemporaryDirectory(dir=folder) as work:
        objects = [str(Path(work) / f"{unit}.o") for unit in _UNITS]
        commands = [
            [compiler, *_flags(), *options, abi, *(include if unit == "ops.cpp" else []), "-c", str(sources / unit), "-o", out]
            for (unit, options), out in zip(_UNITS.items(), objects, strict=True)
        ]
        # libgomp is not linked: torch brings its own, and two of them would fight for the cores.
        out = str(Path(work) / LIBRARY)
        undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
        libraries = [f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10", f"-Wl,-rpath,{root / 'lib'}"]
        commands.append([compiler, "-shared", "-o", out, *objects, *undefined, *libraries])
        _run(commands[:-1], folder / "build.log")
        _run(commands[-1:], folder / "build.log")
        os.replace(out, target)


def _run(commands: list[list[str]], log: Path) -> None:
    """Run commands side by side; raise with the first failure's output kept in ``log``."""
    running = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for c in commands]
    outputs = [process.communicate()[0] for process in running]
    for command, process, output in zip(commands, running, outputs, strict=True):
        if process.returncode:
            log.write_text(" ".join(command) + "\n" + output)
            raise BuildError(f"{command[0]} failed on them (its message is in {log})")


def build_operator_library() -> Path:
    """Build the library if need be and return its path; ``export DP_PLUGIN_PATH=<path>`` loads it into LAMMPS.

    Raises
    ------
    BuildError
        As :func:`library`.
    """
    return library()


def plugin_line(path: Path) -> str:
    """The line to set before ``lmp`` runs a model that was frozen with ``TAAFS_EXPORT=operator``."""
    return f"export DP_PLUGIN_PATH={path}"
