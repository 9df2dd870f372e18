"""Bare activations that version 0.1 wrote open and give the same numbers; a tiny network trains as it did then."""

import json

import numpy as np
import pytest
import stored_core
import torch
from stored_files import V0_1, assert_different, assert_equal, assert_trained_as_stored, references

import taafs_plugins as taafs


@pytest.fixture(scope="module")
def stored():
    """Reference numbers by spec."""
    return references("core")


def check(found, stored):
    """All cases as stored, and none as the stock activation."""
    assert set(found) == set(stored["files"]) == set(stored_core.specs())
    for spec, act in found.items():
        values = stored_core.evaluate(act)
        assert_equal(values, stored["files"][spec], spec)
        assert_different(values, stored_core.stock(spec), spec)


def test_activations_saved_whole_open_and_give_the_same_numbers(stored, engine):
    check(stored_core.saved_whole(), stored)


def test_state_dicts_load_into_fresh_activations_and_give_the_same_numbers(stored, engine):
    check(stored_core.from_states(), stored)


def test_spec_texts_with_their_coefficients_give_the_same_numbers(stored):
    found = {}
    for spec, text in stored["texts"].items():
        width = stored_core.WIDTH if "neuron" in spec else None
        found[spec] = taafs.make_activation(text, stored_core.replaces(spec), width=width, dtype=torch.float64)
    check(found, stored)


def test_activations_saved_whole_can_be_scripted_and_saved_again(stored, tmp_path):
    found = stored_core.saved_whole()
    torch.save(found, tmp_path / "again.pt")
    check(torch.load(tmp_path / "again.pt", weights_only=False), stored)
    check({spec: torch.jit.script(act) for spec, act in found.items()}, stored)


def test_the_fixed_numbers_in_state_dicts_have_the_names_and_shapes_of_a_fresh_one():
    for spec, state in torch.load(V0_1 / "core" / "states.pt", weights_only=True).items():
        shapes = {key: value.shape for key, value in stored_core.build(spec).state_dict().items() if key != "_extra_state"}
        assert shapes == {key: value.shape for key, value in state.items() if key != "_extra_state"}, spec


@pytest.mark.parametrize("spec", stored_core.TRAINED)
def test_a_tiny_network_trains_as_it_did(spec):
    assert_trained_as_stored(f"core {spec}", stored_core.train(spec))


def test_the_stored_files_are_small_and_name_no_machines_source_files():
    files = [path for path in V0_1.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    assert sum(path.stat().st_size for path in files) < 3e6
    assert not [path.name for path in files if path.suffix != ".py" and b".debug_pkl" in path.read_bytes()]
    runs = json.loads((V0_1 / "training.json").read_text())["runs"]
    assert all(np.isfinite(run["losses"]).all() and len(run["digest"]) == 64 for run in runs.values())
