"""Libraries that a wheel brings: the best that fits torch and processor is used, and what does not fit is as if it were not there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from taafs_plugins.native import operators, prebuild, prebuilt, toolchain

ROOT = Path(__file__).resolve().parent.parent
ALL = set().union(*prebuilt.NEEDS.values())


@pytest.fixture
def brought(monkeypatch, tmp_path):
    """``brought(arch, ...)`` puts a library into an empty folder of prebuilt ones; this processor can do everything, and all load."""
    monkeypatch.setattr(prebuilt, "FOLDER", tmp_path / "prebuilt")
    monkeypatch.setattr(prebuilt, "instruction_sets", lambda: ALL)
    monkeypatch.setattr(prebuilt, "_loads", lambda path: path.read_text() != "does not load")
    monkeypatch.setenv(toolchain.CACHE, "/proc/taafs")  # nothing can be built
    for name in (prebuilt.ARCH, prebuilt.PUBLIC):
        monkeypatch.delenv(name, raising=False)

    def put(arch, content="library", **other):
        fits = prebuilt.made_for(operators.sources_digest())
        path = prebuilt.FOLDER / prebuilt.folder_name("", fits["torch"], arch) / operators.LIBRARY
        path.parent.mkdir(parents=True)
        path.write_text(content)
        toolchain.write_record(path.parent / toolchain.BUILT, {**fits, "sha256": toolchain.digest(path), **other})
        return path

    return put


@pytest.mark.parametrize(
    ("missing", "chosen"), [(set(), "avx512"), ({"avx512f"}, "avx2"), ({"avx512f", "fma"}, "baseline"), (ALL, "baseline")]
)
def test_the_best_that_this_processor_can_run_is_used_and_nothing_is_built(brought, monkeypatch, missing, chosen):
    paths = {arch: brought(arch) for arch in prebuilt.NEEDS}
    monkeypatch.setattr(prebuilt, "instruction_sets", lambda: ALL - missing)
    assert operators.library() == paths[chosen]
    assert prebuilt.describe(paths[chosen]) == f"prebuilt for torch {torch.__version__.split('+')[0]}, {chosen}"


def test_the_next_best_is_used_where_the_best_was_not_brought(brought):
    path = brought("baseline")
    assert operators.library() == path


OTHERS = {"torch": "2.5.0", "abi": "0", "sources": "0123", "system": "plan9 vax", "sha256": "0"}


@pytest.mark.parametrize("key", OTHERS)
def test_what_was_made_for_something_else_or_is_damaged_is_not_taken(brought, key):
    brought("avx2", **{key: OTHERS[key]})
    with pytest.raises(toolchain.BuildError):
        operators.library()


@pytest.mark.parametrize("record", [None, "", "[]", "{"])
def test_a_library_without_a_record_is_not_taken(brought, record):
    beside = brought("avx2").parent / toolchain.BUILT
    beside.unlink() if record is None else beside.write_text(record)
    with pytest.raises(toolchain.BuildError):
        operators.library()


def test_what_does_not_load_is_passed_over(brought):
    brought("avx512", content="does not load")
    path = brought("avx2")
    assert operators.library() == path


def test_a_code_path_that_is_asked_for_is_taken_and_native_means_one_of_its_own(brought, monkeypatch):
    paths = {arch: brought(arch) for arch in prebuilt.NEEDS}
    for arch, path in paths.items():
        monkeypatch.setenv(prebuilt.ARCH, arch)
        assert operators.library() == path
    for name, value in ((prebuilt.ARCH, "native"), (prebuilt.PUBLIC, "1")):
        monkeypatch.setenv(name, value)
        with pytest.raises(toolchain.BuildError):
            operators.library()
        monkeypatch.delenv(name)


def test_doctor_says_that_the_kernels_are_prebuilt(monkeypatch):
    from taafs_plugins.cli import doctor

    path = operators.library()
    assert "prebuilt" not in doctor.engine().text
    monkeypatch.setattr(prebuilt, "FOLDER", path.parents[1])
    monkeypatch.setattr(prebuilt, "describe", lambda found: f"prebuilt for torch 2.11.0, avx2, {found == path}")
    assert doctor.engine().text.startswith("fused, prebuilt for torch 2.11.0, avx2, True, ")


def test_a_prebuilt_library_says_for_what_it_was_made_and_names_no_folder_of_the_machine(monkeypatch, tmp_path):
    def build(compiler, out, arch):
        (out.parent / "left.o").write_text("object")
        out.write_text(arch)

    monkeypatch.setattr(prebuild.operators, "build", build)
    path = prebuild.add("fused", "avx2", tmp_path)
    assert prebuild.add("fused", "avx2", tmp_path) == path and path.read_text() == "avx2"
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([toolchain.BUILT, operators.LIBRARY])
    assert [folder.name for folder in tmp_path.iterdir()] == [path.parent.name]
    record = json.loads((path.parent / toolchain.BUILT).read_text())
    assert record.items() >= prebuilt.made_for(operators.sources_digest()).items() and "/" not in "".join(record.values())


def test_a_build_that_fails_says_why_and_leaves_nothing(monkeypatch, tmp_path, capsys):
    def build(compiler, out, arch):
        (out.parents[1] / toolchain.LOG).write_text("no such header")
        raise toolchain.BuildError("g++ failed")

    monkeypatch.setattr(prebuild.operators, "build", build)
    assert prebuild.main(["--kernels", "fused", "--into", str(tmp_path)], "") == 1
    assert "no such header" in capsys.readouterr().err and not any(tmp_path.iterdir())


NUMBERS = """
import sys
import torch, taafs_plugins as taafs
from taafs_plugins.activations.taafs import fused
from taafs_plugins.cli import doctor
assert taafs.__file__.startswith(sys.argv[1]), taafs.__file__
assert fused.operator() is not None
found = doctor.engine()
assert found.good and found.text.startswith("fused, prebuilt for torch"), found
"""


@pytest.mark.slow
@pytest.mark.long
def test_an_installed_wheel_computes_with_its_own_kernels_without_compiler_and_home(tmp_path):
    """The whole way of ``scripts/wheel``, with one code path: archive, kernels, wheel, installation."""
    (best,) = [arch for arch, needs in prebuilt.NEEDS.items() if needs <= toolchain.instruction_sets()][:1]
    command = [sys.executable, "scripts/wheel", "--plain", "--arch", best, "--kernels", "fused", "-o", str(tmp_path / "dist")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = (tmp_path / "dist").iterdir()
    assert wheel.name.partition("-py3-none-")[2] not in ("", "any.whl")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "site"), str(wheel)]
    subprocess.run(install, check=True)
    (tmp_path / "empty").mkdir()
    environ = {"PATH": str(tmp_path / "empty"), "HOME": "/proc", "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", NUMBERS, str(tmp_path / "site")]
    done = subprocess.run(command, cwd=tmp_path / "empty", env=environ, capture_output=True, text=True)
    assert done.returncode == 0 and "taafs:" not in done.stderr, done.stderr[-2000:]
    for library in (tmp_path / "site").rglob("*.so"):
        words = library.read_bytes()
        assert str(ROOT).encode() not in words and os.path.dirname(torch.__file__).encode() not in words
