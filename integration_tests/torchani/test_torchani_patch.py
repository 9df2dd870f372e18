"""patches/torchani: applied with ``patch -p1`` to a copy of the installed TorchANI, the adapter patches nothing at run time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torchani

HERE = Path(__file__).parent
PATCH = HERE.parents[1] / "patches" / "torchani" / "torchani-2.9.0.patch"

UNTOUCHED = """
import torchani
from torchani.nn import ANINetworks, AtomicNetwork, BmmAtomicNetwork
import taafs_plugins as taafs
from taafs_plugins.adapters import adapter
def code():
    parts = [AtomicNetwork.__init__, BmmAtomicNetwork.__init__, ANINetworks.build.__func__, torchani.nn.parse_activation]
    parts += [ANINetworks.legacy_state_dict, torchani.nn.MNPNetworks.__init__]
    return [p.__code__.co_filename for p in parts]
files = set(code())
adapter("torchani").register()
model = ANINetworks.like_1x(activation="taafs:bspline,share=network")
assert taafs.count_parameters(model) == 326660 + 32
assert set(code()) == files and all(PATCHED in f for f in files), code()
adapter("torchani").unregister()
assert torchani.nn._core.activation_plugin is None
print("untouched")
"""


def test_the_patch_is_small():
    """At most one line of context around each change."""
    run = longest = 0
    for line in PATCH.read_text().splitlines():
        run = run + 1 if line.startswith(" ") else 0
        longest = max(longest, run)
    assert longest <= 2  # the line after one change and the line before the next
    assert len(PATCH.read_text().splitlines()) < 150


@pytest.mark.long
@pytest.mark.slow
def test_core_tests_pass_without_patching_at_run_time(tmp_path):
    package = tmp_path / "torchani"
    shutil.copytree(Path(torchani.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(["patch", "-p1", "--fuzz=0", "-i", str(PATCH)], cwd=tmp_path, check=True, capture_output=True)
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    code = f"PATCHED = {str(tmp_path)!r}\n" + UNTOUCHED
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "untouched", done.stderr
    wanted = "not registration_is_undone and not fresh_process and not rational"
    tests = [str(HERE / "test_torchani_sites.py"), str(HERE / "test_torchani_roundtrip.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", wanted, *tests],
        env=env, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
