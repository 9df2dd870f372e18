"""DSPT and P24SI in ``dp --pt train``: the second stage sees the corrected activation, and the host's files stay as they are."""

import json

import pytest
import torch
from conftest_deepmd import checkpoint, dp, load_state, python, water_input

# the host's command in this process, with every call of the model remembered
CODE = """
import torch
from deepmd.pt.train.wrapper import ModelWrapper
from deepmd.pt.entrypoints.main import train
stock, seen = ModelWrapper.forward, []
def forward(self, *args, **kwargs):
    if self.training:
        groups = [[], []]
        for name, p in self.named_parameters():
            groups[name.endswith("delta")].append(p.detach().flatten().clone())
        out = stock(self, *args, **kwargs)
        seen.append([*(torch.cat(g) for g in groups), out[1].detach()])
        return out
    return stock(self, *args, **kwargs)
ModelWrapper.forward = forward
train("input.json", None, None, None, None, "", skip_neighbor_stat=True)
torch.save(seen, "seen.pt")
"""


@pytest.fixture(scope="module", params=["dspt", "p24si"])
def run(request, small_water, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "input.json").write_text(json.dumps(water_input("leaf", small_water, steps=3)))
    done = python(CODE, folder, TAAFS_TWO_STAGE=request.param)
    assert done.returncode == 0, done.stderr[-2000:]
    return request.param, folder, done.stdout + done.stderr


def test_the_second_stage_sees_the_corrected_activation(run):
    way, folder, said = run
    seen = torch.load(folder / "seen.pt")
    assert len(seen) == 6 and "lr_scheduler.step()" not in said
    for (weights, numbers, _), (second_weights, second_numbers, _) in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(weights, second_weights) and not torch.equal(numbers, second_numbers)
    for (weights, numbers, _), (next_weights, next_numbers, _) in zip(seen[1::2], seen[2::2], strict=False):
        assert torch.equal(numbers, next_numbers) and not torch.equal(weights, next_weights)
    moved = (seen[1][1] - seen[0][1]).reshape(-1, 4).abs()
    moved = moved[(moved > 0).all(1)]
    ratio = float(moved[:, [1, 3]].mean() / moved[:, [0, 2]].mean())  # Adam's first step is the learning rate
    assert abs(ratio - (1e-6 / 2e-3 if way == "p24si" else 1.0)) < 0.05 * ratio


@pytest.mark.slow
def test_the_checkpoint_is_the_hosts_own_and_can_be_restarted(run, monkeypatch):
    way, folder, _ = run
    assert sum(key.endswith(".delta") for key in load_state(checkpoint(folder, 3))) > 0
    if way == "p24si":  # one restart is enough
        return
    config = json.loads((folder / "input.json").read_text())
    config["training"]["numb_steps"] = 4
    (folder / "input.json").write_text(json.dumps(config))
    dp("train", "input.json", "--restart", "model.ckpt-3.pt", "--skip-neighbor-stat", cwd=folder)
    assert checkpoint(folder, 4).is_file()


@pytest.mark.parametrize("way,activation,optimizer,words", [
    ("dstp", "leaf", "Adam", "Did you mean 'dspt'"), ("dspt", "leaf", "LKF", "not with the optimiser LKF"),
    ("dspt", "tanh", "Adam", "no trainable activation"), ("p24si", "swish", "Adam", "swish has none"),
])  # fmt: skip
def test_what_cannot_be_done_in_two_stages_is_one_sentence(way, activation, optimizer, words, monkeypatch):
    from types import SimpleNamespace

    import deepmd.pt  # noqa: F401
    from conftest_deepmd import model_of

    from taafs_plugins.adapters.deepmd.input import InputError
    from taafs_plugins.adapters.deepmd.stages import VARIABLE, stage

    model = model_of(water_input(activation, []))
    trainer = SimpleNamespace(opt_type=optimizer, is_distributed=False, wrapper=model, optimizer=torch.optim.Adam(model.parameters()))
    monkeypatch.setenv(VARIABLE, way)
    with pytest.raises(InputError, match=words):
        stage(trainer)
