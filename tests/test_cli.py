"""The command line and the core's few needs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

import taafs_plugins as taafs
from taafs_plugins.activations import basis_names, family_names
from taafs_plugins.cli import app, programs
from taafs_plugins.cli.listing import FUNCTIONS
from taafs_plugins.errors import TaafsError


def run(*arguments):
    return CliRunner().invoke(app, list(arguments))


def test_the_core_needs_torch_and_numpy_alone():
    code = """
import sys
for name in ("scipy", "typer", "rich", "pooch", "safetensors", "matplotlib", "ase", "deepmd", "chgnet", "torchani", "schnetpack", "tqdm"):
    sys.modules[name] = None
import torch, taafs_plugins as taafs
print(taafs.make_activation("taafs:bspline", replaces="silu")(torch.zeros(3)).shape)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-1000:]


def test_help_and_version_need_no_torch_and_no_numpy():
    code = """
import sys
from typer.testing import CliRunner
from taafs_plugins.cli import app
for arguments in (["--help"], ["--version"], ["cache", "--help"], ["lammps", "--help"], ["demo", "--help"]):
    assert CliRunner().invoke(app, arguments).exit_code == 0, arguments
assert not {"torch", "numpy", "ase"} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-1000:]
    assert run("--version").output.strip() == f"taafs-plugins {taafs.__version__}"


def test_public_names_are_imported_when_they_are_asked_for():
    code = """
import sys, taafs_plugins
assert "torch" not in sys.modules
import taafs_plugins.activations.spec
from torch.nn import Linear
assert taafs_plugins.activations(Linear(2, 2)) == {} and taafs_plugins.activations.make_activation is taafs_plugins.make_activation
assert all(getattr(taafs_plugins, name) is not None for name in taafs_plugins.__all__)
assert set(taafs_plugins.__all__) <= set(dir(taafs_plugins))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-1000:]
    listed = ast.parse(Path(taafs.__file__).read_text())
    for_types = next(node for node in listed.body if isinstance(node, ast.If))
    names = {alias.name for node in for_types.body for alias in node.names}
    assert names - {"adapter"} | {"enable", "disable", "export"} == set(taafs.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        taafs.nothing  # noqa: B018


def test_without_its_extra_the_command_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None; import taafs_plugins.cli"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1 and "pip install '.[cli]'" in result.stderr and "Traceback" not in result.stderr


RAISED = {
    "taafs": (TaafsError("It is so; do that."), "It is so; do that."),
    "interrupt": (KeyboardInterrupt(), "Stopped."),
    "package": (ModuleNotFoundError("no", name="ase.io"), "needs ase, which is not installed; in the checkout of taafs-plugins: pip"),
    "host": (ModuleNotFoundError("no", name="chgnet"), "pip install '.[chgnet]'"),
    "file": (PermissionError(13, "Permission denied", "/x/y"), "/x/y: Permission denied."),
}


@pytest.mark.parametrize("name", RAISED)
def test_whatever_a_user_can_mend_is_one_sentence_in_every_command(name, monkeypatch):
    error, sentence = RAISED[name]

    def fails(*arguments, **options):
        raise error

    monkeypatch.setattr("taafs_plugins.data.registry", fails)
    monkeypatch.setattr("taafs_plugins.cli.listing.families", fails)
    for arguments in (("data", "list"), ("families",)):
        result = run(*arguments)
        assert result.exit_code == 1 and sentence in result.stderr and result.stderr.count("\n") == 1 and not result.stdout
        assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("error", [ModuleNotFoundError("no", name="taafs_plugins.nothing"), ZeroDivisionError()])
def test_a_bug_keeps_its_traceback(error, monkeypatch):
    def fails():
        raise error

    monkeypatch.setattr("taafs_plugins.cli.listing.families", fails)
    assert run("families").exception is error


def test_families_and_bases_are_listed_with_formula_numbers_and_smoothness(monkeypatch):
    monkeypatch.setattr("taafs_plugins.cli.main.console", Console(width=200))
    text = run("families").output
    for name in family_names():
        assert name in text
    assert "z tanh(alpha exp(beta z))" in text
    text = run("bases").output
    assert set(FUNCTIONS) == set(basis_names())
    for name in basis_names():
        assert f"taafs:{name}" in text and FUNCTIONS[name] in text
    assert "grid=5,order=3" in text and "C2" in text and "P_k^(alpha, beta)(u)" in text
    assert sum("\u2801" <= letter <= "\u28ff" for letter in text) > 5 * len(basis_names())  # pictures


def test_data_list_and_mistakes():
    assert "deepmodeling/deepmd-kit/examples/water/data/data_0/type.raw" in run("data", "list").output
    for arguments, words in (
        (("data", "get", "nothing"), "lies below"),
        (("sites", "nothing.pt"), "There is no file"),
        (("plot", __file__), "is no model file of DeePMD-kit"),
        (("reproduce", "deepmd-ku"), "Did you mean 'deepmd-cu'"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1 and words in result.output + result.stderr
        assert result.exception is None or isinstance(result.exception, SystemExit)


def test_bench_and_reproduce_run_the_programs_of_the_checkout(monkeypatch, tmp_path):
    listed = run("reproduce").output
    for name, program in programs.STUDIES.items():
        assert f"{name}: " in listed and f"python benchmarks/{program}" in listed
    command = [sys.executable, "-m", "taafs_plugins", "bench", "--part", "nothing"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2 and "unknown part nothing" in result.stderr
    result = subprocess.run([*command[:3], "reproduce", "deepmd-cu", "report"], capture_output=True, text=True)
    assert result.returncode == 0 and "Best on validation frames" in result.stdout
    monkeypatch.setattr(programs.taafs_plugins, "__file__", str(tmp_path / "lib" / "taafs_plugins" / "__init__.py"))
    result = run("bench")
    assert result.exit_code == 1 and "lacks its benchmark programs" in result.output + result.stderr
