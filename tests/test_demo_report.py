"""What the demo says of its figures, whatever they are."""

import numpy as np
import pytest
from rich.console import Console

from taafs_plugins.cli import demo_report
from taafs_plugins.experiments.step_times import in_turn


def rows(energy=0.5, force=0.6, moved=0.01, drift=1e-6, difference=1e-10):
    """Figures of tanh and TAAFS, the latter's errors in units of tanh's."""
    both = {"parameters": 27000, "frames": 80, "kelvin": 330.0, "ps": 0.2, "milliseconds": 12.0}
    both |= {"energy difference": difference, "force difference": difference}
    stock = {**both, "energy": 2e-3, "force": 0.2, "moved": 0.01, "drift": 1e-6}
    ours = {**both, "energy": 2e-3 * energy, "force": 0.2 * force, "moved": moved, "drift": drift, "parameters": 27048}
    return {"tanh": stock, "taafs:chebyshev1": ours}


TIMES = {"first": 0.05, "second": 0.051, "ratio": 1.02, "low": 0.99, "high": 1.05, "pairs": 60}


@pytest.mark.parametrize(
    ("figures", "times", "expected"),
    [
        ({}, {}, "the same time per step, TAAFS is better: 0.50 of tanh's energy error and 0.60 of its force error"),
        ({"energy": 1.2}, {}, "is better in part"),
        ({"energy": 1.2, "force": 1.1}, {}, "did not help"),
        ({}, {"ratio": 1.83}, "1.83 times the time per step"),
        ({"moved": 40.0}, {}, "the total energy of taafs:chebyshev1 jumped: train longer"),
        ({"moved": float("nan")}, {}, "jumped"),
        ({"drift": 5e-6}, {}, "its drift is 5.0 times tanh's"),
        ({"difference": 1e-3}, {}, "Python and LAMMPS differ, which is a bug"),
    ],
)
def test_the_verdict_follows_the_figures(figures, times, expected):
    assert expected in demo_report.verdict(rows(**figures), {**TIMES, **times})


def test_tables_and_their_explanations_fit_into_80_columns():
    console = Console(record=True, width=80)
    demo_report.accuracy(rows(), 2000, TIMES, console)
    demo_report.dynamics(rows(drift=-1.23e-4), console)
    text = console.export_text()
    assert "…" not in text and "in turn" in text
    assert {"taafs:chebyshev1", "+48", "0.50", "0.60", "1.02"} <= set(text.split())


def test_figures_of_a_run_are_its_slope_and_its_largest_distance_from_the_start():
    time = np.linspace(0, 0.2, 21)
    energy = np.stack([time, -5 + 1e-3 * time, np.full(21, 300.0)], axis=1)
    found = demo_report.figures({"energy": energy, "milliseconds": 1.0, "energy difference": 0.0, "force difference": 0.0})
    assert found["drift"] == pytest.approx(1e-3) and found["moved"] == pytest.approx(0.2) and found["kelvin"] == 300


def test_steps_are_done_in_turn_and_each_side_is_first_as_often():
    order = []
    seconds = in_turn(lambda: order.append("a"), lambda: order.append("b"), 4, lambda n: None)
    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"] and {len(values) for values in seconds.values()} == {4}


def test_pictures_are_opened_only_where_there_is_a_desktop(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)
    assert not demo_report.has_desktop()
    monkeypatch.setenv("DISPLAY", ":0")
    assert demo_report.has_desktop()
    monkeypatch.setenv("SSH_CONNECTION", "a b")
    assert not demo_report.has_desktop()
