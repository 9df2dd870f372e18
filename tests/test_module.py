"""The module: state, starts, sharing widths, scales, and what is said about mistakes."""

import copy

import pytest
import torch

import taafs_plugins as taafs
from taafs_plugins.activations import basis_names

F64 = torch.float64


@pytest.mark.parametrize("basis", basis_names())
@pytest.mark.parametrize("share", ["layer", "neuron"])
@pytest.mark.parametrize("residual", ["plain", "scaled"])
def test_a_trained_spec_carries_the_activation_through_a_string(basis, share, residual):
    act = taafs.make_activation(f"taafs:{basis},share={share},residual={residual},rate=10,scale=auto", "silu", width=3, dtype=F64)
    for p in act.parameters():
        p.data = torch.randn_like(p)
    act.set_scale(2.3456789)
    text = str(act.trained_spec())
    again = taafs.make_activation(text, "tanh", width=3, dtype=F64)
    z = torch.randn(10, 3, dtype=F64)
    assert torch.equal(again(z), act(z)) and again.base_name == "silu"
    assert str(again.trained_spec()) == text == text.lower()


OTHERS = ["legendre", "chebyshev1,rate=10", "chebyshev1,squash=softsign", "chebyshev1,scale=2", "chebyshev1,base=gelu"]


@pytest.mark.parametrize("other", OTHERS)
def test_a_state_dict_of_another_spec_with_as_many_numbers_is_refused(other):
    """The shapes are the same: without the check the same numbers would give another curve without a word."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), taafs.make_activation("taafs:chebyshev1", "silu"))
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), taafs.make_activation(f"taafs:{other}", "silu"))
    for strict in (True, False):
        with pytest.raises(RuntimeError, match=r"at 1 were saved with 'taafs:chebyshev1,.*this model has 'taafs:.*spec of the file"):
            model.load_state_dict(net.state_dict(), strict=strict)
    assert not model[1].delta.any()
    state = {key: value for key, value in net.state_dict().items() if not key.endswith("_extra_state")}
    assert str(copy.deepcopy(net).load_state_dict(state)) == "<All keys matched successfully>"  # files without it load as before


def test_base_and_start_in_the_text_do_not_matter_to_a_state_dict():
    act = taafs.make_activation("taafs:chebyshev1,base=gelu,init=random,seed=3", "gelu", dtype=F64)
    fresh = taafs.make_activation("taafs:chebyshev1", "gelu", dtype=F64)
    fresh.load_state_dict(act.state_dict())
    z = torch.randn(5, dtype=F64)
    assert torch.equal(fresh(z), act(z))


def test_constants_survive_a_change_of_dtype():
    act = taafs.make_activation("taafs:legendre", dtype=F64)
    act.delta.data.normal_()
    z = torch.randn(10, dtype=F64)
    assert torch.equal(copy.deepcopy(act).float().double().plain_curve.matrix, act.plain_curve.matrix)
    assert (copy.deepcopy(act).float()(z.float()) - act(z)).abs().max() < 1e-4


def test_names_functions_and_modules_are_accepted():
    z = torch.randn(5, dtype=F64)
    for given in ("silu", torch.nn.functional.silu, torch.nn.SiLU(), lambda x: torch.nn.functional.silu(x)):
        act = taafs.make_activation("taafs:chebyshev1", given, dtype=F64)
        assert torch.equal(act(z), torch.nn.functional.silu(z))
    with pytest.raises(taafs.SpecError, match="Did you mean 'silu'"):
        taafs.make_activation("taafs", "siluu")
    with pytest.raises(TypeError, match="name, a function or a module"):
        taafs.make_activation("taafs", 3)


def test_theta_of_the_wrong_length_is_refused():
    with pytest.raises(taafs.SpecError, match="needs 8 numbers, got 2"):
        taafs.make_activation("taafs:bspline,theta=1/2")


@pytest.mark.parametrize("basis", basis_names())
def test_random_start_leaves_the_global_generator_alone(basis):
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first = taafs.make_activation(f"taafs:{basis},init=random")
    assert torch.equal(torch.rand(3), expected)
    second = taafs.make_activation(f"taafs:{basis},init=random")
    other = taafs.make_activation(f"taafs:{basis},init=random,seed=1")
    assert torch.equal(first.theta, second.theta) and not torch.equal(first.theta, other.theta)


def test_scale_must_be_positive_and_finite():
    act = taafs.make_activation("taafs:bspline,scale=auto")
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive finite"):
            act.set_scale(bad)


def test_calibrate_measures_each_site_once():
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), taafs.make_activation("taafs:bspline,scale=auto"), torch.nn.Linear(8, 1))
    x = 50 * torch.randn(100, 3)
    with taafs.calibrate(net):
        net(x)
    assert torch.allclose(net[1].scale, net[0](x).square().mean().sqrt(), rtol=1e-5)
    with pytest.raises(taafs.SpecError, match="not called"), taafs.calibrate(net):
        pass
    with pytest.raises(taafs.SpecError, match="not finite"), taafs.calibrate(net):
        net(float("nan") * x)
    assert torch.allclose(net[1].scale, net[0](x).square().mean().sqrt(), rtol=1e-5)
    with pytest.raises(taafs.SpecError, match="No site has scale=auto"), taafs.calibrate(net[0]):
        pass


def test_a_failed_calibration_is_no_calibration(recwarn):
    act = taafs.make_activation("taafs:bspline,scale=auto")
    with pytest.raises(RuntimeError, match="of the user's"), taafs.calibrate(torch.nn.Sequential(act)):
        act(torch.randn(4))
        raise RuntimeError("of the user's")
    assert float(act.scale) == 1.0
    act(torch.randn(4))
    assert len([w for w in recwarn if "scale=auto was not measured" in str(w.message)]) == 1


def test_a_fitted_start_follows_a_measured_scale():
    act = taafs.make_activation("taafs:fourier,residual=none,scale=auto", "tanh", dtype=F64)
    z = torch.linspace(-4, 4, 101, dtype=F64)
    with torch.no_grad():
        act.set_scale(2.5)
        assert (act(z) - torch.tanh(z)).abs().max() <= act.fit_error * (1 + 1e-9) < 0.01  # the fit for scale 1 would be off by 0.4
        act.delta[0] = 0.1
        trained = act.theta.clone()
        act.set_scale(2.0)
    assert torch.equal(act.theta, trained)  # what was trained stays


def test_calibrate_again_or_only_what_is_new():
    net = torch.nn.Sequential(*(taafs.make_activation("taafs:bspline,scale=auto") for _ in range(2)))
    net[0].set_scale(3.0)
    with taafs.calibrate(net, again=False):
        net(torch.randn(50))
    assert float(net[0].scale) == 3.0 and float(net[1].scale) != 1.0
    with pytest.raises(taafs.SpecError, match="No site"), taafs.calibrate(net, again=False):
        pass


def test_a_forgotten_calibration_is_said_once(recwarn):
    act = taafs.make_activation("taafs:bspline,scale=auto")
    for _ in range(3):
        act(torch.randn(4))
    assert len([w for w in recwarn if "scale=auto was not measured" in str(w.message)]) == 1
    done = taafs.make_activation("taafs:bspline,scale=auto")
    done.set_scale(1.0)
    done(torch.randn(4))
    assert len([w for w in recwarn if "scale=auto was not measured" in str(w.message)]) == 1


def test_coefficients_without_gradient_or_optimiser_are_named():
    net = torch.nn.Sequential(taafs.make_activation("taafs:bspline"), taafs.make_activation("taafs:fourier"))
    net[0](torch.randn(4)).sum().backward()
    with pytest.warns(UserWarning, match="of 1 got no gradient"):
        assert taafs.check_gradients(net) == ["1"]
    with pytest.warns(UserWarning, match="does not train the coefficients of 1"):
        assert taafs.check_optimizer(net, torch.optim.Adam(net[0].parameters())) == ["1"]
    groups = taafs.parameter_groups(net, lr=1e-3, coefficient_lr=1e-2)
    assert [g["lr"] for g in groups] == [1e-2] and taafs.check_optimizer(net, torch.optim.Adam(groups)) == []


def test_models_of_no_known_host_are_refused():
    with pytest.raises(taafs.HostError, match="not a model of a known host"):
        taafs.convert(torch.nn.Linear(2, 2), "taafs")


def test_unknown_engine_is_refused():
    from taafs_plugins.activations import use_engine

    with pytest.raises(ValueError, match="Unknown engine"):
        use_engine("fast")
