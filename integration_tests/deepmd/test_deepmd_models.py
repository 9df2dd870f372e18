"""DeePMD-kit's newer models: trained by the command, frozen, read again, with random coefficients; and its commands on such files."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest_deepmd import coefficient_keys, load_state, randomise
from models_of_today import ATOMS, CELL, FRAMES, MODELS, TYPES, write_input
from test_deepmd_zoo import live


def dp(*arguments) -> str:
    """A ``dp`` command in this process; what it printed."""
    from deepmd.main import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        main([str(argument) for argument in arguments])
    return printed.getvalue()


def outputs(model: torch.nn.Module, folder: Path, name: str) -> dict[str, np.ndarray]:
    """Everything a model predicts for the first frame of its system."""
    data = {path.stem: torch.tensor(np.load(path)[:1]) for path in (folder / "system" / "set.000").glob("*.npy")}
    arguments = [data["coord"].reshape(1, -1, 3), torch.tensor(TYPES)[None]]
    if name == "spin":
        arguments.append(data["spin"].reshape(1, -1, 3))
    more = {key: data[key].reshape(1, *shape) for key, shape in (("fparam", (2,)), ("aparam", (ATOMS, 1))) if key in name}
    out = model(*arguments, box=(CELL * torch.eye(3, dtype=torch.float64)).reshape(1, 9), **more)
    return {key: value.detach().double().numpy() for key, value in sorted(out.items()) if value.is_floating_point()}


def difference(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    """The largest one over all outputs, in parts of the largest number where that is above 1."""
    assert b and b.keys() <= a.keys()  # a frozen model has no Hessian
    return max(float(np.abs(a[key] - b[key]).max()) / max(1.0, float(np.abs(a[key]).max())) for key in b)


def still(state: dict) -> tuple[set[str], set[str]]:
    """Coefficients that did not move, and those of layers whose weights did not either: nets that the host never calls."""
    from deepmd.pt.model.model import get_model

    fresh = get_model(state["_extra_state"]["model_params"]).state_dict()
    keys = coefficient_keys(state)
    weights = {key: key.replace("activate.delta", "matrix") for key in keys if key.endswith("activate.delta")}
    uncalled = {key for key, name in weights.items() if torch.equal(state[name], fresh[name.removeprefix("model.Default.")])}
    return {key for key in keys if not bool(state[key].any())}, uncalled


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.slow if name in ("dpa2", "spin", "linear_ener") else ())
    for name in MODELS if name not in ("default_fparam", "hessian")  # below
])  # fmt: skip
def test_a_model_trains_freezes_and_keeps_its_numbers(name, tmp_path, monkeypatch):
    write_input(tmp_path, name)
    monkeypatch.chdir(tmp_path)
    dp("--pt", "train", "input.json", "--skip-neighbor-stat")
    state = load_state(tmp_path / "model.ckpt-2.pt")
    unmoved, uncalled = still(state)
    assert unmoved <= uncalled and len(unmoved) < len(coefficient_keys(state)), unmoved
    assert randomise(tmp_path / "model.ckpt-2.pt", tmp_path / "random.pt", scale=0.05)
    ours = outputs(live(tmp_path / "random.pt"), tmp_path, name)
    assert difference(ours, outputs(live(tmp_path / "model.ckpt-2.pt"), tmp_path, name)) > 1e-6
    monkeypatch.setattr("deepmd.pt.utils.env.CUSTOM_OP_USE_JIT", False)  # dp train sets it for its process, where silut cannot be frozen
    dp("--pt", "freeze", "-c", "random.pt", "-o", "frozen.pth")
    with torch.jit.optimized_execution(False):
        assert difference(ours, outputs(torch.jit.load(tmp_path / "frozen.pth"), tmp_path, name)) < 1e-9


ENERGY = "default_fparam"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with the system, ``random.pt`` and ``frozen.pth`` of a model with frame parameters, and ``other.pth``."""
    folder = tmp_path_factory.mktemp("commands")
    write_input(folder, ENERGY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        dp("--pt", "train", "input.json", "--skip-neighbor-stat")
        for seed, names in ((7, ("random.pt", "frozen.pth")), (8, ("other.pt", "other.pth"))):
            randomise(folder / "model.ckpt-2.pt", folder / names[0], scale=0.05, seed=seed)
            dp("--pt", "freeze", "-c", names[0], "-o", names[1])
    return folder


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Scripted models are not compiled anew in their first calls, and commands run in the folder of the files."""
    if "files" in request.fixturenames:
        monkeypatch.chdir(request.getfixturevalue("files"))
    with torch.jit.optimized_execution(False):
        yield


FILES = ["random.pt", "frozen.pth"]


def arrays(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / "system" / "set.000" / f"{name}.npy")


def predicted(file: str, folder: Path) -> list[np.ndarray]:
    """Energy, forces, virial, energies and virials of the atoms, by ``DeepPot``."""
    from deepmd.infer import DeepPot

    coord, box, fparam = (arrays(folder, name) for name in ("coord", "box", "fparam"))
    return DeepPot(file).eval(coord, box, TYPES, atomic=True, fparam=fparam)


@pytest.mark.parametrize("file", FILES)
def test_energies_and_virials_of_atoms_are_those_of_the_live_model(file, files):
    energy, force, virial, atom_energy, atom_virial = predicted(file, files)
    ours = outputs(live(files / "random.pt"), files, ENERGY)
    for key, found in (("energy", energy), ("force", force), ("virial", virial), ("atom_energy", atom_energy)):
        assert np.abs(found[0] - ours[key][0].reshape(found[0].shape)).max() < 1e-9
    assert np.abs(atom_energy.sum(1) - energy).max() < 1e-9 and np.abs(atom_virial.sum(1) - virial).max() < 1e-9


@pytest.mark.parametrize("file", FILES)
def test_eval_desc_writes_the_trained_descriptor(file, files):
    dp("--pt", "eval-desc", "-m", file, "-s", "system", "-o", f"desc_{file}")
    found = np.load(files / f"desc_{file}" / "system.npy")
    coord, box = (torch.tensor(arrays(files, name)) for name in ("coord", "box"))
    ours = live(files / "random.pt").forward_embedding(coord, torch.tensor(TYPES).expand(FRAMES, -1), box)["descriptor"].numpy()
    assert found.shape[:2] == (FRAMES, ATOMS) and np.abs(found - ours).max() < 1e-9 and np.abs(ours).max() > 1e-3


@pytest.mark.parametrize("file", FILES)
def test_show_names_the_specs(file, files, monkeypatch):
    said = []
    monkeypatch.setattr("deepmd.entrypoints.show.log.info", lambda text, *arguments: said.append(text % arguments))
    dp("--pt", "show", file, "descriptor", "fitting-net", "type-map", "size", "observed-type", "serialization-tree")
    text = "\n".join(said)
    assert text.count("taafs:bspline,grid=5,order=3,base=tanh") >= 2 and "['O', 'H']" in text and "Parameters in" in text


def test_model_devi_is_the_spread_of_the_files(files):
    dp("--pt", "model-devi", "-m", "frozen.pth", "other.pth", "-s", "system", "-o", "devi.out")
    force = [predicted(name, files)[1] for name in ("frozen.pth", "other.pth")]
    spread = np.sqrt(((force[0] - force[1]) ** 2).sum(-1) / 4).max(-1)  # of two: half their distance
    assert np.abs(np.loadtxt("devi.out")[:, 4] - spread).max() < 1e-5 * spread.max() and spread.min() > 1e-6


@pytest.mark.parametrize("file", FILES)
def test_change_bias_shifts_energies_and_nothing_else(file, files):
    out = f"shifted_{file}"
    dp("--pt", "change-bias", file, "-b", "1.5", "-0.5", "-o", out)
    before, after = predicted(file, files), predicted(out, files)
    shift = (after[3] - before[3])[..., 0]
    assert np.abs(shift - shift[0]).max() < 1e-9 and np.abs(shift).max() > 0.1 and len(np.unique(shift[0].round(9))) == 2
    for i in (1, 2):
        assert np.abs(after[i] - before[i]).max() < 1e-9
    if file.endswith(".pth"):  # as fast for forces as what dp freeze writes
        parts = torch.jit.load(out).modules()
        forms = [part.scripts_folded for part in parts if hasattr(part, "scripts_folded")]
        assert forms and all(forms)


def test_change_bias_by_statistics_keeps_the_coefficients_to_the_bit(files):
    dp("--pt", "change-bias", "random.pt", "-s", "system", "-o", "statistics.pt")
    old, new = load_state(files / "random.pt"), load_state(files / "statistics.pt")
    assert all(torch.equal(old[key], new[key]) for key in coefficient_keys(old))
    changed = {key for key in old if isinstance(old[key], torch.Tensor) and not torch.equal(old[key], new[key])}
    assert changed and all("out_bias" in key or "out_std" in key for key in changed), changed


def test_default_parameters_are_used_where_none_are_given(files):
    from deepmd.infer import DeepPot

    model, coord, box = DeepPot("frozen.pth"), arrays(files, "coord"), arrays(files, "box")
    given, left_out, other = (
        model.eval(coord, box, TYPES, fparam=values)[1] for values in (np.tile([0.3, -0.2], (FRAMES, 1)), None, np.ones((FRAMES, 2)))
    )
    assert np.abs(given - left_out).max() < 1e-12 and np.abs(given - other).max() > 1e-9


def test_a_hessian_is_the_derivative_of_the_forces(tmp_path, monkeypatch):
    from deepmd.infer import DeepPot

    write_input(tmp_path, "hessian")
    monkeypatch.chdir(tmp_path)
    dp("--pt", "train", "input.json", "--skip-neighbor-stat")
    randomise(tmp_path / "model.ckpt-2.pt", tmp_path / "random.pt", scale=0.05)
    model, h = DeepPot("random.pt"), 1e-4
    coord, box = arrays(tmp_path, "coord")[:1], arrays(tmp_path, "box")[:1]
    hessian = model.eval(coord, box, TYPES)[-1].reshape(3 * ATOMS, 3 * ATOMS)
    assert np.abs(hessian - hessian.T).max() < 1e-9 * max(1.0, np.abs(hessian).max())
    for i in (0, 17):
        step = np.zeros_like(coord)
        step[0, i] = h
        slope = (model.eval(coord + step, box, TYPES)[1] - model.eval(coord - step, box, TYPES)[1]).ravel() / (2 * h)
        assert np.abs(hessian[i] + slope).max() < 1e-6 and np.abs(hessian[i]).max() > 1e-4
