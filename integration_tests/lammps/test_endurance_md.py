"""The short form of benchmarks/endurance_md.py: MD does not use more memory with every step."""

import importlib.util
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "endurance_md.py"
SPEC = importlib.util.spec_from_file_location("endurance_md", PROGRAM)
endurance = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(endurance)


@pytest.mark.slow
def test_memory_does_not_grow_from_step_to_step(tmp_path):
    found = endurance.run("torchani", 3000, tmp_path)
    assert found["first tenth MiB"] > 50  # LAMMPS with libtorch was looked at, not its wrapper
    assert found["growth"] < endurance.LIMIT, found
