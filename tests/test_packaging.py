"""What a release holds: the source archive is made of a copy of the checkout, the wheel of the archive, without the network."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

import taafs_plugins

ROOT = Path(__file__).resolve().parent.parent
WHEEL_NEEDS = [
    "taafs_plugins/py.typed", "taafs_plugins/data_registry.json", "taafs_plugins/configs/taafs/bspline.yaml",
    "taafs_plugins/native/csrc/ops.cpp", "taafs_plugins/native/csrc/curve.h", "taafs_plugins/native/lammps_plugin/pair_taafs.cpp",
    "taafs_plugins/native/lammps_plugin/headers/lammpsplugin.h", "taafs_plugins/native/lammps_plugin/LICENSE",
    "taafs_plugins/activations/families/molu.py", "taafs_plugins/adapters/chgnet/adapter.py", "taafs_lammps/__init__.py",
    "hydra_plugins/taafs/__init__.py",
]  # fmt: skip
# which the archive has elsewhere
PROGRAMS = ["benchmarks/speed.py", "benchmarks/results/water_tanh.pt", "docs/speed.md"]
ARCHIVE_NEEDS = [
    "LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "Makefile", "conftest.py", "constraints.txt",
    "pyproject.toml", "setup.py", "scripts/wheel", "scripts/prebuild", "scripts/environments.py",
    "tests/test_packaging.py", "tests/stored/stored_files.py", "integration_tests/chgnet/conftest.py",
    "benchmarks/speed.py", "docs/spec.md", "examples/deepmd/input_taafs.json", "patches/deepmd/deepmd-kit-3.2.0.patch",
    "scripts/find-python", *WHEEL_NEEDS,
]  # fmt: skip


def built(kind, source, target):
    """Path of the archive or wheel of ``source``."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))"
    done = subprocess.run([sys.executable, "-W", "error::DeprecationWarning", "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The archive, and the wheel made of what is in it."""
    folder = tmp_path_factory.mktemp("release")
    made = {".git", ".venv", "build", "dist", "data", "demo_output", *(path.name for path in ROOT.glob("*.egg-info"))}
    skipped = lambda where, names: [n for n in names if n == "__pycache__" or (Path(where) == ROOT and n in made)]
    shutil.copytree(ROOT, folder / "copy", ignore=skipped)
    archive = built("sdist", folder / "copy", folder)
    with tarfile.open(archive) as file:
        file.extractall(folder / "unpacked", filter="data")
    (source,) = (folder / "unpacked").iterdir()
    return archive, built("wheel", source, folder)


def names(release):
    """Files of the archive, below its one folder, and of the wheel."""
    with tarfile.open(release[0]) as archive, zipfile.ZipFile(release[1]) as wheel:
        return {name.partition("/")[2] for name in archive.getnames()}, set(wheel.namelist())


def test_the_source_archive_holds_everything_that_tests_and_patches_need(release):
    archive, _ = names(release)
    assert [name for name in ARCHIVE_NEEDS if name not in archive] == []


def test_a_wheel_made_of_the_archive_holds_every_module_and_every_file_they_read(release):
    archive, wheel = names(release)
    assert [name for name in [*WHEEL_NEEDS, *(f"taafs_plugins/programs/{name}" for name in PROGRAMS)] if name not in wheel] == []
    packages = ("taafs_plugins/", "taafs_lammps/", "hydra_plugins/")
    code = {name for name in archive if name.startswith(packages) and name.endswith((".py", ".yaml", ".cpp", ".h", ".json"))}
    assert code - wheel == set()


def test_a_wheel_holds_neither_tests_nor_compiled_files(release):
    _, wheel = names(release)
    assert {name.split("/")[0] for name in wheel if ".dist-info/" not in name} == {"taafs_plugins", "taafs_lammps", "hydra_plugins"}
    assert not [name for name in wheel if name.endswith((".so", ".pyc"))]


def test_studies_and_benchmarks_run_from_a_wheel_and_keep_their_results_in_a_folder_here(release, tmp_path):
    (tmp_path / "here").mkdir()
    with zipfile.ZipFile(release[1]) as wheel:
        wheel.extractall(tmp_path / "site")

    def taafs(*arguments):
        environ = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "taafs_plugins", *arguments]
        return subprocess.run(command, cwd=tmp_path / "here", env=environ, capture_output=True, text=True)

    listed = taafs("reproduce")
    assert "python benchmarks/deepmd_gain.py" in listed.stdout and not any((tmp_path / "here").iterdir()), listed.stderr
    assert "| TorchANI | kernelforge |" in taafs("recipe", "torchani").stdout and not any((tmp_path / "here").iterdir())
    work = tmp_path / "here" / f"taafs-benchmarks-{taafs_plugins.__version__}"
    done = taafs("bench", "--part", "nothing")
    assert done.returncode == 2 and "unknown part nothing" in done.stderr and str(work / "benchmarks" / "results") in done.stderr
    (work / "benchmarks" / "speed.py").write_text("print('mine')")
    assert taafs("bench").stdout == "mine\n"
    assert [name for name in PROGRAMS if not (work / name).is_file()] == []


def test_the_metadata_say_the_version_of_the_package_and_both_licences(release):
    _, wheel = names(release)
    with zipfile.ZipFile(release[1]) as file:
        (path,) = (name for name in wheel if name.endswith(".dist-info/METADATA"))
        metadata = HeaderParser().parsestr(file.read(path).decode())
    assert metadata["Version"] == taafs_plugins.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause AND GPL-2.0-only"
    licences = [name for name in wheel if ".dist-info/licenses/" in name]
    assert sorted(name.partition("/licenses/")[2] for name in licences) == ["LICENSE", "taafs_plugins/native/lammps_plugin/LICENSE"]


def test_no_file_of_the_release_names_a_folder_of_the_machine_it_was_made_on(release):
    home = str(ROOT).encode()
    with tarfile.open(release[0]) as archive:
        files = [member for member in archive.getmembers() if member.isfile()]
        assert not [member.name for member in files if home in archive.extractfile(member).read()]


def test_the_changelog_and_the_citation_know_the_present_version():
    assert f"## [{taafs_plugins.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {taafs_plugins.__version__}\n" in (ROOT / "CITATION.cff").read_text()
