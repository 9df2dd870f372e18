"""``taafs lammps run``: the same script and the same numbers as with the plugin, and mistakes that reach the user."""

import subprocess
import sys

import forked
import layered
import pytest
from lennard_jones import export
from lj_cases import ELEMENTS, argon
from lmp_runs import END, header, last, run, worst, write_data

from taafs_plugins.experiments.deepmd import command
from taafs_plugins.md.external import ScriptError, split

NVE = "velocity all create 60 7 mom yes\ntimestep 0.002\nfix 1 all nve\nrun 20\n"
NPT = "velocity all create 60 7 mom yes\nfix 1 all npt temp 60 60 0.2 iso 100 100 1.0\nrun 10\nminimize 0 1e-6 5 20\n"
LOOP = "variable i loop 2\nfix 1 all nve\nlabel again\nrun 3\nnext i\njump SELF again\n"


def external(folder, script, *arguments, ranks=1):
    """Run it; (status, what was printed)."""
    (folder / "in.lmp").write_text(script)
    call = [sys.executable, "-c", "from taafs_plugins.cli import app; app()", "lammps", "run", "in.lmp", *arguments]
    if ranks > 1:
        call = [command("mpirun"), "-np", str(ranks), *call]
        result = subprocess.run(call, cwd=folder, capture_output=True, text=True, timeout=600)
    else:
        result = forked.run(call, modules=("torch", "taafs_plugins.cli"), cwd=folder)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    "cell, tail, units", [(dict(), NVE, "metal"), (dict(triclinic=True), NPT, "metal"), (dict(repeat=1, triclinic=True), LOOP, "real")]
)
def test_as_the_plugin(tmp_path, cell, tail, units):
    atoms, results = argon(**cell), []
    for name in ("plugin", "external"):
        folder = tmp_path / name
        folder.mkdir()
        write_data(folder / "frame.data", atoms, ELEMENTS)
        (layered.export if tail == LOOP else export)(folder / "model.pt")
        script = header(atoms, ELEMENTS, model="${file}", units=units).replace("pair_style", "variable file string model.pt\npair_style", 1)
        if name == "plugin":
            run(folder, script + END + tail)
        else:
            status, printed = external(folder, script + END + tail)
            assert status == 0, printed[-1500:]
        results.append(last(folder, units))
    assert worst(*results) < 1e-10


def test_what_goes_wrong_in_the_model_reaches_the_user(tmp_path):
    atoms = argon()
    atoms.positions[1] = atoms.positions[0]
    write_data(tmp_path / "frame.data", atoms, ELEMENTS)
    export(tmp_path / "model.pt")
    status, printed = external(tmp_path, header(atoms, ELEMENTS) + "fix 1 all nve\nrun 5\nwrite_data after.data\n")
    assert status == 1 and "The energy is not finite at step 0" in printed and "Traceback" not in printed
    assert not (tmp_path / "after.data").exists()


def test_mistakes(tmp_path):
    atoms = argon()
    write_data(tmp_path / "frame.data", atoms, ELEMENTS)
    export(tmp_path / "model.pt")
    good = header(atoms, ELEMENTS) + "run 0\n"
    for script, arguments, words in (
        (good.replace("Ar Ne", "Ar Kr"), (), "does not know Kr; it knows Ne Ar"),
        (good.replace("Ar Ne", "Ar"), (), "names 1 elements for 2 atom types"),
        (good.replace("run 0", "rum 0"), (), "LAMMPS stopped: ERROR: Unknown command: rum 0"),
        (good, ("--model", "nothing.pt"), "There is no file nothing.pt"),
    ):
        status, printed = external(tmp_path, script, *arguments)
        assert status == 1 and words in printed and "Traceback" not in printed, printed[-1500:]


def test_two_ranks_are_refused(tmp_path):
    write_data(tmp_path / "frame.data", argon(), ELEMENTS)
    export(tmp_path / "model.pt")
    status, printed = external(tmp_path, header(argon(), ELEMENTS) + "run 0\n", ranks=2)
    assert status != 0 and "fix external runs on one rank" in printed


def test_the_script_is_taken_apart():
    text = "units metal # pair_style lj\npair_style &\n  taafs owner\nmass * 1\npair_coeff * * m.pt &\n Ar\nrun 0\nrun 1 # x\n"
    before, words, after = split(text)
    assert before == "units metal # pair_style lj\nmass * 1\n"
    assert words == ["pair_coeff", "*", "*", "m.pt", "Ar"]
    assert [line for line in after.splitlines() if line.startswith("run")] == ["run 0", "run 1 # x"] and after.count("jump SELF") == 2
    for text, wrong in (
        ("pair_style lj/cut 5\npair_coeff * * 1 1\n", "must have one pair_style, taafs"),
        ("run 0\n", "found: none"),
        ("pair_style hybrid taafs zero 5\n", "hybrid ones need the plugin"),
        ("pair_style taafs ghost\npair_coeff * * m.pt Ar\n", "Mode ghost needs the plugin"),
        ("pair_style taafs\n", "must have one line after its pair_style"),
        ("fix 1 all nve\npair_style taafs\npair_coeff * * m.pt Ar\n", "above the first fix"),
    ):
        with pytest.raises(ScriptError, match=wrong):
            split(text)


@pytest.mark.parametrize(
    "line, words",
    [
        ("neigh_modify every 1 exclude group gone all", "Hidden atoms"), ("neigh_modify include gone", "Hidden atoms"),
        ("fix g all gcmc 1 5 5 1 12345 300 -0.3 0.3", "fix gcmc needs the plugin"), ("include other.lmp", "fix widom needs the plugin"),
    ],
)  # fmt: skip
def test_what_hides_atoms_is_refused(tmp_path, monkeypatch, line, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.lmp").write_text("fix w all widom 1 5 1 12345 300\n")
    with pytest.raises(ScriptError, match=words):
        split(f"pair_style taafs\npair_coeff * * model.pt Ar\n{line}\nrun 1\n")
