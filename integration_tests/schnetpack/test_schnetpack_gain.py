"""The short version of benchmarks/schnetpack_gain.py: it resumes, and TAAFS is not behind SiLU by more than the noise of the seeds."""

import importlib.util
from pathlib import Path

import pytest
from typer.testing import CliRunner

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "schnetpack_gain.py"


@pytest.fixture
def program(tmp_path):
    spec = importlib.util.spec_from_file_location("schnetpack_gain", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.RESULTS = tmp_path / "results" / "gain.json"
    return module


@pytest.mark.long
@pytest.mark.slow
def test_paired_seeds_and_resume(program):
    command = ["run", "--widths", "32", "--rates", "2e-3", "--seeds", "0,1", "--epochs", "10"]
    first = CliRunner().invoke(program.app, command, catch_exceptions=False)
    assert first.exit_code == 0
    runs = program.load().values()
    errors = {spec: [r["test"]["forces_mae"] for r in runs if r["spec"] == spec] for spec in ("taafs:chebyshev1", "silu")}
    ratio = program.paired_ratio(errors["taafs:chebyshev1"], errors["silu"])[0]
    assert ratio < 1.05  # docs/results.md: no gain, and ratios of single seeds within 5% of their mean
    assert all(r["parameters"] == min(q["parameters"] for q in runs) + 48 for r in runs if r["spec"] != "silu")
    again = CliRunner().invoke(program.app, command, catch_exceptions=False)
    assert "4 of 4 trainings are there already" in again.stdout


def test_each_side_at_its_own_best_rate(program):
    runs = [
        {"rate": rate, "seed": seed, "validation": {"forces_mae": value}}
        for rate, values in ((5e-4, (float("nan"), 1.0)), (1e-3, (2.0, 2.0)), (2e-3, (1.0, 1.5)), (4e-3, (0.5, 9.0)))
        for seed, value in enumerate(values)
    ]
    assert program.best_rate(runs) == 2e-3
    ratio, low, high = program.paired_ratio([0.9, 0.8], [1.0, 1.0])
    assert low < ratio < high and ratio == pytest.approx(0.72**0.5)
