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
        A pair within the cutoff without its reverse: a half list, or ghosts that are atoms of their own.
    """
    edge = 1e-3  # Angstrom; so near to the cutoff the reverse may be missing by rounding, and a bond weighs nothing
    pos, offsets = pos.detach(), offsets.detach()
    lengths = torch.linalg.norm(pos.index_select(0, idx_j) + offsets - pos.index_select(0, idx_i), dim=1)
    near = (lengths < cutoff + edge).nonzero().flatten()
    lengths = lengths.index_select(0, near)
    reverse = reverse_of(idx_i.index_select(0, near), idx_j.index_select(0, near), offsets.index_select(0, near), pos.shape[0])
    if bool(((reverse < 0) & (lengths < cutoff - edge)).any()):
        raise RuntimeError("CHGNet needs every pair in both directions, with ghosts mapped to their owners (mode owner)")
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
