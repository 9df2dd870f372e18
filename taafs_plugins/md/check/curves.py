"""The force along a line: how often and how fast it turns, whether it jumps, whether it is the energy's slope."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from taafs_plugins.md.check.lines import Line

Potential = Callable[..., tuple[float, np.ndarray]]
HALVINGS = 7  # a step of 0.02 Angstrom becomes 0.00016: rounding of forces in float64 is then 1e-8 of a jump in eV/Angstrom^2
SHRINKS = 0.3  # over three halvings what is smooth falls to 1/8 or below, a jump to a half at most
CANDIDATES = 2


@dataclass(frozen=True)
class Curve:
    """Energy [n] in eV and force [n] along a line in eV/Angstrom."""

    line: Line
    energy: np.ndarray
    force: np.ndarray


@dataclass(frozen=True)
class Jumps:
    """Largest discontinuities along a line; None where float32 hides them.

    Attributes
    ----------
    force : eV/Angstrom
    curvature : of the energy's second derivative, eV/Angstrom^2
    slope : by how much forces miss the energy's slope, eV/Angstrom (:func:`slope_error`)
    """

    force: float | None
    curvature: float | None
    slope: float


def follow(potential: Potential, line: Line, tick: Callable[[], None] = lambda: None) -> Curve:
    """Energy and force at every point of a line."""
    energy, force = np.empty(len(line.at)), np.empty(len(line.at))
    for k, t in enumerate(line.at):
        energy[k], force[k] = at_point(potential, line, float(t))
        tick()
    return Curve(line, energy, force)


def at_point(potential: Potential, line: Line, t: float) -> tuple[float, float]:
    """Energy in eV and force along the line in eV/Angstrom at ``t`` Angstrom."""
    energy, forces = potential(line.placed(t))
    return energy, float(forces[line.index] @ line.direction)


def turning_points(values: np.ndarray, least: float) -> list[int]:
    """Indices of minima and maxima [n] between which values change by more than ``least``; the ends are none."""
    found: list[int] = []
    low = high = 0
    rising: bool | None = None
    for k, value in enumerate(values):
        low = k if value < values[low] else low
        high = k if value > values[high] else high
        up, down = value - values[low] > least, values[high] - value > least
        if up and rising is not True:
            found.append(low)
            rising, high = True, k
        elif down and rising is not False:
            found.append(high)
            rising, low = False, k
        elif rising is not None:  # the other end follows
            low, high = (k if high == k else low, high) if rising else (low, k if low == k else high)
    return [k for k in found if k > 0]


def extrema(curve: Curve) -> int:
    """How often the force turns, by more than 0.001 of its range and 0.001 eV/Angstrom."""
    return len(turning_points(curve.force, max(1e-3, 1e-3 * float(np.ptp(curve.force)))))


def narrowest(curve: Curve, least: float) -> float:
    """Smallest distance in Angstrom between neighbouring extrema of the force that differ by ``least`` eV/Angstrom; infinite for fewer."""
    turns = turning_points(curve.force, least)
    return float(np.diff(curve.line.at[turns]).min()) if len(turns) > 1 else float("inf")


def bend(curve: Curve) -> np.ndarray:
    """Second derivative of the force along the line, [n - 4], eV/Angstrom^3: five-point differences, right to the fourth order."""
    f = curve.force
    return (-f[:-4] + 16 * f[1:-3] - 30 * f[2:-2] + 16 * f[3:-1] - f[4:]) / (12 * curve.line.step**2)


def third_derivative(curves: list[Curve]) -> float:
    """Root mean square of the energy's third derivative over all points of all lines, eV/Angstrom^3."""
    return float(np.sqrt(np.mean(np.concatenate([bend(curve) for curve in curves]) ** 2)))


def length(curve: Curve) -> float:
    """sqrt(range of the force / rms of its second derivative) in Angstrom: 0.27 wave lengths of a sine; infinite for a flat force."""
    size = float(np.ptp(curve.force))
    return float(np.sqrt(size / max(np.sqrt(np.mean(bend(curve) ** 2)), 1e-12))) if size > 0.1 else float("inf")


def minima(curve: Curve, least: float = 0.005) -> int:
    """How many minima deeper than ``least`` eV the energy has between the ends of a line."""
    turns = turning_points(curve.energy, least)
    falls_first = bool(turns) and curve.energy[turns[0]] < curve.energy[0]
    return len(turns[0 if falls_first else 1 :: 2])


def jumps(potential: Potential, curve: Curve, precision: str = "float64") -> Jumps:
    """What does not become smaller as the step is halved, where the force is least regular.

    With three points a step h apart, the second difference of the force is h^2 f'' where it is smooth, at least h J / 2 at a jump J of its
    slope, and at least half of a jump of itself; that of the surroundings is taken off. The ``CANDIDATES`` least regular points are
    followed, so that small jumps beside large ones may be missed.
    """
    if precision != "float64":
        return Jumps(None, None, slope_error(potential, curve, 0))
    odd = np.abs(np.diff(curve.force, 6))  # of what is smooth of the order step^6, of a jump of the slope of the order step
    found = [_halved(potential, curve, int(k) + 4) for k in np.argsort(odd[1:-1])[-CANDIDATES:]]
    noise = 1e-10 * (1 + float(np.abs(curve.force).max()))
    force = max((s[-1] for s, _ in found if s[-1] > SHRINKS * s[-4] and s[-1] > noise), default=0.0)
    slopes = [s / h for s, h in found]
    curvature = max((j[-1] for (s, h), j in zip(found, slopes, strict=True) if j[-1] > SHRINKS * j[-4] and s[-1] > noise), default=0.0)
    return Jumps(float(force), float(curvature), slope_error(potential, curve))


def _halved(potential: Potential, curve: Curve, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest second difference of the force about a point but for that of its surroundings, and the step, at each halving.

    Both [HALVINGS + 1]; the surroundings are second derivatives two and three steps to either side, which a jump near the point leaves
    alone, carried to the point by a cubic.
    """
    f, t, h = curve.force, float(curve.line.at[k]), curve.line.step
    far = [(f[k + side * n - 1] - 2 * f[k + side * n] + f[k + side * n + 1]) / (h * h) for n in (2, 3) for side in (-1, 1)]
    around = (9 * (far[0] + far[1]) - 4 * (far[2] + far[3])) / 10
    rise, start = (9 * (far[1] - far[0]) / 4 - 4 * (far[3] - far[2]) / 6) / (5 * h), t
    force = list(f[k - 1 : k + 2])
    sizes, steps = [abs(force[0] - 2 * force[1] + force[2] - around * h * h)], [h]
    for _ in range(HALVINGS):
        h /= 2
        left, right = (at_point(potential, curve.line, t + side * h)[1] for side in (-1, 1))
        five = np.array([force[0], left, force[1], right, force[2]])
        odd = np.abs(np.diff(five, 2) - (around + rise * (t - start + h * np.array([-1, 0, 1]))) * h * h)
        middle = int(odd.argmax()) + 1
        force, t = list(five[middle - 1 : middle + 2]), t + (middle - 2) * h
        sizes.append(float(odd.max()))
        steps.append(h)
    return np.array(sizes), np.array(steps)


def slope_error(potential: Potential, curve: Curve, halvings: int = HALVINGS) -> float:
    """Largest difference in eV/Angstrom between the energy's slope and minus the mean force, where that is least exact.

    Over two steps the force's integral is taken by Simpson's rule, and the half that misses more of the energy's change is halved again:
    what is smooth shrinks 16 times each time, a jump of the force's slope twice; forces that are no gradient stay, a jump of the energy
    grows.
    """
    e, f, at = curve.energy, curve.force, curve.line.at
    k = int(np.abs(e[2:] - e[:-2] + curve.line.step / 3 * (f[:-2] + 4 * f[1:-1] + f[2:])).argmax())
    three = [(float(at[i]), float(e[i]), float(f[i])) for i in (k, k + 1, k + 2)]

    def missed(first, middle, last):
        return abs((last[1] - first[1]) / (last[0] - first[0]) + (first[2] + 4 * middle[2] + last[2]) / 6)

    for _ in range(halvings):
        places = [(three[side][0] + three[side + 1][0]) / 2 for side in (0, 1)]
        left, right = ((t, *at_point(potential, curve.line, t)) for t in places)
        halves = (three[0], left, three[1]), (three[1], right, three[2])
        three = list(max(halves, key=lambda half: missed(*half)))
    return float(missed(*three))
