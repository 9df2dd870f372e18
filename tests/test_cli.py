"""The command line and the core's few needs."""

import subprocess
import sys

from typer.testing import CliRunner

from taafs_plugins.cli import app, programs


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


def test_without_its_extra_the_command_says_what_to_install():
    code = "import sys; sys.modules['typer'] = None; import taafs_plugins.cli"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1 and "pip install 'taafs-plugins[cli]'" in result.stderr and "Traceback" not in result.stderr


def test_doctor_names_every_host_and_lammps():
    result = run("doctor")
    assert result.exit_code == 0, result.output
    for word in ("deepmd: version 3.2.0, tested", "chgnet", "torchani", "schnetpack", "LAMMPS: Large-scale"):
        assert word in result.output.replace("\n", " ")


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
    assert result.exit_code == 1 and "part of the source checkout" in result.output + result.stderr
