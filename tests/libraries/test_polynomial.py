"""Monomials against scikit-learn and counting."""

import pickle
from math import comb

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.preprocessing import PolynomialFeatures

from discoverers.libraries import PolynomialLibrary


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_values_and_order_are_those_of_sklearn(n_states, degree, bias, seed):
    names = [f"x{k}" for k in range(n_states)]
    if degree == 0 and not bias:
        with pytest.raises(ValueError, match="has no terms"):
            PolynomialLibrary(degree, include_bias=bias).bind(names)
        return
    bound = PolynomialLibrary(degree, include_bias=bias).bind(names)
    X = np.random.default_rng(seed).normal(size=(7, n_states))
    features = PolynomialFeatures(degree, include_bias=bias)
    np.testing.assert_allclose(bound.evaluate(X), features.fit_transform(X), rtol=1e-13)
    assert len(bound) == comb(n_states + degree, degree) - (not bias)
    np.testing.assert_array_equal(bound.degrees, features.powers_.sum(axis=1))
    written = [
        name.replace(" ", "*").replace("^", "**") for name in features.get_feature_names_out()
    ]
    assert list(bound.names) == written


@pytest.mark.parametrize("degree", [1, 2, 4])
def test_without_interaction_only_powers_remain(degree):
    bound = PolynomialLibrary(degree, interaction=False).bind(["x", "y"], ["u"])
    assert len(bound) == 3 * degree + 1
    X = np.array([[2.0, 3.0]])
    powers = [base**k for k in range(1, degree + 1) for base in (2.0, 3.0, 5.0)]
    np.testing.assert_array_equal(bound.evaluate(X, [[5.0]])[0], [1.0, *powers])


def test_inputs_are_further_variables():
    bound = PolynomialLibrary(2).bind(["x"], ["u"])
    assert bound.names == ("1", "x", "u", "x**2", "x*u", "u**2")
    np.testing.assert_array_equal(bound.evaluate([[2.0]], [[3.0]]), [[1, 2, 3, 4, 6, 9]])


def test_names_follow_the_order_of_variables_not_of_the_alphabet():
    assert PolynomialLibrary(2, include_bias=False).bind(["x", "v"]).names == (
        "x",
        "v",
        "x**2",
        "x*v",
        "v**2",
    )


@pytest.mark.parametrize(
    "names", [["speed (m/s)", "lambda"], ["sin", "E"], ["x0", "x1"], ["µ", "ß"]]
)
def test_any_names_work(names):
    bound = PolynomialLibrary(2).bind(names)
    np.testing.assert_array_equal(bound.evaluate([[2.0, 3.0]]), [[1, 2, 3, 4, 6, 9]])
    assert bound.terms[1].expr == sympy.Symbol(names[0])


@pytest.mark.parametrize("degree", [-1, 2.0, "2", True, None])
def test_degree_is_checked_when_bound(degree):
    library = PolynomialLibrary(degree)
    with pytest.raises(ValueError, match="degree of PolynomialLibrary must be an integer >= 0"):
        library.bind(["x"])


def test_numpy_integers_are_degrees():
    assert len(PolynomialLibrary(np.int64(2)).bind(["x"])) == 3


def test_hopeless_sizes_are_refused_at_once():
    with pytest.raises(ValueError, match="would have 4598126 terms"):
        PolynomialLibrary(4).bind([f"x{k}" for k in range(100)])


def test_it_clones_and_searches():
    library = PolynomialLibrary(2, include_bias=False)
    copy = clone(library).set_params(degree=3)
    assert copy.get_params() == {"degree": 3, "include_bias": False, "interaction": True}
    assert library.degree == 2
    assert pickle.loads(pickle.dumps(copy)).get_params() == copy.get_params()


@pytest.mark.parametrize(
    ("states", "inputs", "error", "message"),
    [
        ([], [], ValueError, "state_names is empty"),
        (["x", "x"], [], ValueError, "repeated"),
        (["x"], ["x"], ValueError, "repeated"),
        ([1], [], TypeError, "state_names must hold"),
        (["x"], [""], TypeError, "input_names must hold"),
        ("xy", [], TypeError, "state_names must be a sequence"),
    ],
)
def test_names_are_checked(states, inputs, error, message):
    with pytest.raises(error, match=message):
        PolynomialLibrary(1).bind(states, inputs)
