"""Shared by all tests: one thread, real data from the mirror folder next to the checkout when it is there, and readers of stored files."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
MIRROR = Path(__file__).resolve().parent.parent / "shared" / "data"
if "TAAFS_DATA_MIRROR" not in os.environ and MIRROR.is_dir():
    os.environ["TAAFS_DATA_MIRROR"] = str(MIRROR)
sys.path.insert(0, str(Path(__file__).resolve().parent / "tests" / "stored"))
