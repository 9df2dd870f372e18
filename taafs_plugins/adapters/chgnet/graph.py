"""CHGNet's graphs out of a list of directed pairs, in tensor operations that TorchScript compiles.

CHGNet makes them from a pymatgen structure in C or Python (``chgnet.graph``): the atom graph of directed bonds, each knowing its
undirected bond, and the bond graph (line graph) of the angles between short bonds at each atom.
"""

from __future__ import annotations

import torch
from torch import Tensor


def expand(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Of ``counts`` [m]: the row of each item [sum] and the item's place in its row [sum]."""
    rows = torch.repeat_interleave(torch.arange(counts.shape[0], device=counts.device), counts)
    starts = torch.cumsum(counts, 0) - counts
    return rows, torch.arange(rows.shape[0], device=counts.device) - starts.index_select(0, rows)


def reverse_of(idx_i: Tensor, idx_j: Tensor, offsets: Tensor, atoms: int) -> Tensor:
    """For each pair (i, j, offset) the place of (j, i, -offset) in the list, or -1: [p]."""
    order = torch.argsort(idx_i * atoms + idx_j)
    keys = (idx_i * atoms + idx_j).index_select(0, order)
    wanted = idx_j * atoms + idx_i
    first = torch.searchsorted(keys, wanted)
    rows, place = expand(torch.searchsorted(keys, wanted, right=True) - first)
    candidates = order.index_select(0, first.index_select(0, rows) + place)
    # opposite but for rounding; two images of one atom are a lattice vector apart, which is far longer than this (Angstrom)
    away = offsets.index_select(0, rows) + offsets.index_select(0, candidates)
    found = (away.abs().amax(1) < 0.1).nonzero().flatten() if rows.shape[0] > 0 else rows
    reverse = torch.full_like(idx_i, -1)
    reverse[rows.index_select(0, found)] = candidates.index_select(0, found)
    return reverse


def bonds(pos: Tensor, idx_i: Tensor, idx_j: Tensor, offsets: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """The atom graph of the pairs within ``cutoff``; no gradient passes.

    Returns
    -------
    pairs [b] : places of the directed bonds in the list of pairs
    undirected [b] : the undirected bond of each directed one
    directed [b/2] : one directed bond of each undirected one

    Raises
    ------
    RuntimeError
        A pair within the cutoff without its reverse, as in a half list.
    """
    edge = 1e-3  # Angstrom; so near to the cutoff the reverse may be missing by rounding, and a bond weighs nothing
    pos, offsets = pos.detach(), offsets.detach()
    lengths = torch.linalg.norm(pos.index_select(0, idx_j) + offsets - pos.index_select(0, idx_i), dim=1)
    near = (lengths < cutoff + edge).nonzero().flatten()
    lengths = lengths.index_select(0, near)
    reverse = reverse_of(idx_i.index_select(0, near), idx_j.index_select(0, near), offsets.index_select(0, near), pos.shape[0])
    if bool(((reverse < 0) & (lengths < cutoff - edge)).any()):
        raise RuntimeError("CHGNet needs every pair of atoms in both directions")
    # the sum of both lengths is the same for both
    kept = ((reverse >= 0) & (lengths + lengths.index_select(0, reverse.clamp(min=0)) < 2 * cutoff)).nonzero().flatten()
    count = torch.arange(kept.shape[0], device=pos.device)
    renumbered = torch.zeros_like(reverse)
    renumbered[kept] = count
    reverse = renumbered.index_select(0, reverse.index_select(0, kept))
    directed = (count < reverse).nonzero().flatten()
    undirected = torch.zeros_like(reverse)
    numbers = torch.arange(directed.shape[0], device=pos.device)
    undirected[directed] = numbers
    undirected[reverse.index_select(0, directed)] = numbers
    return near.index_select(0, kept), undirected, directed


def angles(centers: Tensor, short: Tensor, atoms: int) -> tuple[Tensor, Tensor]:
    """Every ordered pair of different short bonds at one atom: first [a], second [a], places in the list of directed bonds.

    ``centers`` [b] is the atom that each bond starts at; ``short`` are places of the short bonds in it.
    """
    at = centers.index_select(0, short)
    order = torch.argsort(at)
    short, at = short.index_select(0, order), at.index_select(0, order)
    counts = torch.bincount(at, minlength=atoms)
    starts = torch.cumsum(counts, 0) - counts
    first, place = expand(counts.index_select(0, at))
    second = starts.index_select(0, at.index_select(0, first)) + place
    other = (first != second).nonzero().flatten()
    return short.index_select(0, first.index_select(0, other)), short.index_select(0, second.index_select(0, other))


def reach(centers: Tensor, directed: Tensor, ends: Tensor, atoms: int, hops: int) -> tuple[list[int], list[int], list[int]]:
    """How many atoms, directed and undirected bonds lie within h hops of the owned atoms, for h = 0 ... ``hops``; without ``ends`` all.

    A directed bond lies where its first atom does, an undirected one where its nearer end does.

    Parameters
    ----------
    centers [b], directed [u] : as :func:`bonds` gives them
    ends : [hops + 1] how many of the atoms lie within h hops, or empty

    Raises
    ------
    RuntimeError
        Bonds that are not in the order of the hops of their first atoms.
    """
    if ends.shape[0] == 0:
        return [atoms] * (hops + 1), [centers.shape[0]] * (hops + 1), [directed.shape[0]] * (hops + 1)
    hop = torch.searchsorted(ends, centers, right=True)
    if bool((hop[1:] < hop[:-1]).any()):
        raise RuntimeError("pairs must be in the order of the hops of their first atoms")
    wanted = torch.arange(hops + 1, device=centers.device)
    atoms_to: list[int] = ends.tolist()
    directed_to: list[int] = torch.searchsorted(hop, wanted, right=True).tolist()
    undirected_to: list[int] = torch.searchsorted(hop.index_select(0, directed), wanted, right=True).tolist()
    return atoms_to, directed_to, undirected_to


def seen(first: Tensor, second: Tensor, undirected: Tensor, bonds: int) -> tuple[Tensor, Tensor]:
    """Of angles (places of their two directed bonds), those whose first bond is one of the first ``bonds``."""
    kept = (undirected.index_select(0, first) < bonds).nonzero().flatten()
    return first.index_select(0, kept), second.index_select(0, kept)


def inside(at: Tensor, left: Tensor, right: Tensor, angle: Tensor, atoms: int, bonds: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of angles (their atoms, bonds and features), those at the first ``atoms`` whose left bond is one of the first ``bonds``."""
    kept = ((at < atoms) & (left < bonds)).nonzero().flatten()
    return at.index_select(0, kept), left.index_select(0, kept), right.index_select(0, kept), angle.index_select(0, kept)
