"""Integration and sensitivities against SciPy's integrator and finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline

from discoverers.shooting import Column, InputSignal, Record, StateSpaceModel, integrate, nodes
from discoverers.shooting.paths import automatic_substeps

DUFFING = StateSpaceModel(
    ["x", "v"],
    ["u"],
    [Column("v", {"x": 1.0}, value=1.0)]
    + [Column(term, {"v": 1.0}) for term in ("x", "v", "x**3", "u", "x**2")],
)
THETA = np.array([1.0, -1.5, -0.1, -10.0, 1.0, 0.0])


def record(n=60, step=0.1, rng=None):
    t = step * np.arange(n) if rng is None else np.sort(rng.uniform(0.0, n * step, n))
    return Record.make(t, np.full((n, 1), np.nan), np.sin(np.pi * t))


def scipy_states(t, signal, x0, theta=THETA):
    def rate(time, s):
        u = signal(np.array([time]))[0, 0]
        return [
            s[1],
            theta[1] * s[0] + theta[2] * s[1] + theta[3] * s[0] ** 3 + theta[4] * u
            + theta[5] * s[0] ** 2,
        ]  # fmt: skip

    return solve_ivp(rate, (t[0], t[-1]), x0, t_eval=t, rtol=1e-10, atol=1e-12, max_step=0.1).y.T


def test_states_and_rates_are_those_of_scipy():
    run = record()
    path = integrate(DUFFING, THETA, np.array([0.3, -0.2]), run, substeps=8)
    expected = scipy_states(run.t, run.signal, [0.3, -0.2])
    np.testing.assert_allclose(path.X, expected, atol=2e-7)
    np.testing.assert_allclose(path.F[:, 0], path.X[:, 1], atol=1e-14)
    np.testing.assert_allclose(path.F, DUFFING.rates(path.X, run.u, THETA), atol=1e-13)
    assert path.complete


def test_halving_the_step_divides_the_error_by_sixteen():
    run = record(30)
    exact = scipy_states(run.t, run.signal, [0.4, 0.0])
    errors = [
        np.abs(integrate(DUFFING, THETA, np.array([0.4, 0.0]), run, substeps=k).X - exact).max()
        for k in (1, 2)
    ]
    assert 12.0 < errors[0] / errors[1] < 20.0


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), substeps=st.integers(1, 3))
def test_sensitivities_are_the_derivatives_of_the_path(seed, substeps):
    rng = np.random.default_rng(seed)
    run = record(25, rng=rng)
    x0, theta = rng.normal(0.0, 0.3, 2), THETA * rng.uniform(0.8, 1.2, 6)
    free = np.array([False, True, True, True, False, True])
    path = integrate(
        DUFFING, theta, x0, run, free_theta=free, free_x0=np.array([True, True]), substeps=substeps
    )
    vector = np.concatenate([theta[free], x0])

    def moved(place, step):
        changed = vector.copy()
        changed[place] += step
        coefficients = theta.copy()
        coefficients[free] = changed[:4]
        return integrate(DUFFING, coefficients, changed[4:], run, substeps=substeps)

    for place in range(6):
        above, below = moved(place, 1e-6), moved(place, -1e-6)
        for ours, high, low in ((path.dX, above.X, below.X), (path.dF, above.F, below.F)):
            slope = (high - low) / 2e-6
            scale = max(1.0, np.abs(slope).max())
            np.testing.assert_allclose(ours[..., place] / scale, slope / scale, atol=2e-7)


def test_nodes_integrate_every_interval_from_its_own_start():
    run = record(12)
    X = np.random.default_rng(0).normal(0.0, 0.3, (12, 2))
    path = nodes(DUFFING, THETA, X, run, free_theta=DUFFING.free, substeps=2)
    for i in range(11):
        part = Record.make(run.t[i : i + 2], np.zeros((2, 1)), run.u[i : i + 2])
        part = Record(part.t, part.y, part.u, part.weight, run.signal)
        single = integrate(
            DUFFING, THETA, X[i], part, free_theta=DUFFING.free, free_x0=np.ones(2, bool),
            substeps=2,
        )  # fmt: skip
        np.testing.assert_allclose(path.X[i + 1], single.X[1], atol=1e-14)
        np.testing.assert_allclose(path.dX[i + 1], single.dX[1], atol=1e-13)
    np.testing.assert_allclose(path.F, DUFFING.rates(X, run.u, THETA), atol=1e-13)


def test_a_blow_up_ends_the_path_and_is_told():
    model = StateSpaceModel(["x"], [], [Column("x**2", {"x": 1.0})])
    run = Record.make(np.linspace(0.0, 2.0, 41), np.full(41, np.nan))
    path = integrate(model, np.ones(1), np.ones(1), run, substeps=4)
    assert not path.complete
    assert 19 <= path.n_valid <= 23
    np.testing.assert_allclose(path.X[10, 0], 2.0, rtol=1e-6)
    assert np.isnan(path.X[path.n_valid :]).all()


def test_automatic_substeps_reach_seven_digits():
    run = record(40)
    x0 = np.array([0.5, 0.0])
    substeps = automatic_substeps(DUFFING, THETA, x0, run)
    exact = scipy_states(run.t, run.signal, x0)
    path = integrate(DUFFING, THETA, x0, run, substeps=substeps)
    assert np.abs(path.X - exact).max() < 3e-7
    linear = THETA * np.array([1, 0.01, 1, 0, 1, 0])
    assert automatic_substeps(DUFFING, linear, x0, run) <= substeps


def test_inputs_run_between_samples_as_asked():
    t = np.array([0.0, 1.0, 1.5, 3.0, 4.0])
    u = np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 1.0], [-1.0, 2.0], [0.5, 0.0]])
    at = np.array([0.5, 1.0, 2.0, 3.9, 9.0])
    np.testing.assert_allclose(
        InputSignal(t, u, "cubic")(at), CubicSpline(t, u)(np.minimum(at, 4.0))
    )
    np.testing.assert_allclose(InputSignal(t, u, "linear")(at)[:, 0], np.interp(at, t, u[:, 0]))
    np.testing.assert_allclose(InputSignal(t, u, "hold")(at)[:, 1], [1.0, 0.0, 1.0, 2.0, 0.0])
    own = InputSignal(t, u, lambda times: np.column_stack([times, times**2]))
    np.testing.assert_allclose(own(at), np.column_stack([at, at**2]))
    with pytest.raises(ValueError, match="interpolation must be one of"):
        InputSignal(t, u, "quintic")


def test_a_held_input_jumps_at_the_samples_and_only_there():
    model = StateSpaceModel(["x"], ["u"], [Column("u", {"x": 1.0})])
    t = np.array([0.0, 1.0, 3.0])
    run = Record.make(t, np.zeros(3), [2.0, -1.0, 5.0], interpolation="hold")
    path = integrate(model, np.ones(1), np.zeros(1), run)
    np.testing.assert_allclose(path.X[:, 0], [0.0, 2.0, 0.0], atol=1e-15)


def test_states_are_the_same_with_and_without_sensitivities():
    run = record()
    start, every = np.array([0.3, -0.2]), np.ones(2, dtype=bool)
    plain = integrate(DUFFING, THETA, start, run, substeps=2)
    wide = integrate(DUFFING, THETA, start, run, free_theta=DUFFING.free, free_x0=every, substeps=2)
    np.testing.assert_allclose(plain.X, wide.X, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(plain.F, wide.F, rtol=1e-13, atol=1e-15)
    assert plain.dX.shape == wide.without_sensitivities().dF.shape == (len(run), 2, 0)
