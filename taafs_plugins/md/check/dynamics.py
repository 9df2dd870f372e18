"""Short runs without a thermostat: whether they stay whole, and how fast the total energy drifts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms, units
from ase.md.verlet import VelocityVerlet

from taafs_plugins.md.check.lines import Pair
from taafs_plugins.md.check.potential import PotentialCalculator

HYDROGEN_STEP = 0.25  # fs for a mass of 1.008; proportional to the root of the lightest mass, as periods are
HOTTEST = 3.0  # times the temperature aimed at, plus four standard deviations of so few atoms'
APART = 0.5  # of the shortest pair of the same elements in the structures
WATCH = 10  # steps between looks at distances


@dataclass(frozen=True)
class Run:
    """A run at constant energy.

    Attributes
    ----------
    temperature : aimed at, K
    timestep : fs
    time : [n], ps
    total : [n], total energy in eV/atom as it is
    conserved : [n], eV/atom: the same with Verlet's own error of the order timestep^2 taken out (:func:`corrected`)
    kelvin : [n]
    force : largest component met, eV/Angstrom
    broken : how the run fell apart, or nothing
    """

    temperature: float
    timestep: float
    time: np.ndarray
    total: np.ndarray
    conserved: np.ndarray
    kelvin: np.ndarray
    force: float
    broken: str

    @property
    def drift(self) -> float:
        """Least-squares slope of ``conserved``, eV/atom/ps; infinite for a run that is too short."""
        return float(np.polyfit(self.time, self.conserved, 1)[0]) if len(self.time) > 2 else float("inf")

    @property
    def distance(self) -> float:
        """Largest distance of ``conserved`` from its first value, eV/atom."""
        return float(np.abs(self.conserved - self.conserved[0]).max()) if len(self.time) else float("inf")


def timestep(atoms: Atoms) -> float:
    """In fs, by the lightest atom."""
    return float(HYDROGEN_STEP * (atoms.get_masses().min() / 1.008) ** 0.5)


def corrected(total: np.ndarray, velocities: np.ndarray, forces: np.ndarray, masses: np.ndarray, dt: float) -> np.ndarray:
    """The energy that velocity Verlet conserves up to dt^4: H - dt^2 / 12 v.dF/dt - dt^2 / 24 sum F^2 / m.

    Verlet follows a Hamiltonian of its own, whose first terms these are (backward error analysis: Hairer, Lubich, Wanner, Geometric
    Numerical Integration, chapter IX; for a harmonic oscillator it is p^2 / 2m + m w^2 x^2 (1 - w^2 dt^2 / 4) / 2 but for a factor).
    What is left over short runs is what the potential does: forces that are not the energy's slope, or jump.

    Parameters
    ----------
    total : [n + 2], eV
    velocities, forces : [n + 2, atoms, 3], of ASE's units
    masses : [atoms]
    dt : of ASE's units

    Returns
    -------
    [n], eV, without the first and last step, where dF/dt is not known
    """
    slope = (forces[2:] - forces[:-2]) / (2 * dt)
    turning = (velocities[1:-1] * slope).sum(axis=(1, 2))
    pushing = (forces[1:-1] ** 2 / masses[:, None]).sum(axis=(1, 2))
    return total[1:-1] - dt**2 / 12 * turning - dt**2 / 24 * pushing


def run(
    potential: Callable[[Atoms], tuple[float, np.ndarray]], structure: Atoms, shortest: dict[Pair, float], *, temperature: float,
    steps: int, seed: int = 0, most_force: float = 100.0, tick: Callable[[], None] = lambda: None,
) -> Run:  # fmt: skip
    """Velocity Verlet from random velocities at ``temperature`` K; it ends early where the structure falls apart.

    Parameters
    ----------
    shortest : of :func:`taafs_plugins.md.check.lines.shortest_pairs`
    most_force : eV/Angstrom; a larger component is a fall into a hole
    tick : called after each step
    """
    atoms = structure.copy()
    atoms.calc = PotentialCalculator(potential)
    _push(atoms, temperature, seed)
    dt = timestep(atoms)
    dynamics = VelocityVerlet(atoms, timestep=dt * units.fs)
    hottest = temperature * (HOTTEST + 4 * (2 / (3 * len(atoms))) ** 0.5)
    total, kelvin, velocities, forces, broken = [], [], [], [], ""
    for step in range(steps + 1):
        if step:
            dynamics.run(1)
            tick()
        total.append(atoms.get_total_energy())
        kelvin.append(atoms.get_temperature())
        velocities.append(atoms.get_velocities())
        forces.append(atoms.get_forces())
        if broken := _broken(atoms, step, kelvin[-1], hottest, forces[-1], most_force, shortest):
            break
    arrays = np.array(total), np.array(velocities), np.array(forces), atoms.get_masses(), dt * units.fs
    conserved = corrected(*arrays) / len(atoms)
    time, largest = 1e-3 * dt * np.arange(1, len(conserved) + 1), float(np.abs(arrays[2]).max())
    return Run(temperature, dt, time, arrays[0][1:-1] / len(atoms), conserved, np.array(kelvin)[1:-1], largest, broken)


def _push(atoms: Atoms, temperature: float, seed: int) -> None:
    """Random momenta whose sum is 0, at exactly the temperature."""
    masses = atoms.get_masses()[:, None]
    momenta = np.random.default_rng(seed).normal(size=(len(atoms), 3)) * np.sqrt(masses * units.kB * temperature)
    atoms.set_momenta(momenta - masses / masses.sum() * momenta.sum(axis=0))
    atoms.set_momenta(atoms.get_momenta() * (temperature / max(atoms.get_temperature(), 1e-9)) ** 0.5)


def _broken(atoms: Atoms, step: int, kelvin: float, hottest: float, forces: np.ndarray, most: float, shortest: dict[Pair, float]) -> str:
    """What is wrong at a step, or nothing."""
    largest = float(np.abs(forces).max())
    if not np.isfinite(largest):
        return f"forces are not finite after {step} steps"
    if largest > most:
        return f"a force of {largest:.0f} eV/Angstrom after {step} steps (limit {most:.0f})"
    if kelvin > hottest:
        return f"{kelvin:.0f} K after {step} steps (limit {hottest:.0f} K)"
    if step % WATCH == 0:
        distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
        for (a, b), known in shortest.items():
            block = distances[np.ix_(atoms.numbers == a, atoms.numbers == b)]
            if (block := block[block > 0]).size and block.min() < APART * known:
                return f"two atoms {block.min():.2f} Angstrom apart after {step} steps (nearest in the structures {known:.2f})"
    return ""
