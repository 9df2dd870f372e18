"""Every mistake ends LAMMPS with one clear line."""

import json
import shutil
import zipfile

import layered
import pytest
from lennard_jones import export
from lj_cases import ELEMENTS, argon
from lmp_runs import error, header, lmp, write_data

from taafs_plugins.md import contract


def changed(source, target, **values):
    """The same file with other metadata; ``None`` leaves a field out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as new:
        for item in old.infolist():
            data = old.read(item)
            if item.filename.endswith(contract.EXTRA):
                facts = {**json.loads(data), **values}
                data = json.dumps({name: value for name, value in facts.items() if value is not None}).encode()
            new.writestr(item, data)


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path / "frame.data", argon(), ELEMENTS)
    export(tmp_path / "model.pt")
    whole = (tmp_path / "model.pt").read_bytes()
    (tmp_path / "truncated.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    changed(tmp_path / "model.pt", tmp_path / "torch.pt", versions={"torch": "2.5.1"})
    changed(tmp_path / "model.pt", tmp_path / "newer.pt", format=contract.FORMAT + 1)
    changed(tmp_path / "model.pt", tmp_path / "bad.pt", cutoff="long")
    layered.export(tmp_path / "one_rank.pt", modes=("owner",))
    return tmp_path


def pair(style="taafs", coeff="* * model.pt Ar Ne"):
    return f"pair_style {style}\npair_coeff {coeff}"


CASES = {
    "owner on two ranks": (dict(pair=pair("taafs owner")), 2, "Mode owner of pair style taafs runs on one rank, not on 2"),
    "a model of owner only on two ranks": (dict(pair=pair(coeff="* * one_rank.pt Ar Ne")), 2, "layered runs on one rank, not on 2"),
    "a mode the model does not allow": (dict(pair=pair("taafs ghost", "* * one_rank.pt Ar Ne")), 1, "layered does not allow mode ghost"),
    "unknown word": (dict(pair=pair("taafs gpu")), 1, "does not know 'gpu'; it takes: [owner|ghost] [device cpu|cuda]"),
    "unknown device": (dict(pair=pair("taafs device tpu")), 1, "does not know 'device'"),
    "missing element": (dict(pair=pair(coeff="* * model.pt Ar Kr")), 1, "does not know Kr; it knows Ne Ar"),
    "no element": (dict(pair=pair(coeff="* * model.pt Ar Xx")), 1, "'Xx' is not an element"),
    "too few elements": (dict(pair=pair(coeff="* * model.pt Ar")), 1, "names 1 elements for 2 atom types"),
    "NULL without hybrid": (dict(pair=pair(coeff="* * model.pt Ar NULL")), 1, "NULL is only for pair style hybrid"),
    "not all types": (dict(pair=pair(coeff="1 2 model.pt Ar Ne")), 1, "Pair_coeff must start with * * for pair style taafs"),
    "unit style": (dict(units="lj"), 1, "runs in units metal or real, not lj"),
    "no file": (dict(model="nothing.pt"), 1, "there is no file nothing.pt"),
    "no file, two ranks": (dict(model="nothing.pt"), 2, "there is no file nothing.pt"),
    "truncated": (dict(model="truncated.pt"), 1, "truncated.pt is not a whole TorchScript file; write it again with 'taafs export'"),
    "empty": (dict(model="empty.pt"), 1, "empty.pt is not a whole TorchScript file"),
    "not an export": (dict(model="frame.data"), 1, "frame.data is not a whole TorchScript file"),
    "another torch": (dict(model="torch.pt"), 1, "was exported with torch 2.5.1 and this plugin runs torch"),
    "newer format": (dict(model="newer.pt"), 1, "is of a newer format than this plugin knows; update taafs-plugins"),
    "bad metadata": (dict(model="bad.pt"), 1, "cannot be read ('long' is no number); write it again"),
}


@pytest.mark.parametrize("case", CASES)
def test_mistakes(folder, case):
    options, ranks, words = CASES[case]
    assert words in error(folder, header(argon(), ELEMENTS, **options) + "run 0\n", ranks)


def test_newton_off(folder):
    script = "newton off\n" + header(argon(), ELEMENTS) + "run 0\n"
    assert "needs newton on" in error(folder, script)


def test_stress_per_atom_is_refused(folder):
    script = header(argon(), ELEMENTS) + "compute s all stress/atom NULL\ndump 1 all custom 1 s.dump c_s[1]\nrun 0\n"
    assert "has no per-atom stress" in error(folder, script)


def test_cuda_without_a_gpu(folder):
    import torch

    script = header(argon(), ELEMENTS, style="taafs device cuda") + "run 0\n"
    if torch.cuda.is_available():
        assert lmp(folder, script).endswith("STATUS 0")
    else:
        assert "device cuda is asked for and torch sees no GPU" in error(folder, script)


def test_bonds_that_hide_pairs(folder):
    script = header(argon(), ELEMENTS).replace("atom_style atomic", "atom_style bond").replace("frame.data", "bonded.data")
    text = (folder / "frame.data").read_text().replace("2 atom types", "2 atom types\n1 bonds\n1 bond types\n2 extra special per atom")
    lines = text.replace("Atoms # atomic", "Atoms # bond").splitlines()
    start = lines.index("Atoms # bond") + 2
    lines[start:] = [" ".join([line.split()[0], "1", *line.split()[1:]]) for line in lines[start:]]
    (folder / "bonded.data").write_text("\n".join([*lines, "", "Bonds", "", "1 1 1 2", ""]))
    script = script.replace("pair_style", "bond_style zero\nbond_coeff *\npair_style", 1)
    assert "set: special_bonds lj/coul 1.0 1.0 1.0" in error(folder, script + "run 0\n")
    assert lmp(folder, script + "special_bonds lj/coul 1.0 1.0 1.0\nrun 0\n").endswith("STATUS 0")


def test_an_energy_that_is_not_finite(folder):
    atoms = argon()
    atoms.positions[1] = atoms.positions[0]
    write_data(folder / "frame.data", atoms, ELEMENTS)
    assert "the energy is not finite at step 0" in error(folder, header(atoms, ELEMENTS) + "run 0\n")


def test_python_says_the_same(folder):
    for name, words in (
        ("nothing.pt", "There is no file"),
        ("truncated.pt", "is not a whole TorchScript file"),
        ("empty.pt", "is not a whole TorchScript file"),
        ("torch.pt", "was exported with torch 2.5.1"),
        ("newer.pt", "update taafs-plugins"),
        ("bad.pt", "cannot be read"),
    ):
        with pytest.raises(contract.ExportError, match=words):
            contract.read(folder / name)
    bare = folder / "bare.pt"
    with zipfile.ZipFile(folder / "model.pt") as old, zipfile.ZipFile(bare, "w") as new:
        for item in old.infolist():
            if not item.filename.endswith(contract.EXTRA):
                new.writestr(item, old.read(item))
    with pytest.raises(contract.ExportError, match="holds no taafs.json"):
        contract.read(bare)
    shutil.copy(bare, folder / "model.pt")
    assert "holds no taafs.json; write it with 'taafs export'" in error(folder, header(argon(), ELEMENTS) + "run 0\n")
