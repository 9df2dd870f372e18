"""Energy conservation of trained water models in LAMMPS: train, freeze, NVE from one start and one set of velocities."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taafs_plugins import data
from taafs_plugins.experiments import deepmd, lammps

# tanh and TAAFS each at the learning rate that was best for it on Cu (docs/results.md)
RATES = {"tanh": 1e-2}
RCUT, SEL = 4.0, [22, 44]
TIMESTEP = 0.00025


def run(activation: str, folder: Path, training_steps: int, md_steps: int) -> np.ndarray:
    """Total energy against time, [n, 2] in ps and eV/atom, of 64 water molecules; what is already in ``folder`` is not done again."""
    stored = folder / f"energy_{md_steps}.npy"
    if stored.is_file():
        return np.load(stored)
    water = data.fetch_folder(deepmd.WATER).resolve()
    if not (folder / "frozen.pth").is_file():
        model = deepmd.model_section(activation, ["O", "H"], sel=SEL, rcut=RCUT)
        model["descriptor"].update(neuron=[8, 16], axis_neuron=4)
        model["fitting_net"]["neuron"] = [24, 24]
        systems = [str(water / f"data_{i}") for i in range(3)]
        rate = RATES.get(activation, 2e-3)
        deepmd.train(deepmd.training_input(model, systems, steps=training_steps, learning_rate=rate), folder)
        deepmd.freeze(folder)
    part = water / "data_3" / "set.000"
    coord, box = (np.load(part / f"{key}.npy")[0].astype(np.float64) for key in ("coord", "box"))
    types = np.array([int(t) for t in (water / "data_3" / "type.raw").read_text().split()])
    lammps.write_data(folder / "frame.data", coord.reshape(-1, 3), box.reshape(3, 3), types, ["O", "H"])
    energy, _ = lammps.nve(str((folder / "frozen.pth").resolve()), folder, ["O", "H"], steps=md_steps, timestep=TIMESTEP)
    np.save(stored, energy)
    return energy
