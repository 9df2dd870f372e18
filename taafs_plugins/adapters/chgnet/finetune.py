"""Fine-tuning CHGNet on your own frames: labels in its units, one energy shift per element, what was learnt and what was forgotten.

A low loss can hide a ruined network: in bad runs single structures that the network knew moved by 6 to 44 eV/atom while the
loss looked mild. So the report also looks at data the network knew before.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from taafs_plugins.training import trainable_activations

GPA = 160.21766208  # GPa in one eV/A^3, the number that CHGNet uses
MOVED = 0.5  # eV/atom: a known structure that moves by more is worth a warning
QUANTITIES = {"e": ("energy", "eV/atom"), "f": ("force", "eV/A"), "s": ("stress", "GPa"), "m": ("magmom", "muB")}


@dataclass(frozen=True)
class Frames:
    """Labelled structures in CHGNet's units.

    Attributes
    ----------
    structures : pymatgen Structures
    energies : eV/atom, without the Materials Project's corrections
    forces : one [n, 3] array per frame, eV/A
    stresses : one [3, 3] array per frame, GPa, tension positive; or None
    magmoms : one [n] array of absolute values per frame, muB, or None for a frame without; or None

    Raises
    ------
    ValueError
        No frame, a structure without atoms, or labels whose number or shape does not fit.
    """

    structures: Sequence[Any]
    energies: Sequence[float]
    forces: Sequence[np.ndarray]
    stresses: Sequence[np.ndarray] | None = None
    magmoms: Sequence[np.ndarray | None] | None = None

    def __post_init__(self) -> None:
        n = len(self.structures)
        if n == 0:
            raise ValueError("No frames were given.")
        for name in ("energies", "forces", "stresses", "magmoms"):
            labels = getattr(self, name)
            if labels is not None and len(labels) != n:
                raise ValueError(f"There are {n} structures but {len(labels)} {name}.")
        for i, structure in enumerate(self.structures):
            if len(structure) == 0:
                raise ValueError(f"Structure {i} has no atoms; leave it out.")
            if np.shape(self.forces[i]) != (len(structure), 3):
                raise ValueError(f"Structure {i} has {len(structure)} atoms but forces of shape {np.shape(self.forces[i])}.")

    def __len__(self) -> int:
        return len(self.structures)

    @classmethod
    def from_ase(cls, atoms: Sequence[Any]) -> Frames:
        """From ASE Atoms with a calculator that holds energy (eV, of the whole cell) and forces, if there also stress and magmoms.

        Raises
        ------
        ValueError
            A frame without atoms, energy or forces, or stress in some frames only.
        """
        from pymatgen.io.ase import AseAtomsAdaptor

        results = [{} if a.calc is None else a.calc.results for a in atoms]
        for i, (a, r) in enumerate(zip(atoms, results, strict=True)):
            if len(a) == 0:
                raise ValueError(f"Frame {i} has no atoms; leave it out.")
            if "energy" not in r or "forces" not in r:
                raise ValueError(f"Frame {i} has no energy or no forces.")
        with_stress = ["stress" in r for r in results]
        if any(with_stress) and not all(with_stress):
            raise ValueError(f"Frame {with_stress.index(False)} has no stress while others have; leave such frames out.")
        magmoms = [np.abs(r["magmoms"]) if "magmoms" in r else None for r in results]
        return cls(
            structures=[AseAtomsAdaptor.get_structure(a) for a in atoms],
            energies=[float(r["energy"]) / len(a) for a, r in zip(atoms, results, strict=True)],
            forces=[np.asarray(r["forces"]) for r in results],
            stresses=[GPA * a.get_stress(voigt=False) for a in atoms] if all(with_stress) else None,
            magmoms=magmoms if any(m is not None for m in magmoms) else None,
        )

    def subset(self, indices: Sequence[int]) -> Frames:
        """The frames at these places."""
        pick = lambda labels: None if labels is None else [labels[i] for i in indices]
        return Frames(*(pick(labels) for labels in (self.structures, self.energies, self.forces, self.stresses, self.magmoms)))

    def shifted(self, shift: dict[str, float]) -> Frames:
        """The frames with ``shift`` [eV per atom of the element] taken off their energies."""
        fractions = [s.composition.fractional_composition.get_el_amt_dict() for s in self.structures]
        energies = [e - sum(x * shift.get(el, 0.0) for el, x in f.items()) for e, f in zip(self.energies, fractions, strict=True)]
        return replace(self, energies=energies)

    def dataset(self, model: Any) -> Any:
        """CHGNet's own ``StructureData`` for its ``Trainer``, every graph built now.

        CHGNet's class replaces a structure whose graph fails by a random other one without a word; here it is an error.

        Raises
        ------
        ValueError
            CHGNet cannot build the graph of a structure (an isolated atom, say).
        """
        from chgnet.data.dataset import StructureData

        # StructureData takes VASP's stress: kbar, compression positive
        stresses = None if self.stresses is None else [-10.0 * np.asarray(s) for s in self.stresses]
        magmoms = [None] * len(self) if self.magmoms is None else list(self.magmoms)
        with contextlib.redirect_stdout(io.StringIO()):
            data = StructureData(
                list(self.structures), list(self.energies), list(self.forces), stresses=stresses, magmoms=magmoms,
                graph_converter=model.graph_converter, shuffle=False,
            )  # fmt: skip
        for i in range(len(data)):
            with contextlib.suppress(RecursionError):  # when every replacement fails too
                data[i]
            if data.failed_idx:
                raise ValueError(f"CHGNet cannot build the graph of structure {i} ({self.structures[i].formula}); leave it out.")
        return data


def predict(model: Any, frames: Frames, task: str = "efsm", batch_size: int = 8) -> list[dict[str, np.ndarray]]:
    """Energy [eV/atom], forces, stress [GPa] and magmoms of each frame under CHGNet's keys ``e``, ``f``, ``s``, ``m``."""
    predictions = model.predict_structure(list(frames.structures), task=task, batch_size=batch_size)
    return [predictions] if len(frames) == 1 else predictions


def element_shift(model: Any, frames: Frames) -> dict[str, float]:
    """Least-squares energy per atom of each element [eV] by which the frames' energies differ from the model's.

    Two DFT set-ups differ by such a shift (pseudopotentials, references), which says nothing about a network. Fit it on training
    frames only, and take it off all frames with :meth:`Frames.shifted` so that the network keeps the reference of what it knows.
    """
    elements = sorted({el.symbol for s in frames.structures for el in s.composition.elements})
    amounts = [s.composition.fractional_composition.get_el_amt_dict() for s in frames.structures]
    matrix = np.array([[a.get(el, 0.0) for el in elements] for a in amounts])
    difference = np.array(frames.energies) - np.array([float(p["e"]) for p in predict(model, frames, task="e")])
    return dict(zip(elements, np.linalg.lstsq(matrix, difference, rcond=None)[0].tolist(), strict=True))


def errors(predictions: Sequence[dict[str, np.ndarray]], frames: Frames) -> dict[str, float]:
    """Mean absolute error of each quantity that is labelled and predicted, over all components; units in ``QUANTITIES``."""
    labels = {"e": frames.energies, "f": frames.forces, "s": frames.stresses, "m": frames.magmoms}
    found = {}
    for key, values in labels.items():
        if values is None or key not in predictions[0]:
            continue
        pairs = [(p[key], v) for p, v in zip(predictions, values, strict=True) if v is not None]
        found[key] = float(np.mean(np.concatenate([np.abs(np.asarray(p) - np.asarray(v)).reshape(-1) for p, v in pairs])))
    return found


@dataclass(frozen=True)
class Outcome:
    """What fine-tuning did; prints as a table.

    Attributes
    ----------
    new_before, new_after : errors on the new data, keys ``e``, ``f``, ``s``, ``m`` where labelled
    known_before, known_after : the same on data that the network knew
    moved_mean, moved_largest : mean and largest change of the predictions on the known data (energy per structure, else
        per component), for all four keys
    moved_energies : change of each known structure's energy, eV/atom
    """

    new_before: dict[str, float]
    new_after: dict[str, float]
    known_before: dict[str, float]
    known_after: dict[str, float]
    moved_mean: dict[str, float]
    moved_largest: dict[str, float]
    moved_energies: np.ndarray

    def __str__(self) -> str:
        rows = [f"{'mean absolute error':28}{'before':>10}{'after':>10}{'mean change':>14}{'largest change':>16}"]
        for title, before, after in (("new", self.new_before, self.new_after), ("known", self.known_before, self.known_after)):
            for key, (name, unit) in QUANTITIES.items():
                cells = [f"{before[key]:10.4f}{after[key]:10.4f}" if key in before else f"{'-':>10}{'-':>10}"]
                if title == "known":
                    cells.append(f"{self.moved_mean[key]:14.4f}{self.moved_largest[key]:16.4f}")
                if key in before or title == "known":
                    rows.append(f"{f'{title}: {name}, {unit}':28}{''.join(cells)}")
        return "\n".join(rows)


class FineTuningReport:
    """Errors on new data and forgetting on known data. Make it before training, call :meth:`after` with the trained model.

    A warning says so when the model has ``scale=auto`` sites that were not calibrated.

    Parameters
    ----------
    model : the network before fine-tuning, converted or not
    new : held-out frames of the new data
    known : frames like those the network was trained on, from other materials than the new data
    """

    def __init__(self, model: Any, new: Frames, known: Frames) -> None:
        auto = [act for act in trainable_activations(model).values() if act.spec.get("scale") == "auto"]
        if auto and all(float(act.scale) == 1.0 for act in auto):
            warnings.warn("scale=auto was not measured; run the model on your frames inside 'with taafs.calibrate(model):' first.")
        self.new, self.known = new, known
        self.new_before, self.known_before = predict(model, new), predict(model, known)

    def after(self, model: Any) -> Outcome:
        """Compare with the fine-tuned model; warns when a known structure moved by more than 0.5 eV/atom."""
        new, known = predict(model, self.new), predict(model, self.known)
        change = {
            key: np.concatenate([np.abs(b[key] - a[key]).reshape(-1) for a, b in zip(self.known_before, known, strict=True)])
            for key in QUANTITIES
        }
        energies = np.array([float(b["e"] - a["e"]) for a, b in zip(self.known_before, known, strict=True)])
        # not <=: a network that has become NaN must warn too
        if len(moved := np.flatnonzero(~(np.abs(energies) <= MOVED))):
            worst = sorted(moved, key=lambda i: -abs(energies[i]))[:5]
            names = ", ".join(f"{self.known.structures[i].composition.reduced_formula} {energies[i]:+.2f}" for i in worst)
            warnings.warn(
                f"{len(moved)} of {len(energies)} known structures moved by more than {MOVED} eV/atom (largest: {names}): the network has "
                "forgotten; lower the rate, train fewer parameters, or mix known frames into the training data."
            )
        return Outcome(
            errors(self.new_before, self.new), errors(new, self.new), errors(self.known_before, self.known), errors(known, self.known),
            {key: float(c.mean()) for key, c in change.items()}, {key: float(c.max()) for key, c in change.items()}, energies,
        )  # fmt: skip
