"""Training with CHGNet's own Trainer, and fine-tuning the pretrained network on magnetic iron."""

from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest
import torch
from chgnet_helpers import IRON, PAPER, atoms_of, fresh_predictions, mptrj, predictions, randomise, same, stock

import taafs_plugins as taafs
from taafs_plugins.adapters.chgnet.finetune import FineTuningReport, Frames, element_shift, errors, predict

TRAIN, VALIDATE, TEST = 80, 8, 52
RATIOS = dict(energy_loss_ratio=1, force_loss_ratio=0.003, stress_loss_ratio=1e-5, mag_loss_ratio=0.003)
SPEC = "taafs:chebyshev1,scale=auto"


@pytest.fixture(scope="module")
def iron() -> Frames:
    """Two-atom frames of magnetic iron in random order, their energies shifted to CHGNet's reference on the first 80."""
    small = [frame for frame in atoms_of(IRON) if len(frame) == 2]
    order = np.random.default_rng(0).permutation(len(small))[: TRAIN + VALIDATE + TEST]
    frames = Frames.from_ase([small[i] for i in order])
    return frames.shifted(element_shift(stock(), frames.subset(range(TRAIN))))


def loader(model, frames: Frames, seed: int | None = None, batch: int = 8):
    """Batches for CHGNet's Trainer; shuffled by ``seed`` if it is given."""
    from chgnet.data.dataset import collate_graphs

    generator = None if seed is None else torch.Generator().manual_seed(seed)
    return torch.utils.data.DataLoader(
        frames.dataset(model), batch_size=batch, shuffle=seed is not None, generator=generator, collate_fn=collate_graphs
    )


def trainer_for(model, epochs: int, lr: float, targets: str = "efsm", **more):
    from chgnet.trainer import Trainer

    return Trainer(model, targets=targets, learning_rate=lr, epochs=epochs, use_device="cpu", print_freq=10**6, **(RATIOS | more))


def calibrated(model, frames: Frames, spec: str = SPEC, sites=None):
    """Converted, with the scales of the first 24 frames."""
    taafs.convert(model, spec, sites=sites)
    with taafs.calibrate(model):
        model.predict_structure(list(frames.structures[:24]), task="e")
    return model


def changed(before: dict, model) -> set[str]:
    """Names of everything in the state dict that is not bitwise what it was."""
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def state_of(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


# CHGNet's Trainer -------------------------------------------------------------------------------------------------------------


def test_a_resumed_training_is_the_uninterrupted_one(iron, tmp_path):
    from chgnet.model import CHGNet
    from chgnet.trainer import Trainer

    models = []
    for stop in (2, 1):
        torch.manual_seed(0)
        model = CHGNet(non_linearity="taafs:chebyshev1,degree=3,rate=10", **PAPER)
        train, validate = loader(model, iron.subset(range(6)), batch=3), loader(model, iron.subset(range(80, 82)))
        trainer = trainer_for(model, epochs=2, lr=1e-3)
        trainer.epochs = stop
        trainer.train(train, validate, save_dir=str(tmp_path / f"run{stop}"))
        if stop == 1:
            trainer.save(str(tmp_path / "half.pth.tar"))
            resumed = Trainer.load(str(tmp_path / "half.pth.tar"))
            assert resumed.starting_epoch == 1 and resumed.epochs == 2
            resumed.train(train, validate, save_dir=str(tmp_path / "resumed"))
            model = resumed.model
        models.append(model)
    assert changed(state_of(models[0]), models[1]) == set()
    for act in taafs.trainable_activations(models[1]).values():
        assert act.delta.abs().min() > 0
    saved = next((tmp_path / "resumed").glob("epoch1_*.pth.tar"))
    again = CHGNet.from_file(str(saved))
    assert same(predictions(again, iron.structures[:2]), predictions(models[0], iron.structures[:2]))
    load = "import taafs_plugins as taafs\ntaafs.enable('chgnet')\nfrom chgnet.model import CHGNet\n"
    load += f"model = CHGNet.from_file({str(saved)!r})"
    assert same(predictions(again, mptrj(2).structures), fresh_predictions(load, tmp_path, 2))


def test_only_what_was_chosen_is_trained(iron, tmp_path):
    model = calibrated(stock(), iron)
    trained = taafs.freeze_all_but_coefficients(model, also=["mlp.layers.7.*"])
    before = state_of(model)
    frames = iron.subset(range(4))
    trainer_for(model, epochs=1, lr=1e-3).train(loader(model, frames), loader(model, frames), save_dir=str(tmp_path))
    assert changed(before, model) == set(trained)
    assert len(trained) == 17 + 2


def test_coefficients_can_have_a_learning_rate_of_their_own(iron, tmp_path):
    model = calibrated(stock(), iron, "taafs:chebyshev1,scale=auto,rate=1")
    frames = iron.subset(range(4))
    trainer = trainer_for(model, epochs=1, lr=1e-4)
    trainer.optimizer = torch.optim.Adam(taafs.parameter_groups(model, lr=1e-4, coefficient_lr=3e-3))
    trainer.scheduler = torch.optim.lr_scheduler.ExponentialLR(trainer.optimizer, 0.98)
    before = state_of(model)
    trainer.train(loader(model, frames), loader(model, frames), save_dir=str(tmp_path))
    steps = {name: float((value - before[name]).abs().max()) for name, value in model.state_dict().items()}
    for name, step in steps.items():  # Adam's first step is the learning rate
        if name.endswith(".delta"):
            assert step == pytest.approx(3e-3, rel=1e-2), name
        else:
            assert step <= 1.01e-4 + 1e-6, name


def test_frames_without_magnetic_moments_are_left_out_of_their_loss(iron, tmp_path):
    from chgnet.data.dataset import collate_graphs
    from chgnet.trainer.trainer import CombinedLoss

    model, known = calibrated(stock(), iron), mptrj(4)
    assert known.magmoms is None
    graphs, targets = collate_graphs([known.dataset(model)[i] for i in range(4)])
    prediction = model(graphs, task="efsm")
    with_m, without = CombinedLoss(target_str="efsm"), CombinedLoss(target_str="efs")
    assert torch.equal(with_m(targets, prediction)["loss"], without(targets, prediction)["loss"])

    mixed = Frames(
        *(list(a) + list(b) for a, b in zip(_labels(iron.subset(range(4))), _labels(known), strict=True)),
        magmoms=[*iron.magmoms[:4], *[None] * 4],
    )
    before = state_of(model)
    taafs.freeze_all_but_coefficients(model)
    trainer = trainer_for(model, epochs=1, lr=1e-3)
    trainer.train(loader(model, mixed, seed=0, batch=4), loader(model, known), save_dir=str(tmp_path))
    assert all(np.isfinite(trainer.training_history[key]["train"]).all() for key in "efsm")
    assert changed(before, model) == {name for name in before if name.endswith(".delta")}


def _labels(frames: Frames):
    return frames.structures, frames.energies, frames.forces, frames.stresses


# Fine-tuning the pretrained network -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finetuned(iron, tmp_path_factory):
    """0.3.0 after 80 steps on the coefficients alone: model, its state before, the report's outcome, the warnings."""
    from taafs_plugins.adapters import adapter

    adapter("chgnet").register()
    model = calibrated(stock(), iron)
    taafs.freeze_all_but_coefficients(model)
    before = state_of(model)
    report = FineTuningReport(model, iron.subset(range(TRAIN + VALIDATE, len(iron))), mptrj(12))
    train, validate = loader(model, iron.subset(range(TRAIN)), seed=1), loader(model, iron.subset(range(TRAIN, TRAIN + VALIDATE)))
    with contextlib.redirect_stdout(io.StringIO()):
        trainer_for(model, epochs=8, lr=3e-3).train(train, validate, save_dir=str(tmp_path_factory.mktemp("run")))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        outcome = report.after(model)
    return model, before, outcome, [w for w in caught if "forgotten" in str(w.message)]


@pytest.mark.slow
@pytest.mark.long
def test_coefficients_alone_bring_the_held_out_energy_error_down(finetuned):
    _model, _before, outcome, warned = finetuned
    print(outcome)
    assert outcome.new_after["e"] < 0.85 * outcome.new_before["e"]
    assert outcome.new_after["f"] < 1.1 * outcome.new_before["f"]
    assert outcome.moved_largest["e"] < 0.5 and warned == []


@pytest.mark.slow
def test_only_coefficients_changed_and_all_of_them(finetuned):
    model, before, _outcome, _warned = finetuned
    assert changed(before, model) == {f"{name}.delta" for name in taafs.trainable_activations(model)}


@pytest.mark.slow
def test_resetting_the_trained_coefficients_makes_it_worse(finetuned, iron):
    model, before, _outcome, _warned = finetuned
    held_out, trained = iron.subset(range(TRAIN + VALIDATE, len(iron))), state_of(model)
    with_training = errors(predict(model, held_out, task="e"), held_out)["e"]
    model.load_state_dict(before)
    assert errors(predict(model, held_out, task="e"), held_out)["e"] > 1.1 * with_training
    model.load_state_dict(trained)


@pytest.mark.slow
def test_the_small_file_is_the_whole_fine_tuning(finetuned, iron, tmp_path):
    model, _before, _outcome, _warned = finetuned
    taafs.save_coefficients(model, tmp_path / "iron.safetensors")
    other = stock()
    taafs.load_coefficients(other, tmp_path / "iron.safetensors")
    assert same(predictions(model, iron.structures[:3]), predictions(other, iron.structures[:3]))


@pytest.mark.long
@pytest.mark.slow
def test_training_everything_is_not_worse_with_taafs(iron, tmp_path):
    """All weights, with and without TAAFS, same start and batches. docs/results.md, four seeds: energy ratios 1.00 to 1.03, forces
    1.01 [1.00, 1.02]; so neither mean may be above 1.03. Few steps at a small learning rate, where seeds differ by less than 0.01."""
    held_out, ratios = iron.subset(range(TRAIN + VALIDATE, len(iron))), []
    for seed in (1, 2, 3):
        found = []
        for spec in (None, SPEC):
            model = stock() if spec is None else calibrated(stock(), iron)
            before = state_of(model)
            train, validate = loader(model, iron.subset(range(TRAIN)), seed=seed), loader(model, iron.subset(range(TRAIN, TRAIN + 2)))
            with contextlib.redirect_stdout(io.StringIO()):
                trainer_for(model, epochs=2, lr=1e-4, targets="ef").train(train, validate, save_dir=str(tmp_path / f"{seed}{spec}"))
            found.append(errors(predict(model, held_out, task="ef"), held_out))
            assert {f"{name}.delta" for name in taafs.trainable_activations(model)} | {"mlp.layers.0.weight"} <= changed(before, model)
        ratios.append([found[1][key] / found[0][key] for key in "ef"])
    print(ratios)
    assert (np.mean(ratios, axis=0) < 1.03).all(), ratios


# The report and the frames --------------------------------------------------------------------------------------------------------


def test_the_report_warns_of_a_ruined_network(iron):
    model, known, new = calibrated(stock(), iron), mptrj(4), iron.subset(range(3))
    report = FineTuningReport(model, new, known)
    unchanged = report.after(model)
    assert unchanged.moved_largest == dict.fromkeys("efsm", 0.0) and unchanged.new_before == unchanged.new_after
    randomise(model, size=1.0)
    with pytest.warns(UserWarning, match="of 4 known structures moved by more than 0.5 eV/atom .*has forgotten"):
        outcome = report.after(model)
    text = str(outcome)
    assert all(word in text for word in ("new: magmom", "known: energy", "known: stress", "mean change"))
    assert set(outcome.known_before) == set("efs") and set(outcome.new_before) == set("efsm")
    with torch.no_grad():
        next(iter(taafs.trainable_activations(model).values())).delta.fill_(float("nan"))
    with pytest.warns(UserWarning, match="4 of 4 known structures"):
        report.after(model)


def test_the_report_warns_of_a_forgotten_calibration(iron):
    model = stock()
    taafs.convert(model, SPEC)
    with pytest.warns(UserWarning, match="scale=auto was not measured"):
        FineTuningReport(model, iron.subset([0, 1]), mptrj(2))


def test_labels_reach_chgnet_in_its_units():
    """Stock errors on MPtrj are small in CHGNet's units and signs, and the dataset carries the same numbers."""
    known, model = mptrj(6), stock()
    found = errors(predict(model, known), known)
    assert found["f"] < 0.15 and found["s"] < 0.5
    flipped = Frames(known.structures, known.energies, known.forces, [-s for s in known.stresses])
    assert errors(predict(model, flipped), flipped)["s"] > 2 * found["s"]
    _graph, targets = known.dataset(model)[3]
    np.testing.assert_allclose(targets["s"], known.stresses[3], rtol=1e-5)
    np.testing.assert_allclose(float(targets["e"]), known.energies[3], rtol=1e-6)


def test_wrong_frames_are_named(iron):
    from ase import Atoms
    from pymatgen.core import Lattice, Structure

    with pytest.raises(ValueError, match="No frames"):
        Frames([], [], [])
    with pytest.raises(ValueError, match="140 structures but 2 energies"):
        Frames(iron.structures, [0.0, 0.0], iron.forces)
    with pytest.raises(ValueError, match="Structure 0 has 2 atoms but forces of shape"):
        Frames(iron.structures[:1], [0.0], [np.zeros((3, 3))])
    with pytest.raises(ValueError, match="Frame 0 has no energy"):
        Frames.from_ase([Atoms("Fe", pbc=True, cell=[3, 3, 3])])
    alone = Structure(Lattice.cubic(20.0), ["Fe"], [[0, 0, 0]])
    with pytest.raises(ValueError, match="cannot build the graph of structure 0"):
        Frames([alone], [0.0], [np.zeros((1, 3))]).dataset(stock())
