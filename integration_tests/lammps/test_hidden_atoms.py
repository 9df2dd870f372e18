"""What ``neigh_modify`` hides is not in the structure, and a structure that it cuts into pieces is refused."""

import layered
import numpy as np
import pytest
from lennard_jones import WithConstant, export
from lj_cases import ELEMENTS, argon, lj_lines
from lmp_runs import END, error, header, last, run, worst, write_data

RUNS = [("taafs owner", 1), ("taafs ghost", 1), ("taafs", 2)]
CONSTANT = 1.0  # eV per atom of the model that is there


def with_constant(path):
    export(path, WithConstant(CONSTANT))


def layers(path):
    layered.export(path)


def finals(folder, bodies, *, model=with_constant, style="taafs", ranks=1, pair=None):
    """Numbers of each script that has a body between its pair style and its run, all in one process of LAMMPS."""
    folder.mkdir()
    write_data(folder / "frame.data", argon(), ELEMENTS)
    model(folder / "model.pt")
    text = ""
    for index, body in enumerate(bodies):
        (folder / str(index)).mkdir()
        text += f"clear\nlog {index}/log.lammps\n" + header(argon(), ELEMENTS, style=style, pair=pair) + body
        text += END.replace("atoms.dump", f"{index}/atoms.dump") + "run 0\n"
    run(folder, text, ranks)
    return [last(folder / str(index)) for index in range(len(bodies))]


def final(folder, body, **how):
    """The same of one script."""
    return finals(folder, [body], **how)[0]


@pytest.mark.parametrize("model", [with_constant, layers])
@pytest.mark.parametrize("style, ranks", RUNS)
def test_an_excluded_atom_is_as_one_that_is_not_there(tmp_path, style, ranks, model):
    gone = "group gone id 3 8\n"
    bodies = [gone + "neigh_modify exclude group gone all\n", gone + "delete_atoms group gone compress no\n"]
    hidden, deleted = finals(tmp_path / "run", bodies, style=style, ranks=ranks, model=model)
    assert (hidden["atom"][[2, 7]] == 0).all() and (hidden["f"][[2, 7]] == 0).all()
    for name in ("x", "f", "atom"):
        hidden[name] = np.delete(hidden[name], [2, 7], 0)
    assert worst(hidden, deleted) < 1e-12


HIDING = {
    # the first in its process: LAMMPS leaves what was in memory as the forces of atoms that are not included, with lj/cut too
    "what is not in the included group": "group a id 1:20\natom_modify first a\nneigh_modify include a\n",
    "a type, from both types": "neigh_modify exclude type 2 2 exclude type 1 2\n",
    "a group, from itself and all others": "group a id 1:5\ngroup b subtract all a\nneigh_modify exclude group a a exclude group a b\n",
    "all from all": "neigh_modify exclude group all all\n",
}
PARTS = {
    "two groups, and those in both see nobody": "group a id 1:20\ngroup b id 15:32\nneigh_modify exclude group a b\n",
    "two types": "neigh_modify exclude type 1 2\n",
    "two groups": "group a id 1:15\ngroup b subtract all a\nneigh_modify exclude group a b\n",
    "two groups and one atom hidden": "group a id 1:15\ngroup b subtract all a\ngroup c id 20\n"
    "neigh_modify exclude group a b exclude group c all\n",
}


@pytest.mark.parametrize("style, ranks", RUNS[::2])
def test_what_is_hidden_is_hidden_as_in_lj_cut(tmp_path, style, ranks):
    cases = {**HIDING, **PARTS}
    ours = finals(tmp_path / "model", cases.values(), style=style, ranks=ranks)
    theirs = finals(tmp_path / "lj", cases.values(), ranks=ranks, pair=lj_lines())
    for case, found, expected in zip(cases, ours, theirs, strict=True):
        there = found["atom"] != 0
        assert there.all() == (case in ("two types", "two groups")), case
        found["energy"] -= CONSTANT * there.sum()
        found["atom"][there] -= CONSTANT
        assert worst(found, expected) < 1e-12, case


@pytest.mark.parametrize("style, ranks", RUNS)
def test_parts_that_never_see_each_other_are_structures_of_their_own(tmp_path, style, ranks):
    """A model of two hops: the energies of either part are those of the part alone."""
    body = "group a id 1:15\ngroup b subtract all a\n"
    bodies = [body + line for line in ("neigh_modify exclude group a b\n", *(f"delete_atoms group {name} compress no\n" for name in "ba"))]
    both, *alone = finals(tmp_path / "run", bodies, style=style, ranks=ranks, model=layers)
    assert abs(both["energy"] - sum(part["energy"] for part in alone)) < 1e-11
    assert np.abs(both["f"] - np.concatenate([part["f"] for part in alone])).max() < 1e-12


REFUSED = {
    "atoms that do not see their own group": "group a id 1:5\nneigh_modify exclude group a a\n",
    "a type that does not see itself": "neigh_modify exclude type 1 1\n",
    "two groups with others that see both": "group a id 1:5\ngroup b id 6:10\nneigh_modify exclude group a b\n",
    "a type that does not see a group": "group a type 2\ngroup b id 1:20\nneigh_modify exclude group a b\n",
}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("case", REFUSED)
def test_a_structure_cut_into_pieces_is_refused_before_the_first_step(tmp_path, case, ranks):
    write_data(tmp_path / "frame.data", argon(), ELEMENTS)
    with_constant(tmp_path / "model.pt")
    script = header(argon(), ELEMENTS) + REFUSED[case] + "fix 1 all nve\nthermo 1\nrun 5\n"
    assert "neigh_modify exclude hides pairs of atoms that have neighbors in common" in error(tmp_path, script, ranks)
    assert "Step" not in (tmp_path / "printed").read_text()


MOLECULES = "fix m all property/atom mol ghost yes\nvariable m atom ceil(id/4)\nset group all mol v_m\n"


def test_molecules_that_do_not_see_each_other_are_parts(tmp_path):
    body = MOLECULES + "neigh_modify exclude molecule/inter all\n"
    ours, theirs = final(tmp_path / "model", body), final(tmp_path / "lj", body, pair=lj_lines())
    ours["energy"] -= CONSTANT * len(ours["x"])
    ours["atom"] -= CONSTANT
    assert abs(theirs["energy"]) > 1e-3 and worst(ours, theirs) < 1e-12


@pytest.mark.parametrize("rule", ["molecule/intra all", "molecule/inter some"])
def test_molecules_that_are_cut_into_pieces_are_refused(tmp_path, rule):
    write_data(tmp_path / "frame.data", argon(), ELEMENTS)
    with_constant(tmp_path / "model.pt")
    body = MOLECULES + f"group some id 1:20\nneigh_modify exclude {rule}\n"
    assert "hides pairs of atoms" in error(tmp_path, header(argon(), ELEMENTS) + body + "run 0\n")


def test_atoms_that_come_into_a_hidden_group_leave_the_structure(tmp_path):
    """Groups are read anew with each list of neighbours."""
    body = "group gone id 1\nneigh_modify exclude group gone all\nrun 0\ngroup gone id 2 3\n"
    ours, theirs = final(tmp_path / "model", body), final(tmp_path / "lj", body, pair=lj_lines())
    assert (ours["atom"] != 0).sum() == len(ours["x"]) - 3
    assert abs(ours["energy"] - CONSTANT * (len(ours["x"]) - 3) - theirs["energy"]) < 1e-12


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_hidden_atom_has_no_magnetic_moment(tmp_path, ranks):
    write_data(tmp_path / "frame.data", argon(repeat=3), ELEMENTS)
    layered.export(tmp_path / "model.pt")
    tail = "group gone id 7\nneigh_modify exclude group gone all\nfix m all pair 1 taafs magmom 1\nrun 0\ngroup gone id 8\n"
    tail += "dump d all custom 1 moments.dump id f_m\ndump_modify d sort id\nrun 1\n"
    run(tmp_path, header(argon(repeat=3), ELEMENTS) + tail, ranks)
    moments = [float(line.split()[1]) for line in (tmp_path / "moments.dump").read_text().split("f_m\n")[-1].splitlines()]
    assert [i + 1 for i, moment in enumerate(moments) if moment == 0] == [7, 8]
