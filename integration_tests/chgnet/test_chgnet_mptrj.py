"""Training on MPtrj frames, which carry no magnetic moments: alone, and beside magnetic iron so that the network forgets less."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from chgnet_helpers import IRON, atoms_of, mptrj, stock

import taafs_plugins as taafs
from taafs_plugins.adapters.chgnet.finetune import FineTuningReport, Frames, element_shift, errors, predict
from taafs_plugins.experiments.chgnet import fine_tune

SPEC = "taafs:chebyshev1,scale=auto"


@pytest.fixture(scope="module")
def known() -> Frames:
    """MPtrj frames of different materials with at most eight atoms, none of them isolated."""
    frames, converter = mptrj(120, largest=8), stock().graph_converter

    def connected(structure) -> bool:
        try:
            return converter(structure) is not None
        except ValueError:
            return False

    frames = frames.subset([i for i, structure in enumerate(frames.structures) if connected(structure)])
    assert len(frames) >= 115 and frames.magmoms is None
    return frames


@pytest.fixture(scope="module")
def iron() -> Frames:
    """140 two-atom frames of magnetic iron in random order, their energies shifted to CHGNet's reference on the first 80."""
    small = [frame for frame in atoms_of(IRON) if len(frame) == 2]
    frames = Frames.from_ase([small[i] for i in np.random.default_rng(0).permutation(len(small))[:140]])
    return frames.shifted(element_shift(stock(), frames.subset(range(80))))


def converted(frames: Frames):
    """0.3.0 with calibrated trainable activations."""
    model = stock()
    taafs.convert(model, SPEC)
    with taafs.calibrate(model):
        model.predict_structure(list(frames.structures[:24]), task="e")
    return model


def together(iron: Frames, known: Frames) -> Frames:
    """Both, each with its own energy reference taken off; no magnetic moments for the second."""
    known = known.shifted(element_shift(stock(), known))
    labels = [[*getattr(iron, name), *getattr(known, name)] for name in ("structures", "energies", "forces", "stresses")]
    return Frames(*labels, magmoms=[*iron.magmoms, *[None] * len(known)])


@pytest.mark.slow
def test_moments_that_are_not_there_are_left_out_of_training(known):
    """All weights and coefficients on MPtrj with every target: the moments' own readout keeps its bits, all else that is read moves."""
    train, validate, held_out = known.subset(range(32)), known.subset(range(32, 36)), known.subset(range(80, 112))
    model = converted(train)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    errors_before, moments = errors(predict(model, train), train), predict(model, held_out, task="em")
    trainer = fine_tune(model, train, validate, lr=1e-4, epochs=4, seed=1, targets="efsm")
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert {"site_wise.weight", "site_wise.bias"} <= before.keys() and not any(name.startswith("site_wise.") for name in changed)
    assert {f"{name}.delta" for name in taafs.trainable_activations(model)} <= changed and "mlp.layers.0.weight" in changed
    for key in "efs":
        assert np.isfinite(trainer.training_history[key]["train"]).all()
    after = errors(predict(model, train), train)
    print(errors_before, after)
    assert after["e"] < errors_before["e"]
    change = [np.abs(b["m"] - a["m"]).max() for a, b in zip(moments, predict(model, held_out, task="em"), strict=True)]
    assert max(change) < 0.05  # muB: the network's moments stay


@pytest.mark.long
@pytest.mark.slow
def test_mptrj_frames_beside_the_new_data_halve_the_forgetting(iron, known):
    """The coefficients alone on iron with magnetic moments, with and without MPtrj frames without: held-out iron gets better both
    times, and held-out MPtrj structures move about half as far with them (docs/chgnet.md)."""
    train, validate, new = iron.subset(range(80)), iron.subset(range(80, 88)), iron.subset(range(88, 140))
    unseen = known.subset(range(60, 112))
    outcomes = []
    for frames in (train, together(train, known.subset(range(40)))):
        model = converted(train)
        taafs.freeze_all_but_coefficients(model)
        report = FineTuningReport(model, new, unseen)
        with contextlib.redirect_stdout(io.StringIO()):
            fine_tune(model, frames, validate, lr=3e-3, epochs=8, seed=1)
        outcomes.append(report.after(model))
    alone, mixed = outcomes
    print(alone, mixed, sep="\n")
    assert alone.new_after["e"] < 0.85 * alone.new_before["e"] and mixed.new_after["e"] < 0.92 * mixed.new_before["e"]
    assert mixed.moved_mean["e"] < 0.7 * alone.moved_mean["e"]
    assert mixed.known_after["e"] < alone.known_after["e"]
