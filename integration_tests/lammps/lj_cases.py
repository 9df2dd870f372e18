"""Argon with neon in it: structures, and the lines that make LAMMPS's own ``lj/cut`` the same potential as the model."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from lennard_jones import CUTOFF, EPSILON, SIGMA

ELEMENTS = [18, 10]


def lj_lines(factor: float = 1.0) -> str:
    """pair_style lj/cut for the element types 18, 10; energies times ``factor``."""
    lines = [f"pair_style lj/cut {CUTOFF}"]
    for i, a in enumerate(ELEMENTS):
        for j in range(i, 2):
            b = ELEMENTS[j]
            lines.append(f"pair_coeff {i + 1} {j + 1} {0.5 * (EPSILON[a] + EPSILON[b]) * factor:.17g} {0.5 * (SIGMA[a] + SIGMA[b]):.17g}")
    return "\n".join(lines)


def argon(repeat=2, seed=0, triclinic=False, lattice=5.26) -> Atoms:
    """Rattled fcc argon, a quarter of it neon; two cells are 10.5 Angstrom, less than twice the cutoff."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Ar", cubic=True, a=lattice).repeat(repeat)
    if triclinic:
        cell = np.asarray(atoms.cell) + np.array([[0, 0, 0], [2.1, 0, 0], [-1.4, 1.2, 0]])
        atoms.set_cell(cell, scale_atoms=True)
    atoms.positions += rng.normal(scale=0.15, size=atoms.positions.shape)
    atoms.numbers[rng.random(len(atoms)) < 0.25] = 10
    atoms.wrap()
    return atoms
