"""Training by the stock command beyond one model with fixed scales: ``scale=auto``, and several tasks with a shared descriptor."""

import copy
import json

import numpy as np
import pytest
import torch
from conftest_deepmd import (
    checkpoint,
    coefficient_keys,
    dp,
    frame,
    largest_difference,
    live_values,
    load_state,
    model_of,
    python_values,
    randomise,
    water_input,
)  # fmt: skip
from lammps_runs import single_point

import taafs_plugins as taafs
from taafs_plugins.adapters.deepmd.files import read_checkpoint

SITES = 4 * 2 + 2 * 2
STILL = {"learning_rate": 1e-30, "stop_rate": 1e-31}


def scales(path) -> dict[str, float]:
    """Every scale in a checkpoint, each site once."""
    return {k: float(v) for k, v in load_state(path).items() if k.endswith(".scale") and "._networks." not in k}


def train(folder, config, *extra) -> str:
    """``dp --pt train``; what it printed."""
    folder.mkdir(exist_ok=True)
    (folder / "input.json").write_text(json.dumps(config))
    result = dp("train", "input.json", "--skip-neighbor-stat", *extra, cwd=folder)
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def measured(small_water, tmp_path_factory):
    """Two steps with scale=auto at a vanishing learning rate, and what was printed."""
    folder = tmp_path_factory.mktemp("auto")
    text = train(folder, water_input("taafs:bspline,scale=auto", small_water, steps=2, **STILL))
    return folder, text


def test_each_site_gets_the_rms_of_its_inputs_on_the_training_frames(measured, small_water):
    folder, text = measured
    assert f"scale=auto measured at {SITES} sites" in text and "was not measured" not in text
    stored = scales(checkpoint(folder, 2))
    assert len(stored) == SITES == len(set(stored.values())) and 1.0 not in stored.values()
    # independently: forward hooks on the same network with stock activations, over all frames
    state = load_state(checkpoint(folder, 2))
    params = state["_extra_state"]["model_params"]
    for part in ("descriptor", "fitting_net"):
        params[part]["activation_function"] = "tanh"
    stock = model_of({"model": params})
    stock.load_state_dict({k.removeprefix("model.Default."): v for k, v in state.items() if k != "_extra_state"}, strict=False)
    sums: dict[str, list[float]] = {}

    def record(name):
        return lambda _, z: sums.setdefault(name, []).append(float((z[0].detach() ** 2).mean()))

    handles = [site.current.register_forward_pre_hook(record(site.name)) for site in taafs.sites(stock)]
    for index in range(8):
        live_values(stock, small_water[0], index)
    assert len(handles) == SITES == len(sums)
    for name, values in sums.items():
        assert stored[f"model.Default.{name}.scale"] == pytest.approx(np.mean(values) ** 0.5, rel=0.02), name


def test_a_measured_scale_is_kept_by_restart_and_init_model(measured, small_water, tmp_path):
    folder, _ = measured
    before = scales(checkpoint(folder, 2))
    for option in ("--restart", "--init-model"):
        config = water_input("taafs:bspline,scale=auto", small_water, steps=3, **STILL)
        text = train(tmp_path / option.strip("-"), config, option, str(checkpoint(folder, 2)))
        assert "measured at" not in text and "no coefficients" not in text
        assert scales(checkpoint(tmp_path / option.strip("-"), 3)) == before


def test_started_from_a_stock_checkpoint_it_is_measured_and_predicts_the_same(trained, small_water, tmp_path):
    stock = checkpoint(trained["tanh"], 20)
    config = water_input("taafs:chebyshev1,scale=auto", small_water, steps=1, **STILL)
    text = train(tmp_path / "run", config, "--init-model", str(stock))
    assert f"measured at {SITES} sites" in text and "has no coefficients at model." in text
    ours, theirs = (python_values(path, small_water[0], no_jit=True) for path in (checkpoint(tmp_path / "run", 1), stock))
    assert largest_difference(ours, theirs) < 1e-10


def test_every_path_carries_the_scale(measured, small_water, tmp_path):
    """With random coefficients: checkpoint, frozen file, serialised model and LAMMPS agree, and differ from those of scale 1."""
    from deepmd.pt.model.model import BaseModel

    folder, _ = measured
    randomise(checkpoint(folder, 2), tmp_path / "random.pt", scale=0.02)
    dp("freeze", "-c", "random.pt", "-o", "frozen.pth", cwd=tmp_path)
    state = load_state(tmp_path / "random.pt")
    live = model_of({"model": state["_extra_state"]["model_params"]})
    live.load_state_dict({k.removeprefix("model.Default."): v for k, v in state.items() if k != "_extra_state"}, strict=False)
    ours = live_values(live, small_water[0])
    others = {
        "checkpoint": python_values(tmp_path / "random.pt", small_water[0], no_jit=True),
        "frozen": python_values(tmp_path / "frozen.pth", small_water[0]),
        "serialised": live_values(BaseModel.deserialize(copy.deepcopy(live.serialize())), small_water[0]),
        "lammps": single_point([tmp_path / "frozen.pth"], small_water[0], tmp_path / "lammps"),
    }
    for name, values in others.items():
        assert largest_difference(ours, values) < 1e-8, name
    for act in taafs.trainable_activations(live).values():
        act.set_scale(1.0)
    assert largest_difference(ours, live_values(live, small_water[0])) > 1e-3


def two_tasks(activation: str, systems: list[str], steps: int) -> dict:
    """Two tasks on water: one shared descriptor, a fitting net for each."""
    single = water_input(activation, systems, steps=steps)
    model = single.pop("model")
    task = {"type_map": "types", "descriptor": "shared", "fitting_net": model["fitting_net"]}
    other = {**task, "fitting_net": {**model["fitting_net"], "seed": 2}}
    single["model"] = {
        "shared_dict": {"types": model["type_map"], "shared": model["descriptor"]}, "model_dict": {"first": task, "second": other},
    }  # fmt: skip
    single["loss_dict"] = dict.fromkeys(("first", "second"), single.pop("loss"))
    training = single["training"]
    training["data_dict"] = dict.fromkeys(("first", "second"), {"training_data": training.pop("training_data")})
    training["model_prob"] = {"first": 0.5, "second": 0.5}
    return single


def test_multi_task_training(small_water, tmp_path):
    """Fitting nets train coefficients of their own, the shared descriptor one set; each task is frozen with its own."""
    text = train(tmp_path, two_tasks("taafs:chebyshev1,scale=auto", small_water, 12))
    assert "TAAFS in first" in text and "TAAFS in second" in text
    assert f"measured at {8 + 2 * 4} sites" in text  # 8 of the shared descriptor, 4 of each task's fitting nets
    state = load_state(checkpoint(tmp_path, 12))
    read = read_checkpoint(checkpoint(tmp_path, 12))
    assert set(read) == {"first", "second"} and len(taafs.sites(read)) == 2 * SITES
    heads = {head: {k.split(f".{head}.")[1]: state[k] for k in coefficient_keys(state) if f".{head}." in k} for head in ("first", "second")}
    assert len(heads["first"]) == SITES and all(bool(v.any()) for values in heads.values() for v in values.values())
    for key, value in heads["first"].items():
        assert torch.equal(value, heads["second"][key]) == ("descriptor" in key), key
    values = {}
    for head in heads:
        dp("freeze", "-o", f"{head}.pth", "--head", head, cwd=tmp_path)
        values[head] = python_values(tmp_path / f"{head}.pth", small_water[0])
        from deepmd.infer import DeepPot

        energy, force, _ = DeepPot(str(checkpoint(tmp_path, 12)), head=head, no_jit=True).eval(*frame(small_water[0]))
        assert abs(energy.ravel() - values[head]["energy"]).max() < 1e-8 and np.abs(force[0] - values[head]["force"]).max() < 1e-8
    assert largest_difference(values["first"], values["second"]) > 1e-6


def test_finetune_from_one_task_of_a_stock_model(small_water, tmp_path):
    train(tmp_path / "stock", two_tasks("tanh", small_water, 4))
    config = water_input("taafs:bspline", small_water, steps=1, **STILL)
    train(tmp_path / "tuned", config, "--finetune", str(checkpoint(tmp_path / "stock", 4)), "--model-branch", "second")
    from deepmd.infer import DeepPot

    _, force, virial = DeepPot(str(checkpoint(tmp_path / "stock", 4)), head="second", no_jit=True).eval(*frame(small_water[0]))
    ours = python_values(checkpoint(tmp_path / "tuned", 1), small_water[0], no_jit=True)
    assert np.abs(ours["force"] - force[0]).max() < 1e-12 and np.abs(ours["virial"] - virial.reshape(3, 3)).max() < 1e-10
