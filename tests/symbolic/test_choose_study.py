"""The study of the choice of activations: what the page says follows from the stored runs."""

import itertools
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import choose_gain  # noqa: E402


def test_every_side_has_every_learning_rate_and_seed():
    rows = choose_gain.load()
    found = {(row["host"], row["base"], row["side"], row["learning_rate"], row["seed"]) for row in rows}
    assert len(found) == len(rows)
    for host, base in (("torchani", "celu"), ("torchani", "gelu"), ("deepmd", "tanh")):
        assert found >= {(host, base, *rest) for rest in itertools.product(choose_gain.SIDES, choose_gain.RATES[host], choose_gain.SEEDS)}


def test_the_table_on_the_page_is_that_of_the_stored_runs():
    assert choose_gain.START + choose_gain.table() + choose_gain.END in choose_gain.PAGE.read_text()


def test_a_learning_rate_is_chosen_on_validation_frames_alone():
    rows = [{"side": "stock", "learning_rate": rate, "validation_energy": v, "validation_force": v, "test_energy": 1 / v, "seed": seed}
            for rate, v in ((1e-3, 2.0), (2e-3, 1.0)) for seed in (1, 2)]  # fmt: skip
    rate, own = choose_gain.at_best_rate(rows, "stock")
    assert rate == 2e-3 and own == rows[2:]
