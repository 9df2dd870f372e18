"""Training that starts from another model: the source's forces at step 0 to 1e-10, or one sentence that says what would be lost."""

import contextlib
import io
import json
import logging
import os

import numpy as np
import pytest
import torch
from conftest_deepmd import checkpoint, coefficient_keys, dp, load_state, python_values, randomise, water_input

CHEB = "taafs:chebyshev1"
STARTS = ("--finetune", "--init-model", "--restart")


def start(folder, systems, activation, *options, change=lambda config: config) -> tuple[str | None, str]:
    """One step at a vanishing learning rate in this process: the sentence it was refused with, or None; and what was logged."""
    from deepmd.main import main

    folder.mkdir()
    steps = 9 if "--restart" in options else 1  # the source has 8
    config = water_input(activation, systems, steps=steps, learning_rate=1e-30)
    config["learning_rate"]["stop_lr"] = 1e-31
    (folder / "input.json").write_text(json.dumps(change(config)))
    printed, before = io.StringIO(), os.getcwd()
    os.chdir(folder)
    refused = None
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            main(["--pt", "train", "input.json", "--skip-neighbor-stat", *map(str, options)])
    except SystemExit as end:
        refused = str(end.code)
    finally:
        os.chdir(before)
    return refused, printed.getvalue()


@pytest.fixture(scope="module")
def sources(small_water, tmp_path_factory):
    """Checkpoints of 8 steps: stock, and one with random coefficients, which is frozen too."""
    folder = tmp_path_factory.mktemp("sources")
    found = {}
    for name, activation in (("stock", "tanh"), ("trained", CHEB)):
        (folder / name).mkdir()
        (folder / name / "input.json").write_text(json.dumps(water_input(activation, small_water, steps=8)))
        dp("train", "input.json", "--skip-neighbor-stat", cwd=folder / name)
        found[name] = checkpoint(folder / name, 8)
    randomise(found["trained"], found["trained"])
    found["frozen"] = folder / "trained.pth"
    dp("freeze", "-c", found["trained"], "-o", found["frozen"], cwd=folder)
    return found


def same_forces(folder, source, system) -> None:
    new = next(path for path in folder.glob("model.ckpt-*.pt"))
    ours, theirs = (python_values(path, system, no_jit=path.suffix == ".pt")["force"] for path in (new, source))
    assert np.abs(ours - theirs).max() < 1e-10


@pytest.mark.parametrize(("option", "wanted"), [*((option, CHEB) for option in STARTS), ("--init-model", f"{CHEB},init=zero,rate=10")])
def test_a_trained_model_goes_on_with_its_own_spec(sources, small_water, tmp_path, option, wanted):
    refused, _ = start(tmp_path / "run", small_water, wanted, option, sources["trained"])
    assert refused is None
    same_forces(tmp_path / "run", sources["trained"], small_water[0])


@pytest.mark.parametrize("option", STARTS)
@pytest.mark.parametrize("wanted", ["tanh", (CHEB, "tanh")])
def test_a_stock_input_does_not_drop_trained_coefficients(sources, small_water, tmp_path, option, wanted):
    refused, _ = start(tmp_path / "run", small_water, wanted, option, sources["trained"])
    assert "would drop" in refused and "write 'taafs:chebyshev1" in refused and "\n" not in refused
    assert not list((tmp_path / "run").glob("model*"))


@pytest.mark.parametrize("option", STARTS[:2])
@pytest.mark.parametrize("wanted", ["taafs:legendre", f"{CHEB},degree=5", f"{CHEB},rate=5", f"{CHEB},share=network", "molu:trained"])
def test_coefficients_of_another_spec_are_not_taken(sources, small_water, tmp_path, option, wanted):
    refused, _ = start(tmp_path / "run", small_water, wanted, option, sources["trained"])
    assert "mean nothing to" in refused and "\n" not in refused and not list((tmp_path / "run").glob("model*"))


@pytest.mark.parametrize("wanted", ["tanh", "taafs:legendre", f"{CHEB},rate=5", f"{CHEB},share=network"])
def test_a_frozen_model_of_another_spec_is_not_taken(sources, small_water, tmp_path, wanted):
    refused, _ = start(tmp_path / "run", small_water, wanted, "--init-frz-model", sources["frozen"])
    assert ("would drop" in refused or "mean nothing to" in refused) and not list((tmp_path / "run").glob("model*"))


def test_a_frozen_model_gives_its_coefficients(sources, small_water, tmp_path):
    refused, _ = start(tmp_path / "run", small_water, CHEB, "--init-frz-model", sources["frozen"])
    assert refused is None
    same_forces(tmp_path / "run", sources["frozen"], small_water[0])


@pytest.mark.parametrize("script", [(), ("--use-pretrain-script",)])
@pytest.mark.parametrize("option", ["--finetune", "--init-model"])
def test_a_stock_model_starts_at_its_own_predictions_with_coefficients_at_zero(sources, small_water, tmp_path, option, script):
    refused, said = start(tmp_path / "run", small_water, CHEB, option, sources["stock"], *script)
    assert refused is None and "no coefficients" in said
    assert "Descriptor configuration mismatch" not in said  # nothing but the activation differs
    assert not script or "its specs stay" in said
    same_forces(tmp_path / "run", sources["stock"], small_water[0])
    state = load_state(next((tmp_path / "run").glob("model.ckpt-*.pt")))
    assert coefficient_keys(state) and not any(bool(state[key].abs().max() > 1e-20) for key in coefficient_keys(state))


def with_type_embedding(config: dict, types: list[str]) -> dict:
    """The input with dpa1's descriptor, whose nets know no types, so that DeePMD-kit can change the type map."""
    kept = {key: config["model"]["descriptor"][key] for key in ("rcut", "rcut_smth", "activation_function", "seed", "precision")}
    config["model"]["descriptor"] = {**kept, "type": "dpa1", "sel": 40, "neuron": [5, 10], "axis_neuron": 4, "attn_layer": 0}
    config["model"]["type_map"] = types
    return config


@pytest.mark.parametrize("types", [["H", "O"], ["O", "H", "C"]])
def test_a_reordered_or_larger_type_map_keeps_the_coefficients(small_water, tmp_path, types):
    refused, _ = start(tmp_path / "first", small_water, CHEB, change=lambda config: with_type_embedding(config, ["O", "H"]))
    source = next((tmp_path / "first").glob("model.ckpt-*.pt"))
    assert refused is None and randomise(source, source)
    refused, _ = start(tmp_path / "run", small_water, CHEB, "--finetune", source, change=lambda config: with_type_embedding(config, types))
    assert refused is None
    new = load_state(next((tmp_path / "run").glob("model.ckpt-*.pt")))

    def sets(state: dict) -> list[bytes]:
        return sorted({state[key].numpy().tobytes() for key in coefficient_keys(state)})

    assert sets(load_state(source)) == sets(new)


def test_checkpoints_hold_no_extra_state_and_deeppot_reports_no_unexpected_key(sources, small_water, caplog):
    assert not any(key.endswith("._extra_state") for key in load_state(sources["trained"]))
    with caplog.at_level(logging.INFO):
        python_values(sources["trained"], small_water[0], no_jit=True)
    assert "_extra_state" not in caplog.text and "nexpected" not in caplog.text


def test_a_checkpoint_of_0_1_with_extra_state_still_loads_and_still_refuses_another_spec(sources, small_water, tmp_path):
    import taafs_plugins as taafs

    act = taafs.make_activation(f"{CHEB},rate=10", "tanh", dtype=torch.float64)
    text = torch.tensor(list(act.meaning().encode()), dtype=torch.uint8)
    whole = torch.load(sources["trained"], weights_only=True)
    for key in [key for key in whole["model"] if key.endswith(".delta")]:
        whole["model"][key.replace(".delta", "._extra_state")] = text
    torch.save(whole, tmp_path / "old.pt")
    refused, _ = start(tmp_path / "run", small_water, CHEB, "--init-model", tmp_path / "old.pt")
    assert refused is None
    same_forces(tmp_path / "run", sources["trained"], small_water[0])
    refused, _ = start(tmp_path / "other", small_water, "taafs:legendre", "--init-model", tmp_path / "old.pt")
    assert "mean nothing to" in refused
