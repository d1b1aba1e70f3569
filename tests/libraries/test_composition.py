"""Sums, products, per-state choice, shorthand."""

import numpy as np
import pytest
import sympy
from sklearn.base import clone
from sklearn.model_selection import ParameterGrid

from discoverers.libraries import (
    BoundLibrary,
    Candidates,
    CustomLibrary,
    ExponentialLibrary,
    FourierLibrary,
    Library,
    PerStateLibrary,
    PolynomialLibrary,
    ProductLibrary,
    SumLibrary,
    resolve_library,
)

X = np.random.default_rng(0).normal(size=(6, 2))
A, B = X.T


def columns(bound: BoundLibrary) -> dict:
    return dict(zip(bound.names, bound.evaluate(X).T, strict=True))


def test_fourier_terms_are_sines_and_cosines():
    bound = FourierLibrary(2, frequency=0.5).bind(["a", "b"])
    values = columns(bound)
    assert len(values) == 8
    np.testing.assert_allclose(values["sin(0.5*a)"], np.sin(0.5 * A), rtol=1e-14)
    np.testing.assert_allclose(values["cos(b)"], np.cos(B), rtol=1e-14)


def test_an_exact_frequency_stays_exact():
    bound = FourierLibrary(frequency=2 * sympy.pi).bind(["a"])
    assert bound.terms[0].expr == sympy.sin(2 * sympy.pi * sympy.Symbol("a"))


def test_exponential_terms():
    values = columns(ExponentialLibrary((1, -0.5)).bind(["a", "b"]))
    np.testing.assert_allclose(values["exp(a)"], np.exp(A), rtol=1e-14)
    np.testing.assert_allclose(values["exp(-0.5*b)"], np.exp(-0.5 * B), rtol=1e-14)


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (FourierLibrary(0), "n_frequencies of FourierLibrary must be an integer >= 1"),
        (FourierLibrary(1.5), "n_frequencies"),
        (FourierLibrary(frequency=0.0), "frequency of FourierLibrary must be > 0"),
        (FourierLibrary(frequency="1"), "frequency"),
        (FourierLibrary(frequency=float("nan")), "finite"),
        (FourierLibrary(frequency=sympy.I), "real"),
        (ExponentialLibrary(()), "one or more"),
        (ExponentialLibrary((1, 0)), "other than 0"),
        (ExponentialLibrary(1.0), "sequence"),
        (ExponentialLibrary("1"), "sequence"),
        (ExponentialLibrary((1, float("inf"))), "finite"),
        (SumLibrary(()), "non-empty"),
        (SumLibrary("poly2"), "non-empty sequence"),
    ],
)
def test_parameters_are_checked_when_bound(library, message):
    with pytest.raises(ValueError, match=message):
        library.bind(["a", "b"])


def test_sums_hold_every_term_once():
    bound = (PolynomialLibrary(2) + PolynomialLibrary(3) + FourierLibrary()).bind(["a", "b"])
    assert len(bound) == 10 + 4
    assert len(set(bound.names)) == len(bound)


def test_terms_that_differ_by_a_number_are_one():
    bound = (PolynomialLibrary(1) + CustomLibrary(["2*a", "3", "a + b - b"])).bind(["a", "b"])
    assert bound.names == ("1", "a", "b")


def test_products_hold_every_pair():
    values = columns((PolynomialLibrary(1) * FourierLibrary()).bind(["a", "b"]))
    waves = {
        f"{f}({v})": getattr(np, f)(x)
        for f in ("sin", "cos")
        for v, x in zip("ab", X.T, strict=True)
    }
    expected = dict(waves)
    for name, wave in waves.items():
        expected |= {f"a*{name}": A * wave, f"b*{name}": B * wave}
    assert values.keys() == expected.keys()
    for name, column in expected.items():
        np.testing.assert_allclose(values[name], column, rtol=1e-13)


def test_products_of_polynomials_merge():
    product = (PolynomialLibrary(1) * PolynomialLibrary(2)).bind(["a", "b"])
    assert product.names == PolynomialLibrary(3).bind(["a", "b"]).names


def test_text_joins_libraries():
    joined = (PolynomialLibrary(1) + "fourier").bind(["a"])
    assert joined.names == ("poly1" + PolynomialLibrary(0) + FourierLibrary()).bind(["a"]).names
    assert ("poly1" * FourierLibrary()).bind(["a"]).names == (
        (PolynomialLibrary(1) * "fourier").bind(["a"]).names
    )
    with pytest.raises(TypeError):
        PolynomialLibrary(1) + 1


def test_sums_and_products_flatten_and_clone():
    library = PolynomialLibrary(1) + FourierLibrary() + ExponentialLibrary()
    assert isinstance(library, SumLibrary)
    assert len(library.libraries) == 3
    copy = clone(library)
    assert copy.libraries[0] is not library.libraries[0]
    assert copy.bind(["a"]).names == library.bind(["a"]).names
    assert isinstance(clone(PolynomialLibrary(1) * FourierLibrary()), ProductLibrary)


def test_parts_are_reached_by_a_search():
    library = PolynomialLibrary(1) + FourierLibrary()
    sizes = [
        len(clone(library).set_params(**params).bind(["a"]))
        for params in ParameterGrid({"part0__degree": [1, 2], "part1__n_frequencies": [1, 2]})
    ]
    assert sizes == [4, 6, 5, 7]
    assert library.get_params()["part1__n_frequencies"] == 1
    replaced = clone(library).set_params(part1=ExponentialLibrary())
    assert replaced.bind(["a"]).names == ("1", "a", "exp(a)", "exp(-a)")
    with pytest.raises(ValueError, match="Invalid parameter"):
        library.set_params(part7__degree=2)


def test_each_state_has_its_own_terms():
    library = PerStateLibrary({"a": PolynomialLibrary(1), -1: "fourier"})
    bound = library.bind(["a", "b"])
    assert bound.names == ("1", "a", "b", "sin(a)", "cos(a)", "sin(b)", "cos(b)")
    np.testing.assert_array_equal(bound.allowed, [[1, 1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1]])


def test_other_states_take_the_default():
    bound = PerStateLibrary({1: "poly2"}, default="poly1").bind(["a", "b", "c"])
    np.testing.assert_array_equal(bound.allowed.sum(axis=1), [4, 10, 4])


def test_masks_join_in_sums_and_products():
    own = PerStateLibrary({"a": CustomLibrary(["a"]), "b": CustomLibrary(["b"])})
    total = (own + CustomLibrary(["1", "a"])).bind(["a", "b"])
    assert total.names == ("1", "a", "b")
    np.testing.assert_array_equal(total.allowed, [[1, 1, 0], [1, 1, 1]])
    product = (own * CustomLibrary(["1", "b"])).bind(["a", "b"])
    assert product.names == ("a", "b", "a*b", "b**2")
    np.testing.assert_array_equal(product.allowed, [[1, 0, 1, 0], [0, 1, 0, 1]])


def test_terms_that_no_state_may_use_are_left_out():
    one = PerStateLibrary({"a": CustomLibrary(["a"]), "b": CustomLibrary(["b"])})
    nested = PerStateLibrary({"a": one, "b": one}).bind(["a", "b"])
    np.testing.assert_array_equal(nested.allowed, [[1, 0], [0, 1]])


def test_without_choice_everything_is_allowed():
    assert PolynomialLibrary(2).bind(["a", "b"]).allowed.all()


@pytest.mark.parametrize(
    ("library", "message"),
    [
        (PerStateLibrary({"a": "poly1"}), r"no library for the states \['b'\]"),
        (PerStateLibrary({"c": "poly1"}, "poly1"), "'c', which is no state"),
        (PerStateLibrary({2: "poly1"}, "poly1"), "2, which is no state"),
        (PerStateLibrary({True: "poly1"}, "poly1"), "no state"),
        (PerStateLibrary({"a": "poly1", 0: "poly2"}, "poly1"), "names the state 'a' twice"),
        (PerStateLibrary(["poly1"]), "must be a mapping"),
    ],
)
def test_per_state_choices_are_checked(library, message):
    with pytest.raises(ValueError, match=message):
        library.bind(["a", "b"])


def test_per_state_libraries_clone_and_search():
    library = PerStateLibrary({"a": PolynomialLibrary(1)}, default=PolynomialLibrary(1))
    copy = clone(library).set_params(default__degree=2)
    assert copy.bind(["a", "b"]).allowed.sum() == 3 + 6
    assert library.bind(["a", "b"]).allowed.sum() == 3 + 3


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("poly", PolynomialLibrary(3)),
        ("poly5", PolynomialLibrary(5)),
        (" Poly2 + Fourier ", PolynomialLibrary(2) + FourierLibrary()),
        ("poly1*fourier2", PolynomialLibrary(1) * FourierLibrary(2)),
        ("poly2+exp", PolynomialLibrary(2) + ExponentialLibrary()),
        ("exp2", ExponentialLibrary((1, -1, 2, -2))),
        (
            "poly2+poly1*fourier",
            PolynomialLibrary(2) + PolynomialLibrary(1) * FourierLibrary(),
        ),
    ],
)
def test_shorthand_means_the_library(text, same):
    assert resolve_library(text).bind(["a", "b"]).names == same.bind(["a", "b"]).names


def test_libraries_pass_through():
    library = PolynomialLibrary(2)
    assert resolve_library(library) is library


@pytest.mark.parametrize(
    "text", ["", "poly-1", "poly2+", "sindy", "poly2.5", "(poly2)", "poly2**2"]
)
def test_other_text_is_refused_with_what_is_known(text):
    with pytest.raises(ValueError, match="known are 'poly<degree>'"):
        resolve_library(text)


@pytest.mark.parametrize("spec", [None, 3, ["poly2"], PolynomialLibrary])
def test_other_types_are_refused(spec):
    with pytest.raises(TypeError, match="must be a Library or shorthand"):
        resolve_library(spec)


def test_a_library_of_ones_own_needs_one_method():
    class Reciprocals(Library):
        def __init__(self, power=1):
            self.power = power

        def candidates(self, variables):
            return Candidates(tuple(symbol**-self.power for symbol in variables.all))

    values = columns((PolynomialLibrary(1) + clone(Reciprocals(2))).bind(["a", "b"]))
    np.testing.assert_allclose(values["1/a**2"], A**-2.0, rtol=1e-13)
