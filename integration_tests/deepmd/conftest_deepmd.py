"""Small real DeePMD-kit models on the water data, trained by the stock commands."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
import torch

from taafs_plugins import data
from taafs_plugins.experiments import deepmd

# by every `dp --pt`, through which the plugin comes as well; and what it then looks up
IMPORTED = ("deepmd.main", "deepmd.entrypoints.main", "deepmd.pt.entrypoints.main", "elements_read")
RCUT = 4.0
SEL = [22, 44]


@pytest.fixture(scope="session")
def water() -> Path:
    """The folder with data_0 ... data_3."""
    return data.fetch_folder(deepmd.WATER)


@pytest.fixture(scope="session")
def small_water(water, tmp_path_factory) -> list[str]:
    """Water data_0 cut to 8 frames in float64, for runs of a few steps."""
    return [str(cut_system(water / "data_0", tmp_path_factory.mktemp("water") / "small", slice(0, 8)))]


@pytest.fixture(scope="session")
def small_held_out(water, tmp_path_factory) -> str:
    """Water data_3, which nothing is trained on, cut to 20 frames in float64."""
    return str(cut_system(water / "data_3", tmp_path_factory.mktemp("held_out") / "small", slice(0, 20)))


def cut_system(source: Path, target: Path, frames: slice) -> Path:
    """Copy some frames of a system in float64."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "set.000").mkdir(exist_ok=True)
    for name in ("type.raw", "type_map.raw"):
        (target / name).write_text((source / name).read_text())
    parts = sorted(source.glob("set.*"))
    for key in ("coord", "box", "energy", "force"):
        stacked = np.concatenate([np.load(p / f"{key}.npy").astype(np.float64) for p in parts])
        np.save(target / "set.000" / f"{key}.npy", stacked[frames])
    return target


def water_input(activation, systems, *, steps=5, small=True, seed=1, precision="float64", learning_rate=2e-3, **kwargs) -> dict:
    """An input.json for water; ``activation`` is one name or (descriptor's, fitting net's)."""
    pair = activation if isinstance(activation, tuple) else (activation, activation)
    model = deepmd.model_section(pair[0], ["O", "H"], sel=SEL, rcut=RCUT, seed=seed, precision=precision)
    model["fitting_net"]["activation_function"] = pair[1]
    model["data_stat_nbatch"] = 1  # statistics of one frame: those of ten take longer than the training
    if small:
        model["descriptor"].update(neuron=[5, 10], axis_neuron=4)
        model["fitting_net"]["neuron"] = [10, 10]
    return deepmd.training_input(model, list(systems), steps=steps, learning_rate=learning_rate, seed=seed, **kwargs)


def dp(*arguments, cwd: Path, check: bool = True) -> subprocess.CompletedProcess:
    """Run the stock ``dp --pt`` command."""
    result = forked.run([deepmd.command("dp"), "--pt", *arguments], modules=IMPORTED, cwd=cwd, env=deepmd.environment())
    assert not check or result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    return result


def python(code: str, cwd: Path, **env: str) -> subprocess.CompletedProcess:
    """Run Python code as a program that begins with ``import deepmd.pt``."""
    return forked.run([sys.executable, "-c", f"import deepmd.pt\n{code}"], modules=IMPORTED, cwd=cwd, env={**deepmd.environment(), **env})


def checkpoint(folder: Path, steps: int) -> Path:
    """The checkpoint after ``steps``."""
    return folder / f"model.ckpt-{steps}.pt"


def load_state(path: Path) -> dict:
    """The ``model`` part of a checkpoint."""
    return torch.load(path, weights_only=True)["model"]


def coefficient_keys(state: dict) -> list[str]:
    """Keys of the coefficient tensors. DeePMD lists every network twice (``networks``, ``_networks``): each tensor once."""
    return [key for key in state if key.endswith(".delta") and "._networks." not in key]


def randomise(source: Path, target: Path, scale: float = 0.02, seed: int = 7) -> int:
    """Write random coefficients into a checkpoint; returns how many tensors."""
    whole = torch.load(source, weights_only=True)
    state = whole["model"]
    generator = torch.Generator().manual_seed(seed)
    for key in coefficient_keys(state):
        state[key] = (scale * torch.randn(state[key].shape, generator=generator, dtype=torch.float64)).to(state[key].dtype)
        if (twin := key.replace(".networks.", "._networks.")) in state:
            state[twin] = state[key].clone()
    torch.save(whole, target)
    return len(coefficient_keys(state))


def frame(system: Path | str, index: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coordinates [1, N*3], cell [1, 9] and types [N] of a frame, float64."""
    system = Path(system)
    part = sorted(system.glob("set.*"))[0]
    types = np.array([int(t) for t in (system / "type.raw").read_text().split()])
    arrays = [np.load(part / f"{key}.npy").astype(np.float64)[index : index + 1] for key in ("coord", "box")]
    return arrays[0], arrays[1], types


def python_values(model: Path, system, index: int = 0, **options) -> dict[str, np.ndarray]:
    """Energy [eV], forces [eV/A] and virial [eV] by ``DeepPot``, which compiles a checkpoint for seconds unless ``no_jit=True``."""
    from deepmd.infer import DeepPot

    energy, force, virial = DeepPot(str(model), **options).eval(*frame(system, index))
    return {"energy": energy.ravel(), "force": force[0], "virial": virial.reshape(3, 3)}


def live_values(model: torch.nn.Module, system, index: int = 0) -> dict[str, np.ndarray]:
    """The same by a live model."""
    coord, box, types = frame(system, index)
    out = model(torch.tensor(coord).reshape(1, -1, 3), torch.tensor(types)[None], torch.tensor(box))
    values = {key: out[key].detach().numpy() for key in ("energy", "force", "virial")}
    return {"energy": values["energy"].ravel(), "force": values["force"][0], "virial": values["virial"].reshape(3, 3)}


def largest_difference(a: dict, b: dict) -> float:
    """Largest absolute difference over energy, forces and virial."""
    return max(float(np.abs(a[key] - b[key]).max()) for key in ("energy", "force", "virial"))


@pytest.fixture(scope="session")
def trained(small_water, tmp_path_factory) -> dict[str, Path]:
    """20 steps of stock tanh and of the default spec with the same seed, by ``dp --pt train``."""
    folders = {}
    for name, activation in (("tanh", "tanh"), ("taafs", "taafs:chebyshev1")):
        folder = tmp_path_factory.mktemp(name)
        config = water_input(activation, small_water, steps=20, save=10)
        (folder / "input.json").write_text(json.dumps(config))
        result = dp("train", "input.json", "--skip-neighbor-stat", cwd=folder)
        (folder / "printed").write_text(result.stdout + result.stderr)
        folders[name] = folder
    return folders


def model_of(config: dict) -> torch.nn.Module:
    """A live model from an input, the way DeePMD makes it."""
    import deepmd.pt  # noqa: F401 - loads the plugin
    from deepmd.pt.model.model import get_model

    return get_model(copy.deepcopy(config["model"]))
