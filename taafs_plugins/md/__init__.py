"""Molecular dynamics with exported models: the file's contract, the LAMMPS pair style, and the way through ``fix external``."""
