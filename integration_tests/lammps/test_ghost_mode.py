"""A model of two hops: ghosts as atoms, on one rank and on two, give what images give."""

import layered
import pytest
from ase.neighborlist import neighbor_list
from lj_cases import ELEMENTS, argon
from lmp_runs import END, header, last, run, worst, write_data

CASES = {"orthogonal": dict(repeat=3), "triclinic and small": dict(repeat=1, triclinic=True)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("style, ranks", [("taafs ghost", 1), ("taafs", 2), ("hybrid/overlay taafs zero 6.0", 2)])
def test_ghosts_are_as_images(tmp_path, case, style, ranks):
    atoms, results = argon(**CASES[case]), []
    for name, text, n in (("owner", "taafs owner", 1), ("ghost", style, ranks)):
        folder = tmp_path / name
        folder.mkdir()
        write_data(folder / "frame.data", atoms, ELEMENTS)
        layered.export(folder / "model.pt")
        pair = None
        if text.startswith("hybrid"):
            pair = f"pair_style {text}\npair_coeff * * taafs model.pt Ar Ne\npair_coeff * * zero"
        run(folder, header(atoms, ELEMENTS, style=text, pair=pair) + END + "run 0\n", n)
        results.append(last(folder))
    assert "communication cutoff 9.4 A" in (tmp_path / "ghost" / "log.lammps").read_text()
    assert worst(results[1], results[0]) < 1e-11


def test_dynamics_on_two_ranks(tmp_path):
    """New lists, atoms that change rank."""
    atoms, results = argon(repeat=3), []
    for ranks in (1, 2):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        write_data(folder / "frame.data", atoms, ELEMENTS)
        layered.export(folder / "model.pt")
        run(folder, header(atoms, ELEMENTS) + END + "velocity all create 300 7 mom yes\ntimestep 0.002\nfix 1 all nve\nrun 100\n", ranks)
        results.append(last(folder))
    assert worst(*results) < 1e-9


@pytest.mark.parametrize("ranks", [1, 2])
def test_magnetic_moments_by_fix_pair(tmp_path, ranks):
    atoms = argon(repeat=3)
    write_data(tmp_path / "frame.data", atoms, ELEMENTS)
    layered.export(tmp_path / "model.pt")
    tail = "fix m all pair 1 taafs magmom 1\ncompute m all reduce sum f_m\nthermo_style custom step c_m\nrun 0\n"
    printed = run(tmp_path, header(atoms, ELEMENTS) + tail, ranks)
    shown = float(printed.split("Step", 1)[1].splitlines()[1].split()[1])
    assert shown == len(neighbor_list("i", atoms, 4.2)) > 100
