"""Hydra config groups for SchNetPack: ``spktrain ... +taafs=chebyshev1`` (see docs/schnetpack.md)."""
