"""DSPT and P24SI: the second stage sees the corrected activation, and each number moves by its own derivative."""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from taafs_plugins.activations import SpecError, make_activation
from taafs_plugins.two_stage import TwoStage, lightning_callback, staged

F64 = torch.float64


def model_and_data(spec="leaf:silu,share=layer"):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5, dtype=F64), make_activation(spec, "silu", width=5, dtype=F64), nn.Linear(5, 1, dtype=F64))
    x = torch.randn(16, 2, dtype=F64)
    return model, x, x.prod(1, keepdim=True)


def test_the_second_stage_sees_the_corrected_activation():
    model, x, y = model_and_data()
    stages, seen = TwoStage(model, lr=1e-2, optimizer=torch.optim.SGD), []

    def loss():
        seen.append((model[1].theta.detach().clone(), model[0].weight.detach().clone()))
        return (model(x) - y).square().mean()

    reference, _, _ = model_and_data()
    before, after = stages.step(loss)
    assert len(seen) == 2 and not torch.equal(seen[0][0], seen[1][0]) and torch.equal(seen[0][1], seen[1][1])
    assert after < before
    # by hand: numbers by the old loss, weights by the loss of the new numbers
    (reference(x) - y).square().mean().backward()
    with torch.no_grad():
        reference[1].delta -= 1e-2 * reference[1].delta.grad
    reference.zero_grad()
    (reference(x) - y).square().mean().backward()
    with torch.no_grad():
        for p in (reference[0].weight, reference[2].bias):
            p -= 1e-2 * p.grad
    for ours, byhand in ((model[1].delta, reference[1].delta), (model[0].weight, reference[0].weight), (model[2].bias, reference[2].bias)):
        torch.testing.assert_close(ours, byhand, rtol=1e-12, atol=1e-14)


def test_each_number_moves_by_its_own_derivative_where_the_paper_exchanges_two():
    """Eqs. 7 and 8 give r2 the derivative of r3 and the other way round."""
    act = make_activation("leaf:silu,share=layer", "silu", dtype=F64)
    z = torch.tensor([0.7], dtype=F64)
    r1, r2, r3, _ = act.theta.detach()
    s = torch.sigmoid(r3 * z)
    (gradient,) = torch.autograd.grad(act(z).sum(), act.delta)
    torch.testing.assert_close(gradient, torch.cat([z * s, s, (r1 * z + r2) * s * (1 - s) * z, torch.ones(1, dtype=F64)]))


def test_p24si_moves_r2_and_r4_by_a_learning_rate_of_1e_6():
    model, x, y = model_and_data("leaf:silu")
    loss = lambda: (model(x) - y).square().mean()
    TwoStage(model, lr=1e-3, p24si=True).step(loss)
    moved = model[1].delta.detach().abs()  # Adam's first step is the learning rate
    torch.testing.assert_close(moved[:, [0, 2]], torch.full((5, 2), 1e-3, dtype=F64), rtol=1e-3, atol=0)
    torch.testing.assert_close(moved[:, [1, 3]], torch.full((5, 2), 1e-6, dtype=F64), rtol=1e-3, atol=0)


def test_many_steps_train_and_frozen_weights_leave_one_stage():
    model, x, y = model_and_data("leaf:silu")
    loss = lambda: (model(x) - y).square().mean()
    stages = TwoStage(model, lr=3e-3)
    first = stages.step(loss)[0]
    for _ in range(200):
        last = stages.step(loss)[1]
    assert last < 0.5 * first
    for p in (*model[0].parameters(), *model[2].parameters()):
        p.requires_grad_(False)
    only = TwoStage(model)
    assert only.weights is None and only.step(loss)[1].isfinite()


def test_p24si_is_refused_for_another_family_and_two_stages_without_numbers():
    with pytest.raises(SpecError, match="P24SI reduces LEAF's r2 and r4, and swish has none"):
        TwoStage(model_and_data("swish")[0], p24si=True)
    with pytest.raises(SpecError, match="no trainable activation"):
        TwoStage(nn.Linear(2, 2))


class Lit(pl.LightningModule):
    """The model and data above; remembers numbers and weights at every loss."""

    def __init__(self, spec="leaf:silu", optimizer=torch.optim.SGD, lr=1e-2):
        super().__init__()
        self.model, self.x, self.y = model_and_data(spec)
        self.seen, self.make = [], lambda: optimizer(self.model.parameters(), lr=lr)

    def training_step(self, batch, index):
        self.seen.append((self.model[1].theta.detach().clone(), self.model[0].weight.detach().clone()))
        return (self.model(self.x) - self.y).square().mean()

    def configure_optimizers(self):
        return self.make()


def fit(module: pl.LightningModule, steps: int, **keys) -> pl.LightningModule:
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = pl.Trainer(accelerator="cpu", max_steps=steps, **quiet, **keys)
    trainer.fit(module, torch.utils.data.DataLoader([0] * 8, batch_size=1))
    return module


@pytest.mark.filterwarnings("ignore")
def test_in_lightning_the_second_stage_sees_the_corrected_activation():
    module = fit(Lit(), 3, callbacks=[lightning_callback()])
    assert len(module.seen) == 6
    for first, second in zip(module.seen[::2], module.seen[1::2], strict=True):
        assert not torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    model, x, y = model_and_data("leaf:silu")
    stages = TwoStage(model, lr=1e-2, optimizer=torch.optim.SGD)
    for _ in range(3):
        stages.step(lambda: (model(x) - y).square().mean())
    for ours, plain in zip(module.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore")
def test_in_lightning_p24si_and_adam_do_as_two_optimisers_of_a_plain_loop():
    module = fit(Lit(optimizer=torch.optim.Adam), 3, callbacks=[lightning_callback(p24si=True)], gradient_clip_val=1e3)
    model, x, y = model_and_data("leaf:silu")
    stages = TwoStage(model, lr=1e-2, p24si=True)
    for _ in range(3):
        stages.step(lambda: (model(x) - y).square().mean())
    for ours, plain in zip(module.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore")
def test_accumulated_gradients_and_a_step_without_the_loss_are_refused():
    with pytest.raises(SpecError, match="accumulate_grad_batches=1"):
        fit(Lit(), 1, callbacks=[lightning_callback()], accumulate_grad_batches=2)
    with pytest.raises(SpecError, match="P24SI reduces LEAF's"):
        fit(Lit("swish"), 1, callbacks=[lightning_callback(p24si=True)])
    model, _, _ = model_and_data()
    with pytest.raises(SpecError, match="need the loss twice"):
        staged(torch.optim.Adam(model.parameters()), model).step()
    with pytest.raises(SpecError, match="does not hold 1 of 1 coefficient tensors"):
        staged(torch.optim.Adam(model[0].parameters()), model)
