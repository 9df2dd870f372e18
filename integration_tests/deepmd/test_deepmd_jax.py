"""Trained activations in DeePMD-kit's JAX backend, which evaluates what PyTorch trained: files, forces, virials, every family."""

import copy

import numpy as np
import pytest
import torch
from compress_models import make
from conftest_deepmd import frame, largest_difference, python_values
from test_deepmd_backends import main

from taafs_plugins.activations import family_names, find_family
from taafs_plugins.activations.taafs.bases import basis_names
from taafs_plugins.adapters.deepmd import dpmodel, jax
from taafs_plugins.adapters.deepmd.activation import built
from taafs_plugins.adapters.deepmd.adapter import ADAPTER

SPECS = [
    *(f"taafs:{basis}" for basis in basis_names()), "taafs:bspline,residual=scaled,share=neuron", "taafs:hermite,residual=none",
    "taafs:legendre,squash=softsign,scale=2", "taafs:fourier,squash=algebraic", "taafs,base=gelu", "taafs,base=gelu_tf",
    "taafs,base=silut:3.0", "taafs,base=softplus", "taafs,base=relu6", "leaf:relu", "adact:paper", "melu,k=8",
    "formula:sin(z)*exp(-z^2/4)+log(1+z^2)+sqrt(1+z^2)/cosh(z)+erf(z)+atan(z)+asinh(z)+sinh(z/5)+cube(z)+silu(z)+sigmoid(z),low=-5,high=5",
    *(find_family(f).example or f for f in family_names() if f != "taafs"),
]  # fmt: skip


@pytest.fixture(scope="module")
def arrays():
    """JAX's NumPy with float64, as DeePMD-kit sets it."""
    from deepmd.jax.env import jnp

    return jnp


def random_activation(spec: str):
    act = built(spec, ADAPTER.defaults, 6, torch.float64, "cpu").eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in act.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return act.requires_grad_(False)


@pytest.mark.parametrize("spec", SPECS)
def test_value_and_derivatives_are_pytorchs_for_every_basis_and_family(spec, arrays):
    import jax as host

    act = random_activation(spec)
    x = 3 * torch.randn(20, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def slope(z):
        return host.grad(lambda t: jax.values(act, t).sum())(z)

    found = host.jit(lambda z: (jax.values(act, z), slope(z), host.grad(lambda t: slope(t).sum())(z)))(arrays.asarray(x.numpy()))
    z = x.clone().requires_grad_()
    wanted = [act.plain(z)]
    for _ in range(2):
        wanted.append(torch.autograd.grad((wanted[-1] + 0 * z**3).sum(), z, create_graph=True)[0])
    for ours, theirs in zip(found, wanted, strict=True):
        assert np.abs(np.asarray(ours) - theirs.detach().numpy()).max() < 1e-11 * (1 + theirs.abs().max().item())


@pytest.mark.long
@pytest.mark.parametrize("name", ["se_e2_a", "se_e3", "dpa1", "hybrid"])
def test_energies_forces_and_virials_are_pytorchs(name, arrays, small_water):
    import jax as host
    from deepmd.jax.model.base_model import BaseModel

    model = make(name, "taafs:bspline")
    coord, box, types = (np.array(a) for a in frame(small_water[0]))
    inputs = (coord.reshape(1, -1, 3), types[None], box.reshape(1, 3, 3))
    theirs = BaseModel.deserialize(copy.deepcopy(model.serialize()))
    compiled = host.jit(theirs.call_common_lower, static_argnames="do_atomic_virial")  # operator by operator it takes a minute
    object.__setattr__(theirs, "call_common_lower", compiled)
    found = theirs(*map(arrays.asarray, inputs))
    wanted = model(torch.tensor(inputs[0]), torch.tensor(types)[None], torch.tensor(box))
    for key in ("energy", "force", "virial"):
        assert np.abs(np.asarray(found[key]).ravel() - wanted[key].detach().numpy().ravel()).max() < 1e-10
    assert wanted["force"].abs().max() > 1e-3


def test_an_exported_file_gives_the_frozen_ones_numbers_and_a_file_that_would_lose_them_is_not_written(tmp_path, small_water):
    torch.jit.save(torch.jit.script(make("se_e2_a", "taafs:chebyshev1,share=neuron")), tmp_path / "a.pth")
    assert main("convert-backend", tmp_path / "a.pth", tmp_path / "b.hlo") is None
    values = [python_values(tmp_path / name, small_water[0]) for name in ("a.pth", "b.hlo")]
    assert largest_difference(*values) < 1e-10
    # DeePMD-kit builds a .jax file's model from the input's names: one for all layers, without the trained numbers
    refusal = main("convert-backend", tmp_path / "a.pth", tmp_path / "c.jax")
    assert "c.jax" in refusal and "nothing was written" in refusal and ".hlo" in refusal and not (tmp_path / "c.jax").exists()


def test_arrays_of_the_array_api_are_taken_and_given_back():
    import array_api_strict as xp

    fn = dpmodel.activation_function("taafs:chebyshev1,theta=0/0.1/0.2/0/0/0/0/0")
    x = np.linspace(-2, 2, 12).reshape(3, 4)
    y = fn(xp.asarray(x))
    assert isinstance(y, type(xp.asarray(x))) and np.array_equal(np.asarray(y), fn(x))


def test_an_operator_without_a_counterpart_is_one_sentence(arrays):
    class Odd:
        spec = "odd"

        def plain(self, z):
            return torch.special.bessel_j0(z)

    with pytest.raises(SystemExit, match="'odd' is not computed in JAX: no operator for special_bessel_j0; use a model of PyTorch"):
        jax.values(Odd(), arrays.ones((2, 3)))
