"""Bound libraries: evaluation, derivatives, equations."""

import pickle

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from discoverers.libraries import (
    CustomLibrary,
    ExponentialLibrary,
    FourierLibrary,
    PolynomialLibrary,
    resolve_library,
)


def hill(x):
    return x**2 / (1 + x**2)


MIXED = (
    PolynomialLibrary(2) * FourierLibrary(2)
    + PolynomialLibrary(3)
    + ExponentialLibrary((0.5, -1))
    + CustomLibrary(
        [hill, "x/(1 + y**2)", "Abs(y)*x", "sign(x)*u", "sqrt(x**2 + 1)", "hill(x)*y"],
        names=["hill", None, None, None, None, None],
    )
)


@pytest.fixture(scope="module")
def mixed():
    return MIXED.bind(["x", "y"], ["u"])


def by_hand(bound, X, u):
    """Each term by SymPy's own numbers, one sample at a time."""
    table = np.empty((len(X), len(bound)))
    replace = {"hill": lambda a: a**2 / (1 + a**2)}
    for i, row in enumerate(np.hstack([X, u])):
        values = dict(zip(bound.variables, row, strict=True))
        for k, term in enumerate(bound.terms):
            expr = term.expr.replace(sympy.Function("hill"), replace["hill"])
            table[i, k] = float(expr.subs(values))
    return table


def test_mixed_terms_evaluate_as_sympy_does(mixed):
    rng = np.random.default_rng(0)
    X, u = rng.normal(size=(3, 2)), rng.normal(size=(3, 1))
    np.testing.assert_allclose(mixed.evaluate(X, u), by_hand(mixed, X, u), rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=3))
def test_leading_axes_stay(shape):
    bound = resolve_library("poly2+fourier").bind(["x", "y"], ["u"])
    rng = np.random.default_rng(1)
    X, u = rng.normal(size=(*shape, 2)), rng.normal(size=(*shape, 1))
    values, slopes = bound.evaluate(X, u), bound.jacobian(X, u)
    assert values.shape == (*shape, len(bound))
    assert slopes.shape == (*shape, len(bound), 2)
    flat = bound.evaluate(X.reshape(-1, 2), u.reshape(-1, 1))
    np.testing.assert_array_equal(values.reshape(-1, len(bound)), flat)
    flat = bound.jacobian(X.reshape(-1, 2), u.reshape(-1, 1))
    np.testing.assert_array_equal(slopes.reshape(-1, len(bound), 2), flat)


def test_inputs_broadcast_over_leading_axes():
    bound = PolynomialLibrary(2).bind(["x"], ["u"])
    X = np.arange(6.0).reshape(2, 3, 1)
    np.testing.assert_array_equal(
        bound.evaluate(X, [2.0]), bound.evaluate(X, np.full((2, 3, 1), 2.0))
    )


def test_more_samples_than_a_block_are_evaluated_alike(mixed):
    rng = np.random.default_rng(2)
    X, u = rng.normal(size=(20_001, 2)), rng.normal(size=(20_001, 1))
    values = mixed.evaluate(X, u)
    for start in (0, 16_383, 16_384, 20_000):
        rows = slice(start, start + 3)
        np.testing.assert_allclose(values[rows], mixed.evaluate(X[rows], u[rows]), rtol=1e-14)


def test_jacobian_agrees_with_central_differences(mixed):
    rng = np.random.default_rng(3)
    X, u = rng.uniform(0.2, 1.5, size=(20, 2)), rng.normal(size=(20, 1))
    slopes = mixed.jacobian(X, u)
    step = 1e-5
    for v in range(2):
        ahead, back = X.copy(), X.copy()
        ahead[:, v] += step
        back[:, v] -= step
        differences = (mixed.evaluate(ahead, u) - mixed.evaluate(back, u)) / (2 * step)
        np.testing.assert_allclose(slopes[..., v], differences, rtol=1e-6, atol=1e-8)


def test_jacobian_of_monomials_is_exact():
    bound = PolynomialLibrary(3).bind(["x", "y"])
    a, b = 2.0, 3.0
    slopes = bound.jacobian([[a, b]])[0]
    expected = {
        "1": (0, 0),
        "x": (1, 0),
        "y": (0, 1),
        "x**2": (2 * a, 0),
        "x*y": (b, a),
        "y**2": (0, 2 * b),
        "x**3": (3 * a**2, 0),
        "x**2*y": (2 * a * b, a**2),
        "x*y**2": (b**2, 2 * a * b),
        "y**3": (0, 3 * b**2),
    }
    np.testing.assert_array_equal(slopes, [expected[name] for name in bound.names])


def test_jacobian_of_a_callable_is_accurate():
    bound = CustomLibrary([hill]).bind(["x"])
    x = np.linspace(-3, 3, 13)
    expected = 2 * x / (1 + x**2) ** 2
    np.testing.assert_allclose(bound.jacobian(x[:, None])[:, 0, 0], expected, atol=1e-9)


def test_jacobian_at_a_kink_is_finite():
    bound = CustomLibrary(["Abs(x)", "sign(x)", "x*Abs(x)"]).bind(["x"])
    slopes = bound.jacobian([[-2.0], [3.0]])[:, :, 0]
    expected = {"Abs(x)": (-1, 1), "sign(x)": (0, 0), "x*Abs(x)": (4, 6)}
    np.testing.assert_array_equal(slopes.T, [expected[name] for name in bound.names])


def test_it_pickles_after_use(mixed):
    X, u = np.ones((4, 2)), np.ones((4, 1))
    values, slopes = mixed.evaluate(X, u), mixed.jacobian(X, u)
    back = pickle.loads(pickle.dumps(mixed))
    assert back.terms == mixed.terms
    np.testing.assert_array_equal(back.evaluate(X, u), values)
    np.testing.assert_array_equal(back.jacobian(X, u), slopes)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_equations_are_coefficients_times_terms(seed):
    bound = resolve_library("poly2+fourier").bind(["x", "y"], ["u"])
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=(2, len(bound))) * (rng.random((2, len(bound))) < 0.4)
    equations = bound.equations(coef)
    X, u = rng.normal(size=(5, 2)), rng.normal(size=(5, 1))
    np.testing.assert_allclose(
        equations.lambdify()(X, u), bound.evaluate(X, u) @ coef.T, rtol=1e-10, atol=1e-12
    )
    for row, terms in zip(coef, equations.terms().values(), strict=True):
        wanted = {bound.terms[k].expr: row[k] for k in np.flatnonzero(row)}
        assert terms == wanted  # to the last bit, and without zeros


def test_equations_carry_only_the_functions_they_use(mixed):
    coef = np.zeros((2, len(mixed)))
    coef[0, mixed.names.index("x")] = 2.0
    assert dict(mixed.equations(coef).functions) == {}
    coef[1, mixed.names.index("hill(x)")] = 3.0
    assert dict(mixed.equations(coef).functions) == {"hill": hill}
    assert repr(mixed.equations(coef)) == "x' = 2.0 x\ny' = 3.0 hill(x)"


@pytest.mark.parametrize("shape", [(6,), (6, 2), (3, 6), (2, 7)])
def test_coefficients_of_another_shape_are_refused(shape):
    bound = PolynomialLibrary(2).bind(["x", "y"])
    with pytest.raises(ValueError, match=r"coef must have shape \(states, terms\) = \(2, 6\)"):
        bound.equations(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_coefficients_must_be_finite(value):
    with pytest.raises(ValueError, match="NaN or infinity"):
        PolynomialLibrary(0).bind(["x"]).equations([[value]])


def test_undefined_terms_are_named_without_warnings():
    bound = CustomLibrary(["log(x)", "1/x", "x"]).bind(["x"])
    theta = bound.evaluate([[1.0], [0.0], [-1.0]])  # a RuntimeWarning would fail the next line
    with pytest.raises(ValueError, match=r"'log\(x\)' \(2\), '1/x' \(1\) of 3 values"):
        bound.check_finite(theta)
    bound.check_finite(theta[:1])
    with pytest.raises(ValueError, match="theta must have 3 columns"):
        bound.check_finite(theta[:, :2])


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_overflow_gives_no_warning():
    assert np.isinf(PolynomialLibrary(3).bind(["x"]).evaluate([[1e200]])).any()
    assert np.isinf(ExponentialLibrary().bind(["x"]).evaluate([[1e4]])).any()


@pytest.mark.parametrize(
    ("X", "u", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 1)), "X must have 2 columns"),
        (np.ones((2, 2)), None, "u is missing"),
        (np.ones((2, 2)), np.ones((2, 2)), "u must have 1 columns"),
        (1.0, np.ones((2, 1)), "X must have 2 columns"),
    ],
)
def test_data_of_another_shape_is_refused(mixed, X, u, message):
    with pytest.raises(ValueError, match=message):
        mixed.evaluate(X, u)


def test_constants_fill_their_column():
    np.testing.assert_array_equal(PolynomialLibrary(0).bind(["x"]).evaluate(np.zeros((3, 1))), 1.0)


@pytest.mark.parametrize(
    ("name", "degree"),
    [
        ("1", 0),
        ("x*y", 2),
        ("x**3", 3),
        ("sin(x)", 2),
        ("x*sin(x)", 3),
        ("x*y*cos(2*y)", 4),
        ("exp(0.5*x)", 2),
        ("x/(1 + y**2)", 3),
        ("hill(u)", 2),
    ],
)
def test_degrees_are_graded(mixed, name, degree):
    assert mixed.terms[mixed.names.index(name)].degree == degree
    assert mixed.degrees[mixed.names.index(name)] == degree


def test_terms_are_in_order_of_degree(mixed):
    assert list(mixed.degrees) == sorted(mixed.degrees)
