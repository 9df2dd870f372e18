"""The kernels' code paths for processors other than this one, asked for by ``TAAFS_KERNEL_ARCH``; and both forms of autograd."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from taafs_plugins.native import operators as fused_build

ROOT = Path(__file__).parent.parent
NEEDS = {"baseline": set(), "avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl"}}
FORMS = [(arch, "") for arch in NEEDS] + [("native", "1")]
FORM_NAMES = [*NEEDS, "public autograd"]

# Every basis, over the bases inside the kernels: a step of force training against plain operators.
STEPS = """
import torch
from taafs_plugins.activations import basis_names, make_activation, use_engine
from taafs_plugins.activations.taafs import fused
assert fused.operator() is not None
torch.manual_seed(0)

def step(act, z):
    z = z.clone().requires_grad_()
    y = act(z)
    (gz,) = torch.autograd.grad(y.sin().sum(), z, create_graph=True)
    return [y, gz, *torch.autograd.grad(gz.square().sum() + y.square().sum(), (z, *act.parameters()))]

for name in basis_names():
    for share in ("layer", "neuron"):
        for base in ("tanh", "silu", "celu(0.1)"):
            for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-4)):
                act = make_activation(f"taafs:{name},share={share}", base, width=7, dtype=dtype)
                act.delta.data = 0.3 * torch.randn_like(act.delta)
                z = 1.5 * torch.randn(83, 7, dtype=dtype)
                use_engine("fused")
                ours = step(act, z)
                use_engine("plain")
                for a, b in zip(ours, step(act.double(), z.double()), strict=True):
                    assert (a.double() - b).abs().max() < tolerance * b.abs().max(), (name, share, base, dtype)
"""


def run(arch: str, public: str, *command: str) -> None:
    environ = {**os.environ, fused_build.ARCH: arch, fused_build.PUBLIC: public, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def check_processor(arch: str) -> None:
    """Code for instructions that this processor lacks is compiled here, and not run."""
    if not NEEDS.get(arch, set()) <= fused_build.instruction_sets():
        run(arch, "", "-c", "from taafs_plugins.native.operators import library; assert library().is_file()")
        pytest.skip(f"this processor has no {arch}: built, not run")


@pytest.mark.parametrize(("arch", "public"), FORMS, ids=FORM_NAMES)
def test_same_numbers_on_every_code_path(arch, public):
    check_processor(arch)
    run(arch, public, "-c", STEPS)


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "public"), [("baseline", ""), ("native", "1")], ids=["baseline", "public autograd"])
def test_transformations_hold_on_other_code_paths(arch, public):
    """What is left of the kernels' own tests is run on every path by hand: TAAFS_KERNEL_ARCH=avx2 pytest tests/test_fused.py."""
    check_processor(arch)
    run(arch, public, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/test_transformations.py", "-k", "bspline or rational")


def test_each_code_path_is_a_library_of_its_own(monkeypatch):
    sources = ROOT / "taafs_plugins" / "native" / "csrc"
    keys = []
    for arch, public in [("", ""), *FORMS]:
        monkeypatch.setenv(fused_build.ARCH, arch)
        monkeypatch.setenv(fused_build.PUBLIC, public)
        keys.append(fused_build._key(sources))
    assert len(set(keys)) == len(keys)


def test_an_unknown_code_path_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setenv(fused_build.ARCH, "avx3")
    with pytest.raises(fused_build.BuildError, match="TAAFS_KERNEL_ARCH=avx3 is unknown .choose native, baseline, avx2, avx512"):
        fused_build.library()
