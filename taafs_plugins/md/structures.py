"""Structures on which an exported model is compared with its host, when the user gives none: real ones, made of the model's elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule
from ase.collections import g2
from ase.data import chemical_symbols, covalent_radii, reference_states
from ase.spacegroup import crystal

COUNT = 5
PACKED = 8
# Prototypes of inorganic crystals at their measured lattice constants, Angstrom
CRYSTALS = {
    "NaCl": lambda: bulk("NaCl", "rocksalt", a=5.640, cubic=True),
    "MgO": lambda: bulk("MgO", "rocksalt", a=4.212),
    "GaAs": lambda: bulk("GaAs", "zincblende", a=5.653),
    "CsCl": lambda: bulk("CsCl", "cesiumchloride", a=4.123),
    "SrTiO3": lambda: crystal(
        ["Sr", "Ti", "O"], [(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221, cellpar=[3.905] * 3 + [90] * 3
    ),
    "Fe": lambda: bulk("Fe", "bcc", a=2.866),
}


def structures(elements: tuple[int, ...], periodic: bool = False, count: int = COUNT, seed: int = 0) -> list[Atoms]:
    """Rattled crystals in strained cells, molecules alone, and molecules packed so that their images touch.

    Parameters
    ----------
    elements : atomic numbers the model knows
    periodic : whether all must be periodic
    count : how many, at least; packings of up to 8 elements follow when there are too few, and until every element is in one

    Returns
    -------
    Different each from the other, periodic ones first, every one off equilibrium (forces and stress are not 0 by symmetry)
    """
    generator = np.random.default_rng(seed)
    symbols = {chemical_symbols[z] for z in elements}
    crystals = [make() for make in CRYSTALS.values()]
    crystals = [atoms for atoms in crystals if set(atoms.symbols) <= symbols]
    crystals += [atoms for z in elements if (atoms := _element(z)) is not None]
    molecules = [molecule(name) for name in g2.names]
    molecules = [atoms for atoms in molecules if set(atoms.symbols) <= symbols and len(atoms) > 2]
    # many elements in few molecules: the most different ones first
    molecules.sort(key=lambda atoms: (-len(set(atoms.symbols)), -len(atoms)))
    chosen = crystals[: count - 2] if molecules else crystals[:count]
    for index, atoms in enumerate(molecules[: count - len(chosen)]):
        if periodic or index % 2 == 0:
            atoms.center(vacuum=1.5)
            atoms.pbc = True
        chosen.append(atoms)
    missing = [z for z in elements if not any(z in atoms.numbers for atoms in chosen)]
    groups = [missing[start : start + PACKED] for start in range(0, len(missing), PACKED)]
    groups += [elements[:PACKED]] * (count - len(chosen) - len(groups))
    chosen += [_packing(group, generator) for group in groups]
    chosen.sort(key=lambda atoms: not atoms.pbc.all())
    return [_off_equilibrium(atoms, generator) for atoms in chosen]


def _element(z: int) -> Atoms | None:
    """The element's own crystal, where ASE knows its lattice."""
    state = reference_states[z]
    if state is None or state["symmetry"] not in ("fcc", "bcc", "hcp", "diamond"):
        return None
    try:
        return bulk(chemical_symbols[z])
    except (ValueError, RuntimeError):  # a lattice with a basis that ASE does not have
        return None


def _packing(elements: Sequence[int], generator: np.random.Generator) -> Atoms:
    """8 atoms of the elements on a face-centred lattice that fits their covalent radii."""
    numbers = np.resize(elements, PACKED)
    spacing = 2.1 * np.mean([covalent_radii[z] for z in numbers])
    atoms = bulk("Cu", "fcc", a=spacing * 2**0.5, cubic=True) * (2, 1, 1)
    atoms.numbers = generator.permutation(numbers)
    return atoms


def _off_equilibrium(atoms: Atoms, generator: np.random.Generator) -> Atoms:
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell if atoms.pbc.any() else None, pbc=atoms.pbc)
    if atoms.pbc.any():
        strain = np.eye(3) + generator.normal(scale=0.02, size=(3, 3))
        atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.positions += generator.normal(scale=0.05, size=(len(atoms), 3))
    return atoms
