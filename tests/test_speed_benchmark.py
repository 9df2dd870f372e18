"""The speed benchmark: its steps compute what they say, noise is told, stored figures are kept and become the page's tables."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import speed  # noqa: E402
import speed_tables  # noqa: E402
import speed_work as work  # noqa: E402


@pytest.fixture
def results(monkeypatch, tmp_path):
    monkeypatch.setattr(speed, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(speed_tables, "HERE", tmp_path)
    page = tmp_path / "speed.md"
    page.write_text(f"before\n{speed_tables.BEGIN}\nold\n{speed_tables.END}\nafter\n")
    monkeypatch.setattr(speed_tables, "PAGE", page)
    return page


def test_the_timed_step_computes_every_gradient(monkeypatch):
    models = []
    stock = torch.nn.Sequential.__init__
    monkeypatch.setattr(torch.nn.Sequential, "__init__", lambda self, *a: (models.append(self), stock(self, *a))[1])
    for step in work.mlp("taafs:fourier,share=neuron", "silu", torch.float64, 20):
        step()
    monkeypatch.undo()
    for model in models:
        assert all(p.grad is not None and bool(p.grad.any()) for p in model[:-1].parameters())
    assert any("delta" in name for model in models for name, _ in model.named_parameters())


def test_figures_are_stored_beside_older_ones_and_shown(results):
    quiet = speed.row_of("mlp", "taafs:bspline,share=layer", "tanh", "float32", 1, 10, [1.0] * 5, [1.1, 1.1, 1.1, 1.12, 1.08])
    noisy = speed.row_of("mlp", "taafs:bspline,share=neuron", "tanh", "float32", 1, 10, [1.0] * 5, [0.8, 1.0, 1.3, 1.6, 2.0])
    assert not quiet.noisy and noisy.noisy
    assert "too noisy to tell" in speed.table([noisy]) and "too noisy" not in speed.table([quiet])
    speed.write([quiet], "mlp")
    speed.write([noisy], "mlp")
    head, rows = speed_tables.stored("mlp")
    assert "torch" in head and [float(r["ratio"]) for r in rows] == [1.1, 1.3]
    speed_tables.main()
    page = results.read_text()
    assert "| tanh | float32 | 1 | 1.10 / 1.30? |" in page and "old" not in page and page.endswith("after\n")
    assert speed_tables.missed() == ["taafs:bspline,share=neuron tanh float32 1: 1.30?"]


def test_a_side_alone_is_timed_in_a_process_of_its_own():
    here = []
    assert 0 < speed.alone(lambda: here.append(sum(range(100_000))), 5) < 1 and not here


TIMING = ("speed", "families", "sweeps", "compare", "lammps_speed", "lammps_ranks", "chgnet_export", "torchani_gain", "deepmd_gain")


@pytest.mark.parametrize("program", TIMING)
def test_a_program_that_times_pins_the_allocator(program):
    text = (Path(speed.__file__).parent / f"{program}.py").read_text()
    assert "pin_malloc()" in text and "faults" in text.replace("defaults", "") or program == "lammps_ranks"


def test_programs_that_start_others_give_them_the_thresholds():
    for program in ("deepmd_training", "deepmd_compress", "lammps_speed", "lammps_ranks", "speed_work", "before_after"):
        text = (Path(speed.__file__).parent / f"{program}.py").read_text()
        assert "variables=" in text or "**PINNED" in text


def test_pairs_are_interleaved_and_both_are_timed():
    order = []
    stock, ours = speed.compare(lambda: order.append("stock"), lambda: order.append("ours"), pairs=5, threads=1, least=0.0)
    assert len(stock) == len(ours) == 5
    assert speed.compare(lambda: None, lambda: None, pairs=5, threads=1, least=0.0).faults < 10
    timed = order[5:]  # after two steps of each to warm up and one to measure
    assert timed == ["ours", "stock", "stock", "ours"] * 2 + ["ours", "stock"]
