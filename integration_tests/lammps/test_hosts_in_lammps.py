"""Exported models of the three hosts in ``pair_style taafs``: energy, forces and virial are those of the host's own Python code."""

import copy
import os
import sys
from pathlib import Path

os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parents[1] / host) for host in ("schnetpack", "torchani", "chgnet")]

import chgnet_helpers  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
import schnetpack_helpers  # noqa: E402
import torch  # noqa: E402
import torchani_small  # noqa: E402
from ase import Atoms  # noqa: E402
from ase.build import bulk  # noqa: E402
from ase.geometry import minkowski_reduce  # noqa: E402
from lmp_runs import END, header, last, run, write_data  # noqa: E402

import taafs_plugins as taafs  # noqa: E402
from taafs_plugins.adapters import adapter  # noqa: E402
from taafs_plugins.md.calculator import ENERGY  # noqa: E402
from taafs_plugins.md.contract import read, read_metadata  # noqa: E402

VOIGT = ([0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2])  # LAMMPS: xx yy zz xy xz yz


def as_lammps_has_it(atoms: Atoms) -> Atoms:
    """The same structure in a lower triangular cell with little tilt, atoms inside."""
    cell, _ = minkowski_reduce(atoms.cell)
    atoms = Atoms(atoms.numbers, atoms.positions, cell=cell * np.sign(np.linalg.det(cell)), pbc=True)
    atoms.set_cell(atoms.cell.standard_form()[0], scale_atoms=True)
    atoms.wrap()
    return atoms


def molecular() -> list[Atoms]:
    """Three ethanols in tight cells, one of them skewed, and carbon in a cell much smaller than the cutoff, twice."""
    frames = schnetpack_helpers.ethanol(3)
    for skew, atoms in zip((0.0, 0.5, 0.9), frames, strict=True):
        atoms.center(vacuum=1.2)
        atoms.set_cell(atoms.cell.array + skew * np.array([[0, 0, 0], [1, 0, 0], [-0.5, 1, 0]]))
        atoms.pbc = True
    for seed in (1, 2):
        diamond = bulk("C", cubic=seed == 2)
        diamond.rattle(0.05, seed=seed)
        frames.append(diamond)
    return [as_lammps_has_it(atoms) for atoms in frames]


def painn():
    model = schnetpack_helpers.potential("painn").double().eval()
    taafs.convert(model, "taafs:chebyshev1", sites=["*"])
    return schnetpack_helpers.randomise(model)


def ani():
    model = torchani_small.small_model(members=2)
    taafs.convert(model, "taafs:bspline")
    return torchani_small.randomise(model)


def chgnet():
    model = chgnet_helpers.stock().double().eval()
    taafs.convert(model, "taafs:fourier")
    chgnet_helpers.randomise(model, 0.01)  # several times as far as fine-tuning moves them
    return model


def inorganic() -> list[Atoms]:
    """Five materials, moved out of their minima: near those, forces are what float32 leaves of much larger ones that cancel."""
    frames = {a.info["mptrj_traj_id"]: a for a in chgnet_helpers.atoms_of(chgnet_helpers.MPTRJ) if len(a) <= 12}
    frames = [atoms.copy() for atoms in list(frames.values())[:5]]  # the helper keeps its own
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    return [as_lammps_has_it(atoms) for atoms in frames]


CASES = {
    "schnetpack": (painn, molecular, {"energy_unit": "kcal/mol", "elements": ["H", "C", "O"]}),
    "torchani": (ani, molecular, {}),
    "chgnet": (chgnet, inorganic, {}),
}


def in_lammps(folder: Path, atoms: Atoms, model: Path, ranks: int = 1) -> dict:
    folder.mkdir()
    elements = sorted(set(atoms.numbers.tolist()))
    write_data(folder / "frame.data", atoms, elements)
    printed = run(folder, header(atoms, elements, model) + END + "run 0\n", ranks)
    assert "slower without the fused operators" not in printed
    return last(folder)


@pytest.mark.parametrize("host", CASES)
@pytest.mark.parametrize("dtype", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_equal_to_the_host(tmp_path, host, dtype):
    build, frames, keys = CASES[host]
    model, frames = build().to(getattr(torch, dtype)), frames()
    taafs.export(model, tmp_path / "model.pt", structures=frames, **keys)
    for fused in (True, False):  # what is written by default has the form that docs/lammps.md times, and the one that needs only torch
        assert ("taafs::activation" in str(read(tmp_path / "model.pt", fused=fused)[0].inlined_graph)) is fused
    ev = ENERGY[read_metadata(tmp_path / "model.pt").energy_unit]
    tolerance = {"float64": 1e-8, "float32": 1e-5}[dtype]
    if host == "chgnet":
        model = model.double()  # in float32 CHGNet differs from itself by more than the file from either, see docs/chgnet.md
    stock = copy.deepcopy(model)
    assert taafs.restore(stock) > 0
    largest: dict[str, float] = {}
    worst: dict[str, float] = {}
    trained: dict[str, float] = {}  # how far the coefficients move the host's own numbers
    for index, atoms in enumerate(frames):
        expected = adapter(host).reference(model, atoms)
        found = in_lammps(tmp_path / str(index), atoms, tmp_path / "model.pt")
        plain = adapter(host).reference(stock, atoms)
        each = {
            "energy": (found["energy"] / len(atoms), *(ev * values["energy"] / len(atoms) for values in (expected, plain))),
            "forces": (found["f"], *(ev * values["forces"] for values in (expected, plain))),
            "virial": (found["virial"] / atoms.get_volume(), *(-ev * values["stress"][VOIGT] for values in (expected, plain))),
        }
        for name, (ours, theirs, other) in each.items():
            worst[name] = max(worst.get(name, 0.0), float(np.abs(ours - theirs).max()))
            largest[name] = max(largest.get(name, 0.0), float(np.abs(theirs).max()))
            trained[name] = max(trained.get(name, 0.0), float(np.abs(theirs - other).max()))
    limits = {name: tolerance * value for name, value in largest.items()}
    assert all(worst[name] <= limits[name] for name in worst), (worst, limits)
    assert all(trained[name] > 10 * limits[name] for name in worst), (trained, limits)


@pytest.mark.parametrize("host", ["schnetpack", "torchani"])
def test_two_ranks_are_as_one(tmp_path, host):
    build, frames, keys = CASES[host]
    taafs.export(build(), tmp_path / "model.pt", structures=frames()[:1], **keys)
    atoms = as_lammps_has_it(frames()[1] * (2, 1, 1))
    one, two = (in_lammps(tmp_path / str(ranks), atoms, tmp_path / "model.pt", ranks) for ranks in (1, 2))
    for name in ("energy", "f", "atom", "virial"):
        np.testing.assert_allclose(two[name], one[name], rtol=1e-10, atol=1e-10 * np.abs(one[name]).max(), err_msg=name)
