"""What follows training: spkdeploy, a process without this package, ASE, spkmd, spkpredict, ensembles; random coefficients throughout."""

import json
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
import schnetpack as spk
import torch
from ase.io import write
from schnetpack.data import AtomsDataFormat, create_dataset
from schnetpack.interfaces import SpkCalculator, SpkEnsembleCalculator
from schnetpack.md.data import HDF5Loader
from schnetpack.transform import MatScipyNeighborList
from schnetpack_helpers import CUTOFF, batch, command, differs, ethanol, potential, predict, randomise

import taafs_plugins as taafs

BIN = Path(sys.executable).parent
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "schnetpack"

ALONE = """
import json, sys
sys.modules["taafs_plugins"] = sys.modules["schnetpack"] = None  # importing either of them raises
import torch
metadata = {"cutoff": ""}
model = torch.jit.load(sys.argv[1], _extra_files=metadata)
out = model({key: value for key, value in torch.load(sys.argv[2]).items()})
torch.save({key: value.detach() for key, value in out.items()}, sys.argv[3])
print(json.dumps({"cutoff": float(metadata["cutoff"])}))
"""


def run(*words, cwd, by=command):
    done = by(*words, cwd=cwd)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def with_torch(*words, cwd):
    """In a process that has imported nothing but torch."""
    return forked.run(words, modules=("torch",), cwd=cwd)


def converted(spec="taafs:bspline", kind="painn", seed=0, **keys):
    model = potential(kind, seed=seed, **keys)
    taafs.convert(model, spec, sites=["*"])
    return randomise(model, seed=seed)


@pytest.mark.parametrize(
    ("kind", "spec", "dtype", "size"),
    [
        ("painn", "taafs:bspline", torch.float32, 0.2),
        # of a degree-7 polynomial with larger coefficients float32 itself rounds off more than 1e-6, live or deployed
        ("painn", "taafs:chebyshev1", torch.float32, 0.03),
        ("painn", "taafs:chebyshev1,share=neuron", torch.float64, 0.2),
        ("schnet", "taafs:fourier", torch.float64, 0.2),
        ("so3net", "taafs:bspline", torch.float64, 0.2),
    ],
)
def test_deployed_file_runs_without_this_package(tmp_path, kind, spec, dtype, size):
    stress = kind != "so3net"
    model = randomise(converted(spec, kind, stress=stress), size=size)
    atoms = ethanol(2, periodic=True)
    keys = ("energy", "forces", "stress") if stress else ("energy", "forces")
    live, stock = predict(model, atoms, dtype), predict(potential(kind, stress=stress), atoms, dtype)
    assert differs(live, stock, keys, by=1e-6)
    torch.save(model, tmp_path / "best_model")
    torch.save(batch(atoms, dtype), tmp_path / "inputs.pt")
    run(BIN / "spkdeploy", "best_model", "deployed.pt", cwd=tmp_path)
    printed = run(sys.executable, "-c", ALONE, "deployed.pt", "inputs.pt", "outputs.pt", cwd=tmp_path, by=with_torch)
    assert json.loads(printed.splitlines()[-1])["cutoff"] == CUTOFF
    alone = torch.load(tmp_path / "outputs.pt")
    for key in keys:
        largest = max(1.0, float(live[key].abs().max()))
        assert float((alone[key] - live[key]).abs().max()) <= (1e-6 if dtype == torch.float32 else 1e-10) * largest, key


def test_pickled_model_predicts_the_same_in_a_fresh_process(tmp_path):
    model = converted()
    torch.save(model, tmp_path / "best_model")
    torch.save(batch(), tmp_path / "inputs.pt")
    run(sys.executable, "-c", (
        "import torch, schnetpack as spk\n"
        "model = spk.utils.load_model('best_model').double().eval()\n"
        "torch.save({k: v.detach() for k, v in model(torch.load('inputs.pt')).items()}, 'outputs.pt')"
    ), cwd=tmp_path)  # fmt: skip
    loaded, live = torch.load(tmp_path / "outputs.pt"), predict(model)
    assert torch.equal(loaded["energy"], live["energy"]) and torch.equal(loaded["forces"], live["forces"])


def test_ase_calculator_and_ensemble(tmp_path):
    models = [converted(seed=seed) for seed in (0, 1)]
    atoms = ethanol(1)[0]
    keys = {"neighbor_list": MatScipyNeighborList(cutoff=CUTOFF), "energy_unit": "kcal/mol", "dtype": torch.float64}
    expected = [predict(model, [atoms]) for model in models]
    for i, model in enumerate(models):
        torch.save(model, tmp_path / f"model_{i}")
    atoms.calc = SpkCalculator(str(tmp_path / "model_0"), **keys)
    kcal = spk.units.convert_units("kcal/mol", "eV")
    np.testing.assert_allclose(atoms.get_forces(), expected[0]["forces"].numpy() * kcal, rtol=1e-10)
    ensemble = SpkEnsembleCalculator([str(tmp_path / "model_0"), str(tmp_path / "model_1")], **keys)
    atoms.calc = ensemble
    mean = (expected[0]["energy"] + expected[1]["energy"]).item() / 2 * kcal
    assert atoms.get_potential_energy() == pytest.approx(mean, rel=1e-10)
    forces = (expected[0]["forces"] + expected[1]["forces"]).numpy() / 2 * kcal
    np.testing.assert_allclose(atoms.get_forces(), forces, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("script", [False, True])
def test_spkmd_conserves_energy_and_uses_the_coefficients(tmp_path, script):
    """40 steps of 0.25 fs in float64, live and scripted; ASE is the independent judge of the first energies."""
    model = converted("taafs:chebyshev1").float()
    torch.save(model, tmp_path / "best_model")
    atoms = ethanol(1)[0]
    write(tmp_path / "start.xyz", atoms)
    run(
        BIN / "spkmd", f"--config-dir={EXAMPLE}", "--config-name=md", "calculator.model_file=best_model",
        f"calculator.script_model={script}", "system.molecule_file=start.xyz", "dynamics.n_steps=40",
        "dynamics.integrator.time_step=0.25", cwd=tmp_path,
    )  # fmt: skip
    loaded = HDF5Loader(str(tmp_path / "md" / "simulation.hdf5"))
    potential_energy = loaded.get_potential_energy().ravel()
    total = potential_energy + loaded.get_kinetic_energy()
    assert len(total) == 40
    assert np.ptp(total) < 0.05 * np.ptp(potential_energy)
    frame = atoms.copy()
    frame.positions = loaded.get_positions()[7] * spk.units.convert_units("nm", "Angstrom")
    unit = spk.units.convert_units("kcal/mol", spk.units.energy)
    assert potential_energy[7] == pytest.approx(predict(model, [frame])["energy"].item() * unit, rel=1e-6)
    assert abs(potential_energy[7] - predict(potential(), [frame])["energy"].item() * unit) > 1e-3


def test_spkpredict(tmp_path):
    model = converted().float()
    torch.save(model, tmp_path / "best_model")
    atoms = ethanol(8)
    dataset = create_dataset(str(tmp_path / "frames.db"), AtomsDataFormat.ASE, distance_unit="Ang", property_unit_dict={})
    dataset.add_systems(property_list=[{} for _ in atoms], atoms_list=atoms)
    # SchNetPack's write_interval=epoch expects the predictions of an older Lightning
    run(
        BIN / "spkpredict", "datapath=frames.db", f"modeldir={tmp_path}", "outputdir=predictions", f"cutoff={CUTOFF}",
        "enable_grad=true", "write_interval=batch", "trainer.accelerator=cpu", "batch_size=8", cwd=tmp_path,
    )  # fmt: skip
    found = torch.load(tmp_path / "predictions" / "0" / "0.pt")
    expected = predict(model, atoms, torch.float32)
    for key in ("energy", "forces"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-5, atol=1e-5)
    assert differs({key: found[key] for key in expected}, predict(potential(), atoms, torch.float32))
