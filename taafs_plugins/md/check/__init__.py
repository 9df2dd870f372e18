"""Whether a model's energy is smooth enough to run molecular dynamics with: scans, dimers and short runs, and a verdict.

``potential.py`` runs a model of any host in float64; ``lines.py`` says along which lines atoms are moved; ``curves.py`` measures the force
along a line; ``dynamics.py`` runs without a thermostat; ``verdict.py`` holds the limits with their reasons, and :func:`check`.
"""

from taafs_plugins.md.check.potential import HostPotential
from taafs_plugins.md.check.verdict import Report, Settings, check

__all__ = ["HostPotential", "Report", "Settings", "check"]
