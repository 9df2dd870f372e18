"""Lines along which one atom of a structure is moved: pushed by chance out of its place, or a dimer that is pulled apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

NEAREST = 0.7  # of the shortest pair of the same elements in the structures: nearer is out of what the model has seen
LEAST = 9  # points of a line, for differences of the sixth order and their neighbours
DIMER_END = 5.0  # Angstrom
DIMER_CELL = 16.0  # Angstrom, of hosts that take periodic structures only
Pair = tuple[int, int]


@dataclass(frozen=True)
class Line:
    """One atom of ``atoms`` at ``atoms.positions[index] + t * direction`` for t in ``at``, everything else fixed.

    Attributes
    ----------
    label : for people
    direction : [3], a unit vector
    at : [n], Angstrom, evenly spaced
    """

    label: str
    atoms: Atoms
    index: int
    direction: np.ndarray
    at: np.ndarray

    @property
    def step(self) -> float:
        """Spacing of ``at`` in Angstrom."""
        return float(self.at[1] - self.at[0])

    def placed(self, t: float) -> Atoms:
        """The structure with the atom moved by ``t`` Angstrom."""
        moved = self.atoms.copy()
        moved.positions[self.index] += t * self.direction
        return moved


def shortest_pairs(structures: Sequence[Atoms]) -> dict[Pair, float]:
    """Shortest distance in Angstrom of each pair of atomic numbers in the structures, the nearest image of each pair."""
    shortest: dict[Pair, float] = {}
    for atoms in structures:
        distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
        for a, b in combinations_with_replacement(sorted(set(atoms.numbers.tolist())), 2):
            block = distances[np.ix_(atoms.numbers == a, atoms.numbers == b)]
            if (block := block[block > 0]).size:
                shortest[a, b] = min(shortest.get((a, b), np.inf), float(block.min()))
    return shortest


def nearest(atoms: Atoms, index: int, places: np.ndarray, shortest: dict[Pair, float]) -> np.ndarray:
    """For each place [n, 3] of an atom, its smallest distance to another one over the shortest pair of the same elements, [n]."""
    others = np.arange(len(atoms)) != index
    if not others.any():
        return np.full(len(places), np.inf)
    vectors = atoms.positions[others][None] - places[:, None]
    lengths = find_mic(vectors.reshape(-1, 3), atoms.cell, atoms.pbc)[1].reshape(len(places), -1)
    own = int(atoms.numbers[index])
    known = np.array([shortest.get((min(own, z), max(own, z)), 0.0) for z in atoms.numbers[others].tolist()])
    return (lengths / np.maximum(known, 1e-9)).min(axis=1)


def pushes(structures: Sequence[Atoms], count: int, reach: float = 1.1, step: float = 0.02, seed: int = 0) -> list[Line]:
    """Atoms pushed both ways along random directions, as far as no pair comes nearer than ``NEAREST`` of the shortest.

    Parameters
    ----------
    count : how many; they go through the structures and through the elements of each
    reach : to -reach and +reach Angstrom
    seed : of atoms and directions

    Returns
    -------
    Lines of at least ``LEAST`` points; fewer than ``count`` where atoms cannot move so far
    """
    generator = np.random.default_rng(seed)
    structures = [atoms for atoms in structures if len(atoms) > 1]  # an atom alone moves with its images
    shortest = shortest_pairs(structures)
    half = round(reach / step)
    at = step * np.arange(-half, half + 1)
    found = []
    for number in range(count if structures else 0):
        atoms = structures[number % len(structures)]
        elements = sorted(set(atoms.numbers.tolist()))
        element = elements[(number // len(structures) + number % len(structures)) % len(elements)]
        index = int(generator.choice(np.flatnonzero(atoms.numbers == element)))
        direction = generator.normal(size=3)
        direction /= np.linalg.norm(direction)
        near = nearest(atoms, index, atoms.positions[index] + at[:, None] * direction, shortest) < NEAREST
        low = half - int(np.argmax(near[half::-1])) + 1 if near[: half + 1].any() else 0
        high = half + int(np.argmax(near[half:])) if near[half:].any() else len(at)
        if high - low >= LEAST:
            label = f"{atoms.symbols[index]} {index} of structure {number % len(structures)}"
            found.append(Line(label, atoms, index, direction, at[low:high]))
    return found


def dimers(structures: Sequence[Atoms], periodic: bool, most: int = 6, step: float = 0.02) -> Iterator[Line]:
    """Two atoms alone, from ``NEAREST`` of the shortest pair of their elements in the structures to ``DIMER_END``.

    Parameters
    ----------
    most : how many pairs of elements
    periodic : put them into a cell of ``DIMER_CELL``, for hosts that take nothing else
    """
    for (a, b), shortest in sorted(shortest_pairs(structures).items())[:most]:
        start = NEAREST * shortest
        at = step * np.arange(int((DIMER_END - start) / step))
        if len(at) < LEAST:
            continue
        atoms = Atoms([a, b], [[0, 0, 0], [start, 0, 0]], cell=[DIMER_CELL] * 3 if periodic else None, pbc=periodic)
        yield Line(f"{atoms.symbols[0]}-{atoms.symbols[1]}", atoms, 1, np.array([1.0, 0.0, 0.0]), at)
