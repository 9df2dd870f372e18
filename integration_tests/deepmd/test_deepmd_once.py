"""A frozen model that is differentiated twice: NaN where its curves are folded, the model's own second derivatives elsewhere."""

import pytest
import torch
from compress_models import make
from conftest_deepmd import largest_difference
from test_deepmd_symmetries import CELL, atoms


def curvatures(model: torch.nn.Module) -> list[torch.Tensor]:
    """A row of the Hessian [n, 3], by the energy's graph and by that of the forces, which a model keeps in training mode."""
    x, types = atoms()
    x.requires_grad_()
    cell = (CELL * torch.eye(3, dtype=torch.float64)).reshape(1, 9)
    energy = model(x[None], types[None], cell)["energy"]
    (slope,) = torch.autograd.grad(energy, x, torch.ones_like(energy), create_graph=True)
    model.train()
    force = model(x[None], types[None], cell)["force"][0]
    model.eval()
    return [torch.autograd.grad(first[5, 2], x)[0] for first in (slope, -force)]


def reread(model: torch.nn.Module, path) -> torch.jit.ScriptModule:
    """What ``dp --pt freeze`` writes, read again."""
    torch.jit.save(torch.jit.script(model.eval()), path)
    return torch.jit.load(path)


def values(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    x, types = atoms()
    out = model(x[None], types[None], (CELL * torch.eye(3, dtype=torch.float64)).reshape(1, 9))
    return {key: out[key].detach().numpy() for key in ("energy", "force", "virial")}


@pytest.fixture(autouse=True)
def without_the_optimiser():
    """Which compiles a scripted model anew in its first calls, for seconds."""
    with torch.jit.optimized_execution(False):
        yield


@pytest.mark.parametrize("activation", [("taafs:chebyshev1,share=neuron", "tanh"), ("tanh", "taafs:bspline,residual=scaled")])
def test_a_file_with_folded_curves_in_either_net_is_right_once_and_nan_twice(activation, tmp_path):
    model = make("se_e2_a", activation)
    file = reread(model, tmp_path / "a.pth")
    assert any(getattr(part, "scripts_folded", False) for part in file.modules())
    assert largest_difference(values(file), values(model)) < 1e-10
    assert all(bool(torch.isnan(row).all()) for row in curvatures(file))
    assert all(bool(torch.isfinite(row).all()) for row in curvatures(model))  # the live model is none the worse


def test_a_compressed_file_too(tmp_path):
    model = make("se_e2_r", "taafs:bspline")
    model.enable_compression(5, 0.01, 0.1, -1)
    file = reread(model, tmp_path / "a.pth")
    assert largest_difference(values(file), values(model)) < 1e-10
    assert all(bool(torch.isnan(row).all()) for row in curvatures(file))


@pytest.mark.parametrize(("activation", "form"), [("taafs:bspline", "plain"), ("taafs:fourier", None)])
def test_a_file_of_another_form_has_the_second_derivatives_of_the_model(activation, form, tmp_path, monkeypatch):
    model = make("se_e2_r", activation)
    if form:
        torch.jit.script(model.eval())  # folded first: that leaves nothing behind
        monkeypatch.setenv("TAAFS_EXPORT", form)
    for ours, wanted in zip(curvatures(reread(model, tmp_path / "a.pth")), curvatures(model), strict=True):
        assert float((ours - wanted).abs().max()) < 1e-9 * max(1.0, float(wanted.abs().max())) and float(wanted.abs().max()) > 1e-5
