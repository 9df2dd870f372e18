"""What every adapter has: the same verbs in the same shape.

``register`` / ``unregister``   teach the host's own config about specs, and undo it
``matches`` / ``sites``         recognise a model, list the places where it applies an activation
``install`` / ``uninstall``     put a trainable activation at a site, and take it away again
``finish``                      what the host must remember of a conversion (its saved arguments, say)
``read_model``                  load a model from one of the host's own files
``export_module``               the module that becomes an exported file (:mod:`taafs_plugins.md.contract`), and what it must say of itself
``reference``                   the host's own energy, forces and stress, which an exported file must repeat
"""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations.spec import Spec
from taafs_plugins.activations.taafs import TAAFS


class HostError(RuntimeError):
    """A host, a version or a model that an adapter does not know; the message is one sentence with the way out."""


@dataclass
class Site:
    """One place in a host's model where an activation is applied.

    Attributes
    ----------
    name : dotted path, unique in the model; what ``sites=`` patterns match
    call : the host's code that applies it, for people (``MLPLayer.activate``)
    owner, attribute : where it hangs: ``getattr(owner, attribute)``
    replaces : the stock activation: name, function or module
    activation : its name, for people
    width : size of the last axis, or None when the site is called on several
    network : key of the net it belongs to (``share=network``)
    group : the host's word for the kind of site (``embedding``, ``message``, ...); ``sites=`` matches it too
    default : whether ``convert`` takes it when no sites are named
    """

    name: str
    call: str
    owner: Any
    attribute: str
    replaces: Any
    activation: str
    width: int | None
    network: str
    group: str
    default: bool = True
    dtype: torch.dtype | None = None
    device: torch.device | None = None

    @property
    def current(self) -> Any:
        """What is at the site now."""
        return getattr(self.owner, self.attribute)

    @property
    def converted(self) -> bool:
        """Whether a trainable activation is at the site."""
        return isinstance(self.current, TAAFS)


class Adapter(ABC):
    """Base of the adapters; subclasses set the class attributes and implement the verbs their host needs.

    Attributes
    ----------
    host : distribution and import name
    tested : versions of the host that the tests run against
    periodic_only : whether the host predicts structures only that are periodic in three directions
    defaults : keys that a spec leaves out and their measured values in this host (evidence: docs/results.md)
    """

    host: str
    tested: tuple[str, ...]
    periodic_only: bool = False
    defaults: Mapping[str, Any] = {}

    def check_version(self) -> str:
        """The host's version, when it is one that was tested.

        Raises
        ------
        HostError
            The host is missing or its version is not known.
        """
        name = "deepmd-kit" if self.host == "deepmd" else self.host
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise HostError(f"{name} is not installed; install it with: pip install 'taafs-plugins[{self.host}]'.") from None
        if version not in self.tested:
            raise HostError(
                f"taafs-plugins was tested with {name} {' and '.join(self.tested)}, not {version}: nothing was changed. "
                f"Install {name}=={self.tested[-1]}."
            )
        return version

    def defaults_for(self, spec: Spec) -> Mapping[str, Any]:
        """The host's values for keys that this spec leaves out."""
        return self.defaults

    @abstractmethod
    def register(self) -> None:
        """Let the host's own config take specs. Calling it twice changes nothing.

        Raises
        ------
        HostError
            Unknown version, or the code to be extended has changed; the host stays as it was.
        """

    @abstractmethod
    def unregister(self) -> None:
        """Give back the stock host. Calling it twice changes nothing."""

    @abstractmethod
    def matches(self, model: nn.Module) -> bool:
        """Whether the model is one of this host's."""

    @abstractmethod
    def sites(self, model: nn.Module) -> list[Site]:
        """Every place where the model applies an activation, stock or converted, in the order of the model."""

    def install(self, site: Site, activation: nn.Module) -> None:
        """Put ``activation`` at the site."""
        setattr(site.owner, site.attribute, activation)

    def uninstall(self, site: Site) -> None:
        """Put the stock activation back."""
        setattr(site.owner, site.attribute, site.replaces)

    def finish(self, model: nn.Module, spec: Spec | None, sites: list[Site]) -> None:  # noqa: B027 - most hosts need nothing
        """Called after a conversion (``spec``) or a restore (``None``) with the sites that were changed."""

    def read_model(self, path: Path, packages: frozenset[str]) -> tuple[nn.Module, dict[str, Any]] | None:
        """The live model in ``path`` with what the file or its folder says beside it, or None when it is not a file of this host.

        Parameters
        ----------
        packages : the packages whose classes the file names, found without unpickling it

        Returns
        -------
        model, {"energy_unit", "elements", "structures"} as :func:`taafs_plugins.md.export.export` takes them, each only where it is known

        Raises
        ------
        HostError
            A file of this host that holds no model that could be exported.
        """
        return None

    def export_module(self, model: nn.Module, energy_unit: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
        """A scriptable module that keeps the contract of exported files, and its own part of their metadata.

        Parameters
        ----------
        model : of this host, in evaluation mode; it is not changed
        energy_unit : ``eV``, ``kcal/mol`` or ``hartree``; None when the host knows it

        Returns
        -------
        module, {"cutoff", "hops", "modes", "energy_unit", "elements", "dtype"} as in :class:`taafs_plugins.md.contract.Metadata`;
        elements may be None where the host does not know them

        Raises
        ------
        HostError
            A model that cannot keep the contract, or whose unit is not known.
        """
        raise HostError(f"Models of {self.host} cannot be exported by taafs-plugins.")

    def reference(self, model: nn.Module, atoms: Any) -> dict[str, Any]:
        """The host's own prediction for ``ase.Atoms``, by the host's own code, in the model's energy unit and Angstrom.

        Returns
        -------
        {"energy": float, "forces": [n, 3], and "stress": [3, 3] for three periodic directions (ASE's sign), "magmoms": [n] where the host
        predicts them}
        """
        raise HostError(f"Models of {self.host} cannot be exported by taafs-plugins.")
