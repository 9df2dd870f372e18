"""Write a host's model as one TorchScript file, after comparing that very file with the host."""

from __future__ import annotations

import copy
import importlib.metadata
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from torch import nn

from taafs_plugins.activations import TrainableActivation
from taafs_plugins.activations.taafs.exported import EXPORT
from taafs_plugins.adapters import HostError, adapter_for
from taafs_plugins.errors import TaafsError, first_line
from taafs_plugins.md import contract
from taafs_plugins.md.calculator import ENERGY, predict
from taafs_plugins.md.contract import ExportError, Metadata
from taafs_plugins.md.files import read_model
from taafs_plugins.md.once import once
from taafs_plugins.md.structures import structures as default_structures
from taafs_plugins.training import trainable_activations

# Largest difference from the host, relative to its largest value in the compared structures; float32 adds twice the host's own rounding
TOLERANCE = {"float32": 1e-5, "float64": 1e-8}
Result = TypeVar("Result")
# Smaller largest values count as these: eV/atom, eV/A, eV/A^3, Bohr magnetons
SMALLEST = {"energy": 0.1, "forces": 0.1, "stress": 1e-3, "magmoms": 0.1}


@dataclass(frozen=True)
class Comparison:
    """What an exported file was compared in. ``str()`` is a line for people.

    Attributes
    ----------
    metadata : of the file
    structures : how many
    differences : by quantity, the largest difference of the written file from the host in float64, relative to the host's largest value
    rounding : the same of the host in float32 from itself in float64; empty for a float64 model
    """

    metadata: Metadata
    structures: int
    differences: dict[str, float]
    rounding: dict[str, float]

    def __str__(self) -> str:
        facts = self.metadata
        text = f"{facts.host}, {facts.dtype}, {self.structures} structures; largest relative difference: {_listed(self.differences)}"
        return text if not self.rounding else f"{text}; {facts.host}'s own rounding: {_listed(self.rounding)}"


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
    left on disk when they differ by more than 1e-8 of the largest value in float64. A float32 model is compared with the host in
    float64: what the exporter makes of it in float64 as above, and the file itself within 1e-5, to which twice the difference of the
    host in float32 from itself in float64 is added (little, but for models whose forces cancel or whose coefficients went wild).

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
    if isinstance(structures, (str, os.PathLike, Atoms)):
        raise ExportError("structures= takes a list of ASE's Atoms; give ase.io.read(file, ':') of a file, [atoms] of one structure.")
    if not isinstance(model, nn.Module):
        source = model
        model, hints = read_model(source)
        energy_unit = energy_unit or hints.get("energy_unit")
        elements = elements or hints.get("elements")
        structures = structures if structures is not None else hints.get("structures")
        if Path(path).exists() and os.path.samefile(source, path):
            raise ExportError(f"{path} is the model itself; name another file to write.")
    path = _writable(Path(path), dtype)
    host = adapter_for(model)
    version = host.check_version()
    model = _copy(model, dtype)
    module, facts = _by_host(lambda: host.export_module(model, energy_unit), host.host, version)
    facts["elements"] = _elements(elements, facts["elements"], structures, host.host)
    facts.setdefault("spec", tuple(dict.fromkeys(str(act.spec) for act in trainable_activations(model).values())))
    versions = {"torch": torch.__version__, host.host: version, "taafs-plugins": importlib.metadata.version("taafs-plugins")}
    metadata = Metadata(host=host.host, **facts, versions=versions)
    frames = _frames(structures, metadata, host.periodic_only)
    largest, exact = _by_host(lambda: _reference(host, model, frames, metadata), host.host, version)
    scripted, fused = _scripted(module.eval())
    rounding: dict[str, float] = {}
    if metadata.dtype == "float32":
        single, exact = exact, _checked_double(host, model, energy_unit, metadata, frames, largest)
        rounding = _differences(single, exact, largest)
    differences = _write(path, scripted, fused, metadata, (frames, exact, largest), rounding)
    return Comparison(metadata, len(frames), differences, rounding)


def _copy(model: nn.Module, dtype: str | None) -> nn.Module:
    with torch.no_grad():  # a scripted module's copy would be computed from its parameters
        model = copy.deepcopy(model).eval()
    model.requires_grad_(False)
    return model if dtype is None else model.to(contract.DTYPES[dtype])


def _writable(path: Path, dtype: str | None) -> Path:
    if not path.parent.is_dir():
        raise ExportError(f"There is no folder {path.parent}; make it first.")
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise ExportError(f"{path} cannot be written; name a file in a folder of yours.")
    if dtype not in (None, *TOLERANCE):
        raise ExportError(f"dtype={dtype} is unknown; choose {' or '.join(TOLERANCE)}.")
    return path


def _frames(structures: Sequence[Atoms] | None, metadata: Metadata, periodic_only: bool) -> list[Atoms]:
    """The structures to compare on, of elements that the model knows."""
    frames = default_structures(metadata.elements, periodic_only) if structures is None else list(structures)
    if not frames:
        raise ExportError("There is no structure to compare the exported model on; give at least one.")
    strange = sorted({int(z) for atoms in frames for z in atoms.numbers} - set(metadata.elements))
    if strange:
        names = ", ".join(chemical_symbols[z] for z in strange)
        raise ExportError(f"The structures to compare on hold {names}, which the model does not know.")
    return frames


def _checked_double(host, model: nn.Module, energy_unit: str | None, metadata: Metadata, frames: list[Atoms], largest: dict[str, float]):
    """The host's values in float64, after a check that what the exporter makes of the model in float64 gives them."""
    with torch.no_grad():
        double = copy.deepcopy(model).double()
    exact = _reference(host, double, frames, metadata)[1]
    found = _predictions(host.export_module(double, energy_unit)[0].eval(), replace(metadata, dtype="float64"), frames)
    _refuse(_differences(found, exact, largest), dict.fromkeys(largest, TOLERANCE["float64"]), metadata, "in float64 ")
    return exact


def _write(path: Path, scripted, fused, metadata: Metadata, reference, rounding: dict[str, float]) -> dict[str, float]:
    """Write the file beside, read it again, compare every form of it, and only then put it in its place; the differences."""
    frames, exact, largest = reference
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder) / path.name
        contract.write(scripted, written, metadata, fused)
        forms = (False,) if fused is None else (False, True)
        found = [_predictions(contract.read(written, fused=form)[0], metadata, frames) for form in forms]
        differences = _differences(sum(found, []), exact * len(forms), largest)
        limits = {name: TOLERANCE[metadata.dtype] + 2 * rounding.get(name, 0.0) for name in differences}
        _refuse(differences, limits, metadata)
        os.replace(written, path)
    return differences


def _scripted(module: nn.Module) -> tuple[torch.jit.ScriptModule, torch.jit.ScriptModule | None]:
    """The form that needs nothing but torch, and where there are trained activations the one that calls the fused operators."""
    trained = [part for part in module.modules() if isinstance(part, TrainableActivation)]
    try:
        fused = None
        if trained and not os.environ.get(EXPORT) and all({"operator"} & set(part.export_forms()) for part in trained):
            for part in trained:
                part.export_form = "operator"
            fused = torch.jit.script(module)
        for part in trained:
            part.export_form = "folded"  # the contract asks for first derivatives only
        scripted = torch.jit.script(module)
        if any(part.once for part in trained):
            scripted = torch.jit.script(once(scripted))
    except Exception as error:  # torch raises many kinds
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ExportError(f"TorchScript cannot take this model ({reason}).") from error
    return scripted, fused


def _by_host(call: Callable[[], Result], host: str, version: str) -> Result:
    """What the host's own code gives, or a sentence where it fails: models of other versions lack what today's code reads."""
    try:
        return call()
    except TaafsError:
        raise
    except Exception as error:  # the host's code may raise anything
        raise HostError(
            f"{host} {version} cannot run this model ({type(error).__name__}: {first_line(error)}); "
            "load its weights into a model that this version builds, and export that."
        ) from error


Predictions = list[dict[str, np.ndarray]]


def _reference(host: Any, model: nn.Module, frames: Sequence[Atoms], metadata: Metadata) -> tuple[dict[str, float], Predictions]:
    """The host's predictions, energies per atom, and the largest value of each quantity in them."""
    expected = [_per_atom(host.reference(model, atoms), atoms) for atoms in frames]
    unit = ENERGY[metadata.energy_unit]
    largest = {}
    for name in dict.fromkeys(name for values in expected for name in values):
        smallest = SMALLEST[name] / (1.0 if name == "magmoms" else unit)
        largest[name] = max(smallest, *(float(np.abs(values[name]).max()) for values in expected if name in values))
    return largest, expected


def _predictions(module: nn.Module, metadata: Metadata, frames: Sequence[Atoms]) -> Predictions:
    return [_per_atom(predict(module, metadata, atoms), atoms) for atoms in frames]


def _per_atom(values: dict[str, Any], atoms: Atoms) -> dict[str, np.ndarray]:
    return {name: np.asarray(value, dtype=float) / (len(atoms) if name == "energy" else 1) for name, value in values.items()}


def _differences(found: Predictions, expected: Predictions, largest: dict[str, float]) -> dict[str, float]:
    """Largest difference by quantity, relative; NaN where a side is not finite or lacks a quantity."""
    return {
        name: float(max((np.abs(one.get(name, np.nan) - other[name]).max() for one, other in zip(found, expected, strict=True)
                         if name in other), key=lambda value: (np.isnan(value), value))) / size
        for name, size in largest.items()
    }  # fmt: skip


def _refuse(differences: dict[str, float], limits: dict[str, float], metadata: Metadata, where: str = "") -> None:
    """Raise ExportError unless every difference is within its limit."""
    wrong = {name: value for name, value in differences.items() if not value <= limits[name]}
    if wrong:
        listed = ", ".join(f"{name} by {value:.1e} (limit {limits[name]:.0e})" for name, value in wrong.items())
        raise ExportError(f"The exported model differs {where}from {metadata.host} in {listed}, relative: nothing was written.")


def _listed(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1e}" for name, value in sorted(values.items()))


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
