"""TorchANI models as exported files: equal to TorchANI itself in energy, forces and stress, in both modes, anywhere torch is."""

import copy
import os
import sys
from pathlib import Path

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "torchani"))

import ase.units  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402
from ase.stress import full_3x3_to_voigt_6_stress  # noqa: E402
from export_checks import alone, by_ghosts, equal_to_host, inputs_of  # noqa: E402
from torch import Tensor  # noqa: E402
from torchani.arch import ANI, ANIq  # noqa: E402
from torchani.potentials import RepulsionXTB  # noqa: E402
from torchani_small import SYMBOLS, frames, randomise, small_model  # noqa: E402

import taafs_plugins as taafs  # noqa: E402
from taafs_plugins.adapters.torchani.export import ExportedANI, reference  # noqa: E402
from taafs_plugins.md.calculator import ExportedCalculator, predict  # noqa: E402
from taafs_plugins.md.contract import ExportError, read, read_metadata  # noqa: E402
from taafs_plugins.md.export import read_model  # noqa: E402
from taafs_plugins.md.units import EV  # noqa: E402

SPECS = [None, "taafs:bspline", "taafs:chebyshev1,share=neuron", "taafs:rational,share=network"]


def structures() -> list[Atoms]:
    """Two molecules of kernelforge, one packed into a skewed periodic cell, carbon in a cell much smaller than the cutoff, a lone atom."""
    first, second = (Atoms(m[0], m[1]) for m in frames("test", 40)[:40:20])
    packed = second.copy()
    packed.center(vacuum=0.8)
    packed.set_cell(packed.cell.array + np.array([[0, 0.4, 0], [0, 0, 0.3], [0.2, 0, 0]]))
    packed.pbc = True
    diamond = bulk("C")
    diamond.rattle(0.05, seed=1)
    slab = Atoms("CH", [[0, 0, 0], [0.6, 0.7, 0.5]], cell=[2.5, 2.6, 20], pbc=[True, True, False])
    lone = Atoms("OH", [[0, 0, 0], [30, 0, 0]])
    return [first, packed, diamond, slab, lone]


def converted(spec, members=1, dtype=torch.float64, **keys):
    model = small_model(members=members, dtype=dtype, **keys)
    if spec:
        taafs.convert(model, spec)
        randomise(model)
    return model


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """One network with random coefficients; no test changes it."""
    path = tmp_path_factory.mktemp("exported") / "model.pt"
    taafs.export(converted("taafs:bspline"), path)
    return path


@pytest.mark.parametrize(("spec", "dtype"), [*((spec, torch.float64) for spec in SPECS), *((spec, torch.float32) for spec in SPECS[:2])])
def test_equal_to_torchani(tmp_path, spec, dtype):
    model = converted(spec, members=2 if spec == SPECS[1] else 1, dtype=dtype)
    done = taafs.export(model, tmp_path / "model.pt")
    assert done.metadata.energy_unit == "hartree" and done.metadata.elements == (1, 6, 7, 8) and done.metadata.cutoff == 5.2
    assert done.metadata.spec == (() if spec is None else (str(taafs.trainable_activations(model).popitem()[1].spec),))
    expected = [reference(model, atoms) for atoms in structures()]
    # the lone atoms have no force at all
    equal_to_host(tmp_path / "model.pt", expected, structures(), floor={"forces": 1e-2})
    if spec:
        stock = [reference(converted(None, members=2 if spec == SPECS[1] else 1, dtype=dtype), atoms) for atoms in structures()]
        with pytest.raises(AssertionError):
            equal_to_host(tmp_path / "model.pt", stock, structures(), floor={"forces": 1e-2})


@pytest.mark.parametrize("members", [1, 2])
def test_ghosts_give_what_owners_give(tmp_path, members, file):
    if members > 1:
        file = tmp_path / "model.pt"
        taafs.export(converted("taafs:bspline", members), file)
    module, metadata = read(file)
    for seed, atoms in enumerate(a for a in structures() if a.pbc.all()):
        owner, ghost = predict(module, metadata, atoms), by_ghosts(file, atoms, np.random.default_rng(seed))
        for name, value in ghost.items():
            np.testing.assert_allclose(value, owner[name], rtol=1e-9, atol=1e-10, err_msg=name)


def test_a_list_with_a_skin_gives_the_same(file):
    module, metadata = read(file)
    for atoms in structures():
        exact, wide = (module(*inputs_of(metadata, atoms, skin)).detach().numpy() for skin in (0.0, 1.0))
        np.testing.assert_allclose(wide, exact, rtol=1e-12)


def test_own_images_of_a_rounded_lattice_count_once(file):
    """MD engines give offsets as differences of positions: what should be 0 is rounding, and its sign must not matter."""
    module, metadata = read(file)
    atoms = Atoms("C", cell=[[2.4, 0, 0], [-1.2, 2.4 * 0.75**0.5, 0], [0, 0, 2.6]], pbc=True)
    pos, Z, i, j, offsets = inputs_of(metadata, atoms)
    noise = 1e-9 * torch.as_tensor(np.random.default_rng(0).choice([-1, 1], size=offsets.shape))
    np.testing.assert_allclose(module(pos, Z, i, j, offsets + noise).detach(), module(pos, Z, i, j, offsets).detach(), rtol=1e-9)


@pytest.mark.parametrize("form", ["folded", "plain", "fused"])
def test_second_derivatives_are_right_or_nan(tmp_path, monkeypatch, form):
    """A folded curve has none of its own: no wrong Hessian leaves such a file."""
    if form == "plain":
        monkeypatch.setenv("TAAFS_EXPORT", form)
    model = converted("taafs:chebyshev1")
    taafs.export(model, tmp_path / "model.pt")
    module, metadata = read(tmp_path / "model.pt", fused=form == "fused")
    assert ("taafs::activation" in str(module.inlined_graph)) is (form == "fused")
    atoms = structures()[0]
    position, *others = inputs_of(metadata, atoms)

    def slope(x):
        return torch.autograd.grad(module(x, *others).sum(), x, create_graph=True)[0][0, 0]

    row = torch.autograd.grad(slope(position), position)[0]
    if form == "folded":
        assert row.isnan().all()
        return
    step = torch.zeros_like(position)
    step[1, 2] = 1e-4
    moved = [(position.detach() + sign * step).requires_grad_() for sign in (1, -1)]
    assert row[1, 2].item() == pytest.approx((slope(moved[0]) - slope(moved[1])).item() / 2e-4, rel=1e-5)


def test_runs_without_this_package(tmp_path):
    model = converted("taafs:bspline", members=2)
    taafs.export(model, tmp_path / "model.pt")
    atoms = structures()[1]
    found, expected = alone(tmp_path / "model.pt", atoms, tmp_path), reference(model, atoms)
    assert found["energy"] == pytest.approx(expected["energy"], rel=1e-12)
    module, metadata = read(tmp_path / "model.pt")
    owner = predict(module, metadata, atoms)
    np.testing.assert_allclose(found["forces"], owner["forces"], rtol=1e-9, atol=1e-12)


def test_further_potentials_and_disabled_parts(tmp_path):
    plain = converted("taafs:bspline")
    parts = (SYMBOLS, plain.aev_computer, plain.neural_networks, plain.energy_shifter)
    model = ANI(*parts, {"repulsion": RepulsionXTB(SYMBOLS, cutoff=5.4)}).double()
    model.set_enabled("energy_shifter", False)
    taafs.export(model, tmp_path / "model.pt")
    expected = [reference(model, atoms) for atoms in structures()]
    equal_to_host(tmp_path / "model.pt", expected, structures(), floor={"forces": 1e-2})
    assert abs(expected[1]["energy"] - reference(plain, structures()[1])["energy"]) > 1e-3


def test_nothing_is_written_when_the_numbers_differ(tmp_path, monkeypatch):
    class Tampered(ExportedANI):
        """Knows no pairs."""

        def forward(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> Tensor:
            return self.self_energies[self.model.species_converter(Z)] + 0.0 * (pos.sum() + offsets.sum())

    monkeypatch.setattr("taafs_plugins.adapters.torchani.export.ExportedANI", Tampered)
    with pytest.raises(ExportError, match="nothing was written"):
        taafs.export(converted(None), tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_the_export_fails(tmp_path, monkeypatch):
    taafs.export(converted(None), tmp_path / "model.pt")
    before = (tmp_path / "model.pt").read_bytes()
    monkeypatch.setattr("taafs_plugins.md.export.TOLERANCE", {"float64": -1.0})
    with pytest.raises(ExportError, match="float64|limit"):
        taafs.export(converted("taafs:bspline"), tmp_path / "model.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt"] and (tmp_path / "model.pt").read_bytes() == before


def test_the_model_is_left_alone_and_files_are_read(tmp_path):
    model = converted("taafs:bspline", members=2, dtype=torch.float32).train()
    state = copy.deepcopy(model.state_dict())
    taafs.export(model, tmp_path / "live.pt")
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    torch.save(model, tmp_path / "saved.pt")
    taafs.export(tmp_path / "saved.pt", tmp_path / "read.pt", dtype="float64")
    assert (read_metadata(tmp_path / "live.pt").dtype, read_metadata(tmp_path / "read.pt").dtype) == ("float32", "float64")
    calculators = [ExportedCalculator(tmp_path / name) for name in ("live.pt", "read.pt")]
    atoms = structures()[1]
    energies = [calculator.get_potential_energy(atoms) for calculator in calculators]
    assert energies[0] == pytest.approx(energies[1], rel=1e-6) and energies[0] != energies[1]
    host = copy.deepcopy(model).double().ase()
    # TorchANI's calculator takes ASE's Hartree (CODATA 2014), 8e-9 below that of exported files and of LAMMPS (md/units.py)
    assert energies[1] / EV["hartree"] == pytest.approx(host.get_potential_energy(atoms) / ase.units.Hartree, rel=1e-12)
    np.testing.assert_allclose(calculators[1].get_stress(atoms), full_3x3_to_voigt_6_stress(host.get_stress(atoms)), rtol=1e-8)


def test_clear_refusals(tmp_path):
    model = converted(None)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    torch.jit.script(model).save(tmp_path / "scripted.pt")
    for name, sentence in (("state.pt", "state dict alone"), ("scripted.pt", "holds a scripted model"), ("none.pt", "no file")):
        with pytest.raises(RuntimeError, match=sentence):
            read_model(tmp_path / name)
    charged = ANIq(SYMBOLS, model.aev_computer, model.neural_networks, model.energy_shifter)
    with pytest.raises(taafs.HostError, match="this is a ANIq"):
        taafs.export(charged, tmp_path / "model.pt")
    with pytest.raises(taafs.HostError, match="this is a Ensemble|this is a ANINetworks"):
        taafs.export(model.neural_networks, tmp_path / "model.pt")
    for path, keys, sentence in (
        (tmp_path, {}, "cannot be written"), (tmp_path / "none" / "model.pt", {}, "no folder"),
        (tmp_path / "model.pt", {"structures": [bulk("Fe")]}, "hold Fe, which"),
        (tmp_path / "model.pt", {"energy_unit": "kJ/mol"}, "kJ/mol"),
    ):  # fmt: skip
        with pytest.raises(ExportError, match=sentence):
            taafs.export(model, path, **keys)
    taafs.export(model, tmp_path / "model.pt")
    with pytest.raises(ExportError, match="atomic number 26"):
        ExportedCalculator(tmp_path / "model.pt").get_potential_energy(bulk("Fe"))
