"""The short version of benchmarks/deepmd_gain.py: less data, one common learning rate, and TAAFS must be better than tanh there.

The long run (docs/results.md) gives each side its own best learning rate; this one only guards what it established.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest_deepmd import dp

from taafs_plugins.experiments import deepmd

STEPS = 400


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, list[dict]]:
    """Two paired seeds of tanh and of Chebyshev on 80 frames of Cu, errors on the 31 test frames."""
    folder = tmp_path_factory.mktemp("cu")
    frames, test = deepmd.zuo_frames("Cu")
    train = deepmd.write_zuo_systems(frames[::3], folder / "train")
    held_out = deepmd.write_zuo_systems(test, folder / "test")
    rows: dict[str, list[dict]] = {"tanh": [], "taafs:chebyshev1": []}
    for activation, results in rows.items():
        for seed in (1, 2):
            run = folder / f"{activation.replace(':', '-')}_{seed}"
            model = deepmd.model_section(activation, ["Cu"], sel=[70], rcut=4.5, seed=seed)
            run.mkdir()
            (run / "input.json").write_text(json.dumps(deepmd.training_input(model, train, steps=STEPS, learning_rate=2e-3, seed=seed)))
            dp("train", "input.json", "--skip-neighbor-stat", cwd=run)
            results.append(deepmd.errors(Path(run) / f"model.ckpt-{STEPS}.pt", held_out))
    return rows


@pytest.mark.long
@pytest.mark.slow
def test_taafs_is_better_than_tanh_on_held_out_frames(runs):
    ratios = {
        key: np.array([ours[key] / stock[key] for ours, stock in zip(runs["taafs:chebyshev1"], runs["tanh"], strict=True)])
        for key in ("energy", "force")
    }
    print({key: np.round(value, 3).tolist() for key, value in ratios.items()}, runs)
    assert np.exp(np.log(np.concatenate(list(ratios.values()))).mean()) < 1
    assert np.exp(np.log(ratios["force"]).mean()) < 1
