"""Seven systems for DeePMD-kit, split into training, validation and test frames (benchmarks/systems_gain.py).

Units: eV, eV/Angstrom, Angstrom. Validation frames choose settings, test frames judge; neither is trained on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taafs_plugins import data
from taafs_plugins.experiments import deepmd

HFO2 = "LonxunQuantum/PWMLFF/example/HfO2/pwdata"
ETHANOL = "andersx/rmd17-npz/rmd17-npz/rmd17_ethanol_{part}_01.npz"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class System:
    """One system: elements, cutoff in Angstrom, places for neighbours of each element, and what writes its parts."""

    elements: tuple[str, ...]
    rcut: float
    sel: tuple[int, ...]
    write: Callable[[Path], None]


def _zuo(element: str) -> Callable[[Path], None]:
    """Published test frames; every tenth published training frame is for validation."""

    def write(folder: Path) -> None:
        known, test = deepmd.zuo_frames(element)
        for part, chosen in (("train", [f for i, f in enumerate(known) if i % 10]), ("validation", known[::10]), ("test", test)):
            deepmd.write_zuo_systems(chosen, folder / part)

    return write


def _write_water(folder: Path) -> None:
    """data_0 to data_2 with every tenth frame for validation; data_3 is the test."""
    for i in range(4):
        source = data.fetch_folder(deepmd.WATER) / f"data_{i}"
        parts = sorted(source.glob("set.*"))
        whole = {k: np.concatenate([np.load(p / f"{k}.npy") for p in parts]) for k in ("coord", "box", "energy", "force")}
        names = (source / "type_map.raw").read_text().split()
        elements = [names[int(t)] for t in (source / "type.raw").read_text().split()]
        index = np.arange(len(whole["energy"]))
        chosen = {"test": index} if i == 3 else {"train": index[index % 10 > 0], "validation": index[::10]}
        for part, which in chosen.items():
            deepmd.write_system(folder / part / f"data_{i}", elements, {k: v[which] for k, v in whole.items()})


def _write_hfo2(folder: Path) -> None:
    """Whole trajectories are held out, because frames of one are alike: of five, one for the test and one for validation."""
    from ase.data import chemical_symbols

    for i, source in enumerate(sorted(data.fetch_folder(HFO2).glob("init_*"))):
        part = {0: "test", 2: "validation"}.get(i % 5, "train")
        names = ("position", "lattice", "energies", "forces")
        position, box, energy, force = (np.concatenate([np.load(source / s / f"{n}.npy") for s in ("train", "valid")]) for n in names)
        coord = position.reshape(len(box), -1, 3) @ box.reshape(-1, 3, 3)
        elements = [chemical_symbols[z] for z in np.load(source / "train" / "image_type.npy").ravel()]
        arrays = {"coord": coord.reshape(len(box), -1), "box": box, "energy": energy.ravel(), "force": force}
        deepmd.write_system(folder / part / source.name, elements, arrays)


def _write_ethanol(folder: Path) -> None:
    """Revised MD17's first split; every tenth of its training frames is for validation. The box is far wider than the cutoff."""
    from ase.data import chemical_symbols

    from taafs_plugins.md.units import EV

    factor = EV["kcal/mol"]
    for name in ("train", "test"):
        with np.load(data.fetch(ETHANOL.format(part=name)), allow_pickle=False) as file:
            coord, energy, force, charges = file["coords"], file["energies"], file["forces"], file["nuclear_charges"]
        index = np.arange(len(energy))
        chosen = {"test": index} if name == "test" else {"train": index[index % 10 > 0], "validation": index[::10]}
        for part, which in chosen.items():
            arrays = {
                "coord": coord[which].reshape(len(which), -1), "box": np.tile(30.0 * np.eye(3).ravel(), (len(which), 1)),
                "energy": factor * energy[which], "force": factor * force[which].reshape(len(which), -1),
            }  # fmt: skip
            deepmd.write_system(folder / part / "ethanol", [chemical_symbols[z] for z in charges], arrays)


SYSTEMS = {
    "Cu": System(("Cu",), 5.0, (60,), _zuo("Cu")),
    "Ni": System(("Ni",), 5.0, (64,), _zuo("Ni")),
    "Si": System(("Si",), 5.0, (40,), _zuo("Si")),
    "Li": System(("Li",), 5.5, (52,), _zuo("Li")),
    "ethanol": System(("C", "H", "O"), 5.0, (3, 7, 2), _write_ethanol),
    "HfO2": System(("Hf", "O"), 5.0, (24, 44), _write_hfo2),
    "water": System(("O", "H"), 4.5, (22, 42), _write_water),
}


def parts(name: str, folder: Path) -> dict[str, list[str]]:
    """Folders of the DeePMD systems of each part, written below ``folder`` the first time."""
    if not (folder / "whole").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        SYSTEMS[name].write(folder)
        (folder / "whole").write_text("")
    return {part: sorted(str(p.resolve()) for p in (folder / part).iterdir()) for part in PARTS}


def model_section(name: str, embedding: str, fitting: str, neurons: tuple[int, ...], seed: int) -> dict:
    """DeePMD-kit's ``model`` section: the paper's size, with an activation and a width for the embedding, an activation for the fitting."""
    system = SYSTEMS[name]
    model = deepmd.model_section(embedding, list(system.elements), sel=list(system.sel), rcut=system.rcut, seed=seed)
    model["descriptor"]["neuron"] = list(neurons)
    model["fitting_net"]["activation_function"] = fitting
    return model
