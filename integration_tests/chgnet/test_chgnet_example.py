"""The example runs as it stands, here with few frames."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.long
def test_the_example_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "chgnet" / "finetune.py"), "--frames", "8", "--epochs", "1", "--out", str(tmp_path)],
        capture_output=True, text=True, timeout=600, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "412525 + 136 = 412661" in done.stdout
    assert "unchanged to the last bit by conversion: True" in done.stdout
    assert "loaded model predicts the same forces to the last bit: True" in done.stdout
    for name in ("model.pth.tar", "iron.safetensors", "learning_curves.png", "parity.png"):
        assert (tmp_path / name).stat().st_size > 1000, name


def test_the_example_names_wrong_choices(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "chgnet" / "finetune.py"), "--train", "coefs"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert all(word in done.stderr for word in ("coefficients", "readout", "all", "coefs"))


@pytest.mark.parametrize(
    ("option", "mirror", "message"),
    [
        (["--spec", "taafs:chebishev1"], None, "Did you mean 'chebyshev1'?"),
        ([], "nowhere", "TAAFS_DATA_MIRROR=nowhere has no fe_magnetic/fe.extxyz"),
    ],
)
def test_the_example_answers_a_mistake_with_one_sentence(tmp_path, option, mirror, message):
    environment = os.environ if mirror is None else {**os.environ, "TAAFS_DATA_MIRROR": mirror}
    command = [sys.executable, str(ROOT / "examples" / "chgnet" / "finetune.py"), "--frames", "2", *option]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 1 and "Traceback" not in done.stderr and message in done.stderr.splitlines()[-1]
