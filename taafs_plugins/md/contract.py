"""What an exported model file is, so that exporters (one per host) and everything that runs such a file agree.

**The file** is TorchScript, written by ``torch.jit.save`` with an extra file ``taafs.json``: the fields of :class:`Metadata`. It needs
nothing but torch. With trained activations a second extra file, ``fused.pt``, is the same model as TorchScript that calls the fused
operators: several times cheaper activations, on the CPU, where their library can be had. Whoever runs the file takes that one if it can.

**The method**, n atoms and p directed pairs; real numbers are of the model's dtype (energies may be float64)::

    forward(pos [n, 3], Z [n] int64, idx_i [p] int64, idx_j [p] int64, offsets [p, 3]) -> energies [n]

- Lengths are in Angstrom; energies are per atom, in ``energy_unit``, and their sum over the atoms is the potential energy.
- ``r_ij = pos[idx_j] + offsets - pos[idx_i]``. Every directed pair within ``cutoff`` is there (i, j and j, i; also i, i with an image of
  itself), in any order. Pairs a little beyond the cutoff may be there too (a list with a skin) and must not count: the
  model drops them. p may be 0, and an atom may have no pair.
- It is differentiable once (trained activations are folded, docs/speed.md; ``fused.pt`` to any order) in ``pos`` and ``offsets``:
  forces are -dE/dpos, and the virial is -sum r_ij (x) dE/dr_ij, with the part of the offsets.
- A model with magnetic moments has a second scripted method of the same arguments, ``magmoms(...) -> [n]`` in Bohr magnetons.

**Modes.** *owner*: ghosts (periodic images) are mapped to the atoms they are images of and ``offsets = x_ghost - x_owner``; one rank.
*ghost*: ghosts are atoms of their own; pairs are listed for ghosts too, out to ``hops * cutoff`` from the owned atoms, and each of them in
both directions; only the energies of owned atoms are summed, and what the gradient leaves on a ghost is sent to its owner. An atom's energy
may depend on atoms up to ``hops`` pairs away. For a model that allows both modes, images of one atom on one rank are one atom with offsets:
a small box is never computed several times over. A model that sums over the whole structure allows ``owner`` only.

A model whose rounds need not all be computed as far out as the pairs are listed has a second form of its methods, with energies and
moments of the owned atoms alone::

    owned(pos, Z, idx_i, idx_j, offsets, ends [hops + 1] int64, any_angle: bool) -> energies [owned]
    owned_magmoms(...the same) -> [owned]

Atoms and pairs are in the order of hops there (a pair is where its first atom is), ``ends[h]`` is how many atoms lie within h hops, so
``ends[0]`` are owned, and ``any_angle`` says whether an atom of the whole structure, on any rank, has two pairs within ``angle_cutoff``:
without any, CHGNet's bonds are not updated anywhere.
"""

from __future__ import annotations

import io
import json
import logging
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from taafs_plugins.errors import TaafsError, first_line

log = logging.getLogger(__name__)

FORMAT = 2  # the newest that is read; files without an angle_cutoff are of format 1, which older versions read
EXTRA = "taafs.json"
FUSED = "fused.pt"
MODES = ("owner", "ghost")
ENERGY_UNITS = ("eV", "kcal/mol", "hartree")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
_WAYS = {"energy_unit": f"choose {', '.join(ENERGY_UNITS)}", "dtype": "call .float() or .double() on it first"}
OPERATOR = b"ops.taafs.activation"


class ExportError(TaafsError, RuntimeError):
    """A model file that cannot be written, read or used here; the message is one sentence with the way out."""


@dataclass(frozen=True)
class Metadata:
    """What a runner must know of an exported model.

    Attributes
    ----------
    host : name of the code the model was trained in
    cutoff : of the list of pairs, Angstrom
    hops : how many cutoffs away an atom's energy still looks; at least 1
    modes : of ``owner`` and ``ghost``, those that the model allows, the preferred one first
    energy_unit : ``eV``, ``kcal/mol`` or ``hartree``
    elements : atomic numbers the model knows
    dtype : ``float32`` or ``float64``
    spec : the resolved specs in it; empty for a stock model
    versions : of ``torch``, the host and ``taafs-plugins``, at export
    angle_cutoff : of the pairs that make angles, Angstrom, where the model must know whether there is any on other ranks; 0 else
    format : of the file

    Raises
    ------
    ExportError
        A value out of its range.
    """

    host: str
    cutoff: float
    hops: int
    modes: tuple[str, ...]
    energy_unit: str
    elements: tuple[int, ...]
    dtype: str
    spec: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    angle_cutoff: float = 0.0
    format: int = 1

    def __post_init__(self):
        for name in ("modes", "elements", "spec"):
            value = getattr(self, name)
            object.__setattr__(self, name, ((value,) if value else ()) if isinstance(value, str) else tuple(value))
        if self.angle_cutoff:
            object.__setattr__(self, "format", max(2, self.format))
        checks = {
            "cutoff": 0 < self.cutoff < float("inf"),
            "hops": self.hops >= 1,
            "angle_cutoff": 0 <= self.angle_cutoff <= self.cutoff,
            "modes": bool(self.modes) and set(self.modes) <= set(MODES),
            "energy_unit": self.energy_unit in ENERGY_UNITS,
            "elements": bool(self.elements) and all(1 <= z <= 118 for z in self.elements),
            "dtype": self.dtype in DTYPES,
        }
        for name, good in checks.items():
            if not good:
                raise ExportError(f"The model's {name} cannot be {getattr(self, name)!r}; {_WAYS.get(name, 'export it again')}.")


def release(version: str) -> str:
    """``2.11.0`` of ``2.11.0+cpu``."""
    return version.split("+")[0]


def write(module: torch.jit.ScriptModule, path: str | os.PathLike, metadata: Metadata, fused: torch.jit.ScriptModule | None = None) -> None:
    """Save a scripted module with its metadata; an existing file is replaced only when the new one is whole.

    Parameters
    ----------
    module : needs nothing but torch
    fused : the same model calling the fused operators

    Raises
    ------
    ExportError
        The folder cannot be written.
    """
    path = Path(path)
    versions = {"torch": torch.__version__, **metadata.versions}
    facts = {**asdict(metadata), "versions": versions}
    if not metadata.angle_cutoff:
        del facts["angle_cutoff"]  # unknown to readers of format 1
    extra: dict[str, str | bytes] = {EXTRA: json.dumps(facts, indent=1)}
    if fused is not None:
        with io.BytesIO() as buffer:
            torch.jit.save(fused, buffer)
            extra[FUSED] = buffer.getvalue()
    try:
        handle, work = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        os.close(handle)
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error.strerror}); choose another folder.") from None
    try:
        with io.BytesIO() as whole:  # torch ends the process when it writes to a full disk by itself
            torch.jit.save(module, whole, _extra_files=extra)
            Path(work).write_bytes(whole.getvalue())
        os.chmod(work, 0o644)
        os.replace(work, path)
    except OSError as error:
        raise ExportError(f"{path} could not be written whole ({first_line(error)}); is the disk full? Nothing was replaced.") from None
    finally:
        Path(work).unlink(missing_ok=True)


def read_metadata(path: str | os.PathLike) -> Metadata:
    """The metadata alone, without loading the model.

    Raises
    ------
    ExportError
        No file, a truncated one, one without metadata, or one of a newer format.
    """
    try:
        text = _extra(path, EXTRA)
    except FileNotFoundError:
        raise ExportError(f"There is no file {path}.") from None
    if text is None:
        raise ExportError(f"{path} holds no {EXTRA}; write it with 'taafs export' (a file of 'spkdeploy' can be given to that).")
    try:
        values = json.loads(text)
        if values["format"] > FORMAT:
            found = values["format"]
            raise ExportError(f"{path} is of format {found}, newer than {FORMAT}; update taafs-plugins or export it with this one.")
        metadata = Metadata(**values)
        if not isinstance(metadata.versions, dict) or not all(isinstance(version, str) for version in metadata.versions.values()):
            raise TypeError("versions")
        return metadata
    except (ValueError, TypeError, KeyError):
        raise ExportError(f"{path}: its {EXTRA} cannot be read; write it again with 'taafs export'.") from None


@contextmanager
def _archive(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    """The file as an archive, whose damage is one sentence."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise
    except (OSError, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error):
        raise ExportError(f"{path} is not a whole TorchScript file; write it again with 'taafs export' or copy it again.") from None


def _extra(path: str | os.PathLike, name: str) -> bytes | None:
    """The contents of an extra file, or ``None``."""
    with _archive(path) as archive:
        return next((archive.read(entry) for entry in archive.namelist() if entry.endswith(f"/extra/{name}")), None)


def check_device(device: str | torch.device) -> None:
    """Whether files run on a device here.

    Raises
    ------
    ExportError
        Another word than cpu or cuda, or cuda where there is no GPU.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise ExportError(f"device={device} is unknown; choose cpu or cuda.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ExportError(f"device={device}: there is no GPU that this torch can use; choose cpu.")


def read(path: str | os.PathLike, device: str | torch.device = "cpu", fused: bool = True) -> tuple[torch.jit.ScriptModule, Metadata]:
    """Load an exported model; on the CPU with the fused operators where the file has them and they can be built.

    Parameters
    ----------
    path : written by ``taafs export``
    device : to load it on
    fused : False for the form that needs nothing but torch, also on the CPU

    Raises
    ------
    ExportError
        As :func:`read_metadata`; or another torch version than it was exported with; a device that is not there; or a model that
        cannot be loaded.
    """
    check_device(device)
    metadata = read_metadata(path)
    made = metadata.versions.get("torch", "unknown")
    if release(made) != release(torch.__version__):
        raise ExportError(f"{path} was exported with torch {made} and this is torch {torch.__version__}; export it again with this one.")
    from taafs_plugins.activations.taafs.fused import operator

    faster = _extra(path, FUSED) if fused and torch.device(device).type == "cpu" else None
    if calls_operator(path) and operator() is None:
        raise ExportError(f"{path} calls the fused operators, which cannot be built here; export it with TAAFS_EXPORT=plain.")
    if faster is not None and operator() is not None:
        try:
            return torch.jit.load(io.BytesIO(faster)).eval(), metadata
        except Exception as error:  # of another version of this package, or damaged
            log.warning("%s runs without the fused operators, slower (%s); export it again.", path, first_line(error))
    try:
        module = torch.jit.load(path, map_location=device)
    except Exception as error:  # a damaged file may raise anything
        raise ExportError(f"{path} cannot be loaded ({first_line(error)}); write it again with 'taafs export'.") from None
    return module.eval(), metadata


def calls_operator(path: str | os.PathLike) -> bool:
    """Whether the file cannot do without the library of :func:`taafs_plugins.native.operators.build_operator_library`."""
    with _archive(path) as archive:
        return any(OPERATOR in archive.read(name) for name in archive.namelist() if name.endswith(".py"))
