"""Write a host's model as one TorchScript file, after comparing that very file with the host."""

from __future__ import annotations

import copy
import importlib.metadata
import os
import re
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from torch import nn

from taafs_plugins.adapters import HOSTS, HostError, adapter, adapter_for
from taafs_plugins.conversion import activations
from taafs_plugins.md import contract
from taafs_plugins.md.calculator import ENERGY, predict
from taafs_plugins.md.contract import ExportError, Metadata
from taafs_plugins.md.structures import structures as default_structures

# Largest difference from the host, relative to the largest value in the compared structures
TOLERANCE = {"float32": 1e-5, "float64": 1e-8}
# Smaller largest values count as these: eV/atom, eV/A, eV/A^3, Bohr magnetons
SMALLEST = {"energy": 0.1, "forces": 0.1, "stress": 1e-3, "magmoms": 0.1}


@dataclass(frozen=True)
class Comparison:
    """What an exported file was compared in; ``differences`` are relative, by quantity. ``str()`` is a line for people."""

    metadata: Metadata
    structures: int
    differences: dict[str, float]

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.1e}" for name, value in self.differences.items())
        return f"{self.metadata.host}, {self.metadata.dtype}, {self.structures} structures; largest relative difference: {parts}"


def export(
    model: nn.Module | str | os.PathLike,
    path: str | os.PathLike,
    structures: Sequence[Atoms] | None = None,
    energy_unit: str | None = None,
    elements: Sequence[int | str] | None = None,
    dtype: str | None = None,
) -> Comparison:
    """Write ``model`` for LAMMPS (``pair_style taafs``) or :class:`taafs_plugins.md.calculator.ExportedCalculator`.

    The written file is loaded again and its energy, forces, stress and magnetic moments are compared with the host's own. Nothing is
    left on disk when they differ by more than 1e-8 (float64) or 1e-5 (float32), relative.

    Parameters
    ----------
    model : a model of CHGNet, SchNetPack or TorchANI, stock or with trained activations, or the file of one (:func:`read_model`)
    path : to write
    structures : to compare on; default: five real ones of the model's elements
    energy_unit : ``eV``, ``kcal/mol`` or ``hartree``; only needed where neither host nor file says it
    elements : symbols or atomic numbers that the model was trained on; default: those that the host or its file knows, else
        those of ``structures``
    dtype : ``float32`` or ``float64``; default: the model's own

    Raises
    ------
    HostError
        Not a model of a host that can be exported, or one that cannot keep the contract.
    ExportError
        The file differs from the host, cannot be written, or there is nothing to compare on.
    """
    if not isinstance(model, nn.Module):
        model, hints = read_model(model)
        energy_unit = energy_unit or hints.get("energy_unit")
        elements = elements or hints.get("elements")
        structures = structures if structures is not None else hints.get("structures")
    path = Path(path)
    if not path.parent.is_dir():
        raise ExportError(f"There is no folder {path.parent}; make it first.")
    if dtype not in (None, *TOLERANCE):
        raise ExportError(f"dtype={dtype} is unknown; choose {' or '.join(TOLERANCE)}.")
    host = adapter_for(model)
    version = host.check_version()
    with torch.no_grad():  # a scripted module's copy would be computed from its parameters
        model = copy.deepcopy(model).eval()
    model.requires_grad_(False)
    if dtype is not None:
        model = model.to(contract.DTYPES[dtype])
    module, facts = host.export_module(model, energy_unit)
    facts["elements"] = _elements(elements, facts["elements"], structures, host.host)
    facts.setdefault("spec", tuple(dict.fromkeys(str(act.spec) for act in activations(model).values())))
    metadata = Metadata(
        host=host.host, **facts,
        versions={"torch": torch.__version__, host.host: version, "taafs-plugins": importlib.metadata.version("taafs-plugins")},
    )  # fmt: skip
    frames = default_structures(metadata.elements) if structures is None else list(structures)
    if not frames:
        raise ExportError("There is no structure to compare the exported model on; give at least one.")
    try:
        scripted = torch.jit.script(module.eval())
    except Exception as error:  # torch raises many kinds
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExportError(f"TorchScript cannot take this model ({reason}).") from error
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        contract.write(scripted, written, metadata)
        reloaded, _ = contract.read(written)
        differences = compare(reloaded, metadata, host, model, frames)
        limit = TOLERANCE[metadata.dtype]
        wrong = {name: value for name, value in differences.items() if not value <= limit}
        if wrong:
            found = ", ".join(f"{name} by {value:.1e}" for name, value in wrong.items())
            hint = " Export it in float64 (dtype=float64)." if metadata.dtype == "float32" else ""
            raise ExportError(
                f"The exported model differs from {host.host} in {found} (relative; limit {limit:.0e}): nothing was written.{hint}"
            )
        os.replace(written, path)
    return Comparison(metadata, len(frames), differences)


def _elements(
    given: Sequence[int | str] | None, known: tuple[int, ...] | None, structures: Sequence[Atoms] | None, host: str
) -> tuple[int, ...]:
    """Atomic numbers for the file, sorted."""
    try:
        numbers = {atomic_numbers[z] if isinstance(z, str) else int(z) for z in given or ()}
    except KeyError as error:
        raise ExportError(f"{error.args[0]} is no chemical symbol.") from None
    if known is not None:
        if numbers - set(known):
            unknown = ", ".join(chemical_symbols[z] for z in sorted(numbers - set(known)))
            raise ExportError(f"The model does not know {unknown}; it knows {', '.join(chemical_symbols[z] for z in known)}.")
        return tuple(sorted(numbers or known))
    numbers = numbers or {int(z) for atoms in structures or () for z in atoms.numbers}
    if not numbers:
        raise ExportError(f"{host} keeps no list of the elements a model was trained on; name them: elements=['H', 'O'] (--elements H,O).")
    return tuple(sorted(numbers))


def compare(module: nn.Module, metadata: Metadata, host: Any, model: nn.Module, frames: Sequence[Atoms]) -> dict[str, float]:
    """Largest difference between an exported module and the host's own prediction, relative to the largest value in all ``frames``.

    Energies are compared per atom, against the largest energy per atom. NaN where either side is not finite.
    """
    differences: dict[str, float] = {}
    largest = {name: value / ENERGY[metadata.energy_unit] if name != "magmoms" else value for name, value in SMALLEST.items()}
    for atoms in frames:
        expected = host.reference(model, atoms)
        found = predict(module, metadata, atoms)
        for name, value in expected.items():
            size = len(atoms) if name == "energy" else 1
            value, other = np.asarray(value, dtype=float) / size, np.asarray(found.get(name, np.nan), dtype=float) / size
            differences[name] = float(np.maximum(differences.get(name, 0.0), np.abs(value - other).max()))
            largest[name] = max(largest[name], float(np.abs(value).max()))
    return {name: value / largest[name] for name, value in differences.items()}


def read_model(path: str | os.PathLike) -> tuple[nn.Module, dict[str, Any]]:
    """The live model in a host's own file, with what is known of it (:meth:`Adapter.read_model`).

    The host is recognised by the classes that the file names, without unpickling it.

    Raises
    ------
    HostError
        No host knows the file.
    ExportError
        No such file.
    """
    path = Path(path)
    if not path.is_file():
        raise ExportError(f"There is no file {path}.")
    named = packages(path)
    for host in HOSTS:
        try:
            found = adapter(host).read_model(path, named)
        except ModuleNotFoundError as error:
            raise HostError(f"{path} needs {error.name}, which is not installed: pip install 'taafs-plugins[{host}]'.") from None
        if found is not None:
            return found
    raise HostError(
        f"{path} is no model file of CHGNet (Trainer.save, or a dict with model.as_dict()), SchNetPack (best_model, a checkpoint, "
        "a file of spkdeploy) or TorchANI (torch.save(model, path)). A state dict alone lacks the "
        "architecture: build the model, load it and call taafs.export(model, path)."
    )


def packages(path: Path) -> frozenset[str]:
    """Top-level packages of the classes that a PyTorch file names: of its pickle, or of its TorchScript code. Nothing is executed."""
    try:
        with zipfile.ZipFile(path) as archive:
            code = [name for name in archive.namelist() if "/code/__torch__/" in name]
            if code:
                return frozenset(re.split(r"[/.]", name.split("/code/__torch__/", 1)[1])[0] for name in code)
        return frozenset(name.split(".")[0] for name in torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (zipfile.BadZipFile, RuntimeError, ValueError, OSError):
        return frozenset()
