"""Export of SchNetPack models: PaiNN, SchNet or SO3net with an energy head, postprocessors included; also a file of ``spkdeploy``.

SchNetPack sums an energy over the atoms of each structure by ``idx_m``. With every atom a structure of its own (``idx_m`` counts the atoms,
``n_atoms`` is 1), the same modules give the atoms' own energies, offsets and scale included.
"""

from __future__ import annotations

from typing import Any

import torch
from schnetpack import properties
from schnetpack.atomistic import Forces, PairwiseDistances, Strain
from schnetpack.interfaces import AtomsConverter
from schnetpack.model import AtomisticModel, NeuralNetworkPotential
from schnetpack.transform import MatScipyNeighborList
from torch import Tensor, nn

from taafs_plugins.adapters.patching import HostError

REPRESENTATIONS = ("PaiNN", "SchNet", "SO3net")
ENERGIES = ("Atomwise", "Aggregation", "ZBLRepulsionEnergy")  # modules that give an energy of each atom
RESPONSES = ("Forces", "Response")  # derivatives, which the runner of an exported model takes itself
INPUTS = ("PairwiseDistances", "Strain")
CONTAINERS = ("input_modules", "output_modules", "postprocessors")
CASTS = ("CastTo64", "CastTo32")


class ExportedPotential(nn.Module):
    """A SchNetPack potential behind the contract of exported files. Energies are float64: float32 would lose digits to large offsets."""

    def __init__(self, representation: nn.Module, energies: list[nn.Module], postprocessors: list[nn.Module], key: str) -> None:
        super().__init__()
        self.representation = representation
        self.energies = nn.ModuleList(energies)
        self.postprocessors = nn.ModuleList(postprocessors)
        self.key = key
        self.cutoff = float(representation.cutoff)

    def forward(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> Tensor:
        """Energies [n]; see :mod:`taafs_plugins.md.contract`."""
        # without gradient: pairs that are dropped must not be differentiated
        where = pos.detach()
        apart = where.index_select(0, idx_j) + offsets.detach() - where.index_select(0, idx_i)
        near = (torch.linalg.norm(apart, dim=1) < self.cutoff).nonzero().flatten()
        i, j = idx_i.index_select(0, near), idx_j.index_select(0, near)
        shifts = offsets.index_select(0, near)
        inputs = {
            "_atomic_numbers": Z, "_positions": pos, "_offsets": shifts, "_idx_i": i, "_idx_j": j,
            "_Rij": pos.index_select(0, j) + shifts - pos.index_select(0, i),
            "_idx_m": torch.arange(Z.shape[0], device=Z.device), "_n_atoms": torch.ones_like(Z),
        }  # fmt: skip
        inputs = self.representation(inputs)
        for module in self.energies:
            inputs = module(inputs)
        inputs[self.key] = inputs[self.key].double()
        for module in self.postprocessors:
            inputs = module(inputs)
        return inputs[self.key]


class DeployedPotential(AtomisticModel):
    """A file of ``spkdeploy``: the scripted model, whose modules are used again."""

    def __init__(self, scripted: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.scripted = scripted
        self.representation = scripted.representation

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the scripted model gives."""
        return self.scripted(inputs)


def kind(module: nn.Module) -> str:
    """Name of the module's class, scripted or not."""
    return module.original_name if isinstance(module, torch.jit.ScriptModule) else type(module).__name__


def each(modules: Any) -> list[nn.Module]:
    """The modules of a container, which in files of older versions may be a plain list or tuple, or not be there."""
    return list(modules.children()) if isinstance(modules, nn.Module) else list(modules or ())


def brought_up_to_date(model: nn.Module) -> None:
    """Give a model that an older version pickled the containers of today, as TorchScript needs them; it computes the same.

    SchNetPack's own ``load_model`` gives representations a plain list of electronic embeddings, and its code takes any list.
    """
    representation = getattr(model, "representation", None)
    if isinstance(representation, nn.Module) and not hasattr(representation, "electronic_embeddings"):
        representation.electronic_embeddings = nn.ModuleList()
    for owner, name in ((representation, "electronic_embeddings"), *((model, name) for name in CONTAINERS)):
        if isinstance(value := getattr(owner, name, None), list | tuple):
            setattr(owner, name, nn.ModuleList(value))


def parts(model: nn.Module) -> tuple[nn.Module, list[nn.Module], list[nn.Module], str]:
    """(representation, energy modules, postprocessors of the energy, its key) of a live or a deployed model.

    Raises
    ------
    HostError
        A model with a part that gives no energies of single atoms.
    """
    source = model.scripted if isinstance(model, DeployedPotential) else model
    if kind(source) != "NeuralNetworkPotential":
        raise HostError(f"Of SchNetPack, a NeuralNetworkPotential can be exported; this is a {kind(source)}.")
    representation = source.representation
    if kind(representation) not in REPRESENTATIONS:
        raise HostError(f"The representation {kind(representation)} cannot be exported; {', '.join(REPRESENTATIONS)} can.")
    if each(getattr(representation, "electronic_embeddings", ())):
        raise HostError("Electronic embeddings need a total charge or spin, which MD engines do not give: this model cannot be exported.")
    for module in each(getattr(source, "input_modules", ())):
        if kind(module) not in INPUTS:
            raise HostError(f"The input module {kind(module)} cannot be exported; {' and '.join(INPUTS)} can.")
    outputs = each(source.output_modules)
    key = _energy_key(outputs)
    last = max(index for index, module in enumerate(outputs) if getattr(module, "output_key", None) == key)
    energies = [module for module in outputs[: last + 1] if kind(module) not in RESPONSES]
    for module in energies:
        if kind(module) not in ENERGIES or getattr(module, "aggregation_mode", "sum") != "sum":
            raise HostError(f"The output module {kind(module)} gives no sum over atoms and cannot be exported; Atomwise with 'sum' can.")
    kept = []
    for module in each(getattr(source, "postprocessors", ())) if getattr(source, "do_postprocessing", True) else ():
        if kind(module) == "AddOffsets" and module._property == key:
            if module.add_mean and not module.is_extensive:
                raise HostError("AddOffsets with is_extensive=False adds one number per structure, not per atom; it cannot be exported.")
            kept.append(module)
        elif kind(module) == "ScaleProperty" and module.input_key == key:
            kept.append(module)
        elif kind(module) not in (*CASTS, "AddOffsets", "ScaleProperty"):
            raise HostError(f"The postprocessor {kind(module)} cannot be exported; AddOffsets and ScaleProperty can.")
    return representation, energies, kept, key


def _energy_key(outputs: list[nn.Module]) -> str:
    """Of the energy that forces are taken from, else of the only output."""
    keys = {module.energy_key for module in outputs if kind(module) in RESPONSES}
    keys = keys or {module.output_key for module in outputs if kind(module) == "Atomwise"}
    made = {getattr(module, "output_key", None) for module in outputs}
    if len(keys) != 1 or not keys <= made:
        found = ", ".join(sorted(keys)) or "none"
        raise HostError(f"It is not clear which output of this model is the energy ({found}); add a Forces module, which names it.")
    return keys.pop()


def export_module(model: nn.Module, energy_unit: str | None) -> tuple[nn.Module, dict[str, Any]]:
    """See :meth:`Adapter.export_module`. SchNetPack keeps no unit, and elements only in atomic references."""
    if energy_unit is None:
        raise HostError("A SchNetPack model does not carry its energy unit; say energy_unit='eV', 'kcal/mol' or 'hartree' (--energy-unit).")
    if not isinstance(model, DeployedPotential):
        brought_up_to_date(model)
    representation, energies, kept, key = parts(model)
    elements = None
    for module in kept:
        if kind(module) == "AddOffsets" and module.add_atomrefs and bool(module.atomref.any()):
            elements = tuple(module.atomref.flatten().nonzero().flatten().tolist())
    facts = {
        "cutoff": float(representation.cutoff), "hops": len(_interactions(representation)._modules), "modes": ("owner", "ghost"),
        "energy_unit": energy_unit, "elements": elements, "dtype": str(_dtype(model)).removeprefix("torch."),
    }  # fmt: skip
    if isinstance(model, DeployedPotential):
        holders = [module for module in representation.modules() if "theta_start" in dict(module.named_buffers(recurse=False))]
        trained = {kind(module).lower() for module in holders}
        facts["spec"] = tuple(f"{family}, as spkdeploy wrote it" for family in sorted(trained))
    return ExportedPotential(representation, energies, kept, key), facts


# a ModuleList's length, also when it is scripted or repeats one module, is that of its _modules
def _interactions(representation: nn.Module) -> nn.Module:
    return representation.so3convs if kind(representation) == "SO3net" else representation.interactions


def _dtype(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype


def reference(model: nn.Module, atoms: Any) -> dict[str, Any]:
    """See :meth:`Adapter.reference`: the model itself; where it gives no forces or stress, SchNetPack's own modules for them around it."""
    representation, energies, _, key = parts(model)
    neighbors = MatScipyNeighborList(cutoff=float(representation.cutoff))
    converter = AtomsConverter(neighbor_list=neighbors, dtype=_dtype(model))
    found = model(converter(atoms))
    forces, stress = properties.forces, properties.stress
    periodic = bool(atoms.pbc.all())
    if forces not in found or (periodic and stress not in found):
        inputs = [Strain(), PairwiseDistances()] if periodic else [PairwiseDistances()]
        responses = Forces(calc_stress=periodic, energy_key=key)
        whole = NeuralNetworkPotential(representation, inputs, [*energies, responses], do_postprocessing=False).eval()
        found = {**whole(converter(atoms)), **found}
    result = {"energy": float(found[key].detach().double()), "forces": found[forces].detach().double().numpy()}
    if periodic:
        result["stress"] = found[stress].detach().double().numpy().reshape(3, 3)
    return result
