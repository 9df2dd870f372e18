"""The long form of tests/test_endurance.py: 10,000 made-up specs and 2,000 damaged files, resumable, results stored.

``python benchmarks/endurance.py``; a run that was stopped goes on where it was. Anything but a result or a ``TaafsError`` stops it.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from endurance_files import coefficient_file, exported_file, model, mutated  # noqa: E402
from test_endurance import KEYS, WORDS  # noqa: E402

from taafs_plugins.activations import parse_spec, resolve_spec  # noqa: E402
from taafs_plugins.coefficients import load_coefficients  # noqa: E402
from taafs_plugins.errors import TaafsError  # noqa: E402
from taafs_plugins.md import contract  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "endurance.json"
CASES = {"specs": 10_000, "exported files": 1_000, "coefficient files": 1_000}
STEP = 100


def made_up(rng: random.Random) -> str:
    """A text that looks like a spec."""
    value = [*WORDS, "1", "-3", "0", "1e9", "1e400", "nan", "1/2", "", "\u00e9", "=", ","]
    parts = [f"{rng.choice(KEYS)}={rng.choice(value)}" for _ in range(rng.randrange(5))]
    text = ",".join([f"{rng.choice(WORDS)}{rng.choice(['', ':' + rng.choice(WORDS)])}", *parts])
    return text if rng.random() < 0.7 else "".join(chr(ord(c) ^ (rng.random() < 0.1)) for c in text)


def outcome(kind: str, seed: int, folder: Path) -> str:
    """``good`` or ``sentence``; anything else raises."""
    rng = random.Random(seed)
    try:
        if kind == "specs":
            resolve_spec(parse_spec(made_up(rng)))
        else:
            path = (exported_file if kind == "exported files" else coefficient_file)(folder)
            path.write_bytes(mutated(path.read_bytes(), rng))
            contract.read(path) if kind == "exported files" else load_coefficients(model(), path)
    except TaafsError:
        return "sentence"
    return "good"


def main() -> None:
    """Run what is not stored yet."""
    done = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, count in CASES.items():
            found = done.setdefault(kind, {"cases": 0, "good": 0, "sentence": 0})
            while found["cases"] < count:
                for seed in range(found["cases"], found["cases"] + STEP):
                    found[outcome(kind, seed, Path(folder))] += 1
                found["cases"] += STEP
                RESULTS.write_text(json.dumps(done, indent=1) + "\n")
    print(json.dumps(done, indent=1))


if __name__ == "__main__":
    main()
