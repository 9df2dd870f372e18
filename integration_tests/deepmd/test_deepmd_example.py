"""examples/deepmd: its inputs are valid and differ in what the text says; every step of run.sh works, with fewer steps."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from taafs_plugins.experiments import deepmd

EXAMPLE = Path(__file__).parents[2] / "examples" / "deepmd"


def test_the_two_inputs_differ_in_activation_and_learning_rate_only():
    tanh, taafs = (json.loads((EXAMPLE / f"input_{name}.json").read_text()) for name in ("tanh", "taafs"))
    for part in ("descriptor", "fitting_net"):
        assert tanh["model"][part].pop("activation_function") == "tanh"
        assert taafs["model"][part].pop("activation_function") == "taafs:chebyshev1"
    for config in (tanh, taafs):
        config["learning_rate"].pop("start_lr")
    assert tanh == taafs


@pytest.mark.long
@pytest.mark.slow
def test_every_step_of_the_example(tmp_path):
    folder = tmp_path / "deepmd"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("data", "tanh", "taafs"))
    for name in ("tanh", "taafs"):
        config = json.loads((folder / f"input_{name}.json").read_text())
        config["training"].update(numb_steps=20, save_freq=20, disp_freq=10)
        config["learning_rate"]["decay_steps"] = 5
        (folder / f"input_{name}.json").write_text(json.dumps(config))
    script = (folder / "run.sh").read_text()
    assert "model.ckpt-3000.pt" in script and "run 200" in (folder / "in.lmp").read_text()
    (folder / "run.sh").write_text(script.replace("model.ckpt-3000.pt", "model.ckpt-20.pt"))
    (folder / "in.lmp").write_text((folder / "in.lmp").read_text().replace("run 200", "run 5"))
    env = deepmd.environment()
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    result = subprocess.run(["bash", "run.sh"], cwd=folder, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    lines = result.stdout.strip().splitlines()[-2:]
    assert [line.split(":")[0] for line in lines] == ["tanh", "TAAFS"] and all("force RMSE" in line and "eV" in line for line in lines)
    assert (folder / "curves.png").stat().st_size > 10000 and (folder / "curves.png").read_bytes() != (EXAMPLE / "curves.png").read_bytes()
