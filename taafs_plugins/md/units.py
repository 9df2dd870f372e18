"""Units of energy of exported models, of ASE and of LAMMPS's unit styles; lengths are in Angstrom in all of them.

ASE's own Hartree is that of CODATA 2014, 8e-9 smaller: energies in eV of models in hartree are larger by that than in version 0.1.
"""

from taafs_plugins.md.contract import ExportError

# Exact in the SI of 2019 (e N_A / 4184); the Hartree energy of CODATA 2018. native/lammps_plugin/units.h holds the same numbers (a test).
KCAL_PER_EV = 23.06054783061903
# of one unit of energy in eV
EV = {"eV": 1.0, "kcal/mol": 1 / KCAL_PER_EV, "hartree": 27.211386245988}
STYLES = {"metal": "eV", "real": "kcal/mol"}


def factor(unit: str, style: str) -> float:
    """What a model's energies are multiplied with under a LAMMPS unit style.

    Raises
    ------
    ExportError
        Another style than ``metal`` and ``real``.
    """
    if style not in STYLES:
        raise ExportError(f"Exported models run in units metal or real, not {style}.")
    return 1.0 if unit == STYLES[style] else EV[unit] / EV[STYLES[style]]
