"""examples/lammps runs as it stands (here with few frames and steps)."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
@pytest.mark.slow
def test_example(tmp_path):
    folder = tmp_path / "lammps"
    shutil.copytree(ROOT / "examples" / "lammps", folder, ignore=shutil.ignore_patterns("*.pt", "*.pth.tar", "*.log", "*.dump"))
    (folder / "iron.png").unlink()
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"FRAMES": "8", "EPOCHS": "2", "STEPS": "20", "PATH": path, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "run.sh"], cwd=folder, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "136" in done.stdout and "validation frames" in done.stdout and done.stdout.count("Compared: chgnet, float32") == 2
    lines = done.stdout.splitlines()[-2:]
    words = r"lattice constant ([\d.]+) A, magnetic moment ([\d.]+) muB, ([\d.]+) K, .* by ([-+\d.]+) meV"
    numbers = [re.search(words, line) for line in lines]
    for lattice, moment, kelvin, change in ([float(x) for x in found.groups()] for found in numbers):
        assert 2.7 < lattice < 3.0 and 1.5 < moment < 3.0 and 50 < kelvin < 400 and abs(change) < 0.2
    last = [(folder / f"{name}.pt.dump").read_text().split("f_moments")[-1].split() for name in ("stock", "iron")]
    assert len(last[0]) == len(last[1]) == 16 * 9 and last[0] != last[1]
    assert (folder / "iron.png").stat().st_size > 10_000
