"""rMD17 as the ASE database that SchNetPack's own ``experiment=rmd17`` reads, from the registered npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taafs_plugins import data

FILES = "andersx/rmd17-npz/rmd17-npz/rmd17_{molecule}_{part}_01.npz"


def rmd17_database(folder: str | Path, molecule: str = "ethanol") -> Path:
    """Write ``<folder>/rmd17_<molecule>.db`` unless it exists: split 01, 1000 known frames then 1000 test frames.

    Units: kcal/mol, kcal/mol/Angstrom, Angstrom (PBE/def2-SVP). ``spktrain experiment=rmd17 data.split_id=0`` takes training and
    validation frames from the known ones and tests on the others.

    Raises
    ------
    DataError
        The molecule is not registered, or its files cannot be had.
    """
    from schnetpack.data import AtomsDataFormat, create_dataset
    from schnetpack.datasets import rMD17

    path = Path(folder) / f"rmd17_{molecule}.db"
    if path.is_file():
        return path
    parts = [np.load(data.fetch(FILES.format(molecule=molecule, part=part))) for part in ("train", "test")]
    systems = [
        {
            "energy": np.array([energy]), "forces": forces, "_positions": positions, "_atomic_numbers": part["nuclear_charges"],
            "_cell": np.zeros((3, 3)), "_pbc": np.zeros(3, dtype=bool),
        }
        for part in parts
        for positions, energy, forces in zip(part["coords"], part["energies"], part["forces"], strict=True)
    ]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    units = {"energy": "kcal/mol", "forces": "kcal/mol/Ang"}
    unfinished = path.with_name(f"unfinished_{path.name}")
    unfinished.unlink(missing_ok=True)
    dataset = create_dataset(str(unfinished), AtomsDataFormat.ASE, distance_unit="Ang", property_unit_dict=units, atomrefs=rMD17.atomrefs)
    dataset.add_systems(property_list=systems)
    known = len(parts[0]["energies"])
    splits = {"known": [list(range(known))], "test": [list(range(known, len(systems)))]}
    dataset.update_metadata(molecule=molecule, splits=splits)
    unfinished.replace(path)
    return path
