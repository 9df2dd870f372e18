"""Copper of Zuo et al. 2020 as DeePMD systems, and one test frame for LAMMPS."""

from pathlib import Path

import numpy as np

from taafs_plugins.experiments import deepmd, lammps

frames, test = deepmd.zuo_frames("Cu")
deepmd.write_zuo_systems(frames, Path("data/train"))
deepmd.write_zuo_systems(test, Path("data/test"))


def is_orthorhombic(frame: dict) -> bool:
    """LAMMPS data files are written for orthorhombic cells only."""
    cell = np.array(frame["atoms"]["lattice_mat"])
    return np.abs(cell - np.diag(np.diag(cell))).max() < 1e-8


orthorhombic = next(frame for frame in test if is_orthorhombic(frame))
cell = np.array(orthorhombic["atoms"]["lattice_mat"])
positions = np.array(orthorhombic["atoms"]["coords"]) @ cell
lammps.write_data(Path("frame.data"), positions, cell, np.zeros(len(positions), int), ["Cu"])
print(f"{len(frames)} training and {len(test)} test frames in data/, a frame of {len(positions)} atoms in frame.data")
