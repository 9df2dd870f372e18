"""``spktrain`` on real rMD17 ethanol (200 frames): stock and TAAFS, checkpoints, EMA, clipping, resume, DDP, fine-tuning."""

import numpy as np
import pytest
import pytorch_lightning as pl
import schnetpack as spk
import torch
from ase import units
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from nve_checks import with_wrong_forces
from schnetpack.datasets import rMD17
from schnetpack.interfaces import SpkCalculator
from schnetpack.task import AtomisticTask, ModelOutput
from schnetpack.transform import CastTo32, MatScipyNeighborList, RemoveOffsets, SubtractCenterOfMass
from schnetpack_helpers import ethanol, spktrain
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import taafs_plugins as taafs
from taafs_plugins.adapters.schnetpack.data import rmd17_database

pytestmark = pytest.mark.slow
EPOCHS = 4
TRANSFORMS = [SubtractCenterOfMass(), MatScipyNeighborList(cutoff=5.0), CastTo32()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spktrain")
    rmd17_database(folder / "data")
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    """SchNetPack's datamodule leaves a lock file in the present folder."""
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def stock(folder):
    path, done = spktrain(folder, "stock", epochs=EPOCHS)
    assert done.returncode == 0, done.stderr[-3000:]
    return path


@pytest.fixture(scope="module")
def trained(folder):
    path, done = spktrain(folder, "taafs", "+taafs=chebyshev1", "trainer.gradient_clip_val=10", epochs=EPOCHS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "taafs:chebyshev1,degree=7,share=layer,residual=plain" in done.stdout  # the resolved spec is shown
    return path


def frames(folder, path, batch_size=200):
    """The data of a run, with its split."""
    datamodule = rMD17(
        str(folder / "data" / "rmd17_ethanol.db"), "ethanol", batch_size=batch_size, num_train=200, num_val=50, num_test=200,
        split_id=0, split_file=str(path / "split.npz"), num_workers=0, test_batch_size=200,
        train_transforms=[RemoveOffsets("energy", remove_mean=True)] + TRANSFORMS, test_transforms=TRANSFORMS,
        val_transforms=[RemoveOffsets("energy", remove_mean=True)] + TRANSFORMS,
    )  # fmt: skip
    datamodule.prepare_data()
    datamodule.setup()
    return datamodule


def held_out(folder, path):
    """The 200 test frames of a run as one batch."""
    return next(iter(frames(folder, path).test_dataloader()))


def error(model, batch):
    model.eval()
    return float((model(dict(batch))["forces"].detach() - batch["forces"]).abs().mean())


def test_metrics_are_where_schnetpack_logs_them(stock, trained):
    for path in (stock, trained):
        events = EventAccumulator(str(next((path / "tensorboard").rglob("events*")).parent))
        events.Reload()
        tags = set(events.Tags()["scalars"])
        assert {"train_loss", "val_loss", "val_energy_mae", "val_forces_mae", "test_energy_mae", "test_forces_mae"} <= tags
        losses = [event.value for event in events.Scalars("val_loss")]
        assert len(losses) == EPOCHS and losses[-1] < losses[0]


def test_coefficients_moved_and_are_in_the_checkpoint(trained, stock):
    checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=False)
    deltas = {key: value for key, value in checkpoint["state_dict"].items() if key.endswith("activation.delta")}
    assert len(deltas) == 6 and all(value.any() for value in deltas.values())
    ema = next(state["ema"] for name, state in checkpoint["callbacks"].items() if "ExponentialMovingAverage" in name)
    weights = torch.load(stock / "checkpoints" / "last.ckpt", weights_only=False)
    stock_ema = next(state["ema"] for name, state in weights["callbacks"].items() if "ExponentialMovingAverage" in name)
    assert len(ema["shadow_params"]) == len(stock_ema["shadow_params"]) + 6
    model = spk.utils.load_model(str(trained / "best_model"))
    assert all(act.delta.any() and act.spec["rate"] == 10 for act in taafs.trainable_activations(model).values())


def test_trained_coefficients_are_used(folder, trained):
    batch = held_out(folder, trained)
    model = spk.utils.load_model(str(trained / "best_model"))
    with_coefficients = error(model, batch)
    with torch.no_grad():
        for act in taafs.trainable_activations(model).values():
            assert act.delta.any()
            act.delta.zero_()
    assert error(model, batch) > 1.02 * with_coefficients


def test_resume(folder, trained):
    before = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=False)
    path, done = spktrain(folder, "taafs", "+taafs=chebyshev1", epochs=EPOCHS + 2)
    assert done.returncode == 0, done.stderr[-3000:]
    assert path == trained and "Resuming from checkpoint" in done.stdout
    after = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=False)
    assert (before["global_step"], after["global_step"]) == (20 * EPOCHS, 20 * (EPOCHS + 2))
    key = "model.representation.mixing.0.intraatomic_context_net.0.activation.delta"
    moved = (after["state_dict"][key] - before["state_dict"][key]).abs().max()
    assert 0 < moved < before["state_dict"][key].abs().max()  # went on from there


def test_energy_is_conserved_as_well_as_by_stock(stock, trained):
    """NVE in float64 from each model's own minimum: least-squares drift of the total energy per atom, eV/atom/ps.

    So cold that Verlet's own ups and downs of the energy leave a slope over few steps readable. Forces that are wrong by a hundredth
    would not hold the rule.
    """

    def run(path):
        keys = {"neighbor_list": MatScipyNeighborList(cutoff=5.0), "energy_unit": "kcal/mol", "dtype": torch.float64}
        atoms = ethanol(1)[0]
        atoms.calc = SpkCalculator(str(path / "best_model"), **keys)
        BFGS(atoms, logfile=None).run(fmax=0.02, steps=200)
        MaxwellBoltzmannDistribution(atoms, temperature_K=10, rng=np.random.default_rng(0))
        dynamics, totals, kinetic = VelocityVerlet(atoms, 0.25 * units.fs), [], []
        dynamics.attach(lambda: totals.append(atoms.get_total_energy() / len(atoms)))
        dynamics.attach(lambda: kinetic.append(atoms.get_kinetic_energy() / len(atoms)))
        dynamics.run(600)
        assert np.std(kinetic) > 2e-5  # atoms move
        return np.array(totals), np.array(kinetic)

    def drift(totals):
        return abs(np.polyfit(np.arange(len(totals)) * 0.25e-3, totals, 1)[0])

    runs = [run(path) for path in (trained, stock)]
    slopes = [drift(totals) for totals, _ in runs]
    wrong = drift(with_wrong_forces(*runs[0], by=1e-2))
    print("drift, eV/atom/ps:", slopes, wrong)
    assert slopes[0] <= max(1.2 * slopes[1], 1e-6) < wrong, (slopes, wrong)


def test_two_ddp_processes_keep_equal_coefficients(folder):
    path, done = spktrain(
        folder, "ddp", "+taafs=bspline", "+model.representation.activation.share=network", "trainer=ddp_trainer", "data.batch_size=5",
        "+callbacks.dump._target_=schnetpack_helpers.DumpCoefficients", epochs=1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(next(folder.rglob(f"rank_{rank}.pt"))) for rank in (0, 1))
    assert len(first) == 6
    for name, value in first.items():
        assert value.any() and torch.equal(value, second[name])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+taafs=chebishev1"], "Could not find 'taafs/chebishev1'"),  # Hydra's own words; it lists the bases
        (["+taafs=chebyshev1", "+model.representation.activation.degre=5"], "unknown key 'degre'. Did you mean 'degree'?"),
        (["+model.output_modules.0.activation=tafs:bspline"], "Unknown family 'tafs'. Did you mean 'taafs'?"),
    ],
)
def test_a_mistake_is_one_sentence_and_stops_before_training(folder, overrides, message):
    path, done = spktrain(folder, "mistake", *overrides)
    assert done.returncode != 0 and message in done.stderr and "Traceback" not in done.stderr
    assert not (path / "checkpoints").exists()


def test_specs_as_overrides_of_the_representation_and_a_head(folder):
    """The other documented form; the spec's keys reach the model, for the head too."""
    path, done = spktrain(
        folder, "overrides", "+model.representation.activation='taafs:bspline,grid=7'",
        "+model.output_modules.0.activation=taafs:chebyshev1", epochs=1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    acts = taafs.trainable_activations(spk.utils.load_model(str(path / "best_model")))
    assert sorted(act.delta.numel() for act in acts.values()) == [8] + 6 * [10]
    assert all(act.delta.any() for act in acts.values())


class FirstStep(pl.Callback):
    """Gradients of the first step before Lightning clips them, and how far the step moved each parameter."""

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.raw = {name: p.grad.clone() for name, p in module.named_parameters()}
        self.start = {name: p.detach().clone() for name, p in module.named_parameters()}

    def on_train_batch_end(self, trainer, module, *_):
        self.step = {name: self.start[name] - p.detach() for name, p in module.named_parameters()}


def task_of(model, optimizer, lr):
    """A training task of energies and forces; Lightning leaves a model in the mode it gets it in."""
    outputs = [
        ModelOutput("energy", torch.nn.MSELoss(), 0.01, metrics={}), ModelOutput("forces", torch.nn.MSELoss(), 0.99, metrics={})
    ]  # fmt: skip
    return AtomisticTask(model.train(), outputs, optimizer, {"lr": lr})


def trainer_of(folder, **keys):
    """Lightning's Trainer in this process, without files and printed lines."""
    return pl.Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, inference_mode=False, **keys,
    )  # fmt: skip


def test_gradient_clipping_takes_the_coefficients_with_it(folder, stock, tmp_path):
    """Clipping by norm shortens the gradients of weights and coefficients by one factor; training goes on with it.

    A step of plain gradient descent with rate 1 is the clipped gradient itself.
    """
    batch, data = held_out(folder, stock), frames(folder, stock, batch_size=10)
    model = spk.utils.load_model(str(stock / "best_model"))
    taafs.convert(model, "taafs:chebyshev1")
    torch.manual_seed(0)  # of the batches
    seen, limit = FirstStep(), 0.05
    trainer = trainer_of(tmp_path, max_steps=1, limit_val_batches=0, gradient_clip_val=limit, callbacks=[seen])
    trainer.fit(task_of(model, torch.optim.SGD, 1.0), datamodule=data)
    norm = lambda values: float(torch.cat([value.flatten() for value in values]).double().norm())
    whole = norm(seen.raw.values())
    assert whole > 10 * limit
    assert norm(seen.step.values()) == pytest.approx(limit, rel=1e-5)
    deltas = {name for name in seen.raw if name.endswith("activation.delta")}
    assert len(deltas) == 6
    for name in deltas:
        assert seen.raw[name].any()
        torch.testing.assert_close(seen.step[name], seen.raw[name] * limit / whole, rtol=1e-5, atol=1e-8)
    assert norm(seen.raw[name] for name in deltas) > 0.1 * whole  # coefficients that were not counted would have let the rest through

    start = error(model, batch)  # that one step was a long one: the coefficients moved ten times as far
    trainer = trainer_of(tmp_path, max_epochs=3, gradient_clip_val=1.0)
    trainer.fit(task_of(model, torch.optim.AdamW, 1e-3), datamodule=data)
    assert error(model, batch) < 0.5 * start
    assert all(act.delta.abs().max() > 1e-3 for act in taafs.trainable_activations(model).values())


def test_fine_tuning_a_trained_stock_model(folder, stock, tmp_path):
    """Converted it predicts the same to the last bit; then it trains on with Lightning and gets better."""
    batch = held_out(folder, stock)
    model = spk.utils.load_model(str(stock / "best_model")).eval()
    before = {key: value.detach() for key, value in model(dict(batch)).items()}
    assert taafs.convert(model, "taafs:chebyshev1").added == 48
    after = {key: value.detach() for key, value in model(dict(batch)).items()}
    assert all(torch.equal(before[key], after[key]) for key in before)
    start = error(model, batch)
    trainer = trainer_of(tmp_path, max_epochs=4, callbacks=[spk.train.ExponentialMovingAverage(decay=0.995)])
    trainer.fit(task_of(model, torch.optim.AdamW, 1e-3), datamodule=frames(folder, stock, batch_size=10))
    assert all(act.delta.any() for act in taafs.trainable_activations(model).values())
    assert error(model, batch) < start
