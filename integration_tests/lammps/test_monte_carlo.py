"""Monte Carlo with the model takes the decisions that it takes with ``lj/cut``."""

import math

import pytest
from lennard_jones import WithConstant, export
from lj_cases import ELEMENTS, argon, lj_lines
from lmp_runs import error, header, run, write_data

CONSTANT = 1.0  # eV per atom: the chemical potential moves by as much (MU in a script), and nothing else
ATOMS = argon(lattice=8.0)
START = "velocity all create 100 4928459\n"
# pairs within one molecule are beyond the cutoff: with lj/cut those of a molecule that is tried to delete stay
MOLECULE = "\n\n3 atoms\n\nCoords\n\n1 0 0 0\n2 6 0 0\n3 0 6 0\n\nTypes\n\n1 1\n2 2\n3 1\n"
COUNTS = " ".join(f"f_g[{k}]" for k in range(1, 9))
RUNS = [("taafs owner", 1), ("taafs", 2)]


def rows(printed: str) -> list[list[float]]:
    """The numbers of the last run's table."""
    lines = printed.split("   Step ")[-1].splitlines()[1:]
    numbers = [line.split() for line in lines[: [line.startswith("Loop time") for line in lines].index(True)]]
    return [[float(word) for word in row] for row in numbers if row and row[0].isdigit()]


def both(tmp_path, body, columns, *, style="taafs", ranks=1, hole=0.0, constant=CONSTANT, dtype="float64"):
    """Tables of (step, atoms, energy without the constant, columns), with the model and with lj/cut."""
    tables = []
    for name, pair, shift in (("model", None, constant), ("lj", lj_lines(), 0.0)):
        folder = tmp_path / name
        folder.mkdir()
        write_data(folder / "frame.data", ATOMS, ELEMENTS)
        (folder / "three.mol").write_text(MOLECULE)
        export(folder / "model.pt", WithConstant(constant, hole), dtype=dtype)
        tail = f"thermo_style custom step atoms pe {columns}\nthermo_modify format float %22.15e\nthermo 10\nrun 40\n"
        script = header(ATOMS, ELEMENTS, style=style, pair=pair) + f"variable shift equal {shift}\n" + START + body + tail
        script = script.replace("atom_style atomic", "atom_style atomic\natom_modify map yes", 1)
        tables.append([[row[0], row[1], row[2] - shift * row[1], *row[3:]] for row in rows(run(folder, script, ranks))])
    return tables


def same(ours, theirs, tolerance=1e-9):
    assert len(ours) == len(theirs) == 5
    for mine, other in zip(ours, theirs, strict=True):
        assert mine == pytest.approx(other, abs=tolerance, rel=tolerance)


GCMC = "variable mu equal -0.35+v_shift\nfix g all gcmc 1 5 5 1 12345 300 ${mu} 0.3 full_energy\n"


@pytest.mark.parametrize("style, ranks", [*RUNS, ("taafs ghost", 1)])
def test_grand_canonical_moves_are_those_of_lj_cut(tmp_path, style, ranks):
    ours, theirs = both(tmp_path, GCMC, COUNTS, style=style, ranks=ranks)
    same(ours, theirs)
    assert theirs[-1][4] > 5 and theirs[-1][6] > 5 and theirs[-1][8] > 5  # translations, insertions, deletions that were taken


@pytest.mark.parametrize("style, ranks", RUNS)
def test_grand_canonical_moves_of_molecules_between_time_steps(tmp_path, style, ranks):
    body = "fix ids all property/atom mol ghost yes\nmolecule three three.mol\ngroup gas id 999\nfix 1 all nve\n"
    body += "variable mu equal -0.32+3*v_shift\nfix g gas gcmc 1 5 0 0 12345 300 ${mu} 0.3 mol three full_energy\n"
    ours, theirs = both(tmp_path, body, COUNTS, style=style, ranks=ranks)
    same(ours, theirs)
    assert theirs[-1][6] > 2 and theirs[-1][8] > 1


@pytest.mark.parametrize("style, ranks", RUNS)
def test_insertions_of_widom_are_those_of_lj_cut(tmp_path, style, ranks):
    body = "fix 1 all nve\nfix g all widom 10 20 1 29494 300 full_energy\n"
    ours, theirs = both(tmp_path, body, "f_g[2]", style=style, ranks=ranks)
    factor = math.exp(CONSTANT / (8.617343e-5 * 300))
    same([[*row[:3], row[3] * factor] for row in ours], theirs, 1e-8)
    assert theirs[-1][3] > 1e-3


@pytest.mark.parametrize("style, ranks", RUNS)
@pytest.mark.parametrize("how", ["ke yes types 1 2", "semi-grand yes types 1 2 mu 0.0 0.002"])
def test_swaps_of_types_are_those_of_lj_cut(tmp_path, style, ranks, how):
    body = f"fix 1 all nve\nfix g all atom/swap 2 10 482793 300 {how}\n"
    ours, theirs = both(tmp_path, body, "f_g[1] f_g[2]", style=style, ranks=ranks)
    same(ours, theirs)
    assert 5 < theirs[-1][4] < theirs[-1][3]


def test_charges_that_come_and_go_in_pairs(tmp_path):
    body = "fix q all property/atom q\nfix 1 all nve\nvariable mu equal -0.35+v_shift\n"
    body += "fix g all charge/regulation 1 2 nevery 1 nmc 5 seed 3 temp 300 pIp 1 pIm 1\n"
    ours, theirs = both(tmp_path, body, "f_g[1]", constant=0.0)
    same(ours, theirs)


def test_a_trial_whose_energy_is_not_a_number_is_refused_as_any_overlap(tmp_path):
    """Fixes draw one random number less for an infinite energy, so the two runs part; every structure that is kept has its energy."""
    ours, theirs = both(tmp_path, GCMC, COUNTS, hole=2.0)
    assert ours[0] == pytest.approx(theirs[0], abs=1e-9) and all(math.isfinite(row[2]) for row in ours)
    assert ours[-1][4] > 5 and ours[-1][6] > 5 and ours[-1][8] > 5


def test_single_precision_takes_the_same_decisions_until_rounding_shows(tmp_path):
    ours, theirs = both(tmp_path, GCMC, COUNTS, dtype="float32")
    assert [row[1:2] + row[3:] for row in ours] == [row[1:2] + row[3:] for row in theirs]


def test_a_time_step_whose_energy_is_not_a_number_stops_the_run_beside_monte_carlo_too(tmp_path):
    atoms = ATOMS.copy()
    atoms.positions[1] = atoms.positions[0] + 1e-3
    write_data(tmp_path / "frame.data", atoms, ELEMENTS)
    export(tmp_path / "model.pt", WithConstant(1.0, 0.5))
    script = header(atoms, ELEMENTS) + "fix g all widom 5 2 1 3 300\nthermo_style custom step pe\nthermo 1\nrun 10\n"
    assert "the energy is not finite at step 0" in error(tmp_path, script)


REFUSED = {
    "types that change where types are hidden": ("neigh_modify exclude type 1 2\n", None, "cannot follow a fix that changes types"),
    "types that change their pair style": ("", "hybrid", "swap only types that are all the model's or none of them"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_swaps_that_cannot_be_right_are_refused(tmp_path, case):
    body, hybrid, words = REFUSED[case]
    write_data(tmp_path / "frame.data", argon(repeat=3, lattice=8.0), ELEMENTS)
    export(tmp_path / "model.pt")
    pair = None
    if hybrid:
        pair = "pair_style hybrid taafs lj/cut 5.5\npair_coeff * * taafs model.pt Ar NULL\n"
        pair += "pair_coeff 1 2 lj/cut 0.01 3.1\npair_coeff 2 2 lj/cut 0.003 2.75"
    fix = "sgcmc 1 0.5 300 0.0 serial" if hybrid else "atom/swap 1 10 482793 300 ke no types 1 2"
    script = header(ATOMS, ELEMENTS, pair=pair) + body + f"fix g all {fix}\nrun 5\n"
    assert words in error(tmp_path, script)
