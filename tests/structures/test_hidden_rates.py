"""The dictionary of rates, its gauge, and the noise that the hidden force is judged by."""

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp

from discoverers.shooting import Record
from discoverers.structures.hidden.rates import is_even, linear_gauge, path_independent, rate_terms
from discoverers.structures.hidden.start import Scales, difference_noise

X, V, Z = sympy.symbols("x v z")


def test_dictionary_holds_the_named_laws_of_hysteresis():
    terms = {term.expr for term in rate_terms("x", "v", "z")}
    bouc_wen = {V, sympy.Abs(V) * Z, V * sympy.Abs(Z)}
    second_order = {V, sympy.Abs(V) * Z * sympy.Abs(Z), V * Z**2}
    assert len(terms) == 14
    assert bouc_wen <= terms
    assert second_order <= terms


def test_dictionary_is_written_in_the_names_of_the_states():
    terms = rate_terms("q", "p", "force")
    assert {s.name for term in terms for s in term.expr.free_symbols} == {"q", "p", "force"}


def test_parity_agrees_with_the_numbers():
    rng = np.random.default_rng(0)
    for term in rate_terms("x", "v", "z"):
        f = sympy.lambdify((X, V, Z), term.expr)
        at = rng.normal(size=3)
        sign = 1.0 if term.even else -1.0
        assert np.isclose(f(*-at), sign * f(*at)), term.expr


def test_mixed_terms_count_as_even():
    assert is_even(X * V, [X, V])
    assert not is_even(X**2 * V, [X, V])


def _acceleration(law, rate, x0):
    h = sympy.lambdify((X, V, Z), sum(c * t for t, c in law.items()) - Z)
    r = sympy.lambdify((X, V, Z), sum(c * t for t, c in rate.items()))
    t = np.linspace(0.0, 10.0, 101)

    def rates(s, y):
        return [y[1], h(*y) + np.sin(s), r(*y)]

    states = solve_ivp(rates, (0, 10), x0, t_eval=t, rtol=1e-11, atol=1e-12).y
    return np.array([rates(s, y)[1] for s, y in zip(t, states.T, strict=True)]), states


def test_gauge_leaves_the_acceleration_alone():
    law, rate = {V: -0.1, X: -0.5}, {V: 5.0, Z: -2.0, X: 6.0}
    moved_law, moved_rate, kappa = linear_gauge(law, rate, (X, V, Z))
    assert X not in moved_rate
    before, states = _acceleration(law, rate, [0.3, 0.1, 0.2])
    after, moved = _acceleration(moved_law, moved_rate, [0.3, 0.1, 0.2 + kappa * 0.3])
    np.testing.assert_allclose(after, before, atol=1e-8)
    np.testing.assert_allclose(moved[2], states[2] + kappa * states[0], atol=1e-8)


@pytest.mark.parametrize("rate", [{V: 1.0, X: 1.0, sympy.Abs(V) * Z: -1.0}, {V: 1.0, Z: -1.0}])
def test_gauge_changes_nothing_where_there_is_no_freedom(rate):
    law = {X: -1.0}
    assert linear_gauge(law, rate, (X, V, Z)) == (law, rate, 0.0)


def test_rates_without_memory_are_told_by_a_closed_loop():
    """Around a closed path of x, driven at two speeds, z returns only without memory."""
    abs_v = sympy.Abs(V)
    laws = [[V, V * Z**2], [V, V * sympy.Abs(Z)], [V, abs_v * Z], [V, abs_v * Z, V * sympy.Abs(Z)]]
    for terms in laws:
        r = sympy.lambdify(
            (V, Z), sum(c * t for c, t in zip((1.0, -0.6, -0.3), terms, strict=False))
        )
        loop = solve_ivp(
            lambda t, y, r=r: [r(np.cos(t), y[0])], (0, 2 * np.pi), [0.1], rtol=1e-10, atol=1e-12
        )
        returns = abs(loop.y[0, -1] - 0.1) < 1e-6
        assert path_independent(terms, V) == returns, terms


@pytest.mark.parametrize("level", [0.01, 0.1])
def test_noise_is_found_beside_corners_and_jumps(level):
    rng = np.random.default_rng(1)
    t = np.arange(0.0, 40.0, 0.05)
    signal = np.abs(np.sin(t)) + np.sign(np.cos(0.7 * t))
    y = signal + level * rng.normal(size=len(t))
    y[100:130] = np.nan
    found = difference_noise([Record.make(t, y)])
    assert 0.8 < found[0] / level < 1.25


def test_noise_is_found_at_irregular_times():
    rng = np.random.default_rng(2)
    t = np.sort(rng.uniform(0.0, 40.0, 800))
    found = difference_noise([Record.make(t, np.sin(t) + 0.01 * rng.normal(size=len(t)))])
    assert 0.8 < found[0] / 0.01 < 1.25


def test_noise_of_exact_data_is_the_floor():
    t = np.arange(0.0, 40.0, 0.05)
    y = np.sin(t)
    assert difference_noise([Record.make(t, y)])[0] == pytest.approx(1e-3 * y.std())


def test_natural_coefficients_give_rates_of_the_typical_size():
    scales = Scales(x=0.5, v=2.0, a=8.0, stiffness=3.0)
    for term in rate_terms("x", "v", "z"):
        value = term.expr.subs({X: 0.5, V: 2.0, Z: 1.5})
        coefficient = scales.natural(term.expr, ("x", "v", "z"))
        assert float(abs(coefficient * value)) == pytest.approx(4.0 * 1.5)
