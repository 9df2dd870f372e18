"""Right to third order: every basis, share, squash and base, against every engine."""

import pytest
import torch
from torch.func import functional_call

import taafs_plugins as taafs
from taafs_plugins.activations import basis_names
from taafs_plugins.activations.taafs.engine import Curve, evaluate, project, use_engine
from taafs_plugins.activations.taafs.folded import SWEEP_ABOVE

torch.manual_seed(0)
F64 = torch.float64
CASES = [(basis, share, "tanh", "tanh") for basis in basis_names() for share in ("layer", "neuron")]
SQUASHES = ("softsign", "algebraic", "tanh")
CASES += [(basis, "layer", squash, "silu") for basis in ("bspline", "chebyshev1", "fourier") for squash in SQUASHES]
CASES += [("chebyshev1", "layer", "tanh", base) for base in ("gelu", "celu(0.1)", "shifted_softplus")]


def make(basis, share, squash="tanh", base="tanh", dtype=F64, extra="", width=3):
    spec = f"taafs:{basis},share={share},squash={squash}{extra}"
    act = taafs.make_activation(spec, base, width=width if share == "neuron" else None, dtype=dtype)
    generator = torch.Generator().manual_seed(1)
    act.delta.data = torch.randn(act.delta.shape, generator=generator, dtype=F64).to(dtype)
    return act


def points(n=4, width=3):
    """Inputs away from 0 (softsign) and from the knots of the default B-spline, where only one-sided derivatives exist."""
    generator = torch.Generator().manual_seed(2)
    z = torch.randn(n, width, generator=generator, dtype=F64) * 0.8
    u = torch.tanh(z)
    knots = torch.tensor([-0.6, -0.2, 0.2, 0.6, 0.0], dtype=F64)
    return torch.where((u[..., None] - knots).abs().amin(-1) < 0.02, z + 0.07, z).requires_grad_(True)


@pytest.mark.parametrize(("basis", "share", "squash", "base"), CASES)
def test_gradcheck_and_gradgradcheck_over_inputs_and_coefficients(basis, share, squash, base, engine):
    act = make(basis, share, squash, base)
    z = points()

    def function(z, delta):
        return functional_call(act, {"delta": delta}, z)

    assert torch.autograd.gradcheck(function, (z, act.delta))
    assert torch.autograd.gradgradcheck(function, (z, act.delta))


@pytest.mark.parametrize("residual", ["none", "scaled"])
def test_gradients_of_the_other_residuals(residual, engine):
    act = make("chebyshev1", "layer", extra=f",residual={residual}" + (",init=random" if residual == "none" else ""))
    names = [name for name, _ in act.named_parameters()]

    def function(z, *values):
        return functional_call(act, dict(zip(names, values, strict=True)), z)

    assert torch.autograd.gradgradcheck(function, (points(), *act.parameters()))


def force_loss_gradients(act, z, target):
    """Gradient of a force loss: the derivative of sum(y^2) in z, compared with a target, differentiated again."""
    energy = (act(z) ** 2).sum()
    (force,) = torch.autograd.grad(energy, z, create_graph=True)
    loss = ((force - target) ** 2).sum() + energy
    return [energy.detach(), force.detach(), *torch.autograd.grad(loss, [z, *act.parameters()])]


@pytest.mark.parametrize(("basis", "share", "squash", "base"), CASES)
def test_force_loss_gradient_is_that_of_plain_autograd(basis, share, squash, base, engine):
    act = make(basis, share, squash, base)
    generator = torch.Generator().manual_seed(5)
    z = (torch.randn(50, 3, generator=generator, dtype=F64) * 1.5).requires_grad_(True)
    target = torch.randn(50, 3, generator=generator, dtype=F64)
    ours = force_loss_gradients(act, z, target)
    use_engine("plain")
    reference = force_loss_gradients(act, z, target)
    for a, b in zip(ours, reference, strict=True):
        assert (a - b).abs().max() < 1e-11 * b.abs().max().clamp_min(1)


@pytest.mark.parametrize("basis", basis_names())
def test_third_derivative(basis, engine):
    act = make(basis, "layer")
    z = points()

    def derivatives():
        y, out = act(z).sum(), []
        for _ in range(3):
            (y_z,) = torch.autograd.grad(y, z, create_graph=True)
            out.append(y_z.detach())
            y = y_z.sum()
        return [*out, torch.autograd.grad(y, act.delta)[0]]

    ours = derivatives()
    use_engine("plain")
    for a, b in zip(ours, derivatives(), strict=True):
        assert (a - b).abs().max() < 1e-10 * b.abs().max().clamp_min(1)


@pytest.mark.parametrize("basis", [b for b in basis_names() if b != "rational"])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_evaluate_and_project_are_adjoint(basis, order):
    act = make(basis, "layer", "algebraic")
    curve = Curve(act.basis, "algebraic", 1.3)
    z, g, w = torch.randn(40, dtype=F64), torch.randn(40, dtype=F64), torch.randn(act.basis.numbers, dtype=F64)
    left, right = (g * evaluate(z, w, curve, order)).sum(), (w * project(z, g, curve, order)).sum()
    assert abs(left - right) < 1e-10 * abs(left).clamp_min(1)


@pytest.mark.parametrize("basis", basis_names())
@pytest.mark.parametrize("squash", ["tanh", "softsign", "algebraic"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_finite_everywhere_with_the_limits_of_the_squash(basis, squash, dtype, engine):
    act = make(basis, "layer", squash, "tanh", torch.float64 if dtype == F64 else torch.float32)
    knots = torch.atanh(torch.tensor([-0.6, -0.2, 0.2, 0.6]))
    z = torch.cat([torch.tensor([-1e30, -50.0, -9.01, -1e-30, 0.0, 1e-30, 9.01, 50.0, 1e30]), knots]).to(dtype).requires_grad_(True)
    y = act(z)
    assert y.dtype == dtype and bool(y.isfinite().all())
    (force,) = torch.autograd.grad(y.sum(), z, create_graph=True)
    gradients = torch.autograd.grad((force**2).sum() + y.sum(), [z, act.delta])
    assert bool(force.isfinite().all()) and all(bool(g.isfinite().all()) for g in gradients)
    with torch.no_grad():
        far = act(torch.tensor([-1e30, 1e30], dtype=dtype)).double()
        ends = act.plain_curve(torch.tensor([-1.0, 1.0], dtype=act.delta.dtype), act.theta).double() + torch.tensor([-1.0, 1.0])
        assert (far - ends).abs().max() < {torch.bfloat16: 0.2, torch.float32: 1e-4, torch.float64: 1e-12}[dtype]


@pytest.mark.parametrize("basis", basis_names())
def test_nan_in_nan_out(basis, engine):
    act = make(basis, "layer")
    z = torch.tensor([0.1, float("nan"), -0.3], dtype=F64, requires_grad=True)
    y = act(z)
    (force,) = torch.autograd.grad(y.sum(), z)
    assert y.isnan().tolist() == force.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("basis", basis_names())
@pytest.mark.parametrize("base", ["tanh", "silu", "gelu", "celu(0.1)"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_starts_as_exactly_the_stock_activation(basis, base, dtype, engine):
    act = taafs.make_activation(f"taafs:{basis}", base, dtype=dtype)
    generator = torch.Generator().manual_seed(4)
    z = (torch.randn(1003, 7, generator=generator, dtype=F64) * 3).to(dtype).requires_grad_(True)
    g = torch.randn(1003, 7, generator=generator, dtype=F64).to(dtype)
    ours, stock = act(z), act.base(z)
    assert torch.equal(ours, stock)
    assert torch.equal(torch.autograd.grad(ours, z, g)[0], torch.autograd.grad(stock, z, g)[0])


@pytest.mark.parametrize("basis", basis_names())
def test_scripted_form_gives_the_same_numbers_without_this_package(basis):
    act = make(basis, "neuron", base="silu")
    z = points(20)
    scripted = torch.jit.script(act)
    y, s = act(z), scripted(z)
    assert (y - s).abs().max() < 1e-12 * y.abs().max()
    grads = [torch.autograd.grad(v.sum(), z)[0] for v in (y, s)]
    assert (grads[0] - grads[1]).abs().max() < 1e-11 * grads[0].abs().max()


@pytest.mark.parametrize("basis", ["bspline", "chebyshev1", "hermite", "chebyshev1,degree=1", "bspline,grid=3,order=2"])
@pytest.mark.parametrize("share", ["layer", "neuron"])
@pytest.mark.parametrize(
    "rest", ["", ",residual=scaled", ",residual=none,init=random", ",scale=2.5", ",squash=softsign", ",squash=algebraic"]
)
def test_folded_form_has_the_same_value_and_slope(basis, share, rest, monkeypatch):
    monkeypatch.setenv("TAAFS_EXPORT", "folded")
    for base in ("tanh", "silu") if rest in ("", ",residual=scaled") else ("silu",):
        squash = rest.partition("squash=")[2] or "tanh"
        act = make(basis, share, squash, base, extra="" if "squash" in rest else rest, width=4).eval()
        if act.weights is not None:
            act.weights.data.mul_(torch.tensor([1.3, 0.6], dtype=F64))
        scripted = torch.jit.script(act)
        assert "_folded" in str(scripted.graph)
        for rows in (5, SWEEP_ABOVE // 4 + 1):  # few elements and many
            z = (2 * torch.randn(1, rows, 4, generator=torch.Generator().manual_seed(3), dtype=F64)).requires_grad_()
            g = torch.randn(1, rows, 4, generator=torch.Generator().manual_seed(4), dtype=F64)
            (y, slope), (s, s_slope) = ((v.detach(), torch.autograd.grad(v, z, g)[0]) for v in (act.plain(z), scripted(z)))
            assert (y - s).abs().max() < 1e-13 * y.abs().max()
            assert (slope - s_slope).abs().max() < 1e-13 * slope.abs().max()


def test_folded_form_in_other_cases(monkeypatch, tmp_path):
    """Everywhere finite, NaN stays NaN, float32, other dtypes; a module in training and other bases stay as they are."""
    monkeypatch.setenv("TAAFS_EXPORT", "folded")
    for basis in ("bspline", "chebyshev1"):
        for dtype in (torch.float32, F64):
            act = make(basis, "layer", base="silu", dtype=dtype).eval()
            torch.jit.script(act).save(str(tmp_path / "act.pt"))
            scripted = torch.jit.load(str(tmp_path / "act.pt"))
            z = torch.tensor([-1e30, -9.1, 0.0, 9.1, 1e30, float("nan")], dtype=dtype, requires_grad=True)
            y, s = act.plain(z), scripted(z)
            assert s.isnan().tolist() == [False] * 5 + [True]
            torch.testing.assert_close(s, y, equal_nan=True)
            torch.testing.assert_close(torch.autograd.grad(s.sum(), z)[0], torch.autograd.grad(y.sum(), z)[0], equal_nan=True)
            assert scripted(z.half()[1:4]).dtype == torch.float16
            assert scripted(torch.zeros(0, 3, dtype=dtype)).shape == (0, 3)
        assert "_folded" not in str(torch.jit.script(make(basis, "layer")).graph)  # in training
    assert "_folded" not in str(torch.jit.script(make("fourier", "layer").eval()).graph)
    monkeypatch.delenv("TAAFS_EXPORT")
    assert "_folded" not in str(torch.jit.script(make("bspline", "layer").eval()).graph)


def test_the_force_pass_does_not_reduce_over_coefficients(monkeypatch):
    use_engine("python")
    calls = []
    stock = Curve.project
    monkeypatch.setattr(Curve, "project", lambda *a: (calls.append(1), stock(*a))[1])
    try:
        act = make("chebyshev1", "layer", extra=",rate=3")
        z = points()
        energy = act(z).sum()
        (force,) = torch.autograd.grad(energy, z, create_graph=True)
        assert not calls
        (force**2).sum().backward()
        assert calls and bool(act.delta.grad.any())
    finally:
        use_engine(None)


@pytest.mark.parametrize("rate", [0.1, 10.0])
def test_rate_is_a_step_size_for_the_coefficients(rate):
    act = taafs.make_activation(f"taafs:chebyshev1,rate={rate}", dtype=F64)
    z = points()
    optimizer = torch.optim.Adam(act.parameters(), lr=1e-3)
    (act(z) ** 2).sum().backward()
    optimizer.step()
    assert torch.allclose(act.theta.abs(), torch.full_like(act.theta, rate * 1e-3), rtol=1e-3)


def test_torch_func_transforms_work():
    act = make("bspline", "layer")
    z = points(2).detach()
    hessian = torch.func.hessian(lambda x: act(x).sum())(z)
    use_engine("plain")
    (first,) = torch.autograd.grad(act(x := z.clone().requires_grad_(True)).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    use_engine(None)
    assert torch.allclose(hessian.reshape(6, 6).diagonal(), second.reshape(6))


# rational is not linear in its numbers: the Python engine computes it by plain operators
@pytest.mark.parametrize(("basis", "name"), [(b, e) for e in ("fused", "python") for b in basis_names() if b + e != "rationalpython"])
@pytest.mark.parametrize("share", ["layer", "neuron"])
def test_no_tensor_with_an_axis_of_coefficients_is_kept(basis, share, name):
    """What autograd keeps through a force-loss step: nothing larger than the input, so no [..., K]."""
    use_engine(name)
    act = make(basis, share, width=5)
    z = (torch.randn(200, 5, dtype=F64) * 1.5).requires_grad_(True)
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            (force,) = torch.autograd.grad(act(z).sum(), z, create_graph=True)
            loss = (force**2).sum()
        loss.backward()
    finally:
        use_engine(None)
    assert kept and max(kept) <= z.numel()
    assert bool(act.delta.grad.any())
