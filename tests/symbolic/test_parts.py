"""The parts of X-Net that the paper describes, each by itself."""

import numpy as np
import pytest
import sympy
import torch

from taafs_plugins.symbolic import LIBRARY, Argument, Function, Structure, Tree, XNetError, XNetRegressor, register_function
from taafs_plugins.symbolic.descent import ada_alpha, descend, loss_and_gradient, quasi_newton
from taafs_plugins.symbolic.expression import TreeModule, to_sympy
from taafs_plugins.symbolic.fitting import fit_structure
from taafs_plugins.symbolic.mutation import mutate, neighbours
from taafs_plugins.symbolic.problem import Problem
from taafs_plugins.symbolic.propagation import LIMIT, backward, forward, predict
from taafs_plugins.symbolic.selection import move_outputs, select
from taafs_plugins.symbolic.simplify import simplify
from taafs_plugins.symbolic.substitution import substitute


def random_tree(text: str, seed: int = 0) -> Tree:
    structure, rng = Structure.parse(text), np.random.default_rng(seed)
    return Tree(structure, rng.uniform(0.5, 1.5, len(structure)), rng.uniform(0.5, 1.0, len(structure)))


TREES = ["sqrt x0", "+ cube x0 x1", "* sin square x0 cos x1", "/ exp x0 log x1", "- tanh x0 sigmoid * x1 x0",
         "+ negative x0 identity log x1"]  # fmt: skip
POINTS = np.random.default_rng(3).uniform(1.5, 2.5, (7, 2))


@pytest.mark.parametrize(("text", "message"), [("+ x0", "lacks 1"), ("sin x0 x1", "complete after 2"), ("sinus x0", "Did you mean")])
def test_a_traversal_that_is_no_tree_is_refused_in_one_sentence(text, message):
    with pytest.raises(XNetError, match=message):
        Structure.parse(text)


def test_sizes_are_counted_as_the_paper_counts():
    structure = Structure.parse("sqrt x0")
    assert (structure.nodes, structure.parameters) == (1, 4)


@pytest.mark.parametrize("text", TREES)
def test_forward_pass_formula_and_module_agree(text):
    tree = random_tree(text)
    mine = predict(tree, POINTS)
    formula = sympy.lambdify(sympy.symbols("x0 x1", real=True), to_sympy(tree, ["x0", "x1"], 17), "numpy")(*POINTS.T)
    module = TreeModule(tree)(torch.tensor(POINTS)).detach().numpy()
    np.testing.assert_allclose(mine, formula, rtol=1e-12)
    np.testing.assert_allclose(mine, module, rtol=1e-14)


@pytest.mark.parametrize("text", TREES)
def test_the_module_is_right_to_third_order(text):
    module = TreeModule(random_tree(text))
    points = torch.tensor(POINTS[:3], requires_grad=True)

    def second(x):
        (first,) = torch.autograd.grad(module(x).sum(), x, create_graph=True)
        return torch.autograd.grad((first**2).sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(module, (points,))
    assert torch.autograd.gradgradcheck(module, (points,))
    assert torch.autograd.gradcheck(lambda x: second(x), (points,))


@pytest.mark.parametrize("text", TREES)
def test_the_backward_pass_is_the_derivative_of_the_loss(text):
    tree = random_tree(text)
    x, y, theta = POINTS.T.copy(), np.sin(POINTS[:, 0]), np.concatenate([tree.w, tree.b])
    _, gradient = loss_and_gradient(tree.structure, x, y, theta)
    for i in range(len(theta)):
        step = 1e-6 * np.eye(len(theta))[i]
        above, below = (loss_and_gradient(tree.structure, x, y, theta + sign * step)[0] for sign in (1, -1))
        difference = (above - below) / 2e-6
        assert gradient[i] == pytest.approx(difference, rel=1e-5, abs=1e-7)


def test_outputs_and_gradients_are_clipped():
    tree = Tree(Structure.parse("exp exp exp x0"), np.full(4, 3.0), np.zeros(4))
    with np.errstate(all="ignore"):
        outputs = forward(tree.structure, np.array([[5.0]]), tree.w[None], tree.b[None])
        slopes = backward(tree.structure, outputs, tree.w[None])
    assert outputs.raw[0][0, 0] == LIMIT
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_the_domain_rule_reports_arguments_outside_a_domain_and_new_data_is_moved_to_its_edge():
    tree = Tree(Structure.parse("log x0"), np.ones(2), np.zeros(2))
    with np.errstate(all="ignore"):
        assert not forward(tree.structure, np.array([[-1.0, 2.0]]), tree.w[None], tree.b[None]).inside[0]
    assert np.isfinite(predict(tree, np.array([[-1.0], [0.0], [2.0]]))).all()


def test_rule_1_the_same_arity_replaces():
    assert str(substitute(Structure.parse("+ sin x0 x1"), 1, "exp")) == "+ exp x0 x1"


def test_rule_2_unary_to_binary_keeps_the_child_on_the_left_and_adds_a_leaf():
    assert str(substitute(Structure.parse("sin square x0"), 0, "*", (1,))) == "* square x0 x1"


def test_rule_3_binary_to_unary_keeps_the_child_that_fits_better():
    assert str(substitute(Structure.parse("+ sin x0 cos x1"), 0, "exp", keep=1)) == "exp cos x1"


def test_rule_4_a_leaf_has_no_children():
    assert str(substitute(Structure.parse("+ sin x0 cos x1"), 2 - 1, 1)) == "+ x1 cos x1"


def test_rule_5_a_leaf_that_becomes_a_node_gets_leaves():
    assert str(substitute(Structure.parse("sin x0"), 1, "cos", (0,))) == "sin cos x0"
    assert str(substitute(Structure.parse("sin x0"), 1, "/", (0, 1))) == "sin / x0 x1"
    with pytest.raises(XNetError, match="needs 2 new"):
        substitute(Structure.parse("sin x0"), 1, "/")


def test_moving_outputs_by_a_gauss_newton_length_brings_the_root_to_the_target():
    tree, y = random_tree("+ sin x0 x1"), np.linspace(0, 1, 7)
    moved = move_outputs(tree, POINTS.T.copy(), y, 1.0)
    np.testing.assert_allclose(moved[0], y, atol=1e-12)


def test_selection_finds_the_function_that_the_target_has():
    x = np.linspace(-1, 1, 20)[None]
    tree = Tree(Structure.parse("x0"), np.ones(1), np.zeros(1))
    best = select(tree, x, 3 * np.exp(x[0]) - 1, tuple(LIBRARY), [0], 0.01)[0]
    assert (best.op, best.distance) == ("exp", pytest.approx(0.0, abs=1e-12))
    assert str(best.apply(tree.structure)) == "exp x0"


def test_no_choice_is_farther_than_the_threshold():
    x = np.linspace(-1, 1, 20)[None]
    tree = Tree(Structure.parse("square x0"), np.ones(2), np.zeros(2))
    assert all(choice.distance < 0.3 for choice in select(tree, x, np.exp(x[0]), tuple(LIBRARY), [0], 0.3))
    assert not select(tree, x, np.exp(x[0]), tuple(LIBRARY), [0], 0.0)


def test_mutations_and_neighbours_are_trees():
    rng, tree = np.random.default_rng(0), random_tree("* sin square x0 cos x1")
    for other in [*neighbours(tree, ("sin", "exp"), ("+", "/"), [0, 1], rng)[:200], mutate(tree, ("sin",), ("+",), [0], rng, 6)]:
        other.structure.check()
        assert len(other.w) == len(other.b) == len(other.structure)


def test_the_learning_rate_grows_while_the_loss_falls_and_is_cut_when_it_rises():
    assert ada_alpha(0.1, 2.0, 1.0) > 0.1 > ada_alpha(0.1, 1.0, 2.0)
    assert 0.05 <= ada_alpha(0.1, 1.0, 1e9) and ada_alpha(0.1, 1e9, 1.0) <= 0.2


@pytest.mark.parametrize("fit", [lambda *a: descend(*a, 3000, True), lambda *a: descend(*a, 3000, False), lambda *a: quasi_newton(*a, 500)])
def test_the_optimisers_of_the_paper_fit_a_line_through_a_square(fit):
    structure, x = Structure.parse("square x0"), np.linspace(-1, 1, 20)[None]
    _, loss = fit(structure, x, 0.5 * (x[0] + 0.3) ** 2 - 0.1, np.array([1.0, 1.0, 0.0, 0.1]))
    assert loss < 1e-5


def test_levenberg_marquardt_is_exact_where_the_structure_is_right():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (30, 1))
    problem = Problem.build(x, 3 * np.exp(-0.7 * x[:, 0]) + 5, rng, 0.2)
    tree, error = fit_structure(Structure.parse("exp x0"), problem, rng, 6, 60)
    assert error < 1e-24
    np.testing.assert_allclose(predict(problem.to_user(tree), x), 3 * np.exp(-0.7 * x[:, 0]) + 5, rtol=1e-10)


@pytest.mark.parametrize("text", TREES)
def test_simplifying_changes_no_output(text):
    tree = random_tree(text)
    np.testing.assert_allclose(predict(simplify(tree, POINTS), POINTS), predict(tree, POINTS), rtol=1e-8)


def test_users_can_register_a_function_and_find_it():
    gauss = Function("gauss", 1, lambda u: np.exp(-u * u), lambda f, u: (-2 * u * f,), lambda u: torch.exp(-u * u),
                     lambda u: sympy.exp(-(u**2)), arguments=(Argument((-1, 1), (1, 3)),))  # fmt: skip
    register_function(gauss)
    try:
        x = np.linspace(-2, 2, 30)[:, None]
        model = XNetRegressor(unary=["gauss", "square"], rounds=0, listed=20, random_state=0).fit(x, 2 * np.exp(-((x[:, 0] - 0.3) ** 2)))
        assert str(model.trees_[0].structure) == "gauss x0"
        assert model.score(x, 2 * np.exp(-((x[:, 0] - 0.3) ** 2))) > 1 - 1e-12
    finally:
        del LIBRARY["gauss"]


def test_a_function_whose_forms_disagree_is_refused():
    wrong = Function("wrong", 1, np.sin, lambda f, u: (np.sin(u),), torch.sin, sympy.sin)
    with pytest.raises(XNetError, match="not the same"):
        register_function(wrong)
