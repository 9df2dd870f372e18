"""SchNetPack models as exported files: equal to SchNetPack itself in energy, forces and stress, in both modes, from every kind of file."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "schnetpack"))

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import schnetpack as spk  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402
from export_checks import alone, by_ghosts, equal_to_host, inputs_of  # noqa: E402
from schnetpack.transform import AddOffsets, CastTo64, ScaleProperty  # noqa: E402
from schnetpack_helpers import CUTOFF, ethanol, potential, randomise  # noqa: E402
from torch import Tensor  # noqa: E402

import taafs_plugins as taafs  # noqa: E402
from taafs_plugins.adapters.schnetpack.export import ExportedPotential, reference  # noqa: E402
from taafs_plugins.md.calculator import ExportedCalculator, predict  # noqa: E402
from taafs_plugins.md.contract import ExportError, read, read_metadata  # noqa: E402
from taafs_plugins.md.export import read_model  # noqa: E402

BIN = Path(sys.executable).parent
UNIT = {"energy_unit": "kcal/mol", "elements": ["H", "C", "O"]}
# smaller largest values are rounding: lone atoms have no forces at all
FLOOR = {"energy": 1e-2, "forces": 1e-2, "stress": 1e-4}
CASES = [
    ("painn", None, torch.float32, 0.2),
    ("painn", "taafs:chebyshev1,share=neuron", torch.float64, 0.2),
    ("painn", "taafs:bspline", torch.float32, 0.1),
    ("schnet", "taafs:fourier", torch.float64, 0.2),
    ("schnet", "taafs:rational", torch.float32, 0.1),
    ("so3net", "taafs:bspline", torch.float64, 0.2),
]


def structures() -> list[Atoms]:
    """Ethanol alone and in a tight skewed cell, carbon in a cell much smaller than the cutoff, a slab of two elements, lone atoms."""
    packed = ethanol(2)[1]
    packed.center(vacuum=1.0)
    packed.set_cell(packed.cell.array + np.array([[0, 0.4, 0], [0, 0, 0.3], [0.2, 0, 0]]))
    packed.pbc = True
    diamond = bulk("C")
    diamond.rattle(0.05, seed=1)
    slab = Atoms("CH", [[0, 0, 0], [0.6, 0.7, 0.5]], cell=[3.5, 3.6, 20], pbc=[True, True, False])
    return [ethanol(1)[0], packed, diamond, slab, Atoms("OH", [[0, 0, 0], [30, 0, 0]])]


def converted(kind="painn", spec="taafs:bspline", dtype=torch.float64, size=0.2, **keys):
    model = potential(kind, **keys)
    if spec:
        taafs.convert(model, spec, sites=["*"])
        randomise(model, size=size)
    return model.to(dtype).eval()


@pytest.mark.parametrize(("kind", "spec", "dtype", "size"), CASES)
def test_equal_to_schnetpack(tmp_path, kind, spec, dtype, size):
    model = converted(kind, spec, dtype, size)
    facts = taafs.export(model, tmp_path / "model.pt", **UNIT).metadata
    assert (facts.cutoff, facts.hops, facts.elements, facts.energy_unit) == (CUTOFF, 2, (1, 6, 8), "kcal/mol")
    assert facts.modes == ("owner", "ghost") and bool(facts.spec) == bool(spec)
    equal_to_host(tmp_path / "model.pt", [reference(model, atoms) for atoms in structures()], structures(), FLOOR)
    if spec:
        stock = converted(kind, None, dtype)
        with pytest.raises(AssertionError):
            equal_to_host(tmp_path / "model.pt", [reference(stock, atoms) for atoms in structures()], structures(), FLOOR)


@pytest.mark.parametrize("kind", ["painn", "schnet", "so3net"])
def test_ghosts_give_what_owners_give(tmp_path, kind):
    taafs.export(converted(kind), tmp_path / "model.pt", **UNIT)
    module, metadata = read(tmp_path / "model.pt")
    packed, diamond = structures()[1:3]
    for seed, atoms in enumerate((packed, diamond) if kind == "painn" else (diamond,)):
        owner, ghost = predict(module, metadata, atoms), by_ghosts(tmp_path / "model.pt", atoms, np.random.default_rng(seed))
        for name, value in ghost.items():
            np.testing.assert_allclose(value, owner[name], rtol=1e-9, atol=1e-11, err_msg=name)


def test_a_list_with_a_skin_gives_the_same(tmp_path):
    taafs.export(converted(), tmp_path / "model.pt", **UNIT)
    module, metadata = read(tmp_path / "model.pt")
    for atoms in structures():
        exact, wide = (module(*inputs_of(metadata, atoms, skin)).detach().numpy() for skin in (0.0, 1.0))
        np.testing.assert_allclose(wide, exact, rtol=1e-12)


def test_postprocessors_shared_interactions_and_repulsion(tmp_path):
    """Mean, atomic references and scale are in the atoms' energies; references tell the elements; stress has the model's own module."""
    references = torch.zeros(100)
    references[[1, 6, 8]] = torch.tensor([-313.5, -23900.0, -47100.0])
    torch.manual_seed(0)
    plain = converted(shared_interactions=True, stress=True)
    repulsion = spk.atomistic.ZBLRepulsionEnergy(
        energy_unit="kcal/mol", position_unit="Ang", output_key="zbl", trainable=False, cutoff_fn=spk.nn.CosineCutoff(CUTOFF)
    )
    atomwise, forces = plain.output_modules
    atomwise.output_key, atomwise.model_outputs = "network", ["network"]
    total = spk.atomistic.Aggregation(["network", "zbl"], output_key="energy")
    model = spk.model.NeuralNetworkPotential(
        plain.representation, list(plain.input_modules), [atomwise, repulsion, total, forces],
        [CastTo64(), AddOffsets("energy", add_mean=True, add_atomrefs=True, atomrefs=references, property_mean=torch.tensor([-11.5]))],
    ).double().eval()  # fmt: skip
    facts = taafs.export(model, tmp_path / "model.pt", energy_unit="kcal/mol").metadata
    assert facts.elements == (1, 6, 8) and facts.hops == 2
    expected = [reference(model, atoms) for atoms in structures()]
    assert expected[0]["energy"] < -90000
    equal_to_host(tmp_path / "model.pt", expected, structures(), FLOOR)


def test_scaled_energies_need_scaled_forces(tmp_path):
    model = converted()
    model.postprocessors = torch.nn.ModuleList([ScaleProperty("energy", scale=torch.tensor([3.0], dtype=torch.float64))])
    # the energy is scaled on both sides, and so is not named
    with pytest.raises(ExportError, match=r"differs from schnetpack in forces by [^,]*, stress by [^,]*, relative: nothing was written"):
        taafs.export(model, tmp_path / "model.pt", **UNIT)
    model.postprocessors.append(ScaleProperty("forces", scale=torch.tensor([3.0], dtype=torch.float64)))
    molecules = [structures()[0]]  # SchNetPack itself scales no stress
    taafs.export(model, tmp_path / "model.pt", structures=molecules, **UNIT)
    equal_to_host(tmp_path / "model.pt", [reference(model, atoms) for atoms in molecules], molecules, FLOOR)


def test_float32_keeps_the_digits_of_large_energies(tmp_path):
    model = converted(dtype=torch.float32)
    offset = -97000.0
    model.postprocessors = torch.nn.ModuleList([CastTo64(), AddOffsets("energy", add_mean=True, property_mean=torch.tensor([offset]))])
    taafs.export(model, tmp_path / "model.pt", **UNIT)
    atoms = structures()[0]
    found = predict(*read(tmp_path / "model.pt"), atoms)["energy"]
    model.postprocessors = torch.nn.ModuleList()
    assert found - len(atoms) * offset == pytest.approx(reference(model, atoms)["energy"], rel=1e-5)


def test_runs_without_this_package(tmp_path):
    model = converted()
    taafs.export(model, tmp_path / "model.pt", **UNIT)
    atoms = structures()[0]
    found, expected = alone(tmp_path / "model.pt", atoms, tmp_path), reference(model, atoms)
    assert found["energy"] == pytest.approx(expected["energy"], rel=1e-12)
    np.testing.assert_allclose(found["forces"], expected["forces"], rtol=1e-9, atol=1e-11)


def test_a_file_of_spkdeploy_is_taken(tmp_path):
    """In float32 it equals the live model's export; a converted one is still known to be one."""
    model = converted(dtype=torch.float32, shared_interactions=True)
    model.postprocessors = torch.nn.ModuleList([CastTo64(), AddOffsets("energy", add_mean=True, property_mean=torch.tensor([-7.0]))])
    torch.save(model, tmp_path / "best_model")
    done = subprocess.run([BIN / "spkdeploy", "best_model", "deployed.pt"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for source in ("best_model", "deployed.pt"):
        taafs.export(tmp_path / source, tmp_path / f"exported_{source}", **UNIT)
    one, two = (read(tmp_path / f"exported_{source}") for source in ("best_model", "deployed.pt"))
    assert two[1].spec and two[1].hops == 2 and two[1].cutoff == CUTOFF
    for atoms in structures():
        first, second = predict(*one, atoms), predict(*two, atoms)
        for name in ("energy", "forces"):
            np.testing.assert_allclose(second[name], first[name], rtol=1e-5, atol=1e-5)
    expected = [reference(model, atoms) for atoms in structures()]
    equal_to_host(tmp_path / "exported_deployed.pt", expected, structures(), FLOOR)


def test_the_run_s_folder_tells_unit_and_elements(tmp_path):
    """As spktrain leaves it: best_model beside config.yaml, checkpoints below, the data where the config says."""
    model = converted(dtype=torch.float32)
    run = tmp_path / "runs" / "a"
    (run / "checkpoints").mkdir(parents=True)
    torch.save(model, run / "best_model")
    task = spk.AtomisticTask(model, [], optimizer_args={"lr": 1e-3})
    content = {"state_dict": {k: v + 0.0 for k, v in task.state_dict().items()}, "hyper_parameters": dict(task.hparams)}
    with torch.no_grad():
        model.output_modules[0].outnet[1].bias.add_(3.0)  # the checkpoint's numbers count, not those of the model it was started with
    torch.save(content, run / "checkpoints" / "last.ckpt")
    dataset = spk.data.create_dataset(str(tmp_path / "frames.db"), spk.data.AtomsDataFormat.ASE, distance_unit="Ang", property_unit_dict={})
    dataset.add_systems(property_list=[{} for _ in range(8)], atoms_list=ethanol(8))
    config = "globals:\n  energy_key: energy\ndata:\n  datapath: frames.db\n  distance_unit: {}\n  property_units:\n    energy: {}\n"
    (run / "config.yaml").write_text(config.format("Ang", "kcal/mol"))
    for source in ("best_model", "checkpoints/last.ckpt"):
        facts = taafs.export(run / source, tmp_path / f"{Path(source).name}.pt").metadata
        assert facts.energy_unit == "kcal/mol" and facts.elements == (1, 6, 8)
    atoms = ethanol(1)[0]
    energies = [ExportedCalculator(tmp_path / name).get_potential_energy(atoms) for name in ("best_model.pt", "last.ckpt.pt")]
    assert energies[0] == pytest.approx(energies[1], rel=1e-6)
    kcal = spk.units.convert_units("kcal/mol", "eV")
    assert energies[0] == pytest.approx(reference(torch.load(run / "best_model", weights_only=False), atoms)["energy"] * kcal, rel=1e-6)
    for length, unit, sentence in (("Bohr", "eV", "trained in Bohr"), ("Ang", "kJ/mol", "energies in kJ/mol")):
        (run / "config.yaml").write_text(config.format(length, unit))
        with pytest.raises(taafs.HostError, match=sentence):
            read_model(run / "best_model")


def test_nothing_is_written_when_the_numbers_differ(tmp_path, monkeypatch):
    class Tampered(ExportedPotential):
        """Forgets the offsets of the pairs, as if nothing were periodic."""

        def forward(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> Tensor:
            inputs = {
                "_atomic_numbers": Z, "_Rij": pos[idx_j] - pos[idx_i] + 1e-3 * offsets, "_idx_i": idx_i, "_idx_j": idx_j,
                "_idx_m": torch.arange(Z.shape[0]),
            }  # fmt: skip
            inputs = self.representation(inputs)
            for module in self.energies:
                inputs = module(inputs)
            return inputs[self.key]

    monkeypatch.setattr("taafs_plugins.adapters.schnetpack.export.ExportedPotential", Tampered)
    with pytest.raises(ExportError, match="nothing was written"):
        taafs.export(converted(), tmp_path / "model.pt", **UNIT)
    assert list(tmp_path.iterdir()) == []


def test_clear_refusals(tmp_path):
    def refuses(model, sentence, **keys):
        with pytest.raises((taafs.HostError, ExportError), match=sentence):
            taafs.export(model, tmp_path / "model.pt", **{**UNIT, **keys})
        assert not (tmp_path / "model.pt").exists()

    model = converted()
    refuses(model, "does not carry its energy unit", energy_unit=None)
    refuses(model, "name them", elements=None)
    refuses(model, "no chemical symbol", elements=["Xx"])
    refuses(model, "float16 is unknown", dtype="float16")
    refuses(model, "at least one", structures=[])
    refuses(converted("field_schnet"), "FieldSchNet cannot be exported")
    average = spk.atomistic.Atomwise(n_in=16, output_key="energy", aggregation_mode="avg")
    refuses(potential(head=average), "gives no sum over atoms")
    charged = [spk.nn.ElectronicEmbedding(property_key="total_charge", num_features=16, is_charged=True)]
    refuses(potential(electronic_embeddings=charged), "Electronic embeddings")
    model.input_modules.append(spk.atomistic.FilterShortRange(3.0))
    refuses(model, "input module FilterShortRange")
    # elements that were looked at are enough, and another element is then an error
    taafs.export(converted(), tmp_path / "model.pt", energy_unit="eV", structures=structures()[:1])
    assert read_metadata(tmp_path / "model.pt").elements == (1, 6, 8)
    with pytest.raises(ExportError, match="atomic number 13"):
        ExportedCalculator(tmp_path / "model.pt").get_potential_energy(bulk("Al"))
