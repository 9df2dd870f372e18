"""XNetRegressor and XNetClassifier as a user meets them."""

import pickle
import warnings

import matplotlib
import numpy as np
import pytest
import sympy
import torch
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import parametrize_with_checks

from taafs_plugins.symbolic import XNetClassifier, XNetError, XNetRegressor
from taafs_plugins.symbolic.nguyen import sample
from taafs_plugins.symbolic.search import Search

matplotlib.use("Agg")
SMALL = {"rounds": 0, "listed": 6, "starts": 2, "max_nodes": 1, "random_state": 0}
QUICK = {"rounds": 2, "listed": 20, "starts": 4, "random_state": 0}


@parametrize_with_checks([XNetRegressor(**SMALL), XNetClassifier(**SMALL)])
def test_scikit_learns_checks_pass(estimator, check):
    check(estimator)


@pytest.fixture(autouse=True)
def no_warnings(request):
    if "scikit_learns" in request.node.name or "interrupted" in request.node.name:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("problem", [1, 5, 7, 10])
def test_nguyen_problems_are_recovered_exactly(problem):
    rng = np.random.default_rng(0)
    x, y = sample(problem, rng)
    fresh_x, fresh_y = sample(problem, rng, 500)
    model = XNetRegressor(random_state=0, rounds=10).fit(x, y)
    assert np.abs(model.predict(fresh_x) - fresh_y).max() < 1e-6
    assert model.n_nodes_ <= 7 and model.n_parameters_ <= 28


def data(seed=0, samples=40, features=2):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (samples, features))
    return x, np.sin(2 * x[:, 0]) + x[:, -1] ** 2 + 0.01 * rng.standard_normal(samples)


def test_the_same_random_state_gives_the_same_tree_to_the_bit():
    first, second = (XNetRegressor(**QUICK).fit(*data()) for _ in range(2))
    assert first.trees_[0].structure == second.trees_[0].structure
    assert first.trees_[0].w.tobytes() == second.trees_[0].w.tobytes()
    assert first.trees_[0].b.tobytes() == second.trees_[0].b.tobytes()


def test_formula_module_picture_and_pickle_agree_with_predict():
    x, y = data()
    model = XNetRegressor(**QUICK).fit(x, y)
    mine = model.predict(x)
    np.testing.assert_allclose(model.to_torch()(torch.tensor(x)).detach().numpy(), mine, rtol=1e-12, atol=1e-12)
    formula = sympy.lambdify(sympy.symbols("x0 x1", real=True), model.expression_, "numpy")(*x.T)
    np.testing.assert_allclose(formula, mine, rtol=1e-6, atol=1e-6)
    assert pickle.loads(pickle.dumps(model)).predict(x).tobytes() == mine.tobytes()
    assert "x_{0}" in model.to_latex()
    assert len(model.plot().texts) == 2 * len(model.trees_[0].structure)


def test_several_outputs_have_a_tree_each():
    x, y = data()
    model = XNetRegressor(**QUICK).fit(x, np.stack([y, 3 * x[:, 0] + 1], 1))
    assert model.predict(x).shape == (40, 2) and len(model.expression_) == 2
    np.testing.assert_allclose(model.predict(x)[:, 1], 3 * x[:, 0] + 1, atol=1e-10)
    assert model.to_torch()(torch.tensor(x)).shape == (40, 2)


def test_progress_is_shown_when_asked_for(capsys):
    XNetRegressor(**QUICK, verbose=True).fit(*data())
    assert "X-Net 1/1" in capsys.readouterr().out


@pytest.mark.parametrize("optimizer", ["lbfgs", "adam", "sgd"])
def test_the_papers_optimisers_can_be_chosen(optimizer):
    x, y = data()
    model = XNetRegressor(rounds=1, listed=2, starts=1, proposals=1, max_nodes=1, optimizer=optimizer, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.5


@pytest.mark.parametrize(("wrong", "message"), [({"optimizer": "newton"}, "choose lm"), ({"check_fraction": 1.5}, "share"),
                         ({"max_nodes": 0}, "at least 1"), ({"unary": ["sinn"]}, "Did you mean 'sin'"),
                         ({"binary": ["sin"]}, "takes 1")])  # fmt: skip
def test_wrong_parameters_get_one_sentence(wrong, message):
    with pytest.raises(XNetError, match=message):
        XNetRegressor(**wrong).fit(*data())


def test_iris_is_classified():
    x, y = load_iris(return_X_y=True)
    model = XNetClassifier(rounds=1, listed=30, max_nodes=4, random_state=0).fit(x[::2], y[::2])
    assert model.score(x[1::2], y[1::2]) > 0.9
    assert model.predict_proba(x).shape == (150, 3)
    np.testing.assert_allclose(model.predict_proba(x).sum(1), 1.0)


def fitted(x, y) -> XNetRegressor:
    model = XNetRegressor(**QUICK).fit(x, y)
    assert np.isfinite(model.predict(x)).all()
    return model


def test_a_constant_target_gives_the_constant():
    x, _ = data()
    assert (fitted(x, np.full(40, 3.25)).predict(x) == 3.25).all()


def test_one_sample_is_enough_for_a_constant():
    assert fitted(np.array([[1.0, 2.0]]), np.array([5.0])).predict([[3.0, 4.0]])[0] == 5.0


def test_a_constant_feature_is_left_out():
    x, y = data()
    x[:, 1] = 7.0
    y = np.exp(x[:, 0])
    assert fitted(x, y).trees_[0].structure.variables() == {0}


def test_only_constant_features_give_the_mean():
    model = fitted(np.ones((12, 2)), np.arange(12.0))
    np.testing.assert_allclose(model.predict(np.ones((1, 2))), 5.5)


def test_duplicated_samples_do_no_harm():
    x, y = data(samples=15)
    model = fitted(np.repeat(x, 4, 0), np.repeat(y, 4))
    assert model.score(x, y) > 0.9


@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_inputs_and_targets_of_any_scale_are_fitted(scale):
    x, y = data()
    assert fitted(scale * x, y).score(scale * x, y) > 0.95
    assert fitted(x, scale * y).score(x, scale * y) > 0.95


def test_logarithm_and_root_of_negative_data_are_avoided():
    x, y = data()
    model = XNetRegressor(unary=["log", "sqrt"], **QUICK).fit(x - 5, y)
    assert np.isfinite(model.predict(x - 5)).all() and np.isfinite(model.predict(x - 500)).all()


def test_fifty_features_are_searched():
    x, _ = data(samples=60, features=50)
    y = 2 * x[:, 31] + x[:, 7] ** 2
    assert fitted(x, y).score(x, y) > 0.8


def test_a_search_that_has_tried_everything_ends():
    x, y = data()
    model = XNetRegressor(unary=["square"], binary=[], max_nodes=1, rounds=50, random_state=0).fit(x, y)
    assert model.n_nodes_ <= 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_or_infinity_in_the_data_is_a_clear_error(bad):
    x, y = data()
    x[3, 0] = bad
    with pytest.raises(ValueError, match="NaN|infinity"):
        XNetRegressor().fit(x, y)


def test_an_interrupted_fit_keeps_the_best_tree_so_far(monkeypatch):
    original = Search._proposals

    def proposals(self):
        if self.round == 2:
            raise KeyboardInterrupt
        return original(self)

    monkeypatch.setattr(Search, "_proposals", proposals)
    x, y = data()
    with pytest.warns(UserWarning, match="interrupted in round 2"):
        model = XNetRegressor(**QUICK).fit(x, y)
    assert model.interrupted_ and model.score(x, y) > 0.8


def test_a_class_between_two_others_is_found_by_straight_trees_that_are_chosen_inside_the_training_data():
    """Three classes along the sum of four variables: one against the rest by small trees of single variables misses the middle one."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(240, 4))
    y = np.digitize(x.sum(1), [-1, 1])
    model = XNetClassifier(rounds=0, listed=20, max_nodes=4, starts=2, random_state=0).fit(x[:160], y[:160])
    assert model.score(x[160:], y[160:]) > 0.9
    assert all(tree.structure.nodes <= 4 for tree in model.trees_)
