"""What DeePMD-kit's own tests ask of every model, with specs and random coefficients in every descriptor.

Permutation, rotation, translation, smoothness at the cutoff, nothing near an atom, no parameter unused, scripting; and a default device
that does not exist, as theirs: a tensor that is made without ``device=`` fails.
"""

import copy

import pytest
import torch
from compress_models import DESCRIPTORS, make

SPEC = "taafs:fourier,share=neuron,residual=scaled"
ATOMS = 8
CELL = 13.0


@pytest.fixture(scope="module", params=DESCRIPTORS)
def model(request):
    """One descriptor after the other."""
    return make(request.param, SPEC)


def atoms(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions [n, 3] on a shaken grid, types [n]."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 3) * 1.6
    return 4.0 + grid + 0.2 * torch.rand(ATOMS, 3, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1, 1, 0, 1])


def values(model, positions, types, cell=None) -> dict[str, torch.Tensor]:
    cell = CELL * torch.eye(3, dtype=torch.float64) if cell is None else cell
    out = model(positions[None], types[None], cell.reshape(1, 9))
    return {"energy": out["energy"][0, 0], "force": out["force"][0], "virial": out["virial"].reshape(3, 3)}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return float((a - b).detach().abs().max()) < 1e-9


def test_equal_atoms_may_change_places(model):
    x, types = atoms()
    order = torch.tensor([3, 2, 1, 0, 4, 7, 6, 5])
    a, b = values(model, x, types), values(model, x[order], types[order])
    assert close(a["energy"], b["energy"]) and close(a["force"][order], b["force"]) and float(a["force"].detach().abs().max()) > 1e-3


def test_a_turned_and_moved_structure_has_turned_forces(model):
    x, types = atoms()
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    rotation = rotation * torch.det(rotation)  # QR may give a reflection
    cell = CELL * torch.eye(3, dtype=torch.float64)
    a, b = values(model, x, types, cell), values(model, (x + 1.7) @ rotation, types, cell @ rotation)
    assert close(a["energy"], b["energy"]) and close(a["force"] @ rotation, b["force"])
    assert close(rotation.T @ a["virial"] @ rotation, b["virial"])


def test_an_atom_that_crosses_the_cutoff_changes_nothing_abruptly(model):
    generator = torch.Generator().manual_seed(2)
    x = 6.0 + torch.tensor([[0.0, 0, 0], [1.2, 0, 0], [0, 1.3, 0]], dtype=torch.float64)
    direction = -torch.rand(3, dtype=torch.float64, generator=generator)  # away from the others, whose cutoff it has left before
    direction = direction / direction.norm()
    cutoff = model.get_rcut()

    def at(distance: float) -> dict[str, torch.Tensor]:
        return values(model, torch.cat([x, (x[0] + distance * direction)[None]]), torch.tensor([0, 1, 1, 1]))

    inside, outside = at(cutoff - 1e-5), at(cutoff + 1e-5)
    assert float((inside["energy"] - outside["energy"]).detach().abs()) < 1e-8
    assert float((inside["force"] - outside["force"]).detach().abs().max()) < 1e-4


def test_forces_and_virial_are_derivatives_of_the_energy(model):
    x, types = atoms()
    out, h = values(model, x, types), 1e-4
    for atom, axis in ((0, 0), (5, 2)):
        step = torch.zeros_like(x)
        step[atom, axis] = h
        slope = (values(model, x + step, types)["energy"] - values(model, x - step, types)["energy"]) / (2 * h)
        assert abs(float((slope + out["force"][atom, axis]).detach())) < 1e-6
    strain = torch.zeros(3, 3, dtype=torch.float64)
    strain[0, 1] = h
    eye = torch.eye(3, dtype=torch.float64)
    plus, minus = (values(model, x @ (eye + s * strain), types, CELL * (eye + s * strain))["energy"] for s in (1, -1))
    assert abs(float(((plus - minus) / (2 * h) + out["virial"][0, 1]).detach())) < 1e-5


def test_atoms_without_neighbours_have_finite_values(model):
    x = torch.tensor([[1.0, 1, 1], [7, 7, 7]], dtype=torch.float64)
    out = values(model, x, torch.tensor([0, 1]))
    assert all(bool(torch.isfinite(value).all()) for value in out.values()) and float(out["force"].detach().abs().max()) < 1e-12


def test_no_parameter_is_unused(model):
    live = copy.deepcopy(model).train()
    out = values(live, *atoms())
    (out["energy"] + out["force"].square().sum()).backward()
    own = [(name, p) for name, p in live.named_parameters() if p.requires_grad and ".compress_" not in name]
    unused = [name for name, p in own if p.grad is None or not bool(p.grad.abs().max() > 0)]
    # nets that DeePMD-kit itself never calls (of excluded pairs, half of those of se_e3) have unused weights too
    assert all(name.replace("activate.delta", "matrix").replace("activate.weights", "matrix") in unused for name in unused)
    assert len(unused) < len(own) / 2 and not [name for name in unused if name.startswith("atomic_model.fitting_net.filter_layers")]


def test_the_scripted_model_has_the_same_values(model):
    x, types = atoms()
    a, b = values(model, x, types), values(torch.jit.script(model), x, types)
    assert all(close(a[key], b[key]) for key in a)


@pytest.mark.parametrize("activation", [SPEC, "taafs:rational", "adact", "molu:trained", "taafs:bspline,residual=none,scale=auto"])
def test_an_impossible_default_device_is_not_used(activation, monkeypatch):
    """Built, computed, differentiated twice, serialised and scripted."""
    from deepmd.pt.model.model import BaseModel

    x, types = atoms()
    cell = CELL * torch.eye(3, dtype=torch.float64)
    torch.set_default_device("cuda:9999999")
    try:
        live = BaseModel.deserialize(make_bare(activation).serialize())
        out = values(live, x, types, cell)
        (out["energy"] + out["force"].square().sum()).backward()
        torch.jit.script(live.eval())
    finally:
        torch.set_default_device(None)
    assert float(out["force"].detach().abs().max()) > 0


def make_bare(activation: str) -> torch.nn.Module:
    """A small live model, made by DeePMD-kit alone."""
    from conftest_deepmd import model_of, water_input

    return model_of(water_input(activation, []))
