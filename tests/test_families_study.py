"""The study of the families: what is chosen by what, and that docs/families.md shows the stored runs."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import families_gain  # noqa: E402
import families_page  # noqa: E402

from taafs_plugins.activations import resolve_spec  # noqa: E402
from taafs_plugins.errors import TaafsError  # noqa: E402
from taafs_plugins.experiments import families  # noqa: E402


def row(activation, rate, seed, validation, test, data="copper"):
    errors = {"validation_energy": validation, "validation_force": validation, "test_energy": test, "test_force": 2 * test}
    more = {"date": "2026-11-28", "versions": {"torch": "2.11.0"}, "size": "small", "data": data}
    return {"activation": activation, "learning_rate": rate, "seed": seed, **errors, **more}


ROWS = [row("tanh", 0.01, 1, 2.0, 1.0), row("tanh", 0.02, 1, 1.0, 4.0), row("gelu", 0.01, 1, 3.0, 0.1), row("leaf", 0.01, 1, 0.5, 2.0),
        row("leaf", 0.02, 1, 0.9, 0.01)]  # fmt: skip


def test_validation_frames_choose_and_test_frames_judge():
    assert families_page.best(ROWS) == {"tanh": 0.02, "gelu": 0.01, "leaf": 0.01}
    runs = families_page.at_best(ROWS)
    assert families_page.best_stock(runs, ("tanh", "gelu")) == "tanh"
    line = next(line for line in families_page.table("copper", ROWS).splitlines() if "`leaf`" in line)
    assert line == "| `leaf` | 0.01, 2 | 1 | 500 | 0.5 | 2e+03 | 4 | 0.50 | 0.50 |"


def test_one_seed_has_no_interval_and_is_called_a_first_look():
    assert families_page.ratio({1: ROWS[3]}, {1: ROWS[1]}, "test_energy") == "0.50"
    pairs = [({s: {"e": 2.0}} | {2: {"e": 4.0}}, {s: {"e": 2.0}} | {2: {"e": 2.0}}) for s in (1,)]
    assert families_page.ratio(*pairs[0], "e") == "1.41 [0.16, 12.61]"
    assert "**one seed (1): a first look, no interval**" in families_page.facts("copper", "small", ROWS)
    assert "seeds 1, 2" in families_page.facts("copper", "small", [*ROWS, row("tanh", 0.02, 2, 1.0, 1.0)])


def test_the_page_shows_the_stored_runs():
    rows = families_gain.load()
    shown = families_page.PAGE.read_text().split(families_page.START)[1].split(families_page.END)[0]
    assert shown.strip() == families_page.tables(rows).strip()
    assert rows and all({"date", "versions", "machine", "seconds"} <= set(r) for r in rows)


def test_every_activation_of_the_study_is_one_and_mistakes_are_sentences():
    for side in families.DATA.values():
        for spec in side.activations[len(side.stock) :]:
            resolve_spec(spec)
    with pytest.raises(TaafsError, match="Unknown --data 'coper'. Did you mean 'copper'"):
        families_gain.checked("coper", "small")
    with pytest.raises(TaafsError, match="Unknown --size 'ful'. Did you mean 'full'"):
        families_gain.checked("all", "ful")
