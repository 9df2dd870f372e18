"""Building libraries once and keeping them, in every broken state of a machine; the compiler here is a script of a few lines."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

from taafs_plugins.native import operators, toolchain
from taafs_plugins.native.toolchain import BUILT, CACHE, FAILED, LOCK, BuildError, built_once

FINE = "import sys; open(sys.argv[sys.argv.index('-o') + 1], 'w').write('library')"
BROKEN = "print('no such header'); raise SystemExit(1)"


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A cache of its own and ``compiler(code)``, which puts a compiler on PATH, or takes it away."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)

    def compiler(code=None, version="g++ 1.0"):
        path = folder / "g++"
        path.unlink(missing_ok=True)
        if code:
            calls = f"open({str(tmp_path / 'calls')!r}, 'a').write('x')"
            asked = f"if '--version' in sys.argv: print({version!r}); sys.exit()"
            path.write_text(f"#!{sys.executable}\nimport sys\n{asked}\n{calls}\n{code}\n")
            path.chmod(0o755)

    compiler.calls = lambda: len((tmp_path / "calls").read_text()) if (tmp_path / "calls").exists() else 0
    return compiler


def test_a_library_is_built_once_and_says_which_compiler_it_was(machine, capsys):
    machine(FINE)
    path = operators.library()
    assert path.read_text() == "library" and json.loads((path.parent / BUILT).read_text())["version"] == "g++ 1.0"
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([path.name, BUILT, LOCK])
    calls = machine.calls()
    assert operators.library() == path and machine.calls() == calls
    assert capsys.readouterr().err.count("building the fused kernels") == 1


def test_a_built_library_is_used_when_the_compiler_is_another_or_gone(machine):
    machine(FINE)
    path, calls = operators.library(), machine.calls()
    machine(BROKEN, version="g++ 2.0")
    assert operators.library() == path
    machine()
    assert operators.library() == path and machine.calls() == calls


def test_a_built_library_is_used_from_a_folder_that_cannot_be_written(machine):
    machine(FINE)
    path = operators.library()
    for file in (LOCK, BUILT):
        (path.parent / file).unlink()
    path.parent.chmod(0o500)
    try:
        assert operators.library() == path and sorted(p.name for p in path.parent.iterdir()) == [path.name]
    finally:
        path.parent.chmod(0o700)


def test_without_a_compiler_the_sentence_says_what_to_install(machine):
    with pytest.raises(BuildError, match="no C\\+\\+ compiler was found \\(install g\\+\\+"):
        operators.library()


def test_a_failed_build_is_not_tried_again_until_the_user_says_so(machine):
    machine(BROKEN)
    with pytest.raises(BuildError, match="g\\+\\+ failed on them"):
        operators.library()
    calls = machine.calls()
    with pytest.raises(BuildError, match="g\\+\\+ failed on them.*to try again: taafs cache clear --failed, or rm") as caught:
        operators.library()
    assert machine.calls() == calls and "\n" not in str(caught.value)
    with pytest.raises(BuildError):
        operators.library(again=True)
    assert machine.calls() > calls
    machine(FINE)
    assert operators.library(again=True).is_file()


@pytest.mark.parametrize("change", ["another compiler", "the file removed", "the file damaged"])
def test_a_failed_build_is_tried_again_with(machine, change):
    machine(BROKEN)
    with pytest.raises(BuildError):
        operators.library()
    machine(FINE, version="g++ 2.0" if change == "another compiler" else "g++ 1.0")
    failed = next(operators.cache_folder().glob(f"*/{FAILED}"))
    if change == "the file removed":
        failed.unlink()
    if change == "the file damaged":
        failed.write_text("{")
    path = operators.library()
    assert path.is_file() and not (path.parent / FAILED).exists()


@pytest.mark.parametrize("content", ["", "librar"])
def test_a_damaged_library_is_built_again(machine, capsys, content):
    machine(FINE)
    path = operators.library()
    path.write_text(content)
    assert operators.library().read_text() == "library"
    assert "is damaged and built again" in capsys.readouterr().err


@pytest.mark.parametrize("state", ["read-only", "a file in its place"])
def test_a_cache_that_cannot_be_written_is_said_with_the_way_out(machine, monkeypatch, tmp_path, state):
    machine(FINE)
    if state == "read-only":  # also for root, who may write anywhere else
        monkeypatch.setenv(CACHE, "/proc/taafs")
    else:
        (tmp_path / "cache").write_text("")
    with pytest.raises(BuildError, match=f"cannot be written .*; name another folder in {CACHE}"):
        operators.library()


def test_without_a_home_folder_the_sentence_names_the_variable(machine, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for name in (CACHE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(toolchain.Path, "home", nowhere)
    with pytest.raises(BuildError, match=f"no home folder.*{CACHE}"):
        operators.library()


def test_a_process_that_waits_for_another_says_so_and_takes_what_that_one_built(machine, tmp_path, capsys):
    machine(FINE)
    library = tmp_path / "cache" / "one" / "lib.so"
    entered, leave = threading.Event(), threading.Event()

    def slow(compiler, out):
        entered.set()
        leave.wait(60)
        out.write_text("library")

    first = threading.Thread(target=built_once, args=(library, "it", slow))
    first.start()
    assert entered.wait(60)
    second = threading.Thread(target=built_once, args=(library, "it", None))
    second.start()
    said = ""
    while "waiting for another process that builds it" not in said:
        time.sleep(0.01)
        said += capsys.readouterr().err
    leave.set()
    first.join()
    second.join()
    assert library.read_text() == "library"


def test_what_a_killed_build_leaves_is_never_taken_for_a_library(machine, tmp_path):
    library = tmp_path / "cache" / "one" / "lib.so"
    code = f"""
import os, signal
from pathlib import Path
from taafs_plugins.native import toolchain
def build(compiler, out):
    out.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
toolchain.compiler = lambda: "g++"
toolchain.built_once(Path({str(library)!r}), "it", build)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    assert not library.exists() and list(library.parent.glob(f"{toolchain.WORK}*"))
    machine(FINE)
    assert built_once(library, "it", lambda compiler, out: out.write_text("whole")).read_text() == "whole"


NUMBERS = """
import torch, taafs_plugins as taafs
torch.manual_seed(0)
act = taafs.make_activation("taafs:bspline").double()
act.delta.data.normal_()
z = torch.linspace(-2, 2, 50, dtype=torch.float64, requires_grad=True)
(slope,) = torch.autograd.grad(act(z).sum(), z)
print(float(act(z).detach().sum()), float(slope.square().sum()))
"""
NO_HOME = """
import pathlib

def nowhere():
    raise RuntimeError("Could not determine home directory.")

pathlib.Path.home = nowhere
"""


def started(code=NUMBERS, **variables):
    """A fresh process that prints two numbers; a variable that is None is not set."""
    env = {key: value for key, value in {**os.environ, **variables}.items() if value is not None}
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def ended(process):
    """The two numbers of a process, and the lines of its stderr."""
    said, errors = process.communicate()
    assert process.returncode == 0, errors
    return [float(number) for number in said.split()], errors.splitlines()


@pytest.fixture(scope="module")
def expected():
    return ended(started(TAAFS_ENGINE="python"))[0]


@pytest.fixture
def kept(tmp_path):
    """A cache with this machine's library, whose path is given, and an empty folder for PATH."""
    (tmp_path / "bin").mkdir()
    built = operators.library()
    shutil.copytree(built.parent, tmp_path / "kept" / built.parent.name)
    return tmp_path / "kept" / built.parent.name / built.name


def no_compiler(folder):
    return {"PATH": str(folder / "bin"), "CXX": None}


def absent(folder, library):
    return {**no_compiler(folder), CACHE: str(folder / "cache")}


def unwritable(folder, library):
    return {CACHE: "/proc/taafs"}


def no_home(folder, library):
    return {"code": NO_HOME + NUMBERS, CACHE: None, "XDG_CACHE_HOME": None}


def built_elsewhere(folder, library):
    return {**no_compiler(folder), CACHE: str(folder / "kept")}


def of_another_processor(folder, library):
    library.parent.rename(library.parent.with_name(f"{library.parent.name[:-16]}0123456789abcdef"))
    return built_elsewhere(folder, library)


def damaged(folder, library):
    library.write_bytes(library.read_bytes()[:1000])
    return built_elsewhere(folder, library)


def damaged_without_record(folder, library):
    (library.parent / BUILT).unlink()
    return damaged(folder, library)


def damaged_record(folder, library):
    (library.parent / BUILT).write_text("{")
    return built_elsewhere(folder, library)


STATES = {
    # state of the machine: what the one line says; None where there is none, as the kernels are used
    absent: "no C++ compiler was found",
    unwritable: "cannot be written",
    no_home: "no home folder",
    built_elsewhere: None,
    of_another_processor: "no C++ compiler was found",
    damaged: "is damaged and no C++ compiler was found",
    damaged_without_record: "is damaged and no C++ compiler was found",
    damaged_record: None,
}


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
def test_a_broken_machine_computes_the_same_numbers_and_says_one_line(state, expected, kept, tmp_path):
    found, lines = ended(started(**state(tmp_path, kept)))
    assert found == pytest.approx(expected, rel=1e-13)
    assert len(lines) == (STATES[state] is not None) and all(STATES[state] in line and "Python engine" in line for line in lines), lines


def test_of_two_processes_at_once_one_builds_and_both_compute_the_same_numbers(expected, kept, tmp_path):
    """The compiler here is a copy of the library that is there already, which takes two seconds."""
    code = (
        f"import shutil, sys, time; time.sleep(2)\nif '-shared' in sys.argv: shutil.copy({str(kept)!r}, sys.argv[sys.argv.index('-o') + 1])"
    )
    path = tmp_path / "bin" / "g++"
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(0o755)
    both = [started(**{**no_compiler(tmp_path), CACHE: str(tmp_path / "cache")}) for _ in range(2)]
    results = [ended(process) for process in both]
    said = [line for _, lines in results for line in lines]
    assert all(found == pytest.approx(expected, rel=1e-13) for found, _ in results)
    assert sum("building the fused kernels" in line for line in said) == 1 and len(said) <= 2
    assert len(list((tmp_path / "cache").glob(f"*/{operators.LIBRARY}"))) == 1
