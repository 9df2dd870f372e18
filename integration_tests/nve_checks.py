"""That a short NVE run can fail: what its total energy would have been, had the forces not been the energy's gradient."""

import numpy as np
from ase import units


def with_wrong_forces(total: np.ndarray, kinetic: np.ndarray, by: float = 1e-3) -> np.ndarray:
    """The total energy of the same run with forces 1 + ``by`` times the energy's gradient, to first order in ``by``.

    Such dynamics conserve kinetic + (1 + by) potential energy, so their total energy misses ``by`` times the change of the potential one.

    Parameters
    ----------
    total, kinetic : [n], eV/atom
    """
    potential = np.asarray(total) - kinetic
    return total - by * (potential - potential[0])


def lammps_with_wrong_forces(energy: np.ndarray, atoms: int, by: float = 1e-3) -> np.ndarray:
    """The same of [n, 3]: time in ps, total energy in eV/atom, temperature in K, of 3 ``atoms`` - 3 degrees of freedom."""
    kinetic = 1.5 * units.kB * energy[:, 2] * (atoms - 1) / atoms
    return np.stack([energy[:, 0], with_wrong_forces(energy[:, 1], kinetic, by), energy[:, 2]], axis=1)
