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

import copy
import importlib.metadata
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taafs_plugins.activations import SpecError, TrainableActivation, parse_spec, resolve_spec
from taafs_plugins.activations.notes import kink_notes, start_notes
from taafs_plugins.activations.spec import Spec
from taafs_plugins.adapters.patching import HostError, Patches
from taafs_plugins.adapters.sites import Report, Site, SiteTable, build_shared, select
from taafs_plugins.errors import how_to_install
from taafs_plugins.files import save
from taafs_plugins.native.allocator import keep_freed_memory
from taafs_plugins.training import count_parameters

log = logging.getLogger(__name__)


class Adapter(ABC):
    """Base of the adapters; subclasses set the class attributes and implement the verbs their host needs.

    Attributes
    ----------
    host : name for people and commands, and the root of the host's modules
    distribution : name under which it is installed; default: ``host``
    files : the files :meth:`read_model` takes, for people
    tested : versions of the host that the tests run against
    periodic_only : whether the host predicts structures only that are periodic in three directions
    energy_unit : ``eV``, ``kcal/mol`` or ``hartree`` where all models of the host have one, else empty
    caution : what a study says against a spec in this host's config, logged once when one is used there; empty where none does
    defaults : keys that a spec leaves out and their measured values in this host (evidence: docs/results.md)
    """

    host: str
    distribution: str = ""
    files: str = ""
    tested: tuple[str, ...]
    periodic_only: bool = False
    energy_unit: str = ""
    caution: str = ""
    defaults: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.patches = Patches(self.host)
        self._cautioned = False

    def installed_version(self) -> str | None:
        """The host's version, or None when it is not installed."""
        try:
            return importlib.metadata.version(self.distribution or self.host)
        except importlib.metadata.PackageNotFoundError:
            return None

    def check_version(self) -> str:
        """The host's version, when it is one that was tested.

        Raises
        ------
        HostError
            The host is missing or its version is not known.
        """
        name, version = self.distribution or self.host, self.installed_version()
        if version is None:
            own = type(self).__module__.startswith("taafs_plugins.")
            wanted = how_to_install(self.host) if own else f"install it with: pip install {name}=={self.tested[-1]}"
            raise HostError(f"{name} is not installed; {wanted}.")
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

    def unregister(self) -> None:
        """Give back the stock host. Calling it twice changes nothing.

        Raises
        ------
        HostError
            Another package has replaced the same code since.
        """
        self.patches.undo()

    @abstractmethod
    def matches(self, model: nn.Module) -> bool:
        """Whether the model is one of this host's."""

    @abstractmethod
    def sites(self, model: nn.Module) -> list[Site]:
        """Every place where the model applies an activation, stock or converted, in the order of the model."""

    def say_caution(self) -> None:
        """Log :attr:`caution`, once in a process; ``logging.getLogger("taafs_plugins").setLevel("ERROR")`` silences it."""
        if self.caution and not self._cautioned:
            self._cautioned = True
            log.warning("TAAFS: %s See: taafs recipe %s.", self.caution, self.host)

    # The transaction ------------------------------------------------------------------------------------------------------------

    def convert(self, model: nn.Module, spec: str | Spec, patterns: str | list[str] | None = None) -> Report:
        """Put trainable activations at a model's sites, or, when anything goes wrong, leave it as it was.

        Parameters
        ----------
        model : of this host
        spec : for example ``"taafs:chebyshev1"``
        patterns : names, groups or shell patterns of sites; default: the host's default sites

        Raises
        ------
        SpecError
            A spec that cannot be used, or a pattern that matches no site.
        HostError
            An untested host, or sites that are converted already.

        Warns
        -----
        UserWarning
            An activation that does not start as the stock one, or whose derivatives jump.
        """
        self.check_version()
        spec = parse_spec(spec)
        resolved = resolve_spec(spec, self.defaults_for(spec))
        chosen = select(SiteTable(self.sites(model)), patterns)
        if taken := [site.name for site in chosen if site.converted]:
            raise HostError(f"{', '.join(taken[:3])}{' ...' if len(taken) > 3 else ''} is converted already; call restore(model) first.")
        if (base := resolved.get("base")) is not None and (other := sorted({site.activation for site in chosen} - {base})):
            raise SpecError(f"base={base} does not fit: these sites apply {', '.join(other)}. Leave base= out; convert keeps theirs.")
        built = build_shared(resolved, chosen)
        for note in (*(start_notes(built) if resolved.get("theta") is None else ()), *kink_notes(built)):
            warnings.warn(note, stacklevel=3)
        before = count_parameters(model)
        self.install_all(model, list(zip(chosen, built, strict=True)), [(resolved, chosen)])
        keep_freed_memory(log)
        after = count_parameters(model)
        errors = [act.fit_error for act in built if act.fit_error is not None]
        return Report(after - before, before, after, tuple(s.name for s in chosen), resolved, max(errors, default=None))

    def install_all(
        self, model: nn.Module, pairs: list[tuple[Site, TrainableActivation]], conversions: list[tuple[Spec, list[Site]]]
    ) -> None:
        """Install activations that are built already; what was installed is taken away again when one of them fails.

        Parameters
        ----------
        pairs : sites with what goes there; a site may hold a trainable activation, which is replaced
        conversions : each spec with its sites, for :meth:`finish`
        """
        done: list[tuple[Site, Any, bool]] = []
        try:
            for site, act in pairs:
                act.train(model.training)
                done.append((site, site.current, site.converted))
                self.install(site, act)
            for spec, sites in conversions:
                self.finish(model, spec, sites)
        except BaseException:
            for site, old, converted in reversed(done):
                if site.converted:
                    self.uninstall(site)
                if converted:
                    self.install(site, old)
            raise

    def restore(self, model: nn.Module) -> int:
        """Every trainable activation is replaced by the activation that it replaced. Returns how many."""
        changed = [site for site in self.sites(model) if site.converted]
        for site in changed:
            self.uninstall(site)
        self.finish(model, None, changed)
        return len(changed)

    def install(self, site: Site, activation: TrainableActivation) -> None:
        """Put ``activation`` at the site."""
        setattr(site.owner, site.attribute, activation)

    def uninstall(self, site: Site) -> None:
        """Put the stock activation back."""
        setattr(site.owner, site.attribute, site.replaces)

    def finish(self, model: nn.Module, spec: Spec | None, sites: list[Site]) -> None:  # noqa: B027 - most hosts need nothing
        """Called after a conversion (``spec``) or a restore (``None``) with the sites that were changed."""

    # AdAct's pick ---------------------------------------------------------------------------------------------------------------

    def pick_unit(self, site: Site) -> str:
        """Name of the part of the model that has one activation in the host's own files; sites of one part get one member of AdAct."""
        return site.name

    def pickable(self, module: nn.Module, site: Site) -> Any:
        """What the site's ``replaces`` must be for this activation of torch, or None where the host cannot keep it there."""
        return module

    def finish_pick(self, model: nn.Module, members: Mapping[str, str]) -> None:  # noqa: B027 - most hosts need nothing
        """Called after a pick with the member of each part."""

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

    def read_runnable(self, path: Path, packages: frozenset[str]) -> tuple[nn.Module, dict[str, Any]] | None:
        """As :meth:`read_model`; besides, files whose model runs (:meth:`reference`) but cannot be changed."""
        return self.read_model(path, packages)

    def in_double(self, model: nn.Module) -> tuple[nn.Module, str]:
        """A copy of the model that computes in float64, and ``float64``; the model itself and its precision where it cannot be had."""
        with torch.no_grad():
            return copy.deepcopy(model).double().eval(), "float64"

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

    def forces(self, model: nn.Module, atoms: Any) -> torch.Tensor:
        """Forces [n, 3] for ``ase.Atoms`` in eV/Angstrom, with the graph that a loss of them is differentiated through.

        Raises
        ------
        HostError
            A host whose models are run by its own training only.
        """
        raise HostError(
            f"Models of {self.host} are not run with labels by taafs-plugins; in Python: taafs_plugins.choose.choose(model, loss) "
            "with the loss of your own training."
        )

    def chosen_by(self, by: str | None) -> str:
        """What gets an activation of its own where one is chosen: ``site``, ``network`` or ``group``; ``by`` is what a user asked for.

        Raises
        ------
        HostError
            Finer than this host's files can say.
        """
        return by or "site"

    def write_model(self, model: nn.Module, path: Path, source: Path) -> str:
        """Write a model that was read from ``source`` and changed, in a form that the host loads.

        Returns
        -------
        a sentence that says how it is trained on

        Raises
        ------
        HostError
            Activations that the host's files cannot name; ``path`` is not written then.
        """
        save(model, path)
        return f"Load it with torch.load('{path.name}', weights_only=False) and train it as any model of {self.host}."
