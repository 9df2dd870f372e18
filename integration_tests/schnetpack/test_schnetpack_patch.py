"""patches/schnetpack on a copy of the installed package: the adapter's tests pass with nothing patched at run time."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import schnetpack

HERE = Path(__file__).resolve().parent
PATCH = HERE.parents[1] / "patches" / "schnetpack" / "schnetpack-2.2.0.patch"

CHECK = """
import schnetpack, taafs_plugins
from taafs_plugins.adapters import adapter
adapter("schnetpack").register()
assert not adapter("schnetpack").patches
print(schnetpack.__file__)
"""


@pytest.fixture(scope="module")
def patched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("patched")
    shutil.copytree(Path(schnetpack.__file__).parent, folder / "schnetpack", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["patch", "-p1", "--fuzz=0", "-i", str(PATCH)], cwd=folder, check=True, capture_output=True)
    return folder


def python(patched, *arguments):
    path = os.pathsep.join([str(patched), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=HERE, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_patch_is_small():
    """At most one line of context around each change."""
    hunks = [hunk.splitlines()[1:] for part in PATCH.read_text().split("--- a/")[1:] for hunk in part.split("@@ -")[1:]]
    assert hunks and sum(line.startswith(("+", "-")) for hunk in hunks for line in hunk) < 50
    for hunk in hunks:
        for lines in (hunk, hunk[::-1]):
            assert next(i for i, line in enumerate(lines) if not line.startswith(" ")) <= 1, hunk


def test_entry_point_is_installed():
    (entry,) = entry_points(group="schnetpack.activations")
    assert entry.value == "taafs_plugins.adapters.schnetpack:build"


def test_register_patches_nothing(patched):
    assert python(patched, "-c", CHECK).strip().startswith(str(patched))


@pytest.mark.long
@pytest.mark.slow
def test_adapter_tests_with_the_patched_source(patched):
    tests = "spec_as_activation or mistakes or parameter_counts or to_the_last_bit or outside_dense"
    out = python(patched, "-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "test_schnetpack_sites.py", "-k", tests)
    summary = out.strip().splitlines()[-1]  # the status is 0; warnings above it may say "failed"
    assert " passed" in summary and "skipped" not in summary


def test_without_a_registered_package_a_string_is_refused(patched):
    out = python(patched, "-c", (
        "import schnetpack as spk, schnetpack.nn.utils as utils\n"
        "utils.entry_points = lambda group: []\n"
        "try: spk.atomistic.Atomwise(n_in=4, activation='taafs')\n"
        "except ValueError as error: print(error)"
    ))  # fmt: skip
    assert "needs one installed package" in out
