"""Copper of Zuo et al. 2020 as DeePMD systems, and one test frame for LAMMPS."""

from pathlib import Path

import numpy as np

from taafs_plugins.experiments import deepmd, lammps

frames, test = deepmd.zuo_frames("Cu")
deepmd.write_zuo_systems(frames, Path("data/train"))
deepmd.write_zuo_systems(test, Path("data/test"))

orthorhombic = next(f for f in test if np.abs(np.array(f["atoms"]["lattice_mat"]) - np.diag(np.diag(f["atoms"]["lattice_mat"]))).max() < 1e-8)
cell = np.array(orthorhombic["atoms"]["lattice_mat"])
positions = np.array(orthorhombic["atoms"]["coords"]) @ cell
lammps.write_data(Path("frame.data"), positions, cell, np.zeros(len(positions), int), ["Cu"])
print(f"{len(frames)} training and {len(test)} test frames in data/, a frame of {len(positions)} atoms in frame.data")
