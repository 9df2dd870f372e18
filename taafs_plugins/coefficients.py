"""Coefficient files: only the trained activations of a model, as safetensors with the spec and a hash of the base network."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

from taafs_plugins.activations import SpecError, TrainableActivation, resolve_spec
from taafs_plugins.adapters import adapter_for
from taafs_plugins.adapters.sites import Site, build_shared
from taafs_plugins.errors import TaafsError
from taafs_plugins.files import replacing
from taafs_plugins.training import NOTHING

FORMAT = "taafs-coefficients-1"


class CoefficientFileError(TaafsError, ValueError):
    """A coefficient file that cannot be used here; the message is one sentence with the way out."""


def base_hash(model: nn.Module) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of everything in the state dict except the trainable activations."""
    inside = tuple(f"{name}." for name, module in model.named_modules(remove_duplicate=False) if isinstance(module, TrainableActivation))
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        if key.startswith(inside) or not isinstance(value, torch.Tensor):
            continue
        value = value.detach().cpu().contiguous()
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_coefficients(model: nn.Module, path: str | Path) -> None:
    """Write the coefficients, scales and specs of every trained activation, and a hash of the network around them.

    Raises
    ------
    SpecError
        The model has no trainable activation; nothing is written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    sites = [site for site in adapter_for(model).sites(model) if site.converted]
    if not sites:
        raise SpecError(NOTHING)
    tensors, specs = {}, {}
    for site in sites:
        act = site.current
        specs[site.name] = str(act.spec)
        for key, value in act.numbers().items():
            tensors[f"{site.name}.{key}"] = value.detach().cpu().clone().contiguous()
    metadata = {"format": FORMAT, "specs": json.dumps(specs), "base": base_hash(model)}
    with replacing(path) as written:
        try:
            save_file(tensors, str(written), metadata=metadata)
        except SafetensorError as error:
            raise CoefficientFileError(f"{path} could not be written whole ({error}); is the disk full? Nothing was replaced.") from None


def load_coefficients(model: nn.Module, path: str | Path) -> tuple[str, ...]:
    """Convert a stock model of the same base network (or a converted one with the same sites) and load the coefficients.

    Returns
    -------
    names of the sites that were set

    Raises
    ------
    CoefficientFileError
        Not a coefficient file, another base network, or other sites; the model stays as it was.
    """
    tensors, metadata = _read(path)
    adapter = adapter_for(model)
    adapter.check_version()
    if metadata.get("base") != base_hash(model):
        raise CoefficientFileError(f"{path} belongs to another base network; load the model it was trained on, then try again.")
    specs = _specs(metadata, path)
    table = {site.name: site for site in adapter.sites(model)}
    if missing := [name for name in specs if name not in table]:
        raise CoefficientFileError(f"{path} has coefficients for {', '.join(missing)}, which this model does not have.")
    by_spec: dict[str, list[Site]] = {}
    for name, spec in specs.items():
        by_spec.setdefault(spec, []).append(table[name])
    built: dict[str, TrainableActivation] = {}
    for spec, sites in by_spec.items():
        built.update(zip((s.name for s in sites), build_shared(resolve_spec(spec), sites), strict=True))
    for name, act in built.items():
        own = {key[len(name) + 1 :]: value for key, value in tensors.items() if key.startswith(f"{name}.")}
        if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in act.numbers().items()}:
            raise CoefficientFileError(f"{path}: the numbers of {name} do not fit its spec {specs[name]}.")
        act.load_state_dict(own, strict=False)
    conversions = [(resolve_spec(spec), sites) for spec, sites in by_spec.items()]
    adapter.install_all(model, [(table[name], act) for name, act in built.items()], conversions)
    return tuple(specs)


__all__ = ["CoefficientFileError", "base_hash", "load_coefficients", "save_coefficients"]


def _read(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a coefficient file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        raise CoefficientFileError(f"{path} cannot be read as a coefficient file ({error}).") from None
    if metadata.get("format") != FORMAT:
        raise CoefficientFileError(f"{path} is not a coefficient file of taafs-plugins; write one with save_coefficients.")
    return tensors, metadata


def _specs(metadata: dict[str, str], path: str | Path) -> dict[str, str]:
    """Site -> spec, as the file says."""
    try:
        specs = json.loads(metadata["specs"])
    except (KeyError, ValueError, RecursionError):
        specs = None
    if not isinstance(specs, dict) or not all(isinstance(spec, str) for spec in specs.values()):
        raise CoefficientFileError(f"{path} is damaged: its specs cannot be read; copy it again.")
    return specs
