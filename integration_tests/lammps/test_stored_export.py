"""The file that ``taafs export`` of version 0.1 wrote runs in Python and in LAMMPS, and gives the same numbers."""

import numpy as np
import stored_torchani
from ase import units
from lmp_runs import END, header, last, run, write_data
from stored_files import V0_1, assert_different, assert_equal, references

from taafs_plugins.md.calculator import ExportedCalculator
from taafs_plugins.md.units import EV

EXPORTED = V0_1 / "torchani" / "exported.pt"
# The stored numbers are TorchANI's by ASE, whose hartree is CODATA 2014's; this package has 2018's. In hartree they are the same.
HARTREES = EV["hartree"] / units.Hartree


def numbers() -> tuple[dict, dict]:
    """Those of the model it was made from, and those of the stock network, in eV of CODATA 2018."""
    stored = references("torchani")
    parts = stored["files"]["whole.pt"], stored["stock"]
    return tuple({key: HARTREES * np.array(part[key]) for key in ("energy", "forces", "stress")} for part in parts)


def test_an_exported_file_gives_the_numbers_of_its_model_in_ase():
    expected, stock = numbers()
    atoms = stored_torchani.atoms()
    atoms.calc = ExportedCalculator(EXPORTED)
    found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces(), "stress": atoms.get_stress(voigt=False)}
    assert_equal(found, expected, "exported.pt")
    assert_different(found, stock, "exported.pt")


def test_the_metadata_of_an_exported_file_is_understood():
    facts = ExportedCalculator(EXPORTED).metadata
    assert (facts.host, facts.energy_unit, facts.elements, facts.cutoff, facts.dtype) == ("torchani", "hartree", (1, 8), 4.0, "float64")
    assert facts.modes == ("owner", "ghost") and len(facts.spec) == 1 and facts.spec[0].startswith("taafs:bspline,grid=5,")


def test_an_exported_file_gives_the_numbers_of_its_model_in_lammps(tmp_path):
    expected, stock = numbers()
    atoms = stored_torchani.atoms()
    write_data(tmp_path / "frame.data", atoms, [1, 8])
    run(tmp_path, header(atoms, [1, 8], EXPORTED) + END + "run 0\n")
    found = last(tmp_path)
    energy, forces, stress = (expected[key] for key in ("energy", "forces", "stress"))
    virial = -atoms.get_volume() * stress[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    wanted = {"energy": energy, "f": forces, "virial": virial}
    assert_equal(found, wanted, "exported.pt in LAMMPS")
    assert_different(found, {"energy": stock["energy"], "f": stock["forces"]}, "exported.pt in LAMMPS")
