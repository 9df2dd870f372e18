"""The compiled kernels beside being right: autograd's own rules, memory, machines without a compiler, export with the operator."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys

import pytest
import torch
from fused_checks import activation, force_training, fused_engine, spread, worst  # noqa: F401
from torch.autograd import forward_ad
from torch.utils.checkpoint import checkpoint

from taafs_plugins.activations.taafs import fused
from taafs_plugins.activations.taafs.exported import EXPORT
from taafs_plugins.native import operators as fused_build


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype):
    act = activation("taafs:chebyshev1", "silu", dtype=torch.float32)
    z = torch.randn(100).to(dtype)
    assert torch.equal(act(z), act(z.float()).to(dtype))


def test_the_force_pass_does_not_compute_the_coefficients_gradient():
    """Node by node: the backward of the force pass returns only what was asked for."""
    act = activation("taafs:bspline")
    z = spread("tanh", 1000, 8).requires_grad_()
    y = act(z)
    (gz,) = torch.autograd.grad(y.sum(), z, create_graph=True)
    # Had the force pass made the gradient of the coefficients, its node would have two outputs.
    assert "TaafsActivationBackward" in gz.grad_fn.name()
    assert len(gz.grad_fn._input_metadata) == 1
    y = act(z)
    gz, gd = torch.autograd.grad(y.sum(), (z, act.delta), create_graph=True)
    assert len(gz.grad_fn._input_metadata) == 2 and gd.grad_fn is gz.grad_fn


@pytest.mark.parametrize("base", ["tanh", "silu"])
def test_autograd_s_own_rules_hold(base):
    """What torch promises of every operator: a clear error instead of a wrong number, checkpoints, and memory that is given back."""
    act, z = activation("taafs:bspline", base), spread("tanh", 50, 4).requires_grad_()
    gz = torch.autograd.grad(act(z).square().sum(), z, create_graph=True)[0]
    expected = torch.autograd.grad(gz.square().sum(), (z, act.delta))

    y = act(z)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        y.sum().backward()
    gz = torch.autograd.grad(act(z).sum(), z, create_graph=True)[0]
    gz.sum().backward()
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        gz.sum().backward()
    y = act(z)
    with torch.no_grad():
        act.delta.mul_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    (slope,) = torch.autograd.grad(act(z).sum(), z)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(act(forward_ad.make_dual(z.detach(), torch.ones_like(z)))).tangent
    torch.testing.assert_close(tangent, slope, rtol=1e-12, atol=1e-12)

    y = checkpoint(act, z, use_reentrant=False)
    gz = torch.autograd.grad(y.square().sum(), z, create_graph=True)[0]
    for got, want in zip(torch.autograd.grad(gz.square().sum(), (z, act.delta)), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize("base", ["tanh", "silu"])
def test_no_graph_is_kept(base):
    """A node that held itself through its output would keep 8 MB a step."""
    act, z = activation("taafs:bspline", base), spread("tanh", 1000, 1000).requires_grad_()
    peaks = []
    for step in range(40):
        gz = torch.autograd.grad(act(z).sum(), z, create_graph=True)[0]
        torch.autograd.grad(gz.square().sum(), (z, act.delta))
        del gz
        if step in (5, 39):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    assert peaks[1] - peaks[0] < 100


def test_a_machine_without_a_compiler_uses_the_python_engine(monkeypatch, caplog, engine):
    def none():
        raise fused_build.BuildError("no C++ compiler was found")

    engine(None)
    monkeypatch.setattr(fused, "library", none)
    fused.operator.cache_clear()
    try:
        act = activation("taafs:chebyshev1")
        z = spread("tanh", 10, 3)
        with caplog.at_level(logging.INFO):
            got = force_training(act, z)
            force_training(act, z)
        assert len(caplog.records) == 1 and "no C++ compiler" in caplog.records[0].message
        engine("python")
        assert worst(got, force_training(act, z)) == 0
        engine("fused")
        with pytest.raises(RuntimeError, match="cannot be built"):
            act(z)
    finally:
        fused.operator.cache_clear()


def test_a_failed_build_says_where_the_compiler_output_is(monkeypatch, tmp_path):
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho no such header >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv(fused_build.CACHE, str(tmp_path / "cache"))
    with pytest.raises(fused_build.BuildError, match="build.log"):
        fused_build.library()
    assert "no such header" in next((tmp_path / "cache").glob("*/build.log")).read_text()


EXPORTED = """
import sys, torch
torch.ops.load_library(sys.argv[1])
model, (z, y, gz) = torch.jit.load(sys.argv[2]), torch.load(sys.argv[3])
x = z.clone().requires_grad_()
out = model(x)
assert torch.allclose(out, y, rtol=1e-12, atol=1e-12)
assert torch.allclose(torch.autograd.grad(out.sum(), x)[0], gz, rtol=1e-12, atol=1e-12)
assert "taafs" not in sys.modules and "taafs_plugins" not in sys.modules
"""


@pytest.mark.parametrize("base", ["tanh", "silu", "celu(0.1)", "gelu", "scaled"])
def test_exported_with_the_operator(base, monkeypatch, tmp_path):
    """Scripted, saved, and used by a fresh process that has the library but not this package."""
    monkeypatch.setenv(EXPORT, "operator")
    spec = "taafs:bspline,residual=scaled" if base == "scaled" else "taafs:bspline,share=neuron"
    act = activation(spec, "silu" if base == "scaled" else base, width=4)
    z = spread("tanh", 30, 4).requires_grad_()
    y = act(z)
    (gz,) = torch.autograd.grad(y.sum(), z)
    scripted = torch.jit.script(act)
    assert "taafs::activation" in str(scripted.inlined_graph)
    scripted.save(str(tmp_path / "model.pt"))
    torch.save((z.detach(), y.detach(), gz), tmp_path / "values.pt")
    arguments = [str(fused_build.build_operator_library()), str(tmp_path / "model.pt"), str(tmp_path / "values.pt")]
    done = subprocess.run([sys.executable, "-c", EXPORTED, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_exported_without_it(monkeypatch):
    act = activation("taafs:bspline")
    assert "taafs::activation" not in str(torch.jit.script(act).inlined_graph)
    monkeypatch.setenv(EXPORT, "opertor")
    with pytest.raises(ValueError, match="choose plain, folded or operator"):
        torch.jit.script(act)
