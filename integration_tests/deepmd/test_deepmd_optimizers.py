"""Coefficients under DeePMD-kit's optimisers, and scale=auto on several ranks."""

import contextlib
import io
import json
from types import SimpleNamespace

import pytest
import torch
from conftest_deepmd import checkpoint, coefficient_keys, load_state, model_of, water_input

import taafs_plugins as taafs
from taafs_plugins.adapters.deepmd import input as deepmd_input
from taafs_plugins.adapters.deepmd import optimizers
from taafs_plugins.adapters.deepmd import training as deepmd_training
from taafs_plugins.adapters.deepmd.input import InputError

NEURON = "taafs:chebyshev1,share=neuron,residual=scaled"


def matrix_optimizer(name: str, model: torch.nn.Module) -> torch.optim.Optimizer:
    from deepmd.pt import optimizer as host

    if name == "AdaMuon":
        return host.AdaMuonOptimizer(model.parameters(), lr=1e-3)
    return host.HybridMuonOptimizer(model.parameters(), lr=1e-3, named_parameters=model.named_parameters())


@pytest.mark.parametrize("name", optimizers.MATRIX)
def test_coefficients_of_neurons_are_no_matrix_to_muon(name):
    """Their step is Adam's, each number by itself; weight matrices go to Muon as ever."""
    model = model_of(water_input(NEURON, []))
    optimizer = matrix_optimizer(name, model)
    acts = taafs.trainable_activations(model).values()
    optimizers.prepare(SimpleNamespace(opt_type=name, optimizer=optimizer), acts)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)
    own = [p for act in acts for p in act.coefficients().values()]
    start = [(p.detach().clone(), p.shape, p.grad.clone(), p.data_ptr()) for p in own]
    optimizer.step()
    assert {p.ndim for p in own} == {2}
    steps = []
    for parameter, (before, shape, grad, memory) in zip(own, start, strict=True):
        assert parameter.shape == shape and parameter.grad.shape == shape and parameter.data_ptr() == memory
        change = before - parameter.detach()
        steps.append(change.abs())
        assert torch.equal(change.sign(), grad.sign())  # orthogonalised, it would mix them
        assert "momentum_buffer" not in optimizer.state[parameter] and optimizer.state[parameter]["exp_avg"].ndim == 1
    sizes = torch.cat([step.flatten() for step in steps])
    assert float(sizes.max() / sizes.min()) < 1.001  # Adam's first step: its learning rate, whatever the gradient
    assert any("momentum_buffer" in state for state in optimizer.state.values())


@pytest.mark.parametrize("name", optimizers.MATRIX)
def test_zero_stage_1_moves_every_parameter_as_the_bare_optimizer_does(name, tmp_path):
    """DeePMD-kit's own wrapping of the optimiser, in a group of one process."""
    from deepmd.pt.train.training import Trainer

    weights = []
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    try:
        for stage in (0, 1):
            model = model_of(water_input(NEURON, []))
            host = SimpleNamespace(sharding=SimpleNamespace(stage=stage), wrapper=model)
            bare = matrix_optimizer(name, model)
            more = {"named_parameters": tuple(model.named_parameters())} if name == "HybridMuon" else {}
            optimizer = Trainer._create_optimizer(host, type(bare), lr=1e-3, **more)
            acts = taafs.trainable_activations(model).values()
            optimizers.prepare(SimpleNamespace(opt_type=name, optimizer=optimizer), acts)
            generator = torch.Generator().manual_seed(0)
            for _ in range(3):
                for parameter in model.parameters():
                    parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)
                optimizer.step()
            weights.append([p.detach() for p in model.parameters()])
            assert all(p.ndim == 2 for act in acts for p in act.coefficients().values())
    finally:
        torch.distributed.destroy_process_group()
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_lkf_has_a_rate_of_its_own_unless_the_spec_says_one():
    for optimizer, spec, rate in (("LKF", "taafs", 1), ("LKF", "taafs:bspline,rate=5", 5), ("Adam", "taafs", 10)):
        config = {**water_input(spec, []), "optimizer": {"type": optimizer}}
        resolved = deepmd_input.with_resolved_specs(config)["model"]["descriptor"]["activation_function"]
        assert taafs.parse_spec(resolved)["rate"] == rate
    old = water_input("taafs", [])
    old["training"]["opt_type"] = "LKF"
    assert "rate=1" in str(deepmd_input.with_resolved_specs(old)["model"]["fitting_net"]).replace("rate=10", "")


def test_lkf_moves_every_coefficient(small_water, tmp_path, monkeypatch):
    from deepmd.main import main

    monkeypatch.chdir(tmp_path)
    config = {**water_input("taafs:fourier", small_water, steps=3), "optimizer": {"type": "LKF", "kf_blocksize": 256}}
    config["model"]["descriptor"].update(neuron=[2, 4], axis_neuron=2, type_one_side=True)
    config["model"]["fitting_net"]["neuron"] = [4, 4]
    (tmp_path / "input.json").write_text(json.dumps(config))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["--pt", "train", "input.json", "--skip-neighbor-stat"])
    state = load_state(checkpoint(tmp_path, 3))
    keys = coefficient_keys(state)
    assert keys and all(float(state[key].abs().min()) > 0 and float(state[key].abs().max()) < 10 for key in keys)


def test_one_rank_measures_the_scale_and_all_ranks_get_it(small_water, monkeypatch):
    models = [model_of(water_input("taafs:bspline,scale=auto", [])) for _ in range(2)]
    for p, q in zip(models[0].parameters(), models[1].parameters(), strict=True):
        q.data.copy_(p.data)
    sent: list = []

    def broadcast(holder, src):
        if sent:
            holder[:] = sent
        else:
            sent.extend(holder)

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    coord = torch.rand(2, 12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 6
    frames = [{"coord": coord, "atype": torch.tensor([[0, 1, 1] * 4] * 2), "box": (8 * torch.eye(3).double()).reshape(1, 9).repeat(2, 1)}]
    for rank, model in enumerate(models):
        trainer = SimpleNamespace(model=model, is_distributed=True, rank=rank, get_sample_func=lambda: frames if not sent else None)
        deepmd_training.measure_scales(trainer)
    ours, theirs = ([float(act.scale) for act in taafs.trainable_activations(model).values()] for model in models)
    assert ours == theirs and len(set(ours)) == len(ours) and 1.0 not in ours
    assert all(act.calibrated for act in taafs.trainable_activations(models[1]).values())
    sent[:] = ["A site was not reached.", [1.0] * len(ours)]
    again = model_of(water_input("taafs:bspline,scale=auto", []))
    with pytest.raises(InputError, match="not reached"):
        deepmd_training.measure_scales(SimpleNamespace(model=again, is_distributed=True, rank=1))


@pytest.mark.parametrize("stage", [2, 3])
def test_sharded_parameters_are_refused(stage):
    config = water_input("taafs", [])
    config["training"]["zero_stage"] = stage
    with pytest.raises(InputError, match=f"zero_stage={stage}"):
        deepmd_input.check(config, "pt")
    deepmd_input.check({**config, "model": water_input("tanh", [])["model"]}, "pt")
