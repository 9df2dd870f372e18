"""Models in SchNetPack's own files: ``best_model``, a Lightning checkpoint, a file of ``spkdeploy``; and what lies beside them."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from schnetpack.model import AtomisticModel
from schnetpack.utils import load_model
from torch import nn

from taafs_plugins.adapters.patching import HostError
from taafs_plugins.adapters.schnetpack.export import DeployedPotential, brought_up_to_date

UNITS = {"ev": "eV", "kcal/mol": "kcal/mol", "hartree": "hartree", "ha": "hartree"}
LENGTHS = ("ang", "angs", "angstrom", "a")
FRAMES = 500  # of the training data, evenly spread, that are looked at for elements


def read_model(path: Path) -> nn.Module:
    """The model in a file, on the CPU. All but TorchScript is unpickled, which runs what the file says: trusted files only.

    Raises
    ------
    HostError
        The file holds something else, or cannot be loaded.
    """
    scripted = False
    if zipfile.is_zipfile(path):  # else of a torch before 1.6
        with zipfile.ZipFile(path) as archive:
            scripted = any("/code/__torch__/" in name for name in archive.namelist())
    try:
        if scripted:
            return DeployedPotential(torch.jit.load(path, map_location="cpu"))
        found = torch.load(path, map_location="cpu", weights_only=False)
        if isinstance(found, AtomisticModel):
            return _today(load_model(str(path)))  # which brings models of older versions up to date in its own way
    except (AttributeError, ImportError, RuntimeError) as error:
        raise HostError(f"{path} could not be loaded ({str(error).splitlines()[0]}).") from None
    if isinstance(found, dict):
        return _of_checkpoint(found, path)
    if not isinstance(getattr(found, "model", None), AtomisticModel):
        raise HostError(f"{path} holds a {type(found).__name__}, not a model; export the best_model of a run.")
    return _today(found.model)  # of a Lightning task, as in best_model.task


def _today(model: nn.Module) -> nn.Module:
    brought_up_to_date(model)
    return model


def _of_checkpoint(content: dict[str, Any], path: Path) -> nn.Module:
    model = content.get("hyper_parameters", {}).get("model")
    if model is None or "state_dict" not in content:
        raise HostError(f"{path} is a checkpoint without its model; export the best_model of that run.")
    state = {name.removeprefix("model."): value for name, value in content["state_dict"].items() if name.startswith("model.")}
    for name, buffer in list(model.named_buffers()):
        if name in state and state[name].shape != buffer.shape:  # offsets get their shape from the data
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, state[name].clone())
    model.load_state_dict(state)
    return _today(model)


def hints(path: Path) -> dict[str, Any]:
    """What the ``config.yaml`` of the run says of a model file in it: ``energy_unit``, and ``elements`` and ``structures`` of its data.

    Nothing for what is not there, and for a length unit other than Angstrom an error.

    Raises
    ------
    HostError
        The run used another unit of length or energy than exported files have.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for folder in (path.parent, path.parent.parent):
        if (folder / "config.yaml").is_file():
            break
    else:
        return {}

    def value(key: str) -> Any:
        try:
            return OmegaConf.select(config, key)
        except OmegaConfBaseException:  # what only hydra could resolve
            return None

    found: dict[str, Any] = {}
    try:
        config = OmegaConf.load(folder / "config.yaml")
    except Exception:  # not a config of spktrain
        return {}
    length = value("data.distance_unit")
    if length is not None and str(length).lower() not in LENGTHS:
        raise HostError(f"{path} was trained in {length}; exported files are in Angstrom, so train with data.distance_unit=Ang.")
    unit = value(f"data.property_units.{value('globals.energy_key') or 'energy'}")
    if unit is not None:
        if str(unit).lower() not in UNITS:
            raise HostError(f"{path} was trained with energies in {unit}; exported files know {', '.join(sorted(set(UNITS.values())))}.")
        found["energy_unit"] = UNITS[str(unit).lower()]
    for start in (Path.cwd(), *folder.resolve().parents):  # where spktrain was called: the saved config keeps it as a name only
        OmegaConf.update(config, "run.work_dir", str(start), force_add=True)
        data = value("data.datapath")
        if data is not None and (start / str(data)).is_file():
            return found | _frames(start / str(data))
    return found


def _frames(database: Path) -> dict[str, Any]:
    """Elements of the data, and five of its structures to compare on."""
    from ase.db import connect

    with connect(database) as connection:
        if str(connection.metadata.get("_distance_unit", "Ang")).lower() not in LENGTHS:
            return {}
        count = connection.count()
        step = max(1, count // FRAMES)
        frames = [connection.get(id=index).toatoms() for index in range(1, count + 1, step)]
    elements = tuple(sorted({int(z) for atoms in frames for z in atoms.numbers}))
    return {"elements": elements, "structures": frames[:: max(1, len(frames) // 5)][:5]}
