"""What a model must keep to drive molecular dynamics, with the reason of each limit, and the check itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms

from taafs_plugins.adapters import HostError
from taafs_plugins.md.check import curves, dynamics, lines
from taafs_plugins.md.check.curves import Curve, Jumps
from taafs_plugins.md.check.dynamics import Run
from taafs_plugins.md.check.potential import HostPotential

# Times a reference's roughness, drift or jumps: the goal that models of this package are held to.
OVER_REFERENCE = 1.2
# The sharpest bond there is, O-H, has a force that goes from 0 to its largest within ln 2 / a = 0.3 Angstrom (Morse, a = 2.2 / Angstrom);
# a force that turns twice within a third of that, by more than twice what good models are wrong by, is no chemistry.
NARROW, BOND, NOTICED = 0.1, 0.3, 0.1  # Angstrom, Angstrom, eV/Angstrom
# Cosine cutoffs (TorchANI, SchNetPack) make the energy's second derivative jump a little wherever a neighbour leaves. The stiffness of a
# weak bond is 1 eV/Angstrom^2: a larger jump moves phonons; a jump of the force itself feeds energy into every run.
CURVATURE_JUMP, FORCE_JUMP = 1.0, 1e-4  # eV/Angstrom^2, eV/Angstrom
SLOPE = 1e-3  # eV/Angstrom, and what rounding of the energy gives
DRIFT = {"float64": 1e-6, "float32": 1e-5}  # eV/atom/ps: the rule of all NVE runs of this package
RESOLVED = 5e-8  # eV/atom: what is left of Verlet's own error, which must not decide over runs below 0.05 ps
FORCE_LIMIT = 5.0  # times the largest force component in the structures, at least LEAST_FORCE_LIMIT eV/Angstrom
LEAST_FORCE_LIMIT = 30.0
HOTTER = 1.5


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes
    ----------
    atoms : how many atoms are pushed
    dimers : how many pairs of elements are pulled apart, at most
    reach, step : how far and how finely, Angstrom
    temperature : of the first run, K; the second is ``HOTTER`` times as hot
    steps : of each run; 0 leaves the runs out
    seed : of atoms, directions and velocities
    """

    atoms: int = 6
    dimers: int = 6
    reach: float = 1.1
    step: float = 0.02
    temperature: float = 300.0
    steps: int = 400
    seed: int = 0


@dataclass(frozen=True)
class Measured:
    """What one model did.

    Attributes
    ----------
    pushes, dimers : along each line
    jumps : of each line, pushes first
    runs : at the temperature and ``HOTTER`` times it
    precision : ``float64`` or ``float32``
    rounding : what that of the energy makes of the slope, eV/Angstrom
    """

    pushes: list[Curve]
    dimers: list[Curve]
    jumps: list[Jumps]
    runs: list[Run]
    precision: str
    rounding: float

    def facts(self) -> dict[str, Any]:
        """Numbers by name, with units in the names; None where float32 hides one."""
        turns = [curves.extrema(curve) for curve in self.pushes]
        found = {
            "lines": len(self.pushes), "extrema of the force, mean": float(np.mean(turns)), "extrema of the force, most": max(turns),
            "third derivative eV/A^3, rms": curves.third_derivative(self.pushes),
            "narrowest turn A": min(curves.narrowest(curve, NOTICED) for curve in self.pushes),
            "length of change A, least": min(curves.length(curve) for curve in self.pushes),
            "jump of the force eV/A": _largest(jump.force for jump in self.jumps),
            "jump of the second derivative eV/A^2": _largest(jump.curvature for jump in self.jumps),
            "force off the energy's slope eV/A": max(jump.slope for jump in self.jumps), "dimers": len(self.dimers),
            "artificial minima of dimers": sum(max(curves.minima(curve) - 1, 0) for curve in self.dimers), "precision": self.precision,
        }  # fmt: skip
        found["runs"] = [{
            "kelvin": run.temperature, "time step fs": run.timestep, "ps": float(run.time[-1]) if len(run.time) else 0.0,
            "drift eV/atom/ps": run.drift, "largest distance eV/atom": run.distance, "largest force eV/A": run.force, "broken": run.broken,
            "kelvin, least and most": [float(run.kelvin.min()), float(run.kelvin.max())] if len(run.kelvin) else None,
        } for run in self.runs]  # fmt: skip
        return found


@dataclass(frozen=True)
class Report:
    """Outcome of a check; ``str()`` is the one line.

    Attributes
    ----------
    model, reference : what was measured; the second only where a reference was given
    failures, warnings : sentences
    """

    model: Measured
    reference: Measured | None
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures

    def facts(self) -> dict[str, Any]:
        """Everything as numbers and words, for JSON: what is not finite is None."""
        reference = None if self.reference is None else self.reference.facts()
        words = {"passed": self.passed, "failures": self.failures, "warnings": self.warnings}
        found: dict[str, Any] = _plain({**words, "model": self.model.facts(), "reference": reference})
        return found

    def __str__(self) -> str:
        if self.passed:
            return "pass" + (f" ({'; '.join(self.warnings)})" if self.warnings else "")
        return f"fail: {'; '.join(self.failures)}"


def check(
    potential: HostPotential, structures: Sequence[Atoms], reference: HostPotential | None = None, settings: Settings | None = None,
    tick: Callable[[str, int], None] = lambda what, total: None,
) -> Report:  # fmt: skip
    """Push atoms, pull dimers, run without a thermostat, and judge.

    Parameters
    ----------
    potential : the model
    structures : of the kind that it was trained on; the runs start from the first one
    reference : a stock model of the same data; the same lines and the same runs
    settings : default: :class:`Settings`
    tick : called after each evaluation or step with what is done and how many of them there are about

    Raises
    ------
    HostError
        No structure, one in which no atom can move, or one that the model cannot predict.
    """
    settings = settings or Settings()
    structures = list(structures)
    pushed = lines.pushes(structures, settings.atoms, settings.reach, settings.step, settings.seed) if structures else []
    if not pushed:
        raise HostError("There is no atom to push: give structures of two or more atoms, and --atoms of 1 or more.")
    found = [measure(p, structures, pushed, settings, tick, name) for p, name in ((potential, "model"), (reference, "reference")) if p]
    model, stock = found[0], found[1] if reference is not None else None
    failures = [*_broken_rules(model, stock), *_broken_runs(model, stock)]
    more, warnings = _rough(model, stock)
    return Report(model, stock, failures + more, warnings)


def measure(
    potential: HostPotential, structures: list[Atoms], pushed: list[lines.Line], settings: Settings, tick: Callable[[str, int], None],
    name: str = "model",
) -> Measured:  # fmt: skip
    """Run everything with one model; arguments as of :func:`check`, ``pushed`` from :func:`lines.pushes`."""
    pulled = list(lines.dimers(structures, potential.periodic_only, settings.dimers, settings.step))
    every = [*pushed, *pulled]
    points = sum(len(line.at) for line in every)
    followed = [curves.follow(potential, line, lambda: tick(f"{name}: lines", points)) for line in every]
    found = [curves.jumps(potential, curve, potential.precision) for curve in followed]
    start = [potential(atoms) for atoms in structures]
    limit = max(LEAST_FORCE_LIMIT, FORCE_LIMIT * max(float(np.abs(forces).max()) for _, forces in start))
    shortest, runs = lines.shortest_pairs(structures), []
    for temperature in (settings.temperature, HOTTER * settings.temperature) if settings.steps else ():
        runs.append(dynamics.run(
            potential, structures[0], shortest, temperature=temperature, steps=settings.steps, seed=settings.seed, most_force=limit,
            tick=lambda: tick(f"{name}: runs", 2 * settings.steps),
        ))  # fmt: skip
    finest = 2 * settings.step / (2**curves.HALVINGS if potential.precision == "float64" else 1)
    size = 8 * max(abs(energy) for energy, _ in start) * float(np.finfo(potential.precision).eps) / finest
    return Measured(followed[: len(pushed)], followed[len(pushed) :], found, runs, potential.precision, size)


def _broken_rules(model: Measured, stock: Measured | None) -> list[str]:
    """Values that are not finite, energies that are not the force's integral, jumps."""
    found = []
    if not all(np.isfinite(curve.energy).all() and np.isfinite(curve.force).all() for curve in [*model.pushes, *model.dimers]):
        return ["energies or forces are not finite along a line"]
    ours, theirs = model.facts(), {} if stock is None else stock.facts()
    off, limit = ours["force off the energy's slope eV/A"], SLOPE + model.rounding
    if not off <= limit:
        found.append(f"the force is not the energy's slope, or the energy jumps: off by {off:.1e} eV/A (limit {limit:.0e})")
    for name, unit, least in (("force", "eV/A", FORCE_JUMP), ("second derivative", "eV/A^2", CURVATURE_JUMP)):
        value = ours[f"jump of the {name} {unit}"]
        limit = max(least, OVER_REFERENCE * (theirs.get(f"jump of the {name} {unit}") or 0.0))
        if value is not None and not value <= limit:
            found.append(f"the {name} {'of the energy ' if name != 'force' else ''}jumps by {value:.2g} {unit} (limit {limit:.2g})")
    return found


def _broken_runs(model: Measured, stock: Measured | None) -> list[str]:
    found = []
    for number, run in enumerate(model.runs):
        other = stock.runs[number] if stock is not None else None
        if run.broken:
            also = "; the reference's, too" if other is not None and other.broken else ""
            found.append(f"the run at {run.temperature:.0f} K fell apart: {run.broken}{also}")
            continue
        limit = max(
            DRIFT[model.precision],
            RESOLVED / float(run.time[-1]),
            OVER_REFERENCE * abs(other.drift) if other is not None and not other.broken else 0.0,
        )
        if not abs(run.drift) <= limit:
            found.append(f"the energy drifts by {run.drift:+.1e} eV/atom/ps at {run.temperature:.0f} K (limit {limit:.1e})")
    return found


def _rough(model: Measured, stock: Measured | None) -> tuple[list[str], list[str]]:
    """Failures and warnings of how the force bends."""
    ours, theirs, failures, warnings = model.facts(), {} if stock is None else stock.facts(), [], []
    for name, what in (("narrowest turn A", "turns twice"), ("length of change A, least", "changes")):
        limit = min(NARROW, theirs.get(name, np.inf) / OVER_REFERENCE)
        if ours[name] < limit:
            failures.append(f"the force has a spike: it {what} within {ours[name]:.2f} A (limit {limit:.2f} A)")
            break
    if theirs:
        leasts = {"third derivative eV/A^3, rms": 0.0, "extrema of the force, mean": 1.0, "artificial minima of dimers": 0.0}
        for name, least in leasts.items():
            times = 1.0 if "minima" in name else OVER_REFERENCE
            if ours[name] > times * max(theirs[name], least):
                failures.append(f"{name}: {ours[name]:.3g} against {theirs[name]:.3g} of the reference (limit {times:g} times)")
        return failures, warnings
    most = max(math.floor(float(np.ptp(curve.line.at)) / BOND) for curve in model.pushes)
    if ours["extrema of the force, most"] > most:
        warnings.append(f"the force turns {ours['extrema of the force, most']} times along a line, more than bonds make it ({most})")
    if more := ours["artificial minima of dimers"]:
        warnings.append(f"dimers have {more} minima too many; a --reference says whether stock has them, too")
    return failures, warnings


def _largest(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _plain(value: Any) -> Any:
    """For JSON, which has no infinity."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
