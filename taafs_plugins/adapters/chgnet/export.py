"""Export of CHGNet: the graphs are rebuilt from the list of pairs, the layers are the model's own, energies are per atom.

The forward code repeats ``CHGNet._compute`` and the layers' ``forward`` (chgnet 0.4.2), which TorchScript cannot take as they stand.
"""

from __future__ import annotations

import contextlib
import copy
import math
from typing import Any

import torch
from chgnet.graph import converter, crystalgraph
from chgnet.model import CHGNet, model
from chgnet.model.composition_model import AtomRef
from torch import Tensor, nn

from taafs_plugins.adapters.chgnet.graph import angles, bonds, inside, reach, seen
from taafs_plugins.adapters.patching import HostError

GPA = 160.21766208  # CHGNet's, GPa per eV/A^3


def _sum(rows: Tensor, owners: Tensor, count: int) -> Tensor:
    return rows.new_zeros([count, rows.shape[1]]).index_add_(0, owners, rows)


def _first(rows: Tensor, count: int) -> Tensor:
    return rows if count == rows.shape[0] else rows.narrow(0, 0, count)


class Update(nn.Module):
    """What AtomConv and BondConv do to the sum of the messages: output layer, residual, norm."""

    def __init__(self, layer: nn.Module, norm: nn.Module | None) -> None:
        super().__init__()
        self.mlp_out = layer.mlp_out if layer.use_mlp_out else nn.Identity()
        self.resnet: bool = layer.resnet
        self.norm = nn.Identity() if norm is None else norm

    def forward(self, messages: Tensor, features: Tensor) -> Tensor:
        new = self.mlp_out(messages)
        if self.resnet:
            new = new + features
        return self.norm(new)


class Unchanged(nn.Module):
    """Stands where a round has no bond layer."""

    def forward(self, messages: Tensor, features: Tensor) -> Tensor:
        return features


class Interaction(nn.Module):
    """One round: atoms from bonds, then bonds from angles, then angles; ``angle`` is False where CHGNet never reads the result."""

    def __init__(self, atom: nn.Module, bond: nn.Module | None, angle: nn.Module | None) -> None:
        super().__init__()
        self.atom_message, self.atom_update = atom.twoBody_atom, Update(atom, atom.atom_norm)
        self.with_bonds: bool = bond is not None
        self.with_angles: bool = bond is not None and angle is not None
        self.bond_message = bond.twoBody_bond if bond is not None else nn.Identity()
        self.bond_update = Update(bond, bond.bond_norm) if bond is not None else Unchanged()
        self.angle_message = angle.twoBody_bond if self.with_angles else nn.Identity()
        self.angle_resnet: bool = self.with_angles and angle.resnet
        self.angle_norm = angle.angle_norm if self.with_angles and angle.angle_norm is not None else nn.Identity()

    def atoms(
        self, atom: Tensor, bond: Tensor, weights: Tensor, centers: Tensor, neighbors: Tensor, undirected: Tensor, count: int
    ) -> Tensor:
        """AtomConv: new features of the first ``count`` atoms; ``centers``, ``neighbors`` and ``undirected`` are of their bonds alone."""
        parts = [atom.index_select(0, centers), bond.index_select(0, undirected), atom.index_select(0, neighbors)]
        messages = self.atom_message(torch.cat(parts, dim=1)) * weights.index_select(0, undirected)
        return self.atom_update(_sum(messages, centers, count), _first(atom, count))

    def bonds(
        self, atom: Tensor, bond: Tensor, angle: Tensor, weights: Tensor, centers: Tensor, left: Tensor, right: Tensor, count: int
    ) -> Tensor:
        """BondConv of the first ``count`` bonds; of angles, ``centers`` [a] atoms, ``left`` (below ``count``) and ``right`` [a] bonds."""
        if not self.with_bonds:
            return bond
        parts = [bond.index_select(0, left), bond.index_select(0, right), angle, atom.index_select(0, centers)]
        messages = self.bond_message(torch.cat(parts, dim=1)) * weights.index_select(0, left) * weights.index_select(0, right)
        return self.bond_update(_sum(messages, left, count), _first(bond, count))

    def angles(self, atom: Tensor, bond: Tensor, angle: Tensor, centers: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """AngleUpdate."""
        if not self.with_angles:
            return angle
        parts = [bond.index_select(0, left), bond.index_select(0, right), angle, atom.index_select(0, centers)]
        new = self.angle_message(torch.cat(parts, dim=1))
        return self.angle_norm(new + angle if self.angle_resnet else new)


class Bessel(nn.Module):
    """CHGNet's RadialBessel, in float64: the cutoff polynomial takes numbers of up to 48 from each other to make 0."""

    def __init__(self, basis: nn.Module) -> None:
        super().__init__()
        self.frequencies = basis.frequencies
        self.inv_cutoff, self.norm_const = float(basis.inv_cutoff), float(basis.norm_const)
        self.smooth_cutoff = basis.smooth_cutoff
        self.smooth: bool = basis.smooth_cutoff is not None

    def forward(self, lengths: Tensor) -> Tensor:
        """[b] float64 -> [b, num_radial] of the model's dtype."""
        r = lengths[:, None]
        out = self.norm_const * torch.sin(self.frequencies.double() * (r * self.inv_cutoff)) / r
        if self.smooth_cutoff is not None:
            out = self.smooth_cutoff(r) * out
        return out.to(self.frequencies.dtype)


class ExportedCHGNet(nn.Module):
    """A CHGNet behind the contract of exported files. Energies [n] in eV are float64, the composition model included."""

    def __init__(self, chgnet: CHGNet) -> None:
        super().__init__()
        self.atom_cutoff = float(chgnet.graph_converter.atom_graph_cutoff)
        self.bond_cutoff = float(chgnet.graph_converter.bond_graph_cutoff)
        self.atom_embedding = chgnet.atom_embedding.embedding
        self.radial_atoms = Bessel(chgnet.bond_basis_expansion.rbf_expansion_ag)
        self.radial_bonds = Bessel(chgnet.bond_basis_expansion.rbf_expansion_bg)
        self.bond_embedding, self.angle_embedding = chgnet.bond_embedding, chgnet.angle_embedding
        self.bond_weights_ag, self.bond_weights_bg = chgnet.bond_weights_ag, chgnet.bond_weights_bg
        self.frequencies = chgnet.angle_basis_expansion.fourier_expansion.frequencies
        # as CHGNet computes it, in float32 also in a float64 model
        self.constant = float(1 / torch.sqrt(torch.tensor([2], device="cpu")))
        self.root_pi = math.sqrt(math.pi)
        bond_layers, angle_layers = list(chgnet.bond_conv_layers), list(chgnet.angle_layers)
        angle_layers[-1] = None  # CHGNet computes the last one and never reads it
        rounds = zip(chgnet.atom_conv_layers[:-1], bond_layers, angle_layers, strict=True)
        self.interactions = nn.ModuleList([Interaction(*layers) for layers in rounds])
        self.last = Interaction(chgnet.atom_conv_layers[-1], None, None)
        self.readout = nn.Sequential(nn.Identity() if chgnet.readout_norm is None else chgnet.readout_norm, chgnet.mlp)
        self.site_wise = chgnet.site_wise
        composition = chgnet.composition_model
        embedding = chgnet.atom_embedding.embedding.weight
        shifts = embedding.new_zeros(len(embedding)) if composition is None else composition.fc.weight[0]
        self.register_buffer("composition", shifts.detach().double())

    def angle_basis(self, left: Tensor, right: Tensor) -> Tensor:
        """CHGNet's AngleEncoder of unit vectors: [a, 3] -> [a, num_angular]."""
        angle = torch.acos((left * right).sum(1) * (1 - 1e-6))
        waves = torch.outer(angle, self.frequencies)
        first = torch.full_like(angle, self.constant)[:, None]
        return torch.cat([first, torch.sin(waves), torch.cos(waves)], dim=1) / self.root_pi

    def graph(self, pos: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Of directed bonds [b]: center, neighbor, undirected bond, unit vector; of undirected ones [u]: a directed bond, the length."""
        dtype = pos.dtype
        pos, offsets = pos.double(), offsets.double()
        pairs, undirected, directed = bonds(pos, idx_i, idx_j, offsets, self.atom_cutoff)
        centers, neighbors = idx_i.index_select(0, pairs), idx_j.index_select(0, pairs)
        vectors = pos.index_select(0, centers) - pos.index_select(0, neighbors) - offsets.index_select(0, pairs)
        lengths = torch.linalg.norm(vectors, dim=1)
        return centers, neighbors, undirected, (vectors / lengths[:, None]).to(dtype), directed, lengths.index_select(0, directed)

    def features(
        self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor, ends: Tensor, any_angle: bool
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Before the last round, of what it reads: atoms, bonds, weights [u, :]; centers, neighbors and undirected bond [b] of each bond.

        A round is computed as far out as later ones look: the first of n_conv for atoms up to n_conv - 1 hops away, the last for the owned.
        """
        centers, neighbors, undirected, unit, directed, length = self.graph(pos, idx_i, idx_j, offsets)
        atoms_to, directed_to, undirected_to = reach(centers, directed, ends, Z.shape[0], len(self.interactions) + 1)
        hop = len(self.interactions)  # how far out this round is needed
        basis = self.radial_atoms(length)
        atom, bond, weights = self.atom_embedding(Z - 1), self.bond_embedding(basis), self.bond_weights_ag(basis)
        bond_weights = self.bond_weights_bg(self.radial_bonds(length))
        short = (length < self.bond_cutoff).index_select(0, _first(undirected, directed_to[hop])).nonzero().flatten()
        first, second = angles(centers, short, Z.shape[0])
        if ends.shape[0] > 0:
            first, second = seen(first, second, undirected, undirected_to[hop - 1])
        left, right = undirected.index_select(0, first), undirected.index_select(0, second)
        at = centers.index_select(0, first)
        angle = self.angle_embedding(self.angle_basis(unit.index_select(0, first), unit.index_select(0, second)))
        any_angle = any_angle or first.shape[0] > 0
        for interaction in self.interactions:
            centers, neighbors = _first(centers, directed_to[hop]), _first(neighbors, directed_to[hop])
            undirected = _first(undirected, directed_to[hop])
            atom = interaction.atoms(atom, bond, weights, centers, neighbors, undirected, atoms_to[hop])
            if any_angle:  # without any CHGNet leaves the bonds as they are
                bond = interaction.bonds(atom, bond, angle, bond_weights, at, left, right, undirected_to[hop - 1])
                if ends.shape[0] > 0 and hop > 1:
                    at, left, right, angle = inside(at, left, right, angle, atoms_to[hop - 1], undirected_to[hop - 2])
                angle = interaction.angles(atom, bond, angle, at, left, right)
            hop -= 1
        owned = directed_to[0]
        return atom, bond, weights, _first(centers, owned), _first(neighbors, owned), _first(undirected, owned)

    def energies(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor, ends: Tensor, any_angle: bool) -> Tensor:
        """Of the owned atoms."""
        atom, bond, weights, centers, neighbors, undirected = self.features(pos, Z, idx_i, idx_j, offsets, ends, any_angle)
        count = Z.shape[0] if ends.shape[0] == 0 else int(ends[0])
        atom = self.last.atoms(atom, bond, weights, centers, neighbors, undirected, count)
        return self.readout(atom).squeeze(1).double() + self.composition.index_select(0, _first(Z, count) - 1)

    def forward(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> Tensor:
        """Energies [n]; see :mod:`taafs_plugins.md.contract`."""
        return self.energies(pos, Z, idx_i, idx_j, offsets, Z[:0], False)

    @torch.jit.export
    def magmoms(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor) -> Tensor:
        """Magnetic moments [n], Bohr magnetons."""
        return self.site_wise(self.features(pos, Z, idx_i, idx_j, offsets, Z[:0], False)[0]).abs().squeeze(1)

    @torch.jit.export
    def owned(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor, ends: Tensor, any_angle: bool) -> Tensor:
        """Energies of the owned atoms alone."""
        return self.energies(pos, Z, idx_i, idx_j, offsets, ends, any_angle)

    @torch.jit.export
    def owned_magmoms(self, pos: Tensor, Z: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor, ends: Tensor, any_angle: bool) -> Tensor:
        """Their magnetic moments."""
        atom = self.features(pos, Z, idx_i, idx_j, offsets, ends, any_angle)[0]
        return self.site_wise(_first(atom, int(ends[0]))).abs().squeeze(1)


def export_module(chgnet: CHGNet, energy_unit: str | None) -> tuple[nn.Module, dict[str, Any]]:
    """See :meth:`Adapter.export_module`; CHGNet's energies are eV."""
    composition = chgnet.composition_model
    if not chgnet.mlp_first:
        raise HostError("This CHGNet reads out the whole crystal (mlp_first=False) and has no energies of atoms; it cannot be exported.")
    if not (composition is None or isinstance(composition, AtomRef)):
        raise HostError(f"The composition model {type(composition).__name__} has no energies of atoms; AtomRef can be exported.")
    if composition is not None and composition.is_intensive != chgnet.is_intensive:
        raise HostError("is_intensive of the network and of its composition model differ, so their energies do not add up per atom.")
    if chgnet.n_conv < 2:
        raise HostError("CHGNet with n_conv=1 predicts no magnetic moments and cannot be exported.")
    chgnet = copy.deepcopy(chgnet)
    for module in chgnet.modules():
        if isinstance(module, nn.Dropout):
            module.p = float(module.p)  # CHGNet's default is the int 0, which TorchScript refuses
    return ExportedCHGNet(chgnet), {
        "cutoff": float(chgnet.graph_converter.atom_graph_cutoff), "hops": int(chgnet.n_conv), "modes": ("owner", "ghost"),
        "angle_cutoff": float(min(chgnet.graph_converter.bond_graph_cutoff, chgnet.graph_converter.atom_graph_cutoff)),
        "energy_unit": energy_unit or "eV", "elements": tuple(range(1, chgnet.atom_embedding.embedding.num_embeddings + 1)),
        "dtype": str(chgnet.site_wise.weight.dtype).removeprefix("torch."),
    }  # fmt: skip


def reference(chgnet: CHGNet, atoms: Any) -> dict[str, Any]:
    """See :meth:`Adapter.reference`: ``predict_graph``, as CHGNet's own ASE calculator calls it. Isolated atoms are let through."""
    from pymatgen.io.ase import AseAtomsAdaptor

    if not atoms.pbc.all():
        raise HostError("CHGNet itself predicts periodic structures only; compare on structures that are periodic in three directions.")
    chgnet.graph_converter.set_isolated_atom_response("ignore")
    with precision(chgnet):
        graph = chgnet.graph_converter(AseAtomsAdaptor.get_structure(atoms))
        found = chgnet.predict_graph(graph, task="efsm")
    size = len(atoms) if chgnet.is_intensive else 1
    return {"energy": float(found["e"]) * size, "forces": found["f"], "stress": found["s"] / GPA, "magmoms": found["m"]}


@contextlib.contextmanager
def precision(chgnet: CHGNet):
    """Let CHGNet's graphs and composition model follow a network in float64; CHGNet writes float32 into both."""
    dtype = chgnet.site_wise.weight.dtype
    if dtype == torch.float32:
        yield
        return
    modules = (converter, crystalgraph, model)
    before = [module.TORCH_DTYPE for module in modules]
    composition = chgnet.composition_model

    def double(graphs: list) -> Tensor:
        energies = [sites.to(dtype) for sites in composition.get_site_energies(graphs)]
        return torch.stack([sites.mean() if composition.is_intensive else sites.sum() for sites in energies])

    for module in modules:
        module.TORCH_DTYPE = dtype
    if composition is not None:
        composition.forward = double
    try:
        yield
    finally:
        if composition is not None:
            del composition.forward
        for module, value in zip(modules, before, strict=True):
            module.TORCH_DTYPE = value
