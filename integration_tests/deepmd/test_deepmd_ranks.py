"""LAMMPS on four ranks: types left out, ranks without atoms, thousands of atoms that move; always as Python computes it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from compress_models import live_water
from conftest_deepmd import frame, largest_difference

from taafs_plugins.experiments import lammps

FILES = ["frozen.pth", "compressed.pth"]
NAMES = ["O", "H"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Frozen and compressed file of water with random coefficients."""
    from deepmd.pt.entrypoints.compress import enable_compression

    folder = tmp_path_factory.mktemp("ranks")
    torch.jit.save(torch.jit.script(live_water("taafs:chebyshev1,share=neuron", 0.02)), folder / FILES[0])
    enable_compression(str(folder / FILES[0]), str(folder / FILES[1]), stride=0.004)
    return folder


def python(file: Path, positions: np.ndarray, lengths: np.ndarray, types: np.ndarray) -> dict[str, np.ndarray]:
    """Energy [eV], forces [n, 3] in eV/A and virial [3, 3] in eV by ``DeepPot``."""
    from deepmd.infer import DeepPot

    with torch.jit.optimized_execution(False):
        energy, force, virial = DeepPot(str(file)).eval(positions.reshape(1, -1), np.diag(lengths).reshape(1, 9), types)
    return {"energy": energy.ravel(), "force": force[0], "virial": virial.reshape(3, 3)}


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_a_slab_on_four_ranks_of_which_one_is_empty_and_one_has_atoms_of_no_type(file, folder, small_water, tmp_path):
    """Water in half of a long cell, a strange atom inside it and two in the third quarter: type NULL, which must change nothing."""
    coord, box, types = frame(small_water[0])
    length = box.reshape(3, 3)[0, 0]
    water = coord.reshape(-1, 3) % length + np.array([length / 2, 0, 0])
    strange = np.array([[0.9, 0.5, 0.5], [2.3, 0.2, 0.2], [2.6, 0.7, 0.7]]) * length
    lengths = np.array([4 * length, length, length])
    positions, kinds = np.concatenate([water, strange]), np.concatenate([types, [2, 2, 2]])
    lammps.write_data(tmp_path / "frame.data", positions, np.diag(lengths), kinds, [*NAMES, "C"])
    found = lammps.single_point([str(folder / file)], tmp_path, [*NAMES, "NULL"], ranks=4)
    assert "4 by 1 by 1 MPI processor grid" in (tmp_path / "single_point.lammps").read_text()
    assert np.abs(found["force"][len(types) :]).max() == 0
    found["force"] = found["force"][: len(types)]
    assert largest_difference(found, python(folder / file, water, lengths, types)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_five_thousand_moving_atoms_on_four_ranks(file, folder, small_water, tmp_path):
    coord, box, types = frame(small_water[0])
    length = box.reshape(3, 3)[0, 0]
    shifts = length * np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    positions = (coord.reshape(1, -1, 3) % length + shifts).reshape(-1, 3)
    kinds, lengths = np.tile(types, 27), np.full(3, 3 * length)
    lammps.write_data(tmp_path / "frame.data", positions, np.diag(lengths), kinds, NAMES)
    script = (
        lammps.header(f"deepmd {folder / file}\npair_coeff * * {' '.join(NAMES)}")
        + """
velocity all create 3000 1
timestep 0.0005
fix 1 all nve
thermo_style custom step pe
thermo_modify format float %22.15e
dump f all custom 4 end.dump id x y z fx fy fz
dump_modify f sort id format float %22.15e
run 4
"""
    )
    lammps.run_script(tmp_path, script, ranks=4)
    end = np.array([[float(v) for v in line.split()] for line in (tmp_path / "end.dump").read_text().splitlines()[-len(kinds) :]])
    assert len(kinds) == 5184 and np.abs(end[:, 1:4] - positions).max() > 0.01
    ours = python(folder / file, end[:, 1:4], lengths, kinds)
    assert np.abs(ours["force"] - end[:, 4:]).max() < 1e-6
    energy = next(float(line.split()[1]) for line in (tmp_path / "log.lammps").read_text().splitlines() if line.split()[:1] == ["4"])
    assert abs(energy - ours["energy"][0]) < 1e-5
