"""Equations integrated by compiled code: against SciPy, closed forms, and where friction holds."""

from itertools import pairwise

import numpy as np
import pytest
import sympy
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from discoverers.equations import Equations
from discoverers.inputs import interpolated_input
from discoverers.shooting.simulating import compile_equations, tabulated
from discoverers.simulation import SimulationStatus, simulate

DUFFING = Equations(["v", "u - 1.5*x - 0.1*v - 10*x**3"], ["x", "v"], ["u"])


def sampled(n=400, interpolation="cubic"):
    t = np.arange(n) * 0.1
    return t, interpolated_input(t, np.sin(np.pi * t), interpolation)


@pytest.mark.parametrize("interpolation", ["cubic", "linear", "hold"])
@pytest.mark.parametrize("backwards", [False, True])
def test_forced_motion_is_that_of_scipy_with_any_interpolation(interpolation, backwards):
    t, signal = sampled(60, interpolation)
    t0 = t[-1] if backwards else t[0]
    found = simulate(DUFFING, t, [0.1, -0.2], signal, t0=t0, method="compiled")
    reference, state, order = np.empty((len(t), 2)), np.array([0.1, -0.2]), np.arange(len(t))
    order = order[::-1] if backwards else order
    reference[order[0]] = state
    for a, b in pairwise(order):
        # From knot to knot, with the input of that piece: a jump at its end is the next one's.
        left, right = sorted([t[a], t[b]])

        def inside(s, left=left, right=right):
            return signal(min(max(s, left), right - 1e-12))

        run = solve_ivp(
            lambda s, y, inside=inside: [
                y[1], inside(s)[0] - 1.5 * y[0] - 0.1 * y[1] - 10 * y[0] ** 3
            ],
            (t[a], t[b]), state, method="DOP853", rtol=1e-11, atol=1e-13,
        )  # fmt: skip
        state = run.y[:, -1]
        reference[b] = state
    assert found.success
    np.testing.assert_allclose(found.X, reference, atol=3e-7)


def test_error_falls_with_the_tolerance_as_of_a_method_of_order_four():
    t, signal = sampled(100)
    exact = simulate(DUFFING, t, [0.3, 0.0], signal, method="DOP853", rtol=1e-12).X
    runs = {
        rtol: simulate(DUFFING, t, [0.3, 0.0], signal, method="compiled", rtol=rtol)
        for rtol in (1e-4, 1e-7)
    }
    errors = [np.abs(run.X - exact).max() for run in runs.values()]
    steps = [run.n_evaluations for run in runs.values()]
    assert errors[1] < 1e-2 * errors[0]
    assert steps[1] < 1e3**0.25 * 2.0 * steps[0]


def friction_in_closed_form(t, c):
    """x'' = sin(t) - c sign(x') from rest: holds while |sin t| < c, else slides."""
    out, at, x = np.zeros((len(t), 2)), 0.0, 0.0
    while at < t[-1]:
        ahead = np.linspace(at, at + 4.0, 40001)
        loose = int(np.argmax(np.abs(np.sin(ahead)) > c))
        slip = at
        if loose:
            slip = brentq(lambda s: abs(np.sin(s)) - c, ahead[loose - 1], ahead[loose])
        out[(t >= at) & (t < slip), 0] = x
        s = np.sign(np.sin(slip + 1e-9))

        def v(q, slip=slip, s=s):
            return np.cos(slip) - np.cos(q) - s * c * (q - slip)

        def moved(q, slip=slip, s=s):
            d = q - slip
            return np.cos(slip) * d - np.sin(q) + np.sin(slip) - s * c * d**2 / 2

        ahead = np.linspace(slip + 1e-6, slip + 5.0, 50001)
        over = int(np.argmax(v(ahead) * s < 0.0))
        stop = brentq(v, ahead[over - 1], ahead[over])
        inside = (t >= slip) & (t < stop)
        out[inside] = np.column_stack([x + moved(t[inside]), v(t[inside])])
        x, at = x + moved(stop), stop
    return out


@pytest.mark.parametrize("c", [0.3, 0.8], ids=["mostly sliding", "holding long"])
@pytest.mark.parametrize("form", ["samples", "function"])
def test_dry_friction_slides_and_holds_as_the_closed_form(c, form):
    t = np.linspace(0.0, 30.0, 1501)
    law = Equations(["v", f"u - {c}*sign(v)"], ["x", "v"], ["u"])
    signal = interpolated_input(t, np.sin(t), "cubic") if form == "samples" else np.sin
    found = simulate(law, t, [0.0, 0.0], signal)
    reference = friction_in_closed_form(t, c)
    assert found.success
    np.testing.assert_allclose(found.X, reference, atol=3e-6)
    assert (reference[:, 1] == 0.0).mean() > (0.35 if c > 0.5 else 0.0)


def test_friction_without_input_comes_to_rest_away_from_the_spring_s_zero():
    law = Equations(["v", "-x - 0.3*sign(v)"], ["x", "v"])
    found = simulate(law, np.linspace(0.0, 40.0, 401), [1.0, 0.0])
    # A half swing from 1 is around 0.3 and ends at -0.4, the next, around -0.3, at -0.2: it holds.
    np.testing.assert_allclose(found.X[-1], [-0.2, 0.0], atol=1e-5)


def test_friction_between_two_masses_holds_them_together():
    law = Equations(
        ["v1", "u - 0.6*sign(v1 - v2)", "v2", "0.6*sign(v1 - v2) - x2"],
        ["x1", "v1", "x2", "v2"],
        ["u"],
    )
    t = np.linspace(0.0, 3.0, 61)
    found = simulate(law, t, np.zeros(4), lambda s: 0.2 * np.sin(s)).X
    # Held together both move as 2 x'' = u - x: the friction that this takes is below 0.6.
    both = solve_ivp(
        lambda s, y: [y[1], (0.2 * np.sin(s) - y[0]) / 2], (0.0, 3.0), [0.0, 0.0],
        t_eval=t, rtol=1e-10, atol=1e-12,
    ).y.T  # fmt: skip
    np.testing.assert_allclose(found[:, :2], both, atol=1e-6)
    np.testing.assert_allclose(found[:, 2:], both, atol=1e-6)


def test_stiff_equations_take_few_steps():
    law = Equations(["v", "1000*(1 - x**2)*v - x"], ["x", "v"])
    found = simulate(law, [0.0, 1500.0], [2.0, 0.0], method="compiled")
    reference = simulate(law, [0.0, 1500.0], [2.0, 0.0], method="LSODA", rtol=1e-10)
    assert found.n_evaluations < 3000
    np.testing.assert_allclose(found.X[-1, 0], reference.X[-1, 0], rtol=1e-4)


def test_ten_thousand_samples_of_friction_take_a_bounded_number_of_steps():
    t = np.arange(10_000) * 0.1
    law = Equations(["v", "u - 2*x - 0.1*v - 0.3*sign(v)"], ["x", "v"], ["u"])
    found = simulate(law, t, [0.0, 0.0], interpolated_input(t, 0.5 * np.sin(np.pi * t), "cubic"))
    assert found.success
    assert found.n_evaluations < 40 * len(t)


def test_a_blow_up_is_told_and_rows_after_it_are_missing():
    law = Equations(["x**2 + u"], ["x"], ["u"])
    found = simulate(law, [0.0, 0.5, 2.0], [1.0], np.zeros(3))
    assert found.status is SimulationStatus.BLEW_UP
    assert "grew beyond" in found.message
    np.testing.assert_allclose(found.X[:, 0], [1.0, 2.0, np.nan], rtol=1e-6)


def test_an_undefined_start_is_told():
    found = simulate(Equations(["log(x) + u"], ["x"], ["u"]), [0.0, 1.0], [-1.0], np.zeros(2))
    assert found.status is SimulationStatus.UNDEFINED
    assert np.isnan(found.X[1]).all()


def test_order_of_rows_and_times_before_the_start_are_kept():
    t, signal = sampled(50)
    shuffled = np.random.default_rng(0).permutation(t)
    there = simulate(DUFFING, t, [0.1, 0.0], signal, t0=2.0, method="compiled").X
    found = simulate(DUFFING, shuffled, [0.1, 0.0], signal, t0=2.0, method="compiled").X
    np.testing.assert_array_equal(found[np.argsort(shuffled)], there)
    np.testing.assert_allclose(there[20], [0.1, 0.0])


def test_functions_of_time_are_tabulated_as_well_as_they_are_smooth():
    table = tabulated(lambda s: np.column_stack([np.sin(7.0 * s), np.exp(-s)]), -1.0, 4.0)
    at = np.random.default_rng(1).uniform(-1.0, 4.0, 100)
    np.testing.assert_allclose(table(at), np.column_stack([np.sin(7 * at), np.exp(-at)]), atol=1e-7)
    assert tabulated(lambda s: np.sign(np.sin(s)), 0.0, 10.0) is None


def test_equations_that_the_engine_does_not_know_go_to_scipy():
    odd = Equations([sympy.besselj(0, sympy.Symbol("x"))], ["x"])
    assert compile_equations(odd) is None
    with pytest.raises(ValueError, match='method="LSODA"'):
        simulate(lambda x, u: -x, [0.0, 1.0], [1.0], method="compiled")
    with pytest.raises(ValueError, match="too rough"):
        simulate(DUFFING, [0.0, 50.0], [0.0, 0.0], lambda s: np.sign(s - 7.0), method="compiled")
