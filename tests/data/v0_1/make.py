"""What wrote the files of this folder, with version 0.1 of taafs-plugins.

The hosts' versions (DeePMD-kit 3.2.0, CHGNet 0.4.2, SchNetPack 2.2.0, TorchANI 2.9.0) and those of torch and numpy are in each JSON file.

History: the tests read the files and never run this. Run by a later version it would write that version's files, which proves nothing
about old ones; so it refuses to overwrite a folder that is there.

    OMP_NUM_THREADS=1 python tests/data/v0_1/make.py core deepmd chgnet schnetpack torchani training
    OMP_NUM_THREADS=1 python tests/data/v0_1/make.py --check

The second repeats the trainings (half a minute) and says of each whether losses and final weights are equal to the last bit, which they
should be on the kind of processor that made ``training.json``.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import platform
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "stored"))

from stored_files import described, write_json  # noqa: E402, F401 - the modules below find it

import taafs_plugins as taafs  # noqa: E402

HOSTS = {"deepmd": "deepmd-kit", "chgnet": "chgnet", "schnetpack": "schnetpack", "torchani": "torchani"}


def trainings() -> dict[str, dict]:
    """Every short training, as the present code runs it."""
    import stored_core

    found = {f"core {spec}": stored_core.train(spec) for spec in stored_core.TRAINED}
    for host in HOSTS:
        print(f"training {host} ...", flush=True)
        found[host] = importlib.import_module(f"stored_{host}").train()
    return found


def check() -> int:
    """Print for each training whether all bits of its final weights are those stored; returns how many are not."""
    stored, others = json.loads((HERE / "training.json").read_text())["runs"], 0
    for name, run in trainings().items():
        same = run["digest"] == stored[name]["digest"]
        losses = run["losses"] == stored[name]["losses"]
        others += not (same and losses)
        print(f"{name}: weights {'equal' if same else 'NOT equal'} to the last bit, losses {'equal' if losses else 'NOT equal'}")
    print("All digests are bit-equal." if not others else f"{others} trainings differ.")
    return others


def versions() -> dict[str, str]:
    """Of everything that has a part in the numbers."""
    packages = ("torch", "numpy", *HOSTS.values())
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"taafs-plugins": taafs.__version__, "python": platform.python_version(), **found}


def main(names: list[str]) -> int:
    """See the top of this file."""
    if names == ["--check"]:
        taafs.enable("chgnet")
        return int(check() > 0)
    if not names:
        sys.exit(__doc__)
    taafs.enable("chgnet")
    for name in names:
        if name == "training":
            write_json(HERE / "training.json", {"versions": versions(), "runs": trainings()})
            continue
        folder = HERE / name
        if folder.exists():
            sys.exit(f"{folder} is there already; remove it first if version {taafs.__version__} is what its files should come from.")
        folder.mkdir()
        importlib.import_module(f"stored_{name}").make(folder)
        content = json.loads((folder / "references.json").read_text())
        write_json(folder / "references.json", {"versions": versions(), **content})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
