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
GAP_HALVINGS = 3


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
    gap : energy that the force's integral misses over two steps, eV
    """

    force: float | None
    curvature: float | None
    gap: float


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
    slope, and at least half of a jump of itself. Followed at the ``CANDIDATES`` least regular points, so that small jumps beside large ones
    may be missed.
    """
    gap = energy_gap(potential, curve)
    if precision != "float64":
        return Jumps(None, None, gap)
    second = np.abs(np.diff(curve.force, 2))
    odd = np.abs(second - np.convolve(second, [0.5, 0, 0.5], "same")) if len(second) > 2 else second
    found = [_halved(potential, curve, int(k) + 1) for k in np.argsort(odd)[-CANDIDATES:]]
    noise = 1e-10 * (1 + float(np.abs(curve.force).max()))
    force = max((s[-1] for s, _ in found if s[-1] > SHRINKS * s[-4] and s[-1] > noise), default=0.0)
    slopes = [s / h for s, h in found]
    curvature = max((j[-1] for (s, h), j in zip(found, slopes, strict=True) if j[-1] > SHRINKS * j[-4] and s[-1] > noise), default=0.0)
    return Jumps(float(force), float(curvature), gap)


def _halved(potential: Potential, curve: Curve, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Largest second difference of the force about a point, and the step, at each halving; both [HALVINGS + 1]."""
    force, t, h = list(curve.force[k - 1 : k + 2]), float(curve.line.at[k]), curve.line.step
    sizes, steps = [abs(force[0] - 2 * force[1] + force[2])], [h]
    for _ in range(HALVINGS):
        h /= 2
        left, right = (at_point(potential, curve.line, t + side * h)[1] for side in (-1, 1))
        five = np.array([force[0], left, force[1], right, force[2]])
        second = np.abs(np.diff(five, 2))
        middle = int(second.argmax()) + 1
        force, t = list(five[middle - 1 : middle + 2]), t + (middle - 2) * h
        sizes.append(float(second.max()))
        steps.append(h)
    return np.array(sizes), np.array(steps)


def energy_gap(potential: Potential, curve: Curve) -> float:
    """Largest difference in eV between the energy's change over two steps and the force's integral, by Simpson's rule, refined there."""
    e, f, h = curve.energy, curve.force, curve.line.step
    k = int(np.abs(e[2:] - e[:-2] + h / 3 * (f[:-2] + 4 * f[1:-1] + f[2:])).argmax()) + 1
    times = np.linspace(curve.line.at[k - 1], curve.line.at[k + 1], 2 ** (GAP_HALVINGS + 1) + 1)
    known = {0: f[k - 1], len(times) // 2: f[k], len(times) - 1: f[k + 1]}
    force = [known[i] if i in known else at_point(potential, curve.line, float(t))[1] for i, t in enumerate(times)]
    weights = np.ones(len(times))
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    return abs(float(e[k + 1] - e[k - 1] + (times[1] - times[0]) / 3 * (weights @ np.array(force))))
