"""CONTRIBUTING.md's examples of a basis, a family and a host run as they stand there."""

import re
import subprocess
import sys
from pathlib import Path

TEXT = (Path(__file__).resolve().parent.parent / "CONTRIBUTING.md").read_text()


def test_the_examples_for_newcomers_run_as_they_are_printed(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    script = tmp_path / "examples.py"  # TorchScript reads the source of a formula, so it must lie in a file
    script.write_text("\n".join(blocks))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_file_that_newcomers_are_sent_to_is_there():
    root = Path(__file__).resolve().parent.parent
    named = re.findall(r"`([\w/]+\.(?:py|md|h|toml))`", TEXT)
    folders = (root, root / "taafs_plugins", root / "taafs_plugins/activations", root / "taafs_plugins/activations/taafs",
               root / "taafs_plugins/activations/families")  # fmt: skip
    assert len(named) > 15 and [name for name in named if not any((folder / name).is_file() for folder in folders)] == []
