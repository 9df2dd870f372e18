"""``taafs demo`` end to end on the fall-back data, short."""

import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from taafs_plugins import data
from taafs_plugins.cli import demo
from taafs_plugins.errors import TaafsError
from taafs_plugins.experiments import lammps


@pytest.mark.long
@pytest.mark.slow
def test_demo_falls_back_to_copper_and_says_so(monkeypatch, tmp_path):
    def offline(prefix):
        raise data.DataError("no network.")

    monkeypatch.setattr(data, "fetch_folder", offline)
    for name, short in (("MD_STEPS", 50), ("PAIRS", 4), ("EQUILIBRATION", lammps.Equilibration(20))):
        monkeypatch.setattr(demo, name, short)
    console = Console(record=True, width=80)
    demo.demo(tmp_path / "out", 0.05, console)
    text = console.export_text()
    assert "labelled here by ASE's EMT" in text and "ratio" in text and "LAMMPS" in text
    assert "Verdict. With 48 more numbers" in text and "dp --pt train input.json" in text
    assert "DEEPMD" not in text and "…" not in text and max(map(len, text.splitlines())) <= 80
    for name in ("curves.png", "energy.png"):
        assert (tmp_path / "out" / name).stat().st_size > 5000
    rows = json.loads((tmp_path / "out" / "results.json").read_text())
    assert rows["taafs:chebyshev1"]["parameters"] == rows["tanh"]["parameters"] + 48
    assert all(rows[name][f"{what} difference"] < 1e-6 for name in ("tanh", "taafs:chebyshev1") for what in ("energy", "force"))
    assert rows["step"]["pairs"] == 4 and 0.5 < rows["step"]["ratio"] < 2


def test_demo_takes_the_water_data_and_says_so(water, tmp_path):
    console = Console(record=True, width=140)
    train, test, names, _ = demo.systems(tmp_path, console)
    assert "liquid water, DFT, 320 training and 80 test frames" in console.export_text()
    assert [Path(path).name for path in train + test] == ["data_0", "data_1", "data_2", "data_3"] and names == ["O", "H"]


def test_one_side_that_fails_stops_the_other(tmp_path):
    stopped = []

    def work(side, check):
        if side.name == "tanh":
            raise ValueError("no frames")
        try:
            while True:
                check()
        except TaafsError as error:
            stopped.append(str(error))
            raise

    with pytest.raises(ValueError, match="no frames"):
        demo.both(work, [demo.Side(name, tmp_path, {}) for name in ("tanh", "taafs")])
    assert stopped == ["Stopped, because the other side failed."]


def test_what_hosts_print_goes_into_a_file(tmp_path, capfd):
    with demo.hosts_write_to(tmp_path / "log"):
        os.system("echo from outside")
        print("from Python", flush=True)
    print("after")
    assert set((tmp_path / "log").read_text().splitlines()) == {"from outside", "from Python"}
    assert capfd.readouterr().out == "after\n"
