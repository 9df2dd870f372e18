"""Closed formulas as fixed activations: the shipped suite, what may be written, and what is refused."""

import math

import pytest
import torch

import taafs_plugins as taafs
from taafs_plugins.activations import SpecError
from taafs_plugins.activations.expressions import FUNCTIONS, holds, program
from taafs_plugins.testing import FamilySuite

F64 = torch.float64
DISTILLED = "formula:0.3*sin(2.5*z+0.1)*exp(-0.5*z^2)-1.25e-1*tanh(z/0.7)**3"
POLES = "formula:log(z+2.5)/(z^2+0.3)+sqrt(4-z),low=-2,high=3"


class TestFormula(FamilySuite):
    specs = {DISTILLED: 0, POLES: 0}
    reach = 1.9

    def kinks(self, spec):
        return (-2.0, 3.0) if "low" in spec else (-50.0, 50.0)


REFERENCE = {"sigmoid": lambda u: 1 / (1 + math.exp(-u)), "silu": lambda u: u / (1 + math.exp(-u)), "square": lambda u: u * u,
             "cube": lambda u: u**3}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_the_one_of_its_name(name):
    z = torch.linspace(0.2, 2, 7, dtype=F64)
    act = taafs.make_activation(f"formula:{name}(z*2)-pi,low=0.2,high=2", dtype=F64)
    expected = [REFERENCE.get(name, getattr(math, name, None))(2 * float(x)) - math.pi for x in z]
    torch.testing.assert_close(act(z), torch.tensor(expected, dtype=F64), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(("text", "value"), [
    ("-z^2", -4.0), ("2-z", 0.0), ("3/z", 1.5), ("z-1/4", 1.75), ("(z+1)*(z-1)", 3.0), ("z/z^3", 0.25), ("2*3^2*z", 36.0), ("+z", 2.0),
    ("-(-z)", 2.0), ("z^0.5-2^0.5", 0.0), ("z - z*0.5 + sin(0)", 1.0), ("z**-1", 0.5),
])  # fmt: skip
def test_it_is_read_as_python_and_people_read_it(text, value):
    act = taafs.make_activation(f"formula:{text},low=1,high=3", dtype=F64)
    assert float(act(torch.tensor(2.0, dtype=F64))) == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize(("text", "words"), [
    ("tanh(z", "brackets closed"), ("tahn(z)", "Did you mean 'tanh'"), ("x+1", "unknown word 'x'"), ("1+2", "has no z"),
    ("exp(z)^z", "z in an exponent"), ("tanh(z)[0]", r"has a '\['"), ("z.real", "cannot be read"), ("__import__(z)", "unknown function"),
    ("z if z else z", "cannot be read"), ("9^9^9^9*z", "not finite"), ("(-1)^0.5*z", "not finite"), ("1/0*z", "not finite"),
    ("z/0", "not finite"), ("1e999*z", "not finite"), ("tanh()", "cannot be read"), ("z" + "+z" * 1500, "may have 2000"),
    ("1j*z", "cannot"),
    ("(" * 900 + "z" + ")" * 900, "cannot be read"), ("lambda", "cannot be read"),
])  # fmt: skip
def test_anything_else_is_refused_in_one_sentence_and_never_run(text, words):
    with pytest.raises(SpecError, match=words) as error:
        taafs.parse_spec(f"formula:{text}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["1/z", "log(z)", "1/(z-0.00037)", "1/(z-0.00037)^2", "z^0.5", "exp(2*z)", "sqrt(z^2)", "1/sin(40.1*z)"])
def test_a_formula_that_is_not_finite_in_its_range_is_refused(text):
    with pytest.raises(SpecError, match="low= and high="):
        taafs.parse_spec(f"formula:{text}")


def test_the_range_must_not_be_empty():
    with pytest.raises(SpecError, match="low must be below high"):
        taafs.parse_spec("formula:tanh(z),low=2,high=1")
    assert holds(program("1/z"), 0.1, 1) and not holds(program("1/z"), -0.1, 1)


def test_outside_its_range_it_goes_on_as_a_straight_line():
    act = taafs.make_activation("formula:z^3,low=-1,high=1", dtype=F64)
    z = torch.tensor([-1e6, -100.0, -1.0, 1.0, 100.0, 1e6], dtype=F64)
    slope = act.derivative(z, 1)
    assert slope[2] == slope[3] == 3.0 and torch.allclose(slope[[0, 1, 4, 5]], torch.tensor(3 * 1.1**2, dtype=F64), rtol=1e-10)
    assert torch.equal(act(z)[2:4], z[2:4] ** 3) and float(act(z)[5]) == pytest.approx(1.331 + 3.63 * (1e6 - 1.1))


def test_the_stock_activations_written_as_formulas_are_the_stock_ones():
    z = torch.linspace(-200, 200, 4001, dtype=F64)
    for text, stock in (("tanh(z)", torch.tanh), ("silu(z)", torch.nn.functional.silu), ("z*sigmoid(z)", torch.nn.functional.silu)):
        torch.testing.assert_close(taafs.make_activation(f"formula:{text}", dtype=F64)(z), stock(z), rtol=1e-15, atol=1e-15)


@pytest.mark.parametrize("text", ["formula", "formula,low=-1,high=1", "formula:"])
def test_without_a_formula_it_asks_for_one(text):
    with pytest.raises(SpecError, match="behind the colon|needs a formula of z.*write for example 'formula:tanh"):
        taafs.parse_spec(text)
