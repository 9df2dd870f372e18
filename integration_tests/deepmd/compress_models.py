"""Models to be compressed: every descriptor with made-up statistics and random coefficients, and a trained model of water."""

import copy
import json
from pathlib import Path

import numpy as np
import torch
from conftest_deepmd import RCUT, SEL, live_values, load_state, model_of, water_input

import taafs_plugins as taafs

START = Path(__file__).parents[2] / "benchmarks" / "results" / "water_tanh.pt"
NEAREST = 0.85  # A, no pair of the water frames is nearer
# What compressed and frozen model may differ by: eV per atom, eV/A, eV
LIMITS = {"energy": 1e-8, "force": 1e-7, "virial": 1e-6}
NETS = {"rcut": RCUT, "rcut_smth": 0.5, "neuron": [4, 8], "resnet_dt": False, "seed": 1}
ATTEN = {"type": "dpa1", "sel": 40, "axis_neuron": 4, "attn_layer": 0, "tebd_dim": 4, "tebd_input_mode": "strip", **NETS}
ANGLES = {"type": "se_e2_a", "sel": SEL, "axis_neuron": 4, "type_one_side": True, **NETS}
RADII = {"type": "se_e2_r", "sel": SEL, **NETS}
DESCRIPTORS = {
    "se_e2_a": ANGLES,
    "two-sided": {**ANGLES, "type_one_side": False},
    "excluded": {**ANGLES, "type_one_side": False, "exclude_types": [[0, 0]]},
    "se_e2_r": RADII,
    "se_e3": {"type": "se_e3", **NETS, "sel": [8, 16], "rcut": 2.5},
    "dpa1": ATTEN,
    "dpa1 one-sided": {**ATTEN, "type_one_side": True},
    "hybrid": {"type": "hybrid", "list": [ANGLES, RADII]},
}


def randomise(model: torch.nn.Module, scale: float) -> None:
    """Random coefficients of this standard deviation, weights of ``residual=scaled`` away from 1."""
    generator = torch.Generator().manual_seed(3)
    for act in taafs.activations(model).values():
        if not isinstance(act.delta, torch.nn.Parameter):
            continue
        noise = torch.randn(act.delta.shape, generator=generator, dtype=torch.float64)
        act.delta.data = (scale / act.rate * noise).to(act.delta.dtype)
        if getattr(act, "weights", None) is not None:
            act.weights.data *= 0.9


def make(name: str, activation, scale: float = 0.1, **changes) -> torch.nn.Module:
    """A small live model for water; ``changes`` go into the descriptor. Inputs of the nets are as large as those of a trained model."""
    config = water_input(activation, [], precision=changes.get("precision", "float64"))
    descriptor = copy.deepcopy(DESCRIPTORS[name])
    for part in descriptor.get("list", [descriptor]):
        part.update(activation_function=config["model"]["descriptor"]["activation_function"], **changes)
    config["model"]["descriptor"] = descriptor
    model = model_of(config).eval()
    for key, buffer in model.named_buffers():
        if key.endswith("stddev"):
            buffer *= 0.15
    randomise(model, scale)
    model.min_nbor_dist.fill_(NEAREST)
    return model


def differences(model: torch.nn.Module, system, step: float = 0.01) -> dict[str, float]:
    """Compress a live model; by how much its values change: energy per atom, forces, virial."""
    before = live_values(model, system)
    model.enable_compression(5, step, 10 * step, -1)
    return compare(live_values(model, system), before)


def compare(a: dict, b: dict) -> dict[str, float]:
    """Largest differences: energy per atom in eV, forces in eV/A, virial in eV."""
    found = {key: float(np.abs(a[key] - b[key]).max()) for key in LIMITS}
    return {**found, "energy": found["energy"] / len(a["force"])}


def within(found: dict[str, float], factor: float = 1.0) -> bool:
    """Whether differences are below ``LIMITS``."""
    return all(found[key] < factor * limit for key, limit in LIMITS.items())


def live_water(activation: str, scale: float = 0.2) -> torch.nn.Module:
    """The trained tanh model of water (8 to 16 neurons, two-sided) with another activation of random coefficients."""
    state = load_state(START)
    config = copy.deepcopy(state["_extra_state"]["model_params"])
    for part in ("descriptor", "fitting_net"):
        config[part]["activation_function"] = activation
    model = model_of({"model": config})
    model.load_state_dict({key.removeprefix("model.Default."): v for key, v in state.items() if key != "_extra_state"}, strict=False)
    randomise(model, scale)
    model.min_nbor_dist.fill_(NEAREST)
    return model.eval()


def write_checkpoint(model: torch.nn.Module, path: Path) -> None:
    """A checkpoint of :func:`live_water`, as training writes it."""
    whole = torch.load(START, weights_only=True)
    extra = whole["model"]["_extra_state"]
    extra["model_params"] = json.loads(model.get_model_def_script())
    whole["model"] = {**{f"model.Default.{key}": value for key, value in model.state_dict().items()}, "_extra_state": extra}
    torch.save(whole, path)
