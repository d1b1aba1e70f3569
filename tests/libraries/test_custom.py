"""Terms from callables, expressions and text."""

import functools
import math
import pickle

import numpy as np
import pytest
import sympy
from scipy import special
from sklearn.base import clone

from discoverers.libraries import CustomLibrary, PolynomialLibrary

X = np.random.default_rng(0).uniform(0.5, 2.0, size=(6, 2))
A, B = X.T


def hill(x):
    return x**2 / (1 + x**2)


def ratio(x, y):
    return x / (1 + y)


def with_default(x, power=2):
    return x**power


def columns(library, names=("a", "b"), **data):
    bound = library.bind(names)
    return dict(zip(bound.names, bound.evaluate(X, **data).T, strict=True))


def test_callables_of_one_argument_meet_every_variable():
    values = columns(CustomLibrary([hill]))
    assert values.keys() == {"hill(a)", "hill(b)"}
    np.testing.assert_allclose(values["hill(b)"], B**2 / (1 + B**2), rtol=1e-14)


def test_callables_of_two_arguments_meet_every_pair_once_or_in_both_orders():
    assert columns(CustomLibrary([ratio])).keys() == {"ratio(a, b)"}
    values = columns(CustomLibrary([ratio], ordered=True))
    np.testing.assert_allclose(values["ratio(b, a)"], B / (1 + A), rtol=1e-14)
    np.testing.assert_allclose(values["ratio(a, b)"], A / (1 + B), rtol=1e-14)


def test_inputs_are_arguments_too():
    bound = CustomLibrary([hill]).bind(["a"], ["u"])
    assert bound.names == ("hill(a)", "hill(u)")
    np.testing.assert_allclose(bound.evaluate([[1.0]], [[2.0]]), [[0.5, 0.8]])


def test_arguments_with_defaults_do_not_count():
    assert columns(CustomLibrary([with_default])).keys() == {"with_default(a)", "with_default(b)"}


def test_lambdas_are_numbered_and_may_be_named():
    library = CustomLibrary([lambda v: v**3, lambda v: v**4])
    assert library.bind(["a"]).names == ("f0(a)", "f1(a)")
    named = CustomLibrary(library.functions, names=["cube", None])
    assert named.bind(["a"]).names == ("cube(a)", "f0(a)")
    assert functools.partial(with_default, power=3)  # no name of its own
    assert CustomLibrary([functools.partial(with_default, power=3)]).bind(["a"]).names == ("f0(a)",)


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (np.sin, "sin"),
        (math.tanh, "tanh"),
        (np.arctan, "atan"),
        (np.abs, "Abs"),
        (abs, "Abs"),
        (sympy.cos, "cos"),
    ],
)
def test_known_functions_become_sympys(function, name):
    bound = CustomLibrary([function]).bind(["a"])
    assert bound.terms[0].expr == getattr(sympy, name)(sympy.Symbol("a"))
    assert bound.functions == {}


def test_ufuncs_know_their_arity():
    values = columns(CustomLibrary([np.log2, np.hypot, special.erf]))
    np.testing.assert_allclose(values["hypot(a, b)"], np.hypot(A, B))
    np.testing.assert_allclose(values["log2(a)"], np.log2(A))
    np.testing.assert_allclose(values["erf(a)"], special.erf(A))


def test_expressions_and_text_are_single_terms():
    a = sympy.Symbol("a", positive=True)
    values = columns(CustomLibrary([a**2 / 3, "a/(1 + b)", "hill(a)*b", hill]))
    np.testing.assert_allclose(values["1/3*a**2"], A**2 / 3, rtol=1e-14)
    np.testing.assert_allclose(values["a/(1 + b)"], A / (1 + B), rtol=1e-14)
    np.testing.assert_allclose(values["b*hill(a)"], B * A**2 / (1 + A**2), rtol=1e-14)


def test_constant_results_are_spread():
    np.testing.assert_array_equal(columns(CustomLibrary([lambda v: 2.0]))["f0(a)"], 2.0)


def test_arity_can_be_given():
    def anything(*arguments):
        return sum(arguments)

    with pytest.raises(ValueError, match="give arity"):
        CustomLibrary([anything]).bind(["a", "b"])
    values = columns(CustomLibrary([anything], arity=2))
    np.testing.assert_allclose(values["anything(a, b)"], A + B)
    assert columns(CustomLibrary([anything, hill], arity=[2, None])).keys() == {
        "anything(a, b)",
        "hill(a)",
        "hill(b)",
    }


def test_functions_that_are_not_elementwise_are_named():
    bound = CustomLibrary([lambda v: np.ones(3)], names=["odd"]).bind(["a"])
    with pytest.raises(ValueError, match="function 'odd' returned shape"):
        bound.evaluate(np.ones((5, 1)))


@pytest.mark.parametrize(
    ("library", "error", "message"),
    [
        (CustomLibrary([]), ValueError, "is empty"),
        (CustomLibrary("a"), TypeError, "must be a sequence"),
        (CustomLibrary(hill), TypeError, "must be a sequence"),
        (CustomLibrary([3]), TypeError, "callables, SymPy expressions or text"),
        (CustomLibrary([int]), TypeError, "callables, SymPy expressions or text"),
        (
            CustomLibrary([hill, hill]),
            ValueError,
            "two functions of CustomLibrary are named 'hill'",
        ),
        (CustomLibrary([hill], names=["a"]), ValueError, "name of a variable"),
        (CustomLibrary([hill], names=["sin"]), ValueError, "cannot be named 'sin'"),
        (CustomLibrary([hill], names=["my f"]), ValueError, "cannot be named 'my f'"),
        (CustomLibrary([hill], names=["f", "g"]), ValueError, "2 entries for 1 functions"),
        (CustomLibrary(["a"], names=["f"]), ValueError, "use None"),
        (CustomLibrary(["c*a"]), ValueError, "unknown name 'c'"),
        (CustomLibrary([sympy.Symbol("c")]), ValueError, r"holds \['c'\]"),
        (CustomLibrary([sympy.Function("g")(sympy.Symbol("a"))]), ValueError, r"holds \['g'\]"),
        (CustomLibrary(["__import__('os')"]), ValueError, "no function '__import__'"),
        (CustomLibrary([lambda: 1]), ValueError, "no required positional argument"),
        (CustomLibrary([lambda p, q, r: p]), ValueError, "takes 3 arguments"),
        (CustomLibrary([hill], arity=0), ValueError, "at least one argument"),
        (CustomLibrary([hill], arity=[1, 1]), ValueError, "2 entries for 1 functions"),
    ],
)
def test_wrong_entries_are_named(library, error, message):
    with pytest.raises(error, match=message):
        library.bind(["a", "b"])


def test_equal_names_of_different_functions_clash_across_libraries():
    first, second = CustomLibrary([lambda v: v]), CustomLibrary([lambda v: v**2])
    with pytest.raises(ValueError, match="two different functions are named 'f0'"):
        (first + second).bind(["a"])
    assert len((CustomLibrary([hill]) * CustomLibrary([hill])).bind(["a"])) == 1


def test_equations_compute_with_the_users_function():
    bound = (PolynomialLibrary(1) + CustomLibrary([hill])).bind(["a"])
    equations = bound.equations([[0.0, -1.0, 2.0]])
    assert repr(equations) == "a' = 2.0 hill(a) - 1.0 a"
    np.testing.assert_allclose(
        equations.lambdify()(X[:, :1])[:, 0], -A + 2 * A**2 / (1 + A**2), rtol=1e-13
    )
    assert pickle.loads(pickle.dumps(equations)) == equations


def test_it_clones():
    library = CustomLibrary([hill, "a*b"], names=["h", None])
    copy = clone(library).set_params(ordered=True)
    assert copy.bind(["a", "b"]).names == library.bind(["a", "b"]).names
    assert library.ordered is False
