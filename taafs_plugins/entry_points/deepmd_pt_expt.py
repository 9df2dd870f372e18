"""Loaded by ``import deepmd.pt_expt`` through the entry-point group of the same name."""
