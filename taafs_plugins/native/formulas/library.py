"""Build the kernels of formulas on first use and keep them, as :mod:`taafs_plugins.native.operators` does with its own."""

from __future__ import annotations

import hashlib
import inspect
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import torch

from taafs_plugins.native import prebuilt, toolchain
from taafs_plugins.native.operators import cache_folder, flags
from taafs_plugins.native.toolchain import BuildError

log = logging.getLogger(__name__)
LIBRARY = "libtaafs_formulas.so"
PREFIX = "formulas-"
_OWN = ("kernels.h", "ops.cpp")
# name -> (how many numbers, expression); an expression imports SymPy itself, which only building needs
_FORMULAS: dict[str, tuple[int, Callable]] = {}


def add_formula(name: str, count: int, expression: Callable) -> None:
    """Name a formula for :func:`operator`; before the first call of an activation: the library is built once.

    Parameters
    ----------
    name : an identifier
    count : how many numbers it has
    expression : ``(z, numbers) -> Formula`` of SymPy symbols (:mod:`taafs_plugins.native.formulas.generate`)
    """
    if name not in _FORMULAS:
        _FORMULAS[name] = (count, expression)


def named_formulas() -> list[tuple[str, int, Callable]]:
    """Name, how many numbers, and expression of every formula that was added."""
    return [(name, *rest) for name, rest in _FORMULAS.items()]


@cache
def operator() -> tuple[Callable, dict[str, int]] | None:
    """``torch.ops.taafs_formulas.apply`` and the number of each formula; None, said once, where the library cannot be built."""
    formulas = named_formulas()
    try:
        torch.ops.load_library(str(library(formulas)))
    except (BuildError, OSError) as error:
        log.warning("Families of one formula run in plain operators, several times slower: their kernels cannot be built, as %s.", error)
        return None
    return torch.ops.taafs_formulas.apply.default, {name: i for i, (name, _, _) in enumerate(formulas)}


def _key(formulas: Sequence[tuple[str, int, Callable]], folder: Path) -> str:
    """What the library depends on; see :func:`taafs_plugins.native.operators.library`."""
    parts = [torch.__version__, str(torch._C._GLIBCXX_USE_CXX11_ABI), toolchain.processor(), " ".join(flags())]
    return _digest([*parts, *_sources(formulas, folder)])


def _sources(formulas: Sequence[tuple[str, int, Callable]], folder: Path) -> list[str]:
    own = ("formulas/kernels.h", "formulas/ops.cpp", "formulas/generate.py", "csrc/simd.h", "csrc/empty_node.h")
    texts = [f"{name} {count}\n{inspect.getsource(expression)}" for name, count, expression in formulas]
    return texts + [(folder / name).read_text() for name in own]


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def sources_digest(formulas: Sequence[tuple[str, int, Callable]]) -> str:
    """What a prebuilt library of these formulas must have been made of."""
    with as_file(files("taafs_plugins").joinpath("native")) as folder:
        return _digest(_sources(formulas, folder))


def library_path(formulas: Sequence[tuple[str, int, Callable]]) -> Path:
    """Where the library of these formulas lies, or would lie when it is built.

    Raises
    ------
    BuildError
        There is no home folder.
    """
    with as_file(files("taafs_plugins").joinpath("native")) as sources:
        return cache_folder() / f"{PREFIX}torch{torch.__version__.split('+')[0]}-{_key(formulas, sources)}" / LIBRARY


def library(formulas: Sequence[tuple[str, int, Callable]], again: bool = False) -> Path:
    """Path of the library of these formulas: a prebuilt one that fits torch and processor, else built if it is not there yet.

    Raises
    ------
    BuildError
        No compiler, or it failed; the compiler's own words are kept in ``build.log`` beside the library.
    """
    if found := prebuilt.find(PREFIX, LIBRARY, sources_digest(formulas)):
        return found
    path = library_path(formulas)
    return toolchain.built_once(path, "the kernels of formulas", lambda compiler, out: build(compiler, out, formulas), again)


def build(compiler: str, out: Path, formulas: Sequence[tuple[str, int, Callable]], arch: str | None = None) -> None:
    """Compile the library of these formulas to ``out``; the rest as :func:`taafs_plugins.native.operators.build`.

    Raises
    ------
    BuildError
        The compiler failed.
    """
    toolchain.say(f"building the kernels of formulas{f' for {arch}' if arch else ', once'}, about half a minute")
    with as_file(files("taafs_plugins").joinpath("native")) as sources:
        work = _written(formulas, sources, out)
        abi, include, libraries = toolchain.torch_flags(wheel=arch is not None)
        if arch:
            abi.append(f"-ffile-prefix-map={out.parent}=formulas")
        units = {"kernels.cpp": ["-O3"], "ops.cpp": ["-O1", *include]}
        log_file = out.parents[1] / toolchain.LOG
        compiled = {unit: str(work / f"{unit}.o") for unit in units}
        toolchain.run(
            [[compiler, *flags(arch), *options, *abi, "-c", str(work / unit), "-o", compiled[unit]] for unit, options in units.items()],
            log_file, "them",
        )  # fmt: skip
        undefined = ["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else []
        linked = [compiler, "-shared", "-o", str(out), *compiled.values(), *undefined, *libraries, "-ltorch_cpu", "-lc10"]
        toolchain.run([linked], log_file, "them")


def _written(formulas: Sequence[tuple[str, int, Callable]], sources: Path, out: Path) -> Path:
    """Folder with the generated sources and those that they include."""
    from taafs_plugins.native.formulas.generate import sources as generated

    work = out.parent / "formulas"
    work.mkdir()
    shutil.copytree(sources / "csrc", out.parent / "csrc")
    for own in _OWN:
        shutil.copy(sources / "formulas" / own, work / own)
    for file, text in generated(formulas).items():
        (work / file).write_text(text)
    return work
