"""Models in the hosts' own files: whose a file is, without unpickling it, and the live model in it."""

from __future__ import annotations

import os
import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from taafs_plugins.adapters import Adapter, HostError, adapter, hosts
from taafs_plugins.errors import TaafsError, first_line, how_to_install
from taafs_plugins.md.contract import EXTRA, ExportError

LEGACY = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER


def read_model(path: str | os.PathLike) -> tuple[nn.Module, dict[str, Any]]:
    """The live model in a host's own file, with what is known of it (:meth:`Adapter.read_model`).

    The host is recognised by the classes that the file names, without unpickling it.

    Raises
    ------
    HostError
        No host knows the file, or its host cannot load it: damaged, or written by a version whose classes are no more.
    ExportError
        No such file, or one that ``taafs export`` wrote.
    """
    return _opened(Path(path), "read_model")[1:]


def open_model(path: str | os.PathLike) -> tuple[Adapter, nn.Module, dict[str, Any]]:
    """As :func:`read_model`, with the host's adapter before it, and also files that can only be run (:meth:`Adapter.read_runnable`)."""
    return _opened(Path(path), "read_runnable")


def _opened(path: Path, verb: str) -> tuple[Adapter, nn.Module, dict[str, Any]]:
    if not path.is_file():
        raise ExportError(f"There is no file {path}.")
    named = packages(path)
    if _is_exported(path):
        raise ExportError(f"{path} is an exported file, which LAMMPS and ASE run as it is; give the model file that it was made of.")
    for host in hosts():
        try:
            found = getattr(adapter(host), verb)(path, named)
        except ModuleNotFoundError as error:
            raise HostError(f"{path} needs {error.name}, which is not installed; {how_to_install(host)}.") from None
        except TaafsError:
            raise
        except Exception as error:  # unpickling may raise anything
            raise HostError(
                f"{path} cannot be loaded by {host} ({type(error).__name__}: {first_line(error)}); it is damaged or another version's: "
                "copy or save it again."
            ) from error
        if found is not None:
            return adapter(host), *found
    *others, last = [adapter(host).files for host in hosts() if adapter(host).files]
    raise HostError(
        f"{path} is no model file of {', '.join(others)} or {last}. A state dict alone lacks the architecture: build the model, load it "
        "and call taafs.export(model, path)."
    )


def _is_exported(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(f"/extra/{EXTRA}") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False


def packages(path: Path) -> frozenset[str]:
    """Top-level packages of the classes that a PyTorch file names: of its pickle, or of its TorchScript code. Nothing is executed."""
    try:
        if not zipfile.is_zipfile(path):
            return frozenset(name.split(".")[0] for name in _legacy_classes(path))
        with zipfile.ZipFile(path) as archive:
            code = [name for name in archive.namelist() if "/code/__torch__/" in name]
            if code:
                return frozenset(re.split(r"[/.]", name.split("/code/__torch__/", 1)[1])[0] for name in code)
        return frozenset(name.split(".")[0] for name in torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except (zipfile.BadZipFile, RuntimeError, ValueError, OSError, pickle.UnpicklingError, KeyError, IndexError, EOFError):
        return frozenset()


def _legacy_classes(path: Path) -> set[str]:
    """Classes in a file from before torch 1.6: a magic number, a version, facts of the machine and the object, each a pickle."""
    names: set[str] = set()
    with open(path, "rb") as file:
        for part in range(4):
            words: list[str] = []
            for code, argument, _ in pickletools.genops(file):
                if part == 0 and isinstance(argument, int) and argument > 1 << 32 and argument != LEGACY:
                    return set()
                if code.name == "GLOBAL":
                    names.add(argument.split(" ")[0])
                elif code.name == "STACK_GLOBAL" and len(words) > 1:
                    names.add(words[-2])
                if isinstance(argument, str):
                    words.append(argument)
    return names - {"torch", "collections"}
