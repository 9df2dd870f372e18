"""The Triton kernels, without a GPU: by Triton's interpreter on CPU tensors, and compiled for a card that need not be there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from taafs_plugins.activations import make_activation, use_engine
from taafs_plugins.activations.taafs import gpu

if sys.platform != "linux":
    pytest.skip("Triton comes with torch on Linux only", allow_module_level=True)

# Runs in a process of its own: the interpreter is chosen when Triton is imported.
INTERPRETED = """
import sys, torch
from torch import nn
from taafs_plugins.activations.taafs import gpu
from taafs_plugins.activations import make_activation
from taafs_plugins.activations.taafs.engine import Curve, evaluate

def steps(by, z, w):
    z, w = z.clone().requires_grad_(), w.clone().requires_grad_()
    y = by(z, w)
    gy = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
    (gz,) = torch.autograd.grad(y, z, gy, create_graph=True)
    out = [y, gz, *torch.autograd.grad(gz.square().sum() + y.square().sum(), (z, w))]
    # all gradients at once, then a third derivative
    gz, gw = torch.autograd.grad(by(z, w).sin().sum(), (z, w), create_graph=True)
    (hz,) = torch.autograd.grad(gz.square().sum() + gw.square().sum(), z, create_graph=True)
    return [*out, gw, hz, *torch.autograd.grad(hz.sum(), (z, w))]

def compare(spec, squash, scale, shape, neurons, dtype):
    basis = make_activation(spec).basis
    assert gpu.kernel_shape(basis) is not None, spec
    torch.manual_seed(0)
    curve = Curve(basis, squash, scale)
    z = torch.randn(shape, dtype=dtype)
    z = z.clamp(-0.99, 0.99) if squash == "linear" else 1.5 * z
    w = torch.randn((shape[-1], basis.numbers) if neurons else basis.numbers, dtype=dtype)
    ours = steps(lambda z, w: gpu.curve_by_triton(z, w, curve), z, w)
    double = steps(lambda z, w: evaluate(z, w, curve), z.double(), w.double())
    for i, (a, b) in enumerate(zip(ours, double)):
        assert a.shape == b.shape and a.dtype == dtype
        off = ((a.double() - b).abs().max() / b.abs().max()).item()
        assert off < (3e-4 if dtype == torch.float32 else 1e-12), (spec, squash, shape, neurons, i, off)

SHAPES = [(83, 7), (5, 3, 25), (1, 1), (1000,), (40, 130)]
f32, f64 = torch.float32, torch.float64
for i, spec in enumerate(("taafs:chebyshev1", "taafs:bspline", "taafs:fourier", "taafs:grbf", "taafs:wavelet", "taafs:bessel",
             "taafs:chebyshev1,degree=1", "taafs:bspline,grid=1,order=2", "taafs:bspline,grid=10,order=5", "taafs:fourier,n=1")):
    for neurons in (False, True):
        compare(spec, "linear", 1.0, (83, 7), neurons, (f32, f64)[(i + neurons) % 2])
for squash in ("tanh", "softsign", "algebraic"):
    compare("taafs:chebyshev1", squash, 1.7, (83, 7), True, f64)
    compare("taafs:fourier", squash, 1.0, (5, 3, 25), False, f32)
for shape in SHAPES:
    compare("taafs:bspline", "tanh", 1.0, shape, True, f64)
    compare("taafs:chebyshev1", "tanh", 1.0, shape, False, f64)

# A strided input, an empty one, NaN and huge numbers.
curve = Curve(make_activation("taafs:bspline").basis, "tanh", 1.0)
w = torch.randn(8, dtype=f64)
wide = torch.randn(6, 40, dtype=f64)
assert torch.allclose(gpu.curve_by_triton(wide.t(), w, curve), evaluate(wide.t(), w, curve), rtol=1e-12, atol=1e-12)
empty = torch.zeros(0, 6, dtype=f64, requires_grad=True)
w.requires_grad_()
gz, gw = torch.autograd.grad(gpu.curve_by_triton(empty, w, curve).sum(), (empty, w))
assert gz.shape == (0, 6) and not gw.any()
z = torch.tensor([0.1, float("nan"), 1e300, -1e300], dtype=f64, requires_grad=True)
y = gpu.curve_by_triton(z, w, curve)
(gz,) = torch.autograd.grad(y.sum(), z)
assert y.isnan().tolist() == gz.isnan().tolist() == [False, True, False, False]

# The module as it calls them on a GPU: like the plain engine, stock to the last bit at zero coefficients.
for base in ("tanh", "silu"):
    for extra in ("", ",share=neuron", ",residual=scaled", ",scale=2"):
        act = make_activation("taafs:bspline,rate=3" + extra, base, width=7, dtype=f64)
        curve = Curve(act.basis, act.squash, act.sigma())
        z = torch.randn(50, 7, dtype=f64, requires_grad=True)
        y, stock = gpu.activation(act, z, curve), act.base(z)
        assert torch.equal(y, stock)
        assert torch.equal(torch.autograd.grad(y.sum(), z)[0], torch.autograd.grad(stock.sum(), z)[0])
        act.delta.data.normal_()
        results = []
        for by in (lambda z: gpu.activation(act, z, curve), act.plain):
            (gz,) = torch.autograd.grad(by(z).square().sum(), z, create_graph=True)
            results.append([gz, *torch.autograd.grad(gz.square().sum(), (z, *act.parameters()))])
        assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-10) for a, b in zip(*results))

# The force pass makes no sums, and two runs are equal to the last bit.
launch, sums = gpu._launch, []
gpu._launch = lambda *a, **k: (sums.append(k.get("sums", False)), launch(*a, **k))[1]
act = make_activation("taafs:fourier,share=neuron", width=7, dtype=f64)
curve = Curve(act.basis, "tanh", 1.0)
gpu.activation(act, z, curve)  # the check at first use
runs = []
for _ in range(2):
    sums.clear()
    (gz,) = torch.autograd.grad(gpu.activation(act, z, curve).sum(), z, create_graph=True)
    assert sums == [False, False], sums
    runs.append(torch.autograd.grad(gz.square().sum(), act.delta)[0])
    assert sums == [False, False, True], sums
assert torch.equal(*runs)
print("all as the Python engine")
"""

COMPILED = """
import itertools, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from taafs_plugins.activations.taafs import gpu_kernels as k

count = 0
for shape, (mode, sums), number in itertools.product(range(4), ((0, False), (1, False), (1, True), (2, True)), ("fp32", "fp64")):
    if number == "fp32" and mode == 1:
        continue  # the sums of mode 2, and values alone, are enough to see that float32 compiles
    constants = dict(MODE=mode, SUMS=sums, SHAPE=shape, SQUASH=count % 4, A=(0, 5, 4, 8)[shape], TERMS=(8, 4, 1, 1)[shape],
                     HAT=False, COLUMN_STEP=count % 2, ROWS=32, COLUMNS=128)
    names = k.sweep.arg_names
    signature = {name: "*" + number if name.endswith("_ptr") else "i32" for name in names} | dict.fromkeys(constants, "constexpr")
    done = triton.compile(ASTSource(k.sweep, signature, constants), target=GPUTarget("cuda", 80, 32), options={"num_warps": 8})
    assert "atom" not in done.asm["ptx"]
    if number == "fp64":  # no constant went through float32
        assert "cvt.f64.f32" not in done.asm["ptx"], (shape, mode)
    count += 1
print(count, "compiled")
"""


def run(script: str, tmp_path, **variables: str) -> str:
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1", **variables}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_interpreted_kernels_give_the_numbers_of_the_python_engine(tmp_path):
    assert "all as the Python engine" in run(INTERPRETED, tmp_path, TRITON_INTERPRET="1")


@pytest.mark.long
@pytest.mark.slow
def test_kernels_compile_for_a_gpu(tmp_path):
    """To PTX and machine code by Triton's own compiler and assembler; no card is needed for that. No atomics are in it."""
    assert "24 compiled" in run(COMPILED, tmp_path, TRITON_INTERPRET="0")


@pytest.mark.parametrize("engine", [None, "fused"])
def test_a_gpu_where_the_kernels_do_not_work(engine, monkeypatch, caplog):
    """Here: a CPU tensor, which compiled kernels cannot take. The Python engine is used, said once, or not by name."""
    act = make_activation("taafs:chebyshev1", dtype=torch.float64)
    z = torch.randn(10, 3, dtype=torch.float64)
    curve = gpu.Curve(act.basis, act.squash, 1.0)
    gpu.check.cache_clear(), gpu._say.cache_clear()
    use_engine(engine)
    try:
        if engine == "fused":
            with pytest.raises(RuntimeError, match="Triton kernels do not work here"):
                gpu.activation(act, z, curve)
        else:
            assert gpu.activation(act, z, curve) is None and gpu.activation(act, z, curve) is None
            assert len(caplog.records) == 1 and "Python engine is used on the GPU" in caplog.records[0].message
    finally:
        use_engine(None)
        gpu.check.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("basis", ["bspline", "chebyshev1", "fourier", "grbf", "wavelet"])
def test_on_a_gpu(basis, dtype):
    act = make_activation(f"taafs:{basis},share=neuron", width=25, dtype=dtype, device="cuda")
    shape = gpu.Curve(act.basis, "linear", 1.0)
    assert gpu.check(shape.basis, "linear", True, dtype, torch.device("cuda", torch.cuda.current_device())) is None
