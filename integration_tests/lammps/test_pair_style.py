"""Pair style taafs with Lennard-Jones as a model: equal to ``lj/cut`` in everything that LAMMPS does with a pair style."""

import numpy as np
import pytest
from ase import Atoms
from lennard_jones import CUTOFF, export
from lj_cases import ELEMENTS, argon, lj_lines
from lmp_runs import END, header, last, run, worst, write_data

from taafs_plugins.md.contract import release

NVE = "velocity all create 60 7 mom yes\ntimestep 0.002\nfix 1 all nve\nrun 200\n"
CELLS = {
    "two cells": dict(repeat=2),
    "one cell, the cutoff longer than the box": dict(repeat=1),
    "triclinic": dict(repeat=2, triclinic=True),
    "triclinic and small": dict(repeat=1, triclinic=True),
}


def both(tmp_path, atoms, tail, *, style="taafs", ranks=1, units="metal", factor=1.0, **metadata):
    """(with the model, with lj/cut) after the same script."""
    results = []
    for name in ("model", "lj"):
        folder = tmp_path / name
        folder.mkdir()
        write_data(folder / "frame.data", atoms, ELEMENTS)
        export(folder / "model.pt", **metadata)
        pair = None if name == "model" else lj_lines(factor)
        run(folder, header(atoms, ELEMENTS, style=style, units=units, pair=pair) + END + tail, ranks)
        results.append(last(folder, units))
    return results


@pytest.mark.parametrize("style", ["taafs", "taafs ghost"])
@pytest.mark.parametrize("cell", CELLS)
def test_one_structure(tmp_path, cell, style):
    ours, theirs = both(tmp_path, argon(**CELLS[cell]), "run 0\n", style=style)
    assert np.abs(theirs["f"]).max() > 0.01 and np.abs(theirs["virial"][3:]).max() > 0.01
    assert worst(ours, theirs) < 1e-12


@pytest.mark.parametrize("style, ranks", [("taafs owner", 1), ("taafs ghost", 2)])
def test_nve_with_new_lists(tmp_path, style, ranks):
    atoms = argon(repeat=3)
    ours, theirs = both(tmp_path, atoms, NVE, style=style, ranks=ranks)
    assert np.abs(ours["x"] - atoms.positions).max() > 0.5
    assert worst(ours, theirs) < 1e-9


def test_two_ranks_are_as_one(tmp_path):
    results = []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        write_data(folder / "frame.data", argon(repeat=3), ELEMENTS)
        export(folder / "model.pt")
        run(folder, header(argon(repeat=3), ELEMENTS) + END + "run 0\n", ranks)
        results.append(last(folder))
        assert ("owner mode" if ranks == 1 else "ghost mode") in (folder / "log.lammps").read_text()
    assert worst(*results) < 1e-12


def test_npt(tmp_path):
    tail = "velocity all create 60 7 mom yes\ntimestep 0.002\nfix 1 all npt temp 60 60 0.2 tri 100 100 1.0\nrun 100\n"
    ours, theirs = both(tmp_path, argon(triclinic=True), tail)
    assert abs(ours["volume"] / argon(triclinic=True).get_volume() - 1) > 0.01
    assert worst(ours, theirs) < 1e-9


def test_nvt(tmp_path):
    ours, theirs = both(tmp_path, argon(), "velocity all create 60 7 mom yes\nfix 1 all nvt temp 60 60 0.2\nrun 100\n")
    assert worst(ours, theirs) < 1e-9


def test_minimize_with_the_box(tmp_path):
    ours, theirs = both(tmp_path, argon(), "fix 1 all box/relax aniso 0.0\nminimize 0 1e-6 20 400\n")
    assert abs(ours["volume"] - argon().get_volume()) > 1
    assert worst(ours, theirs) < 1e-8


def test_real_units(tmp_path):
    ours, theirs = both(tmp_path, argon(), "run 0\n", units="real", factor=23.06054783061903)
    assert worst(ours, theirs) < 1e-12


@pytest.mark.parametrize("unit, factor", [("kcal/mol", 1 / 23.06054783061903), ("hartree", 27.211386245988)])
def test_energy_units_of_the_model(tmp_path, unit, factor):
    ours, theirs = both(tmp_path, argon(), "run 0\n", factor=factor, energy_unit=unit)
    assert worst(ours, theirs) < 1e-12


def test_single_precision(tmp_path):
    ours, theirs = both(tmp_path, argon(), "run 0\n", dtype="float32")
    assert 1e-9 < worst(ours, theirs) < 1e-5


@pytest.mark.parametrize("style", ["taafs", "taafs ghost"])
def test_atoms_without_neighbours(tmp_path, style):
    atoms = Atoms("ArNeAr", positions=[[1, 1, 1], [4.5, 1, 1], [30, 30, 30]], cell=[60, 60, 60], pbc=True)
    ours, theirs = both(tmp_path, atoms, "run 0\n", style=style)
    assert worst(ours, theirs) < 1e-12 and (ours["f"][2] == 0).all()


@pytest.mark.parametrize("style", ["taafs", "taafs ghost"])
def test_no_pair_at_all_and_no_periodicity(tmp_path, style):
    atoms = Atoms("ArNe", positions=[[1, 1, 1], [30, 30, 30]], cell=[60, 60, 60], pbc=False)
    ours, theirs = both(tmp_path, atoms, "run 0\n", style=style)
    assert ours["energy"] == 0 and (ours["f"] == 0).all() and worst(ours, theirs) == 0


def test_an_empty_rank(tmp_path):
    atoms = Atoms("ArNe", positions=[[1, 1, 1], [4.5, 1, 1]], cell=[60, 60, 60], pbc=False)
    ours, theirs = both(tmp_path, atoms, "run 0\n", ranks=2)
    assert worst(ours, theirs) < 1e-12


def hybrid_lines(lines: str) -> list[str]:
    """The pair_coeff lines of lj/cut, for a hybrid style."""
    parts = [line.split() for line in lines.splitlines()[1:]]
    return [" ".join([*part[:3], "lj/cut", *part[3:]]) for part in parts]


@pytest.mark.parametrize("ranks", [1, 2])
def test_hybrid(tmp_path, ranks):
    """Argon by the model, everything with neon by lj/cut."""
    atoms, results = argon(repeat=3), []
    mixed = ["pair_style hybrid taafs lj/cut 5.5", "pair_coeff * * taafs model.pt Ar NULL", *hybrid_lines(lj_lines())[1:]]
    for name, pair in (("model", "\n".join(mixed)), ("lj", lj_lines())):
        (tmp_path / name).mkdir()
        write_data(tmp_path / name / "frame.data", atoms, ELEMENTS)
        export(tmp_path / name / "model.pt")
        run(tmp_path / name, header(atoms, ELEMENTS, pair=pair) + END + "run 0\n", ranks)
        results.append(last(tmp_path / name))
    assert worst(*results) < 1e-12


@pytest.mark.parametrize("other", ["lj/cut 5.5", "zero 8.0"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_hybrid_overlay(tmp_path, other, ranks):
    """The model on top of lj/cut is twice lj/cut; on top of nothing with a longer list it is itself."""
    atoms, results = argon(repeat=3), []
    style = other.split()[0]
    pair = f"pair_style hybrid/overlay taafs {other}\npair_coeff * * taafs model.pt Ar Ne\n"
    pair += "\n".join(hybrid_lines(lj_lines()) if style == "lj/cut" else ["pair_coeff * * zero"])
    for name, text in (("model", pair), ("lj", lj_lines(2.0 if style == "lj/cut" else 1.0))):
        (tmp_path / name).mkdir()
        write_data(tmp_path / name / "frame.data", atoms, ELEMENTS)
        export(tmp_path / name / "model.pt")
        run(tmp_path / name, header(atoms, ELEMENTS, pair=text) + END + "run 0\n", ranks)
        results.append(last(tmp_path / name))
    assert worst(*results) < 1e-12


def test_restart(tmp_path):
    """100 steps, restart, 100 steps: as 200 in one go; the pair style and its model come out of the restart file."""
    atoms = argon()
    write_data(tmp_path / "frame.data", atoms, ELEMENTS)
    export(tmp_path / "model.pt")
    first = NVE.replace("run 200", "run 100\nwrite_restart r.bin\nrun 100")
    run(tmp_path, header(atoms, ELEMENTS, style="taafs owner device cpu") + END + first)
    whole = last(tmp_path)
    again = "read_restart r.bin\nneighbor 1.0 bin\nneigh_modify every 1 delay 0 check yes\ntimestep 0.002\nfix 1 all nve\n"
    printed = run(tmp_path, again + END + "run 100\n")
    assert "stock model of lj" in printed
    assert worst(last(tmp_path), whole) < 1e-8


def test_a_restart_whose_model_moved_takes_pair_coeff(tmp_path):
    atoms = argon()
    write_data(tmp_path / "frame.data", atoms, ELEMENTS)
    export(tmp_path / "model.pt")
    run(tmp_path, header(atoms, ELEMENTS) + END + "run 0\nwrite_restart r.bin\n")
    before = last(tmp_path)
    (tmp_path / "model.pt").rename(tmp_path / "moved.pt")
    printed = run(tmp_path, "read_restart r.bin\npair_coeff * * moved.pt Ar Ne\n" + END + "run 0\n")
    assert "WARNING: Pair style taafs: there is no file" in printed
    assert worst(last(tmp_path), before) < 1e-12


def test_the_list_beyond_the_cutoff_is_cut(tmp_path):
    """The model's own cut is the exact one: with a cutoff of the list that is longer, nothing changes."""
    ours, theirs = both(tmp_path, argon(repeat=3), "run 0\n", cutoff=CUTOFF + 1.5)
    assert worst(ours, theirs) < 1e-12


def test_versions():
    assert release("2.11.0+cpu") == "2.11.0" == release("2.11.0")
