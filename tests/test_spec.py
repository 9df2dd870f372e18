"""Specs: parsing and printing are inverse, and every mistake is one sentence with the way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import taafs_plugins as taafs
from taafs_plugins.activations import basis_names, family_names, is_spec
from taafs_plugins.activations.spec import SpecError, integer, split, with_default
from taafs_plugins.activations.taafs.bases import register_basis
from taafs_plugins.activations.taafs.shapes import PolynomialBasis

OPTIONS = {
    "share": st.sampled_from(["global", "network", "layer", "neuron"]),
    "residual": st.sampled_from(["plain", "scaled"]),
    "squash": st.sampled_from(["tanh", "softsign", "algebraic", "linear"]),
    "scale": st.one_of(st.just("auto"), st.floats(1e-6, 1e6)),
    "rate": st.floats(1e-6, 1e6),
    "seed": st.integers(0, 1000),
    "theta": st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=4).map(tuple),
}


@given(st.sampled_from(basis_names()), st.fixed_dictionaries({}, optional=OPTIONS))
def test_parsing_and_printing_are_inverse(basis, options):
    spec = taafs.parse_spec(f"taafs:{basis}").with_options(**options)
    text = str(spec)
    again = taafs.parse_spec(text)
    assert str(again) == str(taafs.parse_spec(str(again)))
    assert dict(again.options) == options
    assert text == text.lower() and " " not in text


@pytest.mark.parametrize("basis", basis_names())
def test_resolved_specs_are_complete_and_stable(basis):
    resolved = taafs.resolve_spec(f"taafs:{basis}")
    assert {"share", "residual", "squash", "scale", "init", "rate"} <= set(resolved.options)
    assert taafs.resolve_spec(str(resolved)) == resolved == taafs.parse_spec(str(resolved))


def test_defaults():
    spec = taafs.resolve_spec("taafs")
    assert str(spec) == "taafs:bspline,grid=5,order=3,share=layer,residual=plain,squash=tanh,scale=1,init=zero,rate=1"
    assert taafs.resolve_spec("taafs:fourier", {"rate": 10.0})["rate"] == 10.0
    assert taafs.resolve_spec("taafs:fourier,rate=3", {"rate": 10.0})["rate"] == 3.0
    assert taafs.resolve_spec("taafs:fourier,residual=none")["init"] == "fit"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        ("taafs:", "nothing behind the colon"),
        ("taafs,", "Did you mean 'taafs'"),
        ("taafs:bspline,,grid=5", "Did you mean 'taafs:bspline,grid=5'"),
        (",taafs", "Did you mean 'taafs'"),
        (",,", "stray comma"),
        ("taafs:bspline,grid", "not of the form key=value"),
        ("taafs:bspline,grid=", "not of the form key=value"),
        ("taafs:bspline,grid=5,grid=6", "sets 'grid' twice"),
        ("taafs:bsplin", "Did you mean 'bspline'"),
        ("taafs:foo", "Known: bspline, fourier"),
        ("tafs", "Did you mean 'taafs'"),
        ("taafs:bspline,gird=5", "Did you mean 'grid'"),
        ("taafs:bspline,degree=5", "unknown key 'degree'"),
        ("taafs:bspline,grid=0", "grid takes a whole number from 1 to 64"),
        ("taafs:bspline,order=-1", "order takes a whole number"),
        ("taafs:fourier,n=abc", "n takes a whole number"),
        ("taafs:fourier,n=2.5", "n takes a whole number"),
        ("taafs:fourier,scale=0", "scale takes 'auto' or a number above 0"),
        ("taafs:fourier,scale=nan", "scale takes"),
        ("taafs:fourier,rate=inf", "rate takes a number above 0"),
        ("taafs:fourier,rate=-1", "rate takes a number above 0"),
        ("taafs:fourier,share=all", "share takes one of global, network, layer, neuron"),
        ("taafs:fourier,squash=quotient", "squash takes one of"),
        ("taafs:fourier,init=fit", "init=fit needs residual=none"),
        ("taafs:fourier,residual=none,init=zero", "cannot train"),
        ("taafs:fourier,theta=1/x", "finite numbers"),
        ("taafs:fourier,residual=none,scale=auto,share=network", "use share=layer"),
    ],
)
def test_mistakes_are_one_sentence_with_the_way_out(text, words):
    with pytest.raises(SpecError, match=words) as error:
        taafs.parse_spec(text)
    assert isinstance(error.value, ValueError) and "\n" not in str(error.value)


def test_only_strings_are_specs():
    assert is_spec("taafs:anything at all") and is_spec(" TAAFS ")
    assert not any(is_spec(value) for value in ("tanh", "", None, 3, "silut:3.0"))
    with pytest.raises(SpecError, match="not int"):
        split(3)


def test_third_parties_register_a_basis():
    import numpy as np
    import torch

    name = "monomials_of_a_test"
    register_basis(name, {"degree": with_default(integer(1, 9), 2)}, lambda degree: PolynomialBasis(np.eye(degree + 1)))
    act = taafs.make_activation(f"taafs:{name}", dtype=torch.float64)
    assert act.delta.shape == (3,)
    with pytest.raises(ValueError, match="already registered"):
        register_basis(name, {}, None)
    with pytest.raises(ValueError, match="lower-case word"):
        register_basis("Not A Name", {}, None)


def test_families_cannot_be_registered_twice():
    from taafs_plugins.activations import Family

    assert "taafs" in family_names()
    with pytest.raises(ValueError, match="already registered"):
        taafs.register_family(Family("taafs", None, None, None))
