"""DeePMD-kit: checkpoints of ``dp --pt train``, frozen models, ``.dp`` files. eV, Angstrom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from stored_files import V0_1, described, listed, strip, write_json

SYSTEM = V0_1 / "deepmd" / "system"
SPECS = {
    "layer": ("taafs:bspline", "tanh"),
    "neuron": ("taafs:bspline,share=neuron,residual=scaled", "taafs:chebyshev1"),
}
# values of TAAFS_EXPORT; "folded" is what dp freeze writes unless told
FORMS = {"layer": {"folded": "", "operator": "operator"}, "neuron": {"folded": "", "plain": "plain"}}
TRAINED = (".matrix", ".bias", ".delta", ".weights")


def dp(*arguments: object, cwd: Path, **variables: str) -> None:
    """The stock ``dp --pt`` on one thread."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "DP_INTRA_OP_PARALLELISM_THREADS": "1", "DP_INTER_OP_PARALLELISM_THREADS": "1",
           "NUM_WORKERS": "0", **variables}  # fmt: skip
    command = [str(Path(sys.executable).parent / "dp"), "--pt", *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def make_system(folder: Path) -> None:
    """Four rattled cells of four copper and four gold atoms, labelled by ASE's EMT."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(0)
    arrays: dict[str, list] = {"coord": [], "box": [], "energy": [], "force": []}
    for _ in range(4):
        frame = bulk("Cu", "fcc", a=3.85, cubic=True) * (2, 1, 1)
        frame.symbols[4:] = "Au"
        frame.set_cell(frame.cell.array + rng.normal(scale=0.05, size=(3, 3)), scale_atoms=True)
        frame.positions += rng.normal(scale=0.1, size=frame.positions.shape)
        frame.calc = EMT()
        for key, value in zip(arrays, (frame.positions, frame.cell.array, frame.get_potential_energy(), frame.get_forces()), strict=True):
            arrays[key].append(np.ravel(value))
    (folder / "set.000").mkdir(parents=True, exist_ok=True)
    (folder / "type_map.raw").write_text("Cu\nAu\n")
    (folder / "type.raw").write_text("0\n" * 4 + "1\n" * 4)
    for key, value in arrays.items():
        np.save(folder / "set.000" / f"{key}.npy", np.array(value, dtype=np.float64))


def config(pair: tuple[str, str], steps: int) -> dict:
    """An input.json; ``pair`` has the activation of the embedding and that of the fitting net."""
    same = {"resnet_dt": False, "seed": 1, "precision": "float64"}
    descriptor = {"type": "se_e2_a", "sel": [24, 24], "rcut": 4.0, "rcut_smth": 0.5, "neuron": [4, 8], "axis_neuron": 2,
                  "activation_function": pair[0], **same}  # fmt: skip
    return {
        "model": {
            "type_map": ["Cu", "Au"], "descriptor": descriptor,
            "fitting_net": {"neuron": [6, 6], "activation_function": pair[1], **same},
        },
        "learning_rate": {"type": "exp", "start_lr": 2e-3, "stop_lr": 1e-6, "decay_steps": 1},
        "loss": {"type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 1},
        "training": {
            "training_data": {"systems": [str(SYSTEM)], "batch_size": 1}, "numb_steps": steps, "seed": 1,
            "disp_file": "lcurve.out", "disp_freq": 1, "save_freq": steps,
        },
    }  # fmt: skip


def run_training(pair: tuple[str, str], folder: Path, steps: int) -> Path:
    """``dp --pt train``; the checkpoint."""
    (folder / "input.json").write_text(json.dumps(config(pair, steps)))
    dp("train", "input.json", "--skip-neighbor-stat", cwd=folder)
    return folder / f"model.ckpt-{steps}.pt"


def randomised(source: Path, target: Path) -> None:
    """Random coefficients, and weights of residual=scaled, in a checkpoint; DeePMD lists its networks twice."""
    whole = torch.load(source, weights_only=True)
    state, generator = whole["model"], torch.Generator().manual_seed(7)
    for key in [k for k in state if k.endswith((".activate.delta", ".activate.weights")) and "._networks." not in k]:
        state[key] = 0.1 * torch.randn(state[key].shape, generator=generator, dtype=torch.float64) + 1.0 * key.endswith(".weights")
        if (twin := key.replace(".networks.", "._networks.")) in state:
            state[twin] = state[key].clone()
    torch.save(whole, target)


def without_coefficients(source: Path, target: Path) -> None:
    """The checkpoint of the stock network with the same weights."""
    whole = torch.load(source, weights_only=True)
    extra = whole["model"]["_extra_state"]["model_params"]
    for part in ("descriptor", "fitting_net"):
        extra[part]["activation_function"] = "tanh"
    for key in [k for k in whole["model"] if ".activate." in k]:
        del whole["model"][key]
    torch.save(whole, target)


def evaluate(path: Path) -> dict:
    """Energy, forces and virial of the first frame by ``DeepPot``."""
    from deepmd.infer import DeepPot

    types = np.loadtxt(SYSTEM / "type.raw", dtype=int)
    coord, box = (np.load(SYSTEM / "set.000" / f"{key}.npy")[:1] for key in ("coord", "box"))
    energy, force, virial = DeepPot(str(path)).eval(coord, box, types)
    return {"energy": energy.ravel(), "forces": force[0], "virial": virial.reshape(3, 3)}


def make(folder: Path) -> None:
    """All files and their numbers."""
    make_system(folder / "system")
    numbers: dict = {"stock": {}, "files": {}}
    for name, pair in SPECS.items():
        with tempfile.TemporaryDirectory() as work:
            trained, checkpoint = run_training(pair, Path(work), 5), folder / f"{name}.pt"
            randomised(trained, checkpoint)
            found = listed(evaluate(checkpoint))
            without_coefficients(checkpoint, Path(work) / "stock.pt")
            stock = listed(evaluate(Path(work) / "stock.pt"))
            for form, value in FORMS[name].items():
                dp("freeze", "-c", checkpoint, "-o", folder / f"{name}_{form}.pth", cwd=Path(work), TAAFS_EXPORT=value)
                strip(folder / f"{name}_{form}.pth")
            dp("convert-backend", folder / f"{name}_folded.pth", folder / f"{name}.dp", cwd=Path(work))
        for file in (f"{name}.pt", *(f"{name}_{form}.pth" for form in FORMS[name]), f"{name}.dp"):
            numbers["files"][file], numbers["stock"][file] = found, stock
    write_json(folder / "references.json", numbers)


def values(folder: Path) -> dict[str, dict]:
    """The numbers of each file by the present code; ``folder`` takes what ``dp convert-backend`` makes of the ``.dp`` files."""
    from deepmd.entrypoints.convert_backend import convert_backend

    import taafs_plugins as taafs

    # a first call loads the fused operator, which the files of the form "operator" ask torch for
    taafs.make_activation("taafs:bspline", dtype=torch.float64)(torch.zeros(1, dtype=torch.float64))
    found = {}
    for name in SPECS:
        for file in (f"{name}.pt", *(f"{name}_{form}.pth" for form in FORMS[name])):
            found[file] = evaluate(V0_1 / "deepmd" / file)
        convert_backend(INPUT=str(V0_1 / "deepmd" / f"{name}.dp"), OUTPUT=str(folder / f"{name}.pth"))
        found[f"{name}.dp"] = evaluate(folder / f"{name}.pth")
    return found


def train() -> dict:
    """10 steps of ``dp --pt train``: the curve it prints (three digits) and the weights it ends with."""
    folder = Path(tempfile.mkdtemp())
    try:
        state = torch.load(run_training(SPECS["neuron"], folder, 10), weights_only=True)["model"]
        curve = np.loadtxt(folder / "lcurve.out")
    finally:
        shutil.rmtree(folder)
    tensors = {key: value for key, value in state.items() if key.endswith(TRAINED) and "._networks." not in key}
    return described(tensors, curve[:, 1:].ravel().tolist())
