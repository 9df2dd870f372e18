"""examples/schnetpack runs as it stands (here for one epoch and a few steps)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.slow
def test_example(tmp_path):
    folder = tmp_path / "schnetpack"
    shutil.copytree(ROOT / "examples" / "schnetpack", folder, ignore=shutil.ignore_patterns("data", "runs", "md"))
    (folder / "ethanol.png").unlink(missing_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"EPOCHS": "1", "STEPS": "20", "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "run.sh"], cwd=folder, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = done.stdout.splitlines()[-3:]
    assert lines[0].startswith("SiLU  test:") and lines[1].startswith("TAAFS test:") and lines[2].startswith("NVE:")
    assert (folder / "ethanol.png").stat().st_size > 10_000
