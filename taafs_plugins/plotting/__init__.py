"""Pictures: learned curves next to the stock activation, trainings, predictions beside reference values, total energy against time.

Files are PNG, SVG or PDF by their ending; colours are told apart by people with any colour vision.
"""

from taafs_plugins.plotting.animation import animated
from taafs_plugins.plotting.common import PALETTE, SKY, colors, short
from taafs_plugins.plotting.curves import curves, curves_of_runs, inputs_of
from taafs_plugins.plotting.energy import energies, energies_one_by_one, energy_panels
from taafs_plugins.plotting.interactive import interactive
from taafs_plugins.plotting.md_check import md_check
from taafs_plugins.plotting.parity import forgetting, parity
from taafs_plugins.plotting.training import Log, LogError, Series, read_log, training

__all__ = [
    "PALETTE", "SKY", "Log", "LogError", "Series", "animated", "colors", "curves", "curves_of_runs", "energies", "energies_one_by_one",
    "energy_panels", "forgetting", "inputs_of", "interactive", "md_check", "parity", "read_log", "short", "training",
]  # fmt: skip
