"""The diff in patches/chgnet, for people who build chgnet from source instead of having it wrapped at run time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import chgnet
import pytest
from chgnet_helpers import fresh

ROOT = Path(__file__).resolve().parents[2]
PATCH = ROOT / "patches" / "chgnet" / "chgnet-0.4.2.patch"


@pytest.fixture(scope="module")
def patched(tmp_path_factory) -> Path:
    """A folder with a patched copy of the installed chgnet."""
    folder = tmp_path_factory.mktemp("patched")
    shutil.copytree(Path(chgnet.__file__).parent, folder / "chgnet", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(["patch", "-p1", "-i", PATCH], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0 and "fuzz" not in done.stdout and "offset" not in done.stdout, done.stdout + done.stderr
    return folder


def test_the_patch_is_small():
    hunks = PATCH.read_text().split("@@ -")[1:]
    lines = [line for hunk in hunks for line in hunk.splitlines()[1:]]
    assert len(lines) <= 20 and not any(line.startswith("-") for line in lines)
    for hunk in hunks:
        body = hunk.splitlines()[1:]
        first, last = (next(i for i, line in enumerate(order) if not line.startswith(" ")) for order in (body, body[::-1]))
        assert first <= 1 and last <= 1, "at most one line of context"


def test_a_patched_chgnet_is_not_wrapped(patched, tmp_path):
    done = fresh(
        "import chgnet, taafs_plugins as taafs\n"
        f"assert chgnet.__file__.startswith({str(patched)!r}), chgnet.__file__\n"
        "from chgnet.model import CHGNet, model\n"
        "init = CHGNet.__init__\n"
        "taafs.enable('chgnet'); taafs.enable('chgnet')\n"
        "assert CHGNet.__init__ is init and not hasattr(init, '__wrapped__') and len(model.ACTIVATION_EXTENSIONS) == 1\n"
        "net = CHGNet(non_linearity='taafs:chebyshev1')\n"
        "assert net.n_params == 412661 and net.model_args == CHGNet.from_dict(net.as_dict()).model_args\n"
        "taafs.disable('chgnet')\n"
        "assert model.ACTIVATION_EXTENSIONS == []\n",
        tmp_path,
        path=(patched,),
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.slow
def test_the_core_tests_pass_on_a_patched_chgnet(patched):
    core = ["counts", "options", "base_chooses", "initial_weights", "built_model", "round_trip", "stock_process", "wrong_arguments"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(Path(__file__).with_name("test_chgnet_adapter.py")),
         "-k", " or ".join(core)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(patched)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout and "skipped" not in done.stdout
