"""PDEEquations: reading, comparing, computing, storing."""

import json
import pickle

import numpy as np
import pytest
import sympy

from discoverers.pde import PDEEquations


@pytest.fixture
def kdv():
    return PDEEquations(["-6*u*u_x - u_xxx"])


def test_items_hold_sympy_derivatives(kdv):
    x, t = sympy.symbols("x t")
    u = sympy.Function("u")(x, t)
    assert kdv[0] == -6 * u * sympy.Derivative(u, x) - sympy.Derivative(u, (x, 3))
    assert kdv["u"] == kdv[0] == next(iter(kdv)) == kdv[:1][0]


def test_expressions_with_derivatives_read_as_text_does(kdv):
    assert PDEEquations(list(kdv)) == kdv
    assert hash(PDEEquations(list(kdv))) == hash(kdv)


def test_the_travelling_wave_solves_the_equation(kdv):
    x, t = sympy.symbols("x t")
    wave = 2 * sympy.sech(2 * (x - 16 * t)) ** 2 * 4
    equation = kdv.as_eqs()[0]
    u = sympy.Function("u")(x, t)
    difference = (equation.lhs - equation.rhs).subs(u, wave).doit()
    for at in [(0.3, 0.01), (-0.2, 0.05)]:
        assert abs(float(difference.subs({x: at[0], t: at[1]}))) < 1e-9


def test_text_reads_like_the_field_writes_it(kdv):
    assert str(kdv) == "u_t = -u_xxx - 6 u u_x"
    assert "u_{xxx}" in kdv.latex()
    two = PDEEquations({"a": "b_xx", "b": "-0.5*a*a_x"}.values(), ["a", "b"])
    assert str(two) == "a_t = b_xx\nb_t = -0.5 a a_x"


def test_comparison_counts_terms_whatever_the_orders(kdv):
    found = PDEEquations(["-5.9*u*u_x - u_xxx + 0.1*u_xxxx"]).compare(kdv)
    assert not found.exact
    assert found.recall == 1.0
    assert found.precision == pytest.approx(2 / 3)
    assert kdv.compare({"u": "-u_xxx - 6*u*u_x"}).exact


def test_rates_of_a_wave_match_the_closed_form():
    x = 2.0 * np.pi * np.arange(48) / 48
    u = np.sin(x)[:, None]
    found = PDEEquations(["u*u_x - 2*u_xx + 1"]).rates(u, x[1], periodic=True)
    np.testing.assert_allclose(found[:, 0], np.sin(x) * np.cos(x) + 2 * np.sin(x) + 1, atol=1e-10)


def test_stored_and_pickled_equations_are_equal(kdv):
    assert PDEEquations.from_dict(json.loads(json.dumps(kdv.to_dict()))) == kdv
    assert pickle.loads(pickle.dumps(kdv)) == kdv


def test_what_is_no_equation_is_refused(kdv):
    with pytest.raises(TypeError, match="sequence"):
        PDEEquations("u_xx")
    with pytest.raises(ValueError, match="v_xx"):
        PDEEquations(["v_xx"])
    x, t = sympy.symbols("x t")
    rate = sympy.Derivative(sympy.Function("u")(x, t), t)
    with pytest.raises(ValueError, match="no derivative of a state"):
        PDEEquations([rate])
    with pytest.raises(ValueError, match="one entry per state"):
        kdv.compare({"v": "v_x"})
    with pytest.raises(ValueError, match="has states"):
        kdv.compare(PDEEquations(["v_xx"], ["v"]))
    with pytest.raises(ValueError, match="format"):
        PDEEquations.from_dict({})
    with pytest.raises(AttributeError, match="immutable"):
        kdv.space_name = "y"


def test_names_are_written_as_in_ordinary_equations():
    u, x, t = sympy.Function("prey"), *sympy.symbols("x t")
    equations = PDEEquations([2.0 * sympy.Derivative(u(x, t), x)], ["prey"])
    assert r"\mathrm{prey}_{t} &= 2.0 \, \mathrm{prey}_{x}" in equations.latex()
    u = sympy.Function("my u")(x, t)
    equations = PDEEquations([u * sympy.Derivative(u, x)], ["my u"])
    assert str(equations) == "[my u_t] = [my u] [my u_x]"
    assert r"\text{my u\_t} &=" in equations.latex()
