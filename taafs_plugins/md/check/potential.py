"""A model of any host as a potential: energy in eV and forces in eV/Angstrom by the host's own code, in float64 where that can be had."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from torch import nn

from taafs_plugins.adapters import Adapter, HostError, adapter_for
from taafs_plugins.errors import TaafsError, first_line
from taafs_plugins.md.files import open_model
from taafs_plugins.md.units import EV


class HostPotential:
    """Energy and forces of a live model.

    Parameters
    ----------
    model : of a host, on the CPU; it is not changed
    host : its adapter; default: found by the model's classes
    energy_unit : ``eV``, ``kcal/mol`` or ``hartree``, needed only where the host does not know it

    Attributes
    ----------
    precision : ``float64``, or ``float32`` where the model can be run in that alone (a frozen one)
    periodic_only : whether structures must be periodic in three directions

    Raises
    ------
    HostError
        A model of no known host, or one whose energy unit is not known.
    """

    def __init__(self, model: nn.Module, host: Adapter | None = None, energy_unit: str | None = None) -> None:
        self.host = host or adapter_for(model)
        unit = energy_unit or self.host.energy_unit
        if unit not in EV:
            known = ", ".join(EV)
            raise HostError(f"The model does not say its energy unit; name it with --energy-unit ({known}), or keep its config beside it.")
        self.unit, self.periodic_only = EV[unit], self.host.periodic_only
        self.model, self.precision = self.host.in_double(model)

    @classmethod
    def open(cls, path: str | os.PathLike, energy_unit: str | None = None) -> HostPotential:
        """The model in a host's own file (:func:`taafs_plugins.md.files.open_model`), also a frozen one of DeePMD-kit."""
        host, model, hints = open_model(path)
        return cls(model, host, energy_unit or hints.get("energy_unit"))

    def __call__(self, atoms: Atoms) -> tuple[float, np.ndarray]:
        """Energy in eV and forces [n, 3] in eV/Angstrom.

        Raises
        ------
        HostError
            A structure that the model cannot predict.
        """
        try:
            found = self.host.reference(self.model, atoms)
        except TaafsError:
            raise
        except Exception as error:  # the host's code may raise anything
            what = atoms.get_chemical_formula()
            raise HostError(
                f"{self.host.host} cannot predict the structure {what} ({type(error).__name__}: {first_line(error)}); give structures of "
                "the kind that the model was trained on."
            ) from error
        return self.unit * float(found["energy"]), self.unit * np.asarray(found["forces"], dtype=np.float64).reshape(-1, 3)


class PotentialCalculator(Calculator):
    """A potential for ASE's dynamics; ``results`` hold energy [eV] and forces [n, 3, eV/Angstrom]."""

    implemented_properties = ["energy", "free_energy", "forces"]

    def __init__(self, potential: Any, **keys: Any) -> None:
        super().__init__(**keys)
        self.potential = potential

    def calculate(self, atoms: Atoms | None = None, properties: tuple[str, ...] = ("energy",), system_changes=all_changes) -> None:
        """Fill ``results``."""
        super().calculate(atoms, properties, system_changes)
        energy, forces = self.potential(self.atoms)
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
