"""Promises of `simulate`: right answers in both directions, and a safe end otherwise."""

import time
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp

from discoverers.equations import Equations
from discoverers.simulation import SimulationStatus, interpolated_input, simulate

LORENZ = Equations(["10*(y - x)", "x*(28 - z) - y", "x*y - 8/3*z"], ["x", "y", "z"])


def lorenz(t, state):
    x, y, z = state
    return [10 * (y - x), x * (28 - z) - y, x * y - 8 / 3 * z]


@pytest.mark.parametrize("method", ["LSODA", "DOP853"])
def test_linear_equations_follow_their_closed_form_in_both_directions(method):
    t = np.linspace(-2, 3, 23)
    found = simulate(Equations(["y", "-4*x"], ["x", "y"]), t, [1.0, 0.5], t0=0.0, method=method)
    assert found.success
    assert found.message == ""
    exact = np.column_stack(
        [np.cos(2 * t) + 0.25 * np.sin(2 * t), -2 * np.sin(2 * t) + 0.5 * np.cos(2 * t)]
    )
    assert_allclose(found.X, exact, atol=1e-6)


@pytest.mark.parametrize("direction", [1.0, -0.02])
def test_lorenz_agrees_with_a_tight_reference(direction):
    t = np.linspace(0, 2, 41) * direction
    exact = solve_ivp(lorenz, (0, t[-1]), [1, 1, 1], "DOP853", t_eval=t, rtol=1e-12, atol=1e-12).y.T
    found = simulate(LORENZ, t, [1, 1, 1], t0=0.0)
    assert_allclose(found.X, exact, rtol=1e-4, atol=1e-5)
    tight = simulate(LORENZ, t, [1, 1, 1], t0=0.0, method="DOP853", rtol=1e-12)
    assert_allclose(tight.X, exact, rtol=1e-8, atol=1e-8)


def test_tightening_the_tolerance_reduces_the_error():
    t = np.linspace(0, 5, 30)
    errors = [
        np.abs(simulate(lambda x, u: -x, t, [1.0], rtol=rtol).X[:, 0] - np.exp(-t)).max()
        for rtol in (1e-4, 1e-7, 1e-10)
    ]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 1e-9


def test_stiff_equations_are_no_trouble():
    # Robertson's kinetics; the sum is conserved and the reference is Radau's.
    kinetics = Equations(
        ["-0.04*a + 10000*b*c", "0.04*a - 10000*b*c - 30000000*b**2", "30000000*b**2"],
        ["a", "b", "c"],
    )
    t = np.array([0, 1, 100, 1e4])
    found = simulate(kinetics, t, [1, 0, 0], scale=[1, 1e-5, 1])
    f = kinetics.lambdify()
    exact = solve_ivp(
        lambda _, x: f(x), (0, 1e4), [1, 0, 0], "Radau", t_eval=t, rtol=1e-9, atol=1e-13
    )
    assert found.success
    assert_allclose(found.X, exact.y.T, rtol=1e-5, atol=1e-9)
    assert_allclose(found.X.sum(axis=1), 1, rtol=1e-9)


def test_rows_come_back_in_the_order_of_the_times_and_repeat():
    rng = np.random.default_rng(0)
    t = rng.permutation(np.repeat(np.linspace(0, 1, 7), 2))
    found = simulate(lambda x, u: -x, t, [1.0])
    assert_allclose(found.X[:, 0], np.exp(-t), rtol=1e-6)
    assert_array_equal(found.X[t == 0], 1.0)


def test_inputs_as_arrays_and_functions():
    # x' = u - x with u = t has x = t - 1 + 2 exp(-t) from x = 1.
    t = np.linspace(0, 3, 13)
    exact = t - 1 + 2 * np.exp(-t)
    equations = Equations(["v - x"], ["x"], ["v"])
    for u in (t, t[:, None], lambda time: time, lambda time: np.atleast_2d(time).T):
        assert_allclose(simulate(equations, t, [1.0], u).X[:, 0], exact, atol=1e-6)
    few = simulate(equations, t, [1.0], [0.0, 3.0], u_times=[0.0, 3.0])
    assert_allclose(few.X[:, 0], exact, atol=1e-6)


def test_a_kinked_input_is_integrated_exactly_enough():
    t = np.linspace(0, 2, 5)
    ramp = np.maximum(t - 1, 0)
    found = simulate(lambda x, u: u, t, [0.0], ramp)
    assert_allclose(found.X[:, 0], ramp**2 / 2, atol=1e-6)


def test_interpolated_inputs_are_linear_between_and_constant_outside():
    value = interpolated_input([2.0, 0.0, 1.0], [[4.0, 1], [0.0, 1], [1.0, 1]])
    assert_allclose(value(0.5), [0.5, 1])
    assert_allclose(value(np.array([-1.0, 1.5, 9.0])), [[0, 1], [2.5, 1], [4, 1]])


def test_equations_of_second_order_carry_their_velocities():
    t = np.linspace(0, 6, 20)
    pendulum = Equations(["-x"], ["x"], order=2)
    found = simulate(pendulum, t, [1.0, 0.0])
    assert_allclose(found.X, np.column_stack([np.cos(t), -np.sin(t)]), atol=1e-6)


def test_blow_up_leaves_nan_from_there_on():
    t = np.linspace(0, 2, 21)
    found = simulate(Equations(["x**2"], ["x"]), t, [1.0])
    assert found.status is SimulationStatus.BLEW_UP
    assert "t = 1:" in found.message
    assert_allclose(found.X[t < 0.95, 0], 1 / (1 - t[t < 0.95]), rtol=1e-5)
    assert np.isnan(found.X[t > 1.01]).all()


def test_one_direction_may_fail_alone():
    t = np.linspace(-2, 2, 9)
    found = simulate(Equations(["x**2"], ["x"]), t, [1.0], t0=0.0)
    assert not found.success
    assert_allclose(found.X[t <= 0.5, 0], 1 / (1 - t[t <= 0.5]), rtol=1e-5)


NASTY = {
    "undefined at once": (lambda x, u: np.sqrt(-1 - x), SimulationStatus.UNDEFINED),
    "wall": (lambda x, u: np.where(x > 1.5, np.nan, 1.0), None),
    "chatter": (lambda x, u: -1e6 * np.sign(x), None),
    "fast": (lambda x, u: 1e7 * np.cos(1e7 * x), None),
    "tower": (lambda x, u: np.exp(np.exp(x)), None),
    "infinite": (lambda x, u: np.full(1, np.inf), SimulationStatus.UNDEFINED),
    "pole": (lambda x, u: 1 / (x - 2) ** 2 * np.sign(2 - x), None),
    "noise": (lambda x, u: np.sin(1e9 * x) * 1e9, None),
}


@pytest.mark.parametrize("method", ["LSODA", "DOP853"])
@pytest.mark.parametrize("case", NASTY)
def test_nothing_hangs_warns_or_raises(case, method):
    function, status = NASTY[case]
    started = time.process_time()
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        found = simulate(function, [0, 0.1, 5.0], [1.0], method=method, max_evaluations=5000)
    assert time.process_time() - started < 5
    assert found.n_evaluations < 6000
    assert found.X.shape == (3, 1)
    assert found.X[0, 0] == 1.0
    assert found.success == np.isfinite(found.X).all()
    assert found.success or found.message
    if status is not None:
        assert found.status is status


def test_the_budget_bounds_the_work():
    found = simulate(
        lambda x, u: 1e5 * np.array([x[1], -x[0]]), [0, 10.0], [1.0, 0.0], max_evaluations=1000
    )
    assert found.status is SimulationStatus.TOO_MANY_EVALUATIONS
    assert "more than 1000 evaluations" in found.message
    assert np.isnan(found.X[1]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, np.nan], [1.0]), "t contains NaN"),
        (([0, 1], [np.inf]), "x0 contains inf"),
        (([0, 1], [1.0, 2.0]), "2 state"),
        (([0, 1], [1.0], [1.0, 2.0, 3.0]), "u has 3 row"),
        (([0, 1], [1.0], [np.nan, 0.0]), "u contains NaN"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    equation = Equations(["-x + 0*v"], ["x"], ["v"])
    with pytest.raises(ValueError, match=message):
        simulate(lambda x, u: equation.lambdify()(x[:1], u), *arguments)


def test_unknown_methods_are_refused():
    with pytest.raises(ValueError, match="LSODA"):
        simulate(lambda x, u: -x, [0, 1], [1.0], method="Euler")


def test_an_error_in_the_users_function_is_not_swallowed():
    def broken(x, u):
        raise KeyError("missing")

    with pytest.raises(KeyError, match="missing"):
        simulate(broken, [0, 1], [1.0])


def test_no_times_no_states():
    assert simulate(lambda x, u: -x, [], [1.0, 2.0]).X.shape == (0, 2)


@pytest.mark.parametrize("kind", ["linear", "cubic", "hold"])
@pytest.mark.parametrize("method", ["LSODA", "DOP853"])
def test_a_pulse_after_a_long_rest_is_not_stepped_over(kind, method):
    t = np.arange(0.0, 120.0, 0.1)
    u = np.where((t >= 50.0) & (t < 51.0), 1.0, 0.0)
    signal = interpolated_input(t, u, kind)
    answer = simulate(lambda x, u: u - 0.1 * x, t, [0.0], signal, method=method)
    # After the pulse x' = -0.1 x, and its integral is the pulse's area over the rate.
    area = np.trapezoid(signal(np.linspace(49.0, 53.0, 40001))[:, 0], dx=1e-4)
    decayed = answer.X[-1, 0]
    assert_allclose(decayed + 0.1 * np.trapezoid(answer.X[:, 0], t), area, rtol=1e-3)
    assert answer.n_evaluations < 20 * t.size
