"""The stored figures of two benchmarks keep what docs/lammps.md and docs/chgnet.md say; the timing itself is no test."""

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize("host", ["schnetpack", "torchani", "chgnet"])
def test_taafs_costs_at_most_a_twentieth_and_beats_ase(host):
    """Steps per second in LAMMPS of what ``taafs export`` writes, over stock (median of the rounds) and over the same file by ASE."""
    runs = [run for run in json.loads((RESULTS / "lammps_speed.json").read_text())["runs"] if run["host"] == host]
    assert len({run["atoms"] for run in runs}) >= 2
    for run in runs:
        assert run["rounds"] >= 5 and run["taafs / stock"][1] >= 0.95, run
        assert run["taafs / ASE"] >= 1, run


def test_an_exported_chgnet_is_faster_than_chgnet():
    """64 atoms through ASE on both sides: time over that of CHGNet's own calculator, upper quartile."""
    found = json.loads((RESULTS / "chgnet_export.json").read_text())
    assert "64 atoms" in found["structure"]
    for side in ("exported, stock", "exported, TAAFS"):
        assert found["sides"][side]["quartiles"][1] < 1, side
