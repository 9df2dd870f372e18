"""Random coefficients survive every way a TorchANI model is kept or run: the same numbers, and not the stock ones."""

import copy
import sys
from pathlib import Path

import forked
import numpy as np
import pytest
import torch
from ase import Atoms
from torchani.nn import Ensemble
from torchani_small import batch, energies_forces, frames, randomise, small_model, with_all_elements

import taafs_plugins as taafs
from taafs_plugins import HostError

SPEC = "taafs:bspline"
TOLERANCE = 1e-10  # Hartree, Hartree/Angstrom


def periodic_molecules():
    """Two molecules in a small periodic box."""
    first, second = frames(limit=2)
    atoms = Atoms(first[0], first[1]) + Atoms(second[0], second[1] + np.array([0, 0, 6.0]))
    atoms.set_cell([11.0, 12.0, 13.0])
    atoms.set_pbc(True)
    return atoms


def by_ase(model, **kwargs):
    """Energy, forces, stress of the periodic molecules."""
    atoms = periodic_molecules()
    atoms.calc = model.ase(**kwargs)
    return np.concatenate([[atoms.get_potential_energy()], atoms.get_forces().ravel(), atoms.get_stress(voigt=False).ravel()])


@pytest.fixture(scope="module", params=["taafs:bspline", "taafs:rational,share=network,residual=scaled"])
def trained(request):
    """Spec, a model with random coefficients, its reference numbers and the stock ones."""
    stock = small_model(members=2)
    model = copy.deepcopy(stock)
    taafs.convert(model, request.param)
    randomise(model)
    reference = by_ase(model)
    different = np.abs(reference - by_ase(stock))
    assert different[0] > 1e-3 and different[1:-9].max() > 1e-3 and different[-9:].max() > 1e-6
    return request.param, model, reference, stock


def same(model, reference, **kwargs):
    return np.abs(by_ase(model, **kwargs) - reference).max() < TOLERANCE


def test_state_dict(trained, tmp_path):
    """Through TorchANI's loaders, which rename keys, into a fresh model; weights_only."""
    spec, model, reference, stock = trained
    torch.save(model.state_dict(), tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert all("layers" in key for key in state if key.endswith("activation.delta"))
    fresh = small_model(members=2, seed=9)
    taafs.convert(fresh, spec)
    assert str(fresh.load_state_dict(state)) == "<All keys matched successfully>"
    assert same(fresh, reference)
    with pytest.raises(RuntimeError, match="Unexpected key"):  # a stock model refuses, it does not drop them
        copy.deepcopy(stock).load_state_dict(state)


def test_state_dict_of_parts(trained):
    """The containers alone load their own state dicts too."""
    spec, model, _, _ = trained
    for part, fresh in (
        (model.neural_networks, small_model(members=2, seed=9).neural_networks),
        (model.neural_networks[0], small_model(seed=9).neural_networks),
    ):
        taafs.convert(fresh, spec)
        fresh.load_state_dict(part.state_dict())
        for key, value in part.state_dict().items():
            assert torch.equal(fresh.state_dict()[key], value)


def test_stock_state_dicts_of_old_versions_still_load(trained):
    """Files of TorchANI 1 (keys without "layers") load into a stock model, which is converted afterwards."""
    _, _, _, stock = trained
    old = stock.neural_networks.members[0].state_dict()
    old = {k.replace("atomics.", "").replace("final_layer", "6").replace("layers.2", "4").replace("layers.1", "2").replace("layers.", ""): v
           for k, v in old.items()}  # fmt: skip
    fresh = small_model(seed=9).neural_networks
    fresh.load_state_dict(old)
    taafs.convert(fresh, SPEC)
    index, aev = torch.tensor([[0, 1, 2, 3]]), torch.rand(1, 4, fresh["H"].layers[0].in_features, dtype=torch.float64)
    assert torch.equal(fresh(index, aev), stock.neural_networks.members[0](index, aev))


def test_fresh_process(trained, tmp_path):
    """A pickled model in a process that never imported taafs_plugins: same numbers, and to_infer_model is still right."""
    _, model, reference, _ = trained
    torch.save(model, tmp_path / "model.pt")
    np.save(tmp_path / "reference.npy", reference)
    code = """
import sys, numpy as np, torch
sys.path[:0] = sys.argv[2:]
model = torch.load(sys.argv[1] + "/model.pt", weights_only=False)
from test_torchani_roundtrip import by_ase
reference = np.load(sys.argv[1] + "/reference.npy")
assert np.abs(by_ase(model) - reference).max() < 1e-10
assert np.abs(by_ase(model.to_infer_model(), jit=True) - reference).max() < 1e-10
print("same")
"""
    words = [sys.executable, "-c", code, tmp_path, *Path(__file__).parents[:2]]
    done = forked.run(words, modules=("torch", "torchani.arch"), cwd=tmp_path)
    assert done.stdout.strip() == "same", done.stderr


def test_copies_scripts_and_strategies(trained, tmp_path):
    _, model, reference, _ = trained
    assert same(copy.deepcopy(model), reference)
    assert same(model, reference, jit=True)
    assert same(model, reference, stress_kind="fdotr")
    scripted = torch.jit.script(model)
    scripted.save(str(tmp_path / "model.pt"))
    loaded = torch.jit.load(str(tmp_path / "model.pt"))
    x = batch(frames(limit=3))
    assert torch.allclose(loaded(x)[1], model(x).energies, rtol=0, atol=TOLERANCE)
    other = copy.deepcopy(model)
    other.set_strategy("pyaev")
    assert same(other, reference)


@pytest.mark.parametrize("jit", [False, True])
def test_external_neighbours(trained, jit):
    """The entry point that MD engines use: energies and forces equal to those of TorchANI's own neighbour list."""
    _, model, _, _ = trained
    numbers, positions, *_ = with_all_elements()
    species, x = torch.as_tensor(numbers)[None], torch.as_tensor(positions)[None].requires_grad_(True)
    pairs = torch.combinations(torch.arange(len(numbers))).T.contiguous()
    runner = torch.jit.script(model) if jit else model
    energies = runner.compute_from_external_neighbors(species, x, pairs, torch.zeros(pairs.shape[1], 3, dtype=x.dtype))[0]
    forces = -torch.autograd.grad(energies.sum(), x)[0]
    expected = energies_forces(model, [with_all_elements()])
    assert torch.allclose(energies, expected[0], rtol=0, atol=TOLERANCE)
    assert torch.allclose(forces, expected[1], rtol=0, atol=TOLERANCE)


def test_ensemble_is_the_mean_of_its_members_in_every_path(trained, monkeypatch):
    """As it is, scripted, batched (to_infer_model), batched and scripted, with fewer members, and as one-member models."""
    _, model, _, _ = trained
    molecule = [with_all_elements()]
    members = [energies_forces(model[i], molecule) for i in range(2)]
    mean = [sum(m[k] for m in members) / 2 for k in range(2)]
    assert (members[0][0] - members[1][0]).abs() > 1e-4
    # TorchANI marks the eager batched path for NVIDIA's profiler, which torch without CUDA does not have
    monkeypatch.setattr(torch.cuda.nvtx, "range_push", lambda _: None)
    monkeypatch.setattr(torch.cuda.nvtx, "range_pop", lambda: None)
    infer = copy.deepcopy(model).to_infer_model()
    for path in (model, torch.jit.script(model), infer, torch.jit.script(infer), torch.jit.freeze(torch.jit.script(infer.eval()))):
        for value, expected in zip(energies_forces(path, molecule), mean, strict=True):
            assert torch.allclose(value, expected, rtol=0, atol=TOLERANCE)
    values = model(batch(molecule), ensemble_values=True).energies
    assert torch.allclose(values[:, 0], torch.stack([m[0][0] for m in members]), rtol=0, atol=TOLERANCE)
    infer.neural_networks.select_first_n(1)
    assert torch.allclose(torch.jit.script(infer)(batch(molecule))[1], members[0][0], rtol=0, atol=TOLERANCE)
    model.set_active_members([1])
    assert torch.allclose(model(batch(molecule)).energies, members[1][0], rtol=0, atol=TOLERANCE)
    model.set_active_members([0, 1])


@pytest.mark.parametrize("spec", ["taafs:chebyshev1,share=neuron", "taafs:fourier,share=global", "taafs:rational,share=layer"])
def test_batched_networks_of_every_share(spec):
    """Energies and forces of the scripted batched path are the mean of the members for the other ways to share too."""
    stock = small_model(members=2)
    model = copy.deepcopy(stock)
    taafs.convert(model, spec)
    randomise(model)
    molecule = [with_all_elements()]
    members = [energies_forces(model[i], molecule) for i in range(2)]
    infer = torch.jit.script(copy.deepcopy(model).to_infer_model())
    for k, value in enumerate(energies_forces(infer, molecule)):
        assert torch.allclose(value, sum(m[k] for m in members) / 2, rtol=0, atol=TOLERANCE)
        assert (value - energies_forces(stock, molecule)[k]).abs().max() > 1e-3


def test_batched_networks_of_partly_converted_members():
    """Some layers stock, some not: each member still keeps its own activations."""
    model = small_model(members=2)
    taafs.convert(model, SPEC, sites=["*.members.0.atomics.?.layers.0", "*.members.1.atomics.?.layers.2"])
    randomise(model)
    molecule = batch([with_all_elements()])
    infer = torch.jit.script(copy.deepcopy(model).to_infer_model())
    assert torch.allclose(infer(molecule)[1], model(molecule).energies, rtol=0, atol=TOLERANCE)


def test_query_by_committee(trained):
    """TorchANI's spreads over the ensemble: equal to those computed from its members, and different from stock."""
    _, model, _, stock = trained
    molecules = frames(limit=4)
    x = batch(molecules)
    members = torch.stack([energies_forces(model[i], molecules)[0] for i in range(2)])
    atoms = torch.tensor([len(m[0]) for m in molecules], dtype=torch.float64)
    qbc = model.energies_qbcs(x).qbcs
    assert torch.allclose(qbc, members.std(0) / atoms.sqrt(), rtol=0, atol=TOLERANCE)
    assert not torch.allclose(qbc, stock.energies_qbcs(x).qbcs, rtol=1e-3)
    forces = torch.stack([energies_forces(model[i], molecules[:1])[1] for i in range(2)])
    assert torch.allclose(model.members_forces(batch(molecules[:1])).forces, forces, rtol=0, atol=TOLERANCE)
    assert torch.allclose(model.force_magnitudes(batch(molecules[:1])).magnitudes, forces.norm(dim=-1).mean(0), rtol=0, atol=TOLERANCE)


def test_paths_that_cannot_follow_refuse(trained):
    _, model, _, stock = trained
    for call in (
        lambda: copy.deepcopy(model).to_infer_model(use_mnp=True),
        lambda: model[0].to_infer_model(use_mnp=True),
        lambda: model[0].to_infer_model(),
    ):
        with pytest.raises(HostError, match="MNP path computes CELU only"):
            call()
    for part in (model, model.neural_networks, model.neural_networks[0]):
        with pytest.raises(HostError, match="Old versions of TorchANI"):
            part.legacy_state_dict()
    assert stock.legacy_state_dict()  # stock models are not refused
    infer = copy.deepcopy(model).to_infer_model()
    for call in (lambda: taafs.sites(infer), lambda: taafs.restore(infer)):
        with pytest.raises(HostError, match="made by to_infer_model"):
            call()
    with pytest.raises((HostError, ValueError), match="same activation function"):  # half an ensemble converted
        Ensemble([small_model(seed=1).neural_networks, copy.deepcopy(model.neural_networks[0])]).to_infer_model()
    with pytest.raises(ValueError, match="not available"):  # TorchANI's own refusal without its CUDA extension
        copy.deepcopy(model).set_strategy("cuaev")


def test_no_openmm_path_to_follow():
    """TorchANI 2.9 has no OpenMM code, and NNPOps, which assumes CELU, needs a name that TorchANI 2 no longer has."""
    import torchani

    folder = Path(torchani.__file__).parent
    assert not any("openmm" in path.read_text().lower() for path in folder.rglob("*.py"))
    assert not hasattr(torchani.nn, "SpeciesEnergies")


def test_stock_infer_model_is_untouched(trained):
    """The guard leaves stock ensembles as TorchANI builds them."""
    _, _, _, stock = trained
    infer = torch.jit.script(copy.deepcopy(stock).to_infer_model())
    x = batch([with_all_elements()])
    assert torch.allclose(infer(x)[1], stock(x).energies, rtol=0, atol=TOLERANCE)


def test_pretrained_models(monkeypatch):
    """``torchani.models.ANI1x()`` with the download replaced: eight members, same numbers after converting, only coefficients train."""
    from torchani import models

    with monkeypatch.context() as patch:  # its own architecture with weights by seed
        patch.setattr(models, "_fetch_state_dict", lambda *_, **__: {})
        patch.setattr(models.ANI, "load_state_dict", lambda *_: None)
        torch.manual_seed(0)
        state = models.ANI1x().state_dict()
    monkeypatch.setattr(models, "_fetch_state_dict", lambda name, **_: state)
    model = models.ANI1x()
    x = batch(frames(limit=2), dtype=torch.float32)
    stock = model(x).energies
    assert taafs.convert(model, SPEC).added == 8 * 96
    assert torch.equal(model(x).energies, stock)
    assert {name.rsplit(".", 1)[-1] for name, p in model.named_parameters() if p.requires_grad} == {"delta"}
    again = models.ANI1x()
    taafs.convert(again, SPEC)
    again.load_state_dict(randomise(model).state_dict())
    assert torch.equal(again(x).energies, model(x).energies) and not torch.allclose(model(x).energies, stock)
