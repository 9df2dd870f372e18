"""Forces, stress and magmoms of a network with random coefficients, and CHGNet's own tools on top of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from chgnet_helpers import IRON, all_differ, atoms_of, mptrj, predictions, randomise, same, stock
from nve_checks import with_wrong_forces

import taafs_plugins as taafs
from taafs_plugins.adapters.chgnet.finetune import Frames


@pytest.fixture
def random_model():
    """0.3.0 with calibrated scales and small random coefficients: known structures move by about 0.1 eV/atom."""
    model = stock()
    taafs.convert(model, "taafs:chebyshev1,scale=auto")
    with taafs.calibrate(model):
        model.predict_structure(list(mptrj(4).structures), task="e")
    randomise(model, size=0.002)
    return model


@pytest.fixture
def float64(monkeypatch):
    """CHGNet in float64: its modules each hold the dtype of what they make."""
    from chgnet.graph import converter, crystalgraph
    from chgnet.model import model

    for module in (converter, crystalgraph, model):
        monkeypatch.setattr(module, "TORCH_DTYPE", torch.float64)


@pytest.mark.parametrize("spec", ["taafs:chebyshev1,scale=auto", "taafs:fourier,scale=auto", "taafs:bspline,order=5,scale=auto"])
def test_forces_and_stress_are_the_energys_derivatives_in_float64(float64, spec):
    from pymatgen.core import Lattice

    model = stock().double()
    model.composition_model = None  # a constant of the composition, which CHGNet computes in float32
    taafs.convert(model, spec)
    structure = mptrj(3, largest=6).structures[1].copy()
    structure.perturb(0.05)
    with taafs.calibrate(model):
        model.predict_structure(structure, task="e")
    randomise(model, size=0.005)
    atoms = len(structure)

    def energy(changed) -> float:
        return float(model.predict_structure(changed, task="e")["e"]) * atoms

    exact = model.predict_structure(structure, task="efs")
    h, difference = 1e-4, np.zeros((atoms, 3))
    for atom in range(atoms):
        for axis in range(3):
            step = np.eye(3)[axis] * h
            sides = []
            for sign in (1, -1):
                moved = structure.copy()
                moved.translate_sites([atom], sign * step, frac_coords=False, to_unit_cell=False)
                sides.append(energy(moved))
            difference[atom, axis] = -(sides[0] - sides[1]) / (2 * h)
    assert np.abs(difference).max() > 0.01
    np.testing.assert_allclose(exact["f"], difference, atol=2e-6)

    h, stress = 2e-5, np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            sides = []
            for sign in (1, -1):
                strained = structure.copy()
                strain = np.zeros((3, 3))
                strain[i, j] = sign * h
                strained.lattice = Lattice(structure.lattice.matrix @ (np.eye(3) + strain))
                sides.append(energy(strained))
            stress[i, j] = (sides[0] - sides[1]) / (2 * h) / structure.volume * 160.21766208
    assert np.abs(stress).max() > 0.1
    np.testing.assert_allclose(exact["s"], stress, atol=2e-5)


def test_gradgradcheck_of_the_force_loss_in_float64(float64):
    """The gradient of a force loss with respect to every coefficient of two sites, against central differences."""
    model = stock().double()
    model.composition_model = None
    taafs.convert(model, "taafs:chebyshev1,degree=3,scale=auto", sites=["mlp.layers.1", "atom_conv_layers.0.twoBody_atom.mlp_core.*"])
    structure = mptrj(3, largest=6).structures[1].copy()
    structure.perturb(0.05)
    with taafs.calibrate(model):
        model.predict_structure(structure, task="e")
    randomise(model, size=0.005)
    graph = model.graph_converter(structure)

    def loss() -> torch.Tensor:
        return (model([graph], task="ef")["f"][0] ** 2).sum()

    loss().backward()
    h = 1e-5
    for act in taafs.trainable_activations(model).values():
        for k in range(act.delta.numel()):
            sides = []
            for sign in (1, -1):
                with torch.no_grad():
                    act.delta[k] += sign * h
                sides.append(float(loss().detach()))
                with torch.no_grad():
                    act.delta[k] -= sign * h
            numeric = (sides[0] - sides[1]) / (2 * h)
            assert abs(float(act.delta.grad[k]) - numeric) <= 1e-6 * max(1.0, abs(numeric))


def test_an_isolated_atom_behaves_as_in_stock():
    from pymatgen.core import Lattice, Structure

    alone = Structure(Lattice.cubic(20.0), ["Fe"], [[0, 0, 0]])
    beside = Structure(Lattice.cubic(20.0), ["Fe", "O", "O"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0.56]])
    model = stock()
    taafs.convert(model, "taafs:chebyshev1")
    for response in ("error", "ignore"):
        outcomes = []
        for network in (stock(), model):
            network.graph_converter.set_isolated_atom_response(response)
            outcomes.append([_outcome(network, structure) for structure in (alone, beside)])
        for plain, converted in zip(*outcomes, strict=True):
            assert type(plain) is type(converted)
            assert str(plain) == str(converted) if isinstance(plain, Exception) else same([plain], [converted])
    randomise(model)
    prediction = _outcome(model, beside)
    assert all(np.isfinite(prediction[key]).all() for key in "efsm")


def test_a_structure_without_atoms_fails_as_in_stock_and_not_in_calibration():
    from pymatgen.core import Lattice, Structure

    empty = Structure(Lattice.cubic(4.0), [], [])
    model = stock()
    taafs.convert(model, "taafs:chebyshev1,scale=auto")
    outcomes = [_outcome(network, empty) for network in (stock(), model)]
    assert isinstance(outcomes[0], Exception) and type(outcomes[0]) is type(outcomes[1])
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(type(outcomes[0])), taafs.calibrate(model):
        model.predict_structure(empty)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(act.calibrated for act in taafs.trainable_activations(model).values())  # so the next training says it
    with pytest.raises(ValueError, match="Structure 0 has no atoms; leave it out"):
        Frames([empty], [0.0], [np.zeros((0, 3))])


def _outcome(model, structure):
    try:
        return model.predict_structure(structure)
    except Exception as error:
        return error


# CHGNet's own tools -----------------------------------------------------------------------------------------------------------


def test_prediction_calculator_and_relaxation_use_the_coefficients(random_model):
    from chgnet.model import CHGNetCalculator, StructOptimizer
    from pymatgen.io.ase import AseAtomsAdaptor

    structure = Frames.from_ase(atoms_of(IRON)[:1]).structures[0]
    expected = random_model.predict_structure(structure)
    assert all_differ([expected], predictions(stock(), [structure]))
    batched = random_model.predict_structure([structure, structure])
    np.testing.assert_allclose(batched[0]["f"], expected["f"], atol=1e-4)

    calculator = CHGNetCalculator(random_model, use_device="cpu")
    atoms = AseAtomsAdaptor.get_atoms(structure)
    atoms.calc = calculator
    assert atoms.get_potential_energy() == float(expected["e"]) * len(atoms)
    assert np.array_equal(atoms.get_forces(), expected["f"])
    np.testing.assert_allclose(atoms.get_stress(voigt=False), expected["s"] / 160.21766208, atol=1e-6)
    assert np.array_equal(atoms.get_magnetic_moments(), expected["m"])

    relaxed = StructOptimizer(random_model, use_device="cpu").relax(structure, steps=3, verbose=False)
    energies = relaxed["trajectory"].energies
    assert energies[0] == pytest.approx(float(expected["e"]) * len(structure), abs=1e-4) and energies[-1] < energies[0]


def test_molecular_dynamics_runs_with_the_coefficients(random_model, tmp_path):
    from ase.build import bulk
    from ase.io.trajectory import Trajectory
    from chgnet.model import MolecularDynamics

    iron = bulk("Fe", a=2.83, cubic=True)
    run = MolecularDynamics(
        iron, model=random_model, ensemble="nve", temperature=300, timestep=1, loginterval=1, use_device="cpu",
        trajectory=str(tmp_path / "md.traj"), logfile=None,
    )  # fmt: skip
    run.run(3)
    frames = Trajectory(str(tmp_path / "md.traj"))
    assert len(frames) >= 3
    last = frames[-1]
    from pymatgen.io.ase import AseAtomsAdaptor

    expected = random_model.predict_structure(AseAtomsAdaptor.get_structure(last))
    assert last.get_potential_energy() == pytest.approx(2 * float(expected["e"]), abs=1e-5)


@pytest.mark.slow
def test_energy_is_conserved_as_well_as_by_stock(random_model):
    """112 fs of NVE by CHGNet's MolecularDynamics, 4 Fe atoms near 75 K: the least-squares drift of the total energy per atom is at most
    1.2 x stock's, or 1e-5 eV/atom/ps (float32), which forces that are wrong by a hundredth would not hold."""

    def run(model):
        from ase.build import bulk
        from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
        from chgnet.model import MolecularDynamics

        iron = bulk("Fe", a=2.83, cubic=True) * (2, 1, 1)
        MaxwellBoltzmannDistribution(iron, temperature_K=150, rng=np.random.default_rng(0))  # half of it becomes potential energy
        md = MolecularDynamics(iron, model=model, ensemble="nve", timestep=1.0, use_device="cpu")
        total, kinetic = [], []
        md.dyn.attach(lambda: total.append(iron.get_total_energy() / len(iron)))
        md.dyn.attach(lambda: kinetic.append(iron.get_kinetic_energy() / len(iron)))
        md.run(112)
        assert len(total) == 113 and np.ptp(kinetic) > 0.005  # atoms move
        assert np.ptp(total) < 0.05 * np.ptp(kinetic)
        return np.array(total), np.array(kinetic)

    def drift(total) -> float:
        return float(abs(np.polyfit(np.arange(len(total)) * 1e-3, total, 1)[0]))

    plain, changed = drift(run(stock())[0]), run(random_model)
    ours, wrong = drift(changed[0]), drift(with_wrong_forces(*changed, by=1e-2))
    print("drift, eV/atom/ps:", ours, plain, wrong)
    assert ours <= max(1.2 * plain, 1e-5) < wrong, (ours, plain, wrong)
