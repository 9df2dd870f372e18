"""What the two C++ builds share (:mod:`.operators`, :mod:`.lammps`): compiler, torch's flags, cache, lock, log, and what failed before.

A folder of the cache is named after what the library depends on, not after the compiler: what a login node built serves machines
without one. Which compiler it was stands beside the library in ``built.json``, with the library's SHA-256, so that a damaged file is
built again instead of loaded; a build that failed is remembered in ``failed.json`` and not tried again by every process.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from taafs_plugins.errors import TaafsError

CACHE = "TAAFS_BUILD_CACHE"
LOCK, LOG, BUILT, FAILED = "lock", "build.log", "built.json", "failed.json"
WORK = "work-"  # start of the names of folders that a build works in
COMPILERS = ("g++", "c++", "clang++")


class BuildError(TaafsError, RuntimeError):
    """A library cannot be built here; the message is the part of a sentence that says why."""


def compiler() -> str:
    """The C++ compiler that is taken: ``CXX``, else the first of :data:`COMPILERS`.

    Raises
    ------
    BuildError
        There is none.
    """
    for name in (os.environ.get("CXX"), *COMPILERS):
        if name and shutil.which(name):
            return name
    raise BuildError("no C++ compiler was found (install g++, or name one in CXX)")


def compiler_version(name: str) -> str:
    """First line of what the compiler says of itself; empty where it does not run."""
    try:
        said = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""
    return said.strip().partition("\n")[0]


@cache
def processor() -> str:
    """What ``-march=native`` depends on."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("flags", "model name", "Features"))}))
    except OSError:
        return platform.processor() + platform.machine()


def instruction_sets() -> set[str]:
    """Of this processor, those that compiled code may use, by Linux's names; empty where they are not known."""
    names = set(re.findall(r"[a-z0-9_]+", processor()))
    return {name for name in names if re.match(r"avx|sse|ssse|fma|f16c|bmi|abm|movbe|asimd|sve", name)}


def torch_flags(wheel: bool = False) -> tuple[list[str], list[str], list[str]]:
    """(for every unit, for units that include torch, for the linker); ``wheel``: the library keeps no folder of this machine."""
    import torch

    root = Path(torch.__file__).parent
    abi = [f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]
    include = [f"-I{root / 'include'}", f"-I{root / 'include/torch/csrc/api/include'}"]
    found = str(root / "lib")
    if wheel:
        include.append(f"-ffile-prefix-map={root}=torch")
        # prebuilt/NAME/library beside torch in site-packages; Python has loaded torch before anyway
        found = ("@loader_path" if sys.platform == "darwin" else "$ORIGIN") + "/../../../../torch/lib"
    return abi, include, [f"-L{root / 'lib'}", f"-Wl,-rpath,{found}"]


def cache_root() -> Path:
    """Folder of everything that is built, where :data:`CACHE` does not name another.

    Raises
    ------
    BuildError
        There is no home folder.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taafs-plugins"
    except RuntimeError:
        raise BuildError(f"there is no home folder to keep them in; name a folder in {CACHE}") from None


@contextmanager
def lock(path: Path, what: str = "it", wait: bool = True) -> Iterator[None]:
    """One process builds, the others wait for it and say so, or do not wait.

    Raises
    ------
    BuildError
        Another process builds and ``wait`` is False; an operating system without such locks.
    """
    try:
        import fcntl
    except ImportError:
        raise BuildError("libraries are only built on Linux and macOS") from None
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise BuildError(f"another process builds {what}") from None
            say(f"waiting for another process that builds {what} ({path.parent})")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(text: str) -> None:
    """One line on stderr."""
    print(f"taafs: {text}", file=sys.stderr, flush=True)


def run(commands: list[list[str]], log: Path, what: str, at_once: int = 4, progress: Callable[[], None] = lambda: None) -> None:
    """Run commands side by side, ``progress`` after each.

    Raises
    ------
    BuildError
        One of them failed; its command and output are in ``log``.
    """

    def one(command: list[str]) -> subprocess.CompletedProcess:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    with ThreadPoolExecutor(at_once) as pool:
        for result in pool.map(one, commands):
            if result.returncode:
                pool.shutdown(wait=False, cancel_futures=True)
                log.write_text(" ".join(result.args) + "\n" + result.stdout)
                raise BuildError(f"{result.args[0]} failed on {what} (its message is in {log})")
            progress()


def whole(library: Path) -> bool:
    """Whether a library is there and is what was built; one without a record beside it (copied by hand) is taken as it is."""
    if not library.is_file():
        return False
    try:
        return record(library.parent / BUILT)["sha256"] == digest(library)
    except (OSError, KeyError):
        return library.stat().st_size > 0 and not _cut_short(library)


def _cut_short(library: Path) -> bool:
    """Whether a 64-bit ELF file ends before its table of sections, which is its last part; loading such a file can end the process."""
    with library.open("rb") as file:
        head = file.read(64)
    if head[:5] != b"\x7fELF\x02":
        return False
    order = "little" if head[5:6] == b"\x01" else "big"
    start, size, count = (int.from_bytes(head[a:b], order) for a, b in ((40, 48), (58, 60), (60, 62)))
    return len(head) < 64 or start + size * count > library.stat().st_size


def built_once(library: Path, what: str, build: Callable[[str, Path], None], again: bool = False) -> Path:
    """The library, built if it is not there yet. Needs no compiler and no right to write when it is.

    Parameters
    ----------
    library : where it is kept; everything its content depends on but the compiler is in the name of its folder
    what : for sentences
    build : ``(compiler, path)`` writes the library at a path beside, from where it is renamed
    again : try although the same compiler failed before

    Raises
    ------
    BuildError
        No compiler, a compiler that fails or failed before, or a folder that cannot be written.
    """
    if whole(library):
        return library
    folder = library.parent
    try:
        name = compiler()
    except BuildError as error:
        raise BuildError(f"{library} is damaged and {error}" if library.is_file() else str(error)) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with lock(folder / LOCK, what):
            if not whole(library):
                _build(name, library, what, build, again)
    except OSError as error:
        raise BuildError(f"{folder} cannot be written ({error.strerror or error}); name another folder in {CACHE}") from None
    return library


def _build(name: str, library: Path, what: str, build: Callable[[str, Path], None], again: bool) -> None:
    folder = library.parent
    used = {"compiler": shutil.which(name), "version": compiler_version(name)}
    failed = record(folder / FAILED)
    if not again and used.items() <= failed.items():
        raise BuildError(f"{failed.get('reason', 'it failed before')}; to try again: taafs cache clear --failed, or rm '{folder / FAILED}'")
    if library.is_file():
        say(f"{library} is damaged and built again")
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=WORK) as work:
            out = Path(work) / library.name
            build(name, out)
            write_record(folder / BUILT, {**used, "sha256": digest(out)})
            os.replace(out, library)
    except BuildError as error:
        with suppress(OSError):
            write_record(folder / FAILED, {**used, "reason": str(error)})
        raise
    (folder / FAILED).unlink(missing_ok=True)


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def record(path: Path) -> dict:
    """What a small JSON file holds; nothing where it is not there or is damaged."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_record(path: Path, content: dict) -> None:
    """A small JSON file, as :func:`write_whole`."""
    write_whole(path, json.dumps(content, indent=1))


def write_whole(path: Path, text: str) -> None:
    """A small file, renamed when it is whole."""
    written = path.with_name(f"{path.name}.{os.getpid()}")
    written.write_text(text)
    os.replace(written, path)
