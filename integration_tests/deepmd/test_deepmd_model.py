"""The model as ``get_model`` builds it: counts, start, forces, gradients, sharing, serialisation."""

import copy

import numpy as np
import pytest
import torch
from conftest_deepmd import frame, largest_difference, live_values, model_of, water_input

import taafs_plugins as taafs
from taafs_plugins.activations import basis_names
from taafs_plugins.experiments import deepmd
from taafs_plugins.testing import randomise

COUNTS = {"global": 8, "network": 16, "layer": 48, "neuron": 1800}


def paper_model(activation):
    return model_of({"model": deepmd.model_section(activation, ["Cu"], sel=[60])})


def test_parameter_count_of_the_stock_model():
    assert taafs.count_parameters(paper_model("tanh")) == 26551


@pytest.mark.parametrize("share", COUNTS)
def test_parameter_counts(share):
    assert taafs.count_parameters(paper_model(f"taafs:bspline,share={share}")) == 26551 + COUNTS[share]


@pytest.mark.parametrize("basis", basis_names())
def test_starts_at_the_tanh_model_of_the_same_seed(basis, small_water):
    stock = live_values(model_of(water_input("tanh", small_water)), small_water[0])
    fresh = live_values(model_of(water_input(f"taafs:{basis}", small_water)), small_water[0])
    assert largest_difference(stock, fresh) < 1e-12


@pytest.mark.parametrize("basis", ["bspline", "legendre", "hermite", "chebyshev1", "chebyshev2", "bessel", "jacobi"])
def test_fitted_bare_sum_starts_at_the_tanh_model(basis, small_water):
    stock = live_values(model_of(water_input("tanh", small_water)), small_water[0])
    fresh = live_values(model_of(water_input(f"taafs:{basis},residual=none", small_water)), small_water[0])
    assert largest_difference(stock, fresh) < 1e-10


def random_model(activation, systems, size=0.2, **kwargs):
    return randomise(model_of(water_input(activation, systems, **kwargs)), size, seed=3)


@pytest.mark.parametrize("basis", basis_names())
def test_forces_and_virial_are_the_derivatives_of_the_energy(basis, small_water):
    model = random_model(f"taafs:{basis}", small_water)
    values = live_values(model, small_water[0])
    coord, box, types = frame(small_water[0])

    def energy(x, cell):
        out = model(torch.tensor(x).reshape(1, -1, 3), torch.tensor(types)[None], torch.tensor(cell))
        return float(out["energy"].detach())

    step = 1e-4
    for atom, axis in ((0, 0), (70, 1), (150, 2)):
        plus, minus = coord.copy(), coord.copy()
        plus[0, 3 * atom + axis] += step
        minus[0, 3 * atom + axis] -= step
        numeric = -(energy(plus, box) - energy(minus, box)) / (2 * step)
        assert abs(numeric - values["force"][atom, axis]) < 1e-6
    for row, column in ((0, 0), (1, 2)):
        strained = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[row, column] += sign * 1e-6
            strained.append(energy((coord.reshape(-1, 3) @ strain).reshape(1, -1), (box.reshape(3, 3) @ strain).reshape(1, 9)))
        assert abs(-(strained[0] - strained[1]) / 2e-6 - values["virial"][row, column]) < 1e-5


@pytest.mark.parametrize("share", COUNTS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_serialize_keeps_trained_coefficients(share, precision, small_water):
    from deepmd.pt.model.model import BaseModel

    model = random_model(f"taafs:bspline,share={share},residual=scaled", small_water, precision=precision)
    stock = model_of(water_input("tanh", small_water, precision=precision))
    again = BaseModel.deserialize(copy.deepcopy(model.serialize()))
    assert taafs.count_parameters(again) == taafs.count_parameters(model)
    values = live_values(model, small_water[0])
    # float32: theta_start + rate * delta is rounded once when it is written as one number
    difference = largest_difference(values, live_values(again, small_water[0]))
    assert difference < (1e-12 if precision == "float64" else 1e-5)
    assert largest_difference(values, live_values(stock, small_water[0])) > 1e-3


def test_descriptor_and_fitting_serialize_by_themselves(small_water):
    from deepmd.pt.model.descriptor import BaseDescriptor
    from deepmd.pt.model.task import BaseFitting

    model = random_model("taafs:fourier", small_water)
    for part, base in ((model.get_descriptor(), BaseDescriptor), (model.get_fitting_net(), BaseFitting)):
        again = base.deserialize(copy.deepcopy(part.serialize()))
        ours, theirs = taafs.trainable_activations(part), taafs.trainable_activations(again)
        assert ours.keys() == theirs.keys() and ours
        for name in ours:
            assert torch.equal(ours[name].theta, theirs[name].theta)


def test_host_weights_are_those_of_the_same_seed_with_random_coefficients(small_water):
    stock = model_of(water_input("tanh", small_water)).state_dict()
    state = model_of(water_input("taafs:chebyshev1,init=random", small_water)).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in stock.items() if isinstance(value, torch.Tensor))


def test_linear_layers_are_left_alone(small_water):
    table = taafs.sites(model_of(water_input(("taafs", "tanh"), small_water)))
    assert [site.converted for site in table] == [site.group == "embedding" for site in table]
    assert len(table) == 2 * 2 + 2 * 2  # a net for each neighbour type, a fitting net for each type; output layers are linear


def test_untrainable_networks_have_untrainable_coefficients(small_water):
    config = water_input("taafs", small_water)
    config["model"]["descriptor"]["trainable"] = False
    model = model_of(config)
    for site in taafs.sites(model):
        assert site.current.delta.requires_grad == (site.group == "fitting")


def test_a_base_that_is_not_tanh(small_water):
    for name in ("gelu", "silu", "silut:3.0"):
        stock = live_values(model_of(water_input(name, small_water)), small_water[0])
        ours = live_values(model_of(water_input(f"taafs:chebyshev1,base={name}", small_water)), small_water[0])
        assert largest_difference(stock, ours) < 1e-12
