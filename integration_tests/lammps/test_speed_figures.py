"""The stored figures of benchmarks/lammps_speed.py keep what docs/lammps.md says; the timing itself is no test."""

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "lammps_speed.json"


@pytest.mark.parametrize("host", ["schnetpack", "torchani", "chgnet"])
def test_taafs_costs_at_most_a_twentieth_and_beats_ase(host):
    """Steps per second in LAMMPS of what ``taafs export`` writes, over stock (median of the rounds) and over the same file by ASE."""
    runs = [run for run in json.loads(RESULTS.read_text())["runs"] if run["host"] == host]
    assert len({run["atoms"] for run in runs}) >= 2
    for run in runs:
        assert run["rounds"] >= 5 and run["taafs / stock"][1] >= 0.95, run
        assert run["taafs / ASE"] >= 1, run
