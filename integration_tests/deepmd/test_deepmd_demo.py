"""``taafs demo`` end to end on the fall-back data, short."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from taafs_plugins import data
from taafs_plugins.cli import demo


@pytest.mark.slow
def test_demo_falls_back_to_copper_and_says_so(monkeypatch, tmp_path):
    def offline(prefix):
        raise data.DataError("no network.")

    monkeypatch.setattr(data, "fetch_folder", offline)
    monkeypatch.setattr(demo, "MD_STEPS", 50)
    console = Console(record=True, width=140)
    demo.demo(tmp_path / "out", 0.1, console)
    text = console.export_text()
    assert "labelled here by ASE's EMT" in text and "ratio" in text and "LAMMPS" in text
    for name in ("curves.png", "energy.png"):
        assert (tmp_path / "out" / name).stat().st_size > 5000
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert rows["taafs:chebyshev1"]["parameters"] == rows["tanh"]["parameters"] + 48


def test_demo_takes_the_water_data_and_says_so(water, tmp_path):
    console = Console(record=True, width=140)
    train, test, names, _ = demo.systems(tmp_path, console)
    assert "liquid water, DFT, 320 training and 80 test frames" in console.export_text()
    assert [Path(path).name for path in train + test] == ["data_0", "data_1", "data_2", "data_3"] and names == ["O", "H"]
