"""Compiled kernels for families that are one formula: :mod:`.generate` writes them, :mod:`.library` builds them."""
