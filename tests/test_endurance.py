"""What is damaged, cut off or made up ends in a sentence, and leaves what was there before. The long form: benchmarks/endurance.py."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from endurance_files import coefficient_file, exported_file, model, mutated
from hypothesis import given, settings
from hypothesis import strategies as st

from taafs_plugins.activations import SpecError, make_activation, parse_spec, resolve_spec
from taafs_plugins.coefficients import load_coefficients
from taafs_plugins.errors import TaafsError
from taafs_plugins.md import contract

WORDS = [
    "taafs",
    "leaf",
    "adact",
    "molu",
    "swish",
    "melu",
    "bspline",
    "fourier",
    "rational",
    "jacobi",
    "auto",
    "neuron",
    "global",
    "scaled",
    "none",
    "nan",
]
KEYS = [
    "grid",
    "order",
    "degree",
    "num",
    "den",
    "rate",
    "scale",
    "share",
    "residual",
    "squash",
    "init",
    "base",
    "theta",
    "seed",
    "k",
    "members",
    "alpha",
]
VALUES = st.one_of(
    st.sampled_from([*WORDS, "1/2", "0", "-1", "1e400", "inf", ""]),
    st.integers(-9, 10**9).map(str),
    st.floats().map(str),
    st.text(max_size=5),
)
PARTS = st.tuples(st.sampled_from(KEYS) | st.text(max_size=5), VALUES).map("=".join)
SPECS = st.one_of(
    st.text(max_size=40),
    st.tuples(st.sampled_from(WORDS), st.sampled_from(["", *[f":{word}" for word in WORDS]]), st.lists(PARTS, max_size=4)).map(
        lambda x: ",".join([x[0] + x[1], *x[2]])
    ),
)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(SPECS)
def test_any_text_is_a_spec_or_a_sentence(text):
    try:
        spec = resolve_spec(parse_spec(text))
    except SpecError as error:
        assert str(error) and "Traceback" not in str(error)
        return
    assert resolve_spec(parse_spec(str(spec))) == spec


@pytest.mark.parametrize("kind", ["exported", "coefficients"])
def test_damaged_files_are_a_sentence_or_load(tmp_path, kind):
    path = (exported_file if kind == "exported" else coefficient_file)(tmp_path)
    whole = path.read_bytes()
    rng = random.Random(1)
    for _ in range(60):
        path.write_bytes(mutated(whole, rng))
        try:
            contract.read(path) if kind == "exported" else load_coefficients(model(), path)
        except TaafsError as error:
            assert str(error)


WRITER = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from endurance_files import exported_file, coefficient_file
print("ready", flush=True)
while True:
    exported_file(Path(sys.argv[1])); coefficient_file(Path(sys.argv[1]))
"""


def test_a_kill_at_any_moment_leaves_whole_files(tmp_path):
    exported, coefficients = exported_file(tmp_path), coefficient_file(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), os.path.dirname(__file__)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    time.sleep(random.Random(2).uniform(0.0, 0.3))
    process.send_signal(signal.SIGKILL)
    process.wait()
    contract.read(exported)
    load_coefficients(model(), coefficients)


FULL = """
import resource, signal, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from endurance_files import exported_file, coefficient_file
from taafs_plugins.errors import TaafsError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
for write in (exported_file, coefficient_file):
    try:
        write(Path(sys.argv[1]))
    except (TaafsError, OSError) as error:
        print(type(error).__name__, str(error))
    else:
        raise SystemExit("it was written")
"""


def test_a_full_disk_leaves_whole_files(tmp_path):
    exported, coefficients = exported_file(tmp_path), coefficient_file(tmp_path)
    before = exported.read_bytes(), coefficients.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path), os.path.dirname(__file__)], capture_output=True, text=True)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr[-800:]
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ExportError", "CoefficientFileError"]
    assert (exported.read_bytes(), coefficients.read_bytes()) == before
    assert {entry.name for entry in tmp_path.iterdir()} == {exported.name, coefficients.name}


@pytest.mark.parametrize("spec", ["taafs:bspline", "taafs:chebyshev1,init=random", "taafs:rational,residual=scaled", "leaf", "adact"])
def test_the_same_seed_trains_the_same_bits(spec):
    def trained():
        torch.manual_seed(5)
        net = torch.nn.Sequential(torch.nn.Linear(3, 8), make_activation(spec, "tanh", width=8), torch.nn.Linear(8, 1)).double()
        x = torch.randn(16, 3, dtype=torch.float64).requires_grad_()
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(5):
            optimiser.zero_grad()
            y = net(x).sum()
            (force,) = torch.autograd.grad(y, x, create_graph=True)
            (y.square() + force.square().sum()).backward()
            optimiser.step()
        return net.state_dict()

    first, second = trained(), trained()
    assert all(torch.equal(value, second[key]) for key, value in first.items())
