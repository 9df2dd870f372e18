"""LAMMPS runs with a frozen DeePMD model: single points for comparison with Python, NVE for energy conservation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taafs_plugins.experiments.deepmd import command, run

MASSES = {"H": 1.008, "C": 12.011, "O": 15.999, "Fe": 55.845, "Cu": 63.546}
# LAMMPS's own constant in metal units for 1 eV/A^3 in bar (nktv2p), 8e-8 away from today's value
BAR = 1.6021765e6


def write_data(path: Path, positions: np.ndarray, cell: np.ndarray, types: np.ndarray, names: list[str]) -> None:
    """A LAMMPS data file for an orthorhombic cell; positions [N, 3] and cell [3, 3] in Angstrom, types [N] from 0."""
    if np.abs(cell - np.diag(np.diag(cell))).max() > 1e-8:
        raise ValueError("write_data takes orthorhombic cells only.")
    lengths = np.diag(cell)
    wrapped = positions - np.floor(positions / lengths) * lengths
    lines = ["frame", "", f"{len(types)} atoms", f"{len(names)} atom types", ""]
    lines += [f"0.0 {length:.16g} {axis}lo {axis}hi" for length, axis in zip(lengths, "xyz", strict=True)]
    lines += ["", "Masses", "", *(f"{i + 1} {MASSES[name]}" for i, name in enumerate(names)), "", "Atoms # atomic", ""]
    lines += [f"{i + 1} {t + 1} {x:.16g} {y:.16g} {z:.16g}" for i, (t, (x, y, z)) in enumerate(zip(types, wrapped, strict=True))]
    path.write_text("\n".join(lines) + "\n")


def header(pair: str) -> str:
    """A script up to the pairs' style and coefficients, ``pair`` (what follows ``pair_style``)."""
    return f"""units metal
boundary p p p
atom_style atomic
read_data frame.data
pair_style {pair}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
"""


def run_script(
    folder: Path,
    script: str,
    ranks: int = 1,
    log: str = "log",
    poll: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
) -> float:
    """Run ``script`` in ``folder``, its log in ``<log>.lammps``; returns wall seconds."""
    (folder / "in.lmp").write_text(script)
    arguments = [command("lmp"), "-in", "in.lmp", "-log", f"{log}.lammps", "-screen", "none"]
    if ranks > 1:
        arguments = [command("mpirun"), "-np", str(ranks), *arguments]
    return run(arguments, folder, log=log, poll=poll, variables=variables)


def single_point(models: list[str], folder: Path, names: list[str], ranks: int = 1) -> dict[str, np.ndarray]:
    """Energy [eV], forces [N, 3] in eV/A and virial [3, 3] in eV of ``frame.data``, as LAMMPS computes them.

    With several models the first one's values are returned and the model deviation is in ``deviation.out``.
    """
    deviation = "out_file deviation.out out_freq 1" if len(models) > 1 else ""
    script = (
        header(f"deepmd {' '.join(models)} {deviation}\npair_coeff * * {' '.join(names)}")
        + """
compute p all pressure NULL virial
thermo_style custom step pe vol c_p[1] c_p[2] c_p[3] c_p[4] c_p[5] c_p[6]
thermo_modify format float %22.15e
dump f all custom 1 forces.dump id fx fy fz
dump_modify f sort id format float %22.15e
run 0
"""
    )
    run_script(folder, script, ranks, "single_point")
    lines = (folder / "single_point.lammps").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.split()[:2] == ["Step", "PotEng"])
    _, energy, volume, *pressure = map(float, lines[start + 1].split())
    xx, yy, zz, xy, xz, yz = np.array(pressure) * volume / BAR
    dump = (folder / "forces.dump").read_text().split("ITEM: ATOMS id fx fy fz\n")[1]
    forces = np.array([[float(v) for v in line.split()[1:]] for line in dump.splitlines()])
    return {"energy": np.array([energy]), "force": forces, "virial": np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])}


@dataclass(frozen=True)
class Equilibration:
    """Langevin dynamics before an NVE run, at its temperature.

    Out of equilibrium, energy flows between kinetic and potential and between vibrations, and Verlet's error of the total energy, of
    order timestep^2, moves with it: a slope cannot tell that from drift.

    Parameters
    ----------
    steps : of Langevin dynamics
    timestep : ps; the NVE run's own by default
    time_constant : of the thermostat, ps
    minimise : first
    """

    steps: int
    timestep: float | None = None
    time_constant: float = 0.02
    minimise: bool = False


def nve(
    model: str,
    folder: Path,
    names: list[str],
    *,
    steps: int,
    timestep: float = 0.0005,
    temperature: float = 330.0,
    ranks: int = 1,
    poll: Callable[[], None] | None = None,
    variables: Mapping[str, str] | None = None,
    style: str = "deepmd",
    equilibration: Equilibration | None = None,
) -> tuple[np.ndarray, float]:
    """NVE of ``frame.data`` from random velocities.

    Parameters
    ----------
    timestep : ps
    equilibration : before the NVE run, which then starts at time 0
    variables : added to the environment (``DP_PLUGIN_PATH`` for models that call the operator library)
    style : of the pairs: ``deepmd`` for a frozen model, ``taafs`` for an exported one

    Returns
    -------
    energy : [n, 3] time in ps, total energy in eV per atom and temperature in K, every 10 steps
    seconds : wall time
    """
    elements = " ".join(names)
    pair = f"deepmd {model}\npair_coeff * * {elements}" if style == "deepmd" else f"{style}\npair_coeff * * {model} {elements}"
    script = header(pair) + _nve_script(steps, timestep, temperature, equilibration or Equilibration(0))
    seconds = run_script(folder, script, ranks, "nve", poll, variables)
    table = np.array(_thermo(folder / "nve.lammps"))
    atoms = int((folder / "frame.data").read_text().splitlines()[2].split()[0])
    return np.stack([table[:, 0] * timestep, table[:, 1] / atoms, table[:, 2]], axis=1), seconds


def _nve_script(steps: int, timestep: float, temperature: float, before: Equilibration) -> str:
    langevin = f"""fix 2 all langevin {temperature} {temperature} {before.time_constant} 2026 zero yes
run {before.steps}
unfix 2
"""
    return f"""
timestep {before.timestep or timestep}
{"minimize 0 1e-3 200 1000" if before.minimise else ""}
velocity all create {temperature} 2026 mom yes rot no
fix 1 all nve
thermo_style custom step etotal temp
thermo_modify format float %22.15e flush yes
thermo 10
{langevin if before.steps else ""}reset_timestep 0
timestep {timestep}
run {steps}
"""


def _thermo(log: Path) -> list[list[float]]:
    """Step, total energy and temperature of the last run in a log."""
    lines = log.read_text().splitlines()
    start = max(i for i, line in enumerate(lines) if line.split()[:2] == ["Step", "TotEng"])
    rows = []
    for line in lines[start + 1 :]:
        if line.startswith("Loop time"):
            break
        if line.split() and line.split()[0].isdigit():
            rows.append([float(v) for v in line.split()[:3]])
    return rows


def rows_so_far(folder: Path) -> int:
    """How many lines of energies :func:`nve` has written to its log, of the thermostat's part too; one for every 10 steps."""
    try:
        lines = (folder / "nve.lammps").read_text().splitlines()
    except OSError:
        return 0
    return sum(len(words) == 3 and words[0].isdigit() for words in map(str.split, lines))


def drift(energy: np.ndarray) -> float:
    """Least-squares slope of the total energy per atom, eV/atom/ps, of [n, 2 or more] time in ps and energy in eV/atom."""
    return float(np.polyfit(energy[:, 0], energy[:, 1], 1)[0])


def drift_passes(ours: float, stock: float, precision: str = "float64") -> bool:
    """The rule: |drift| at most 1.2 times the stock one, or 1e-6 eV/atom/ps in float64 (1e-5 in float32), whichever is larger."""
    return abs(ours) <= max(1.2 * abs(stock), 1e-6 if precision == "float64" else 1e-5)
