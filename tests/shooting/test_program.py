"""Byte-code terms against SymPy's own evaluation, and splines against SciPy's."""

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from discoverers.shooting import Column, Spline, StateSpaceModel, spline_values
from discoverers.shooting.kernels import DEPTH, evaluate_terms
from discoverers.shooting.program import compile_terms

NAMES = ["x", "v", "u"]
x, v, u = sympy.symbols("x v u")

TERMS = [
    x,
    3.5 * v,
    sympy.Integer(2),
    x**3,
    x * v**2,
    x**-2,
    sympy.sqrt(x),
    x ** sympy.Rational(5, 3),
    x**v,
    2**x,
    sympy.sin(2 * x) * sympy.cos(v),
    sympy.tan(x / 3),
    sympy.exp(-x) + v,
    sympy.log(x),
    sympy.tanh(5 * v),
    sympy.sinh(x) - sympy.cosh(v),
    sympy.atan(x * u),
    sympy.Abs(x - 2) * v,
    sympy.sign(v - 1) * x,
    sympy.Max(x - 1, 0) * v,
    sympy.Min(x, v, u),
    x / (1 + x**2),
    (x - v) ** 3 * u,
]


def values_and_gradient(term, state, force):
    program = compile_terms([term], ["x", "v"], ["u"])
    phi, dphi = np.empty(1), np.empty((1, 2))
    evaluate_terms(
        program.code,
        program.numbers,
        program.splines,
        np.array(state),
        np.array([force]),
        np.empty(DEPTH),
        np.empty((DEPTH, 2)),
        phi,
        dphi,
    )
    return phi[0], dphi[0]


@pytest.mark.parametrize("term", TERMS, ids=str)
@pytest.mark.parametrize("state", [(0.7, 1.3), (2.6, 0.4)])
def test_value_and_gradient_are_those_of_sympy(term, state):
    at = {"x": state[0], "v": state[1], "u": 0.6}
    value, gradient = values_and_gradient(term, state, at["u"])
    expected = float(term.subs(at)) if term.free_symbols else float(term)
    assert value == pytest.approx(expected, rel=1e-12)
    for place, variable in enumerate((x, v)):
        step = 1e-6
        above, below = dict(at), dict(at)
        above[variable.name] += step
        below[variable.name] -= step
        slope = (term.subs(above) - term.subs(below)) / (2 * step)
        assert gradient[place] == pytest.approx(float(slope), rel=1e-7, abs=1e-8)


@settings(max_examples=30, deadline=None)
@given(
    lower=st.floats(-3.0, 0.0),
    width=st.floats(0.1, 5.0),
    n_basis=st.integers(4, 12),
    seed=st.integers(0, 10**6),
)
def test_splines_inside_the_grid_are_scipys(lower, width, n_basis, seed):
    rng = np.random.default_rng(seed)
    upper = lower + width
    spacing = width / (n_basis - 3)
    knots = lower + spacing * np.arange(-3, n_basis + 1)
    points = rng.uniform(lower, upper, 20)
    ours = spline_values(points, lower, upper, n_basis)
    theirs = BSpline.design_matrix(points, knots, 3, extrapolate=True).toarray()
    np.testing.assert_allclose(ours, theirs, atol=1e-10)


def test_splines_are_continued_along_their_tangent():
    coefficients = np.random.default_rng(0).normal(size=9)
    curve = lambda at: spline_values(np.atleast_1d(at), -1.0, 2.0, 9) @ coefficients  # noqa: E731
    for edge, side in ((2.0, 1.0), (-1.0, -1.0)):
        slope = (curve(edge) - curve(edge - side * 1e-6)) / 1e-6
        far = curve(edge + side * 3.0)
        np.testing.assert_allclose(far, curve(edge) + 3.0 * slope, rtol=1e-4, atol=1e-4)


def test_a_product_of_splines_and_expressions_is_one_term():
    spline = Spline("x", 0.0, 1.0, 5, 2)
    model = StateSpaceModel(["x", "v"], [], [Column((spline, v**2), {"v": 2.0})])
    X = np.array([[0.4, 3.0]])
    value = spline_values(X[:, 0], 0.0, 1.0, 5)[0, 2] * 9.0
    np.testing.assert_allclose(model.rates(X, None, [1.5]), [[0.0, 3.0 * value]])


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (sympy.Symbol("w"), "'w', which is neither a state nor an input"),
        (sympy.gamma(x), "uses gamma, which the integrator does not know"),
        ((), "empty tuple"),
    ],
)
def test_a_term_that_cannot_be_compiled_is_named(term, message):
    with pytest.raises(ValueError, match=message):
        compile_terms([term], ["x", "v"], ["u"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", 0.0, 1.0, 3, 0), "n_basis"),
        (("x", 0.0, 1.0, 5, 5), "index"),
        (("x", 1.0, 1.0, 5, 0), "lower must be below upper"),
    ],
)
def test_a_spline_off_its_grid_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Spline(*arguments)


def test_a_column_that_drives_an_unknown_state_is_named():
    with pytest.raises(ValueError, match=r"x drives \['w'\]; the states are \['x', 'v'\]"):
        StateSpaceModel(["x", "v"], [], [Column(x, {"w": 1.0})])
    with pytest.raises(ValueError, match="drives no state"):
        Column(x, {})


def test_equations_hold_the_active_columns_with_their_directions():
    model = StateSpaceModel(
        ["x1", "x2"],
        ["u"],
        [
            Column("x1 - x2", {"x1": -1.0, "x2": 1.0}),
            Column("u", {"x2": 1.0}),
            Column("1", {"x1": 1.0}),
        ],
    )
    equations = model.equations(np.array([2.0, 1.0, 0.0]))
    assert sympy.simplify(equations["x1"] - sympy.sympify("-2.0*(x1 - x2)")) == 0
    assert sympy.simplify(equations["x2"] - sympy.sympify("2.0*(x1 - x2) + u")) == 0
    splined = StateSpaceModel(["x"], [], [Column(Spline("x", 0.0, 1.0, 4, 0), {"x": 1.0})])
    with pytest.raises(TypeError, match="no symbolic form"):
        splined.equations(np.array([1.0]))
