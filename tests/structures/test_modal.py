"""Modes against exact matrix exponentials, SciPy's integrators, and systems that are known."""

import os
import time

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from scipy.linalg import expm
from scipy.signal import lsim

from discoverers import SKANODERegressor, load
from discoverers.shooting import Record, integrate
from discoverers.structures import ModalStructure
from discoverers.structures.held_out import equations_model
from discoverers.structures.modal.drive import Drive
from discoverers.structures.modal.forces import as_joint_model, score_tests
from discoverers.structures.modal.kernels import _transition
from discoverers.structures.modal.model import FORCES, Force, ModalModel, Mode
from discoverers.structures.modal.projection import (
    Channels,
    DampingPrior,
    evaluate,
    fit_modes,
    jacobians,
)

TURN = 2.0 * np.pi


def band_noise(n, seed, smooth=6):
    """An input without power near the sampling rate."""
    u = np.random.default_rng(seed).normal(size=n + 4 * smooth)
    kernel = np.hanning(smooth + 2)
    return np.convolve(u, kernel / np.sqrt(np.sum(kernel**2)), "same")[:n]


def modal_response(t, u, modes, direct=0.0, start=None):
    """Acceleration by SciPy's `lsim` (u linear between samples): modes are (frequency, z, c)."""
    y = direct * u
    for i, (frequency, z, c) in enumerate(modes):
        w = TURN * frequency
        A = np.array([[0.0, 1.0], [-(w**2), -2.0 * z * w]])
        C = np.array([[-1.0, -2.0 * z / w]]) * c
        x0 = np.zeros(2) if start is None else np.array(start[i]) * [1.0, w]
        y = y + lsim((A, [[0.0], [w**2]], C, [[c]]), u, t, X0=x0, interp=True)[1]
    return y


def exact_path(t, u, A, b, x0):
    """States of x' = A x + b u, u linear between samples, by SciPy's matrix exponential."""
    n = len(b)
    X = [np.asarray(x0, float)]
    for k, h in enumerate(np.diff(t)):
        M = np.zeros((n + 2, n + 2))
        M[:n, :n], M[:n, n] = A, b
        M[n, n + 1] = 1.0
        X.append((expm(M * h) @ np.concatenate([X[-1], [u[k], (u[k + 1] - u[k]) / h]]))[:n])
    return np.array(X)


THREE = ((4.0, 0.02, 1.0), (6.5, 0.01, -0.6), (9.0, 0.03, 0.8))


def three_modes(n=900, seed=0, noise=0.01, start=((0.5, -0.3), (0.2, 0.4), (0.0, 0.1))):
    t = np.arange(n) / 100.0
    u = band_noise(n, seed)
    y = modal_response(t, u, THREE, direct=0.3, start=start)
    return t, u, y + noise * y.std() * np.random.default_rng(seed + 100).normal(size=n), y


def regressor(interpolation="linear", initial_state="estimate", observe="acceleration", **options):
    return SKANODERegressor(
        ModalStructure(**{"max_modes": 5} | options),
        interpolation=interpolation,
        initial_state=initial_state,
        observe=observe,
    )


# --- kernels


@pytest.mark.parametrize(
    ("w", "z", "h"),
    [(3.0, 0.01, 0.02), (3.0, 1.0, 0.1), (8.0, 2.5, 0.3), (40.0, 0.005, 0.1), (0.1, 0.3, 0.01)],
)
def test_transition_is_the_matrix_exponential(w, z, h):
    A, G = np.zeros((2, 2), complex), np.zeros((2, 4), complex)
    _transition(complex(w), complex(z), h, A, G)
    M = np.zeros((6, 6))
    M[0, 1], M[1, :3] = 1.0, (-w * w, -2.0 * z * w, w * w)
    M[2, 3] = M[3, 4] = M[4, 5] = 1.0
    E = expm(M * h)
    np.testing.assert_allclose(A, E[:2, :2], rtol=1e-11, atol=1e-13)
    powers = E[:2, 2:] * [1.0, 1.0 / h, 2.0 / h**2, 6.0 / h**3]
    np.testing.assert_allclose(G, powers, rtol=1e-9, atol=1e-12 * np.abs(powers).max())


def nonlinear_mode_of(forces, w=7.0, z=0.02):
    return Mode(
        np.log(w), np.log(z), np.ones(1), np.array([[0.4, -0.2]]), tuple(forces), joint=True
    )


@pytest.mark.parametrize("kind", [*FORCES, "hysteresis"])
def test_nonlinear_modes_agree_with_scipy_on_irregular_times(kind):
    rng = np.random.default_rng(1)
    t = np.sort(rng.uniform(0, 6, 400))
    u = np.sin(5 * t) + 0.5 * np.cos(8 * t)
    # Signs that keep the mode stable.
    factor = {"q**2": 0.3, "v*|v|": -0.01, "v**3": -0.002, "q**2*v": -0.05, "hysteresis": -6.0}
    factor = factor.get(kind, -0.3)
    mode = nonlinear_mode_of([Force(kind, factor, 0.7)])
    record = Record.make(t, np.zeros(400), u)
    model = ModalModel.make([record], ["acceleration"], 7.0, True).with_modes([mode])
    spline = CubicSpline(t, u)

    def rate(time, x):
        q, v, hidden = x
        value = {
            "q**2": q**2,
            "q*|q|": q * abs(q),
            "q**3": q**3,
            "v*|v|": v * abs(v),
            "v**3": v**3,
            "q**2*v": q**2 * v,
            "hysteresis": hidden,
        }[kind]
        force = 49.0 * (spline(time) - q) - 0.28 * v + factor * value
        return [v, force, v - abs(v) * hidden / 0.7]

    truth = solve_ivp(rate, (t[0], t[-1]), [0.4, -1.4, 0.0], "DOP853", t, rtol=1e-10, atol=1e-10)
    q, v, _, hidden = model.motion(mode)[0]
    np.testing.assert_allclose(q, truth.y[0], atol=2e-4 * np.abs(q).max())
    np.testing.assert_allclose(v, truth.y[1], atol=2e-4 * np.abs(v).max())
    if kind == "hysteresis":
        # The force turns in the middle of some steps.
        np.testing.assert_allclose(hidden, truth.y[2], atol=5e-3 * np.abs(hidden).max())


def test_without_forces_both_kernels_are_the_same():
    t = np.cumsum(np.random.default_rng(2).uniform(0.01, 0.05, 200))
    record = Record.make(t, np.zeros(200), np.sin(3 * t))
    for interpolation in ("cubic", "linear", "hold"):
        record = Record.make(t, np.zeros(200), np.sin(3 * t), interpolation=interpolation)
        model = ModalModel.make([record], ["acceleration", "velocity", "displacement"], 9.0, True)
        linear = model.columns(nonlinear_mode_of([]))
        forced = model.columns(nonlinear_mode_of([Force("q**3", 0.0)]))
        np.testing.assert_allclose(linear, forced, atol=1e-12)


def test_drive_is_the_input_between_samples():
    t = np.arange(20) * 0.1
    for interpolation in ("cubic", "linear"):
        record = Record.make(t, np.zeros(20), np.sin(t), interpolation=interpolation)
        drive = Drive.make(record, stride=2)
        shares = np.linspace(0.0, 1.0, 7)
        values = np.einsum("njm,js->nsm", drive.cubic, shares ** np.arange(4)[:, None])
        times = (np.arange(38) * 0.05)[:, None] + 0.05 * shares
        expected = record.signal(times.ravel()).reshape(values.shape)
        np.testing.assert_allclose(values, expected, atol=1e-12)
        assert len(drive.steps) == 1


@pytest.mark.parametrize("estimate", [True, False])
def test_derivatives_are_exact(estimate):
    t = np.arange(120) * 0.03
    u = np.column_stack([np.sin(5 * t), np.cos(3 * t)])
    records = [Record.make(t, np.zeros(120), u), Record.make(t[:80], np.zeros(80), u[:80] ** 2)]
    model = ModalModel.make(records, ["acceleration", "displacement"], 9.0, estimate)
    start = np.array([[0.3, -0.2], [0.1, 0.5]]) if estimate else np.zeros((2, 2))
    g = np.array([0.4, 1.0])
    forces = (Force("q**3", -2.0), Force("v*|v|", -0.02), Force("hysteresis", -5.0, 0.5))
    modes = [
        Mode(np.log(6.0), np.log(0.03), np.ones(2), np.zeros((2, 2))),
        Mode(np.log(8.0), np.log(0.02), g, start, joint=True),
        Mode(np.log(5.0), np.log(0.05), g, start, forces, joint=True),
    ]
    model = model.with_modes(modes)
    for mode in modes:
        at = mode.vector(estimate)
        found = model.derivatives(mode)
        assert len(found) == len(at) == len(mode.logarithms(estimate))
        for k, derivative in enumerate(found):
            step = np.zeros(len(at))
            step[k] = 1e-5
            up, down = (model.columns(mode.moved(at + s * step, estimate)) for s in (1, -1))
            difference = (up - down) / 2e-5
            np.testing.assert_allclose(derivative, difference, atol=2e-6 * np.abs(difference).max())


# --- fit


def small_problem(noise=0.02, kind=None):
    t, u, y, _ = three_modes(400, noise=noise)
    record = Record.make(t, y, u, interpolation="linear")
    model = ModalModel.make([record], ["acceleration"], TURN * 10, True)
    model = model.with_modes([model.new_mode(TURN * f, 0.02) for f in (4.1, 6.4, 9.1)])
    channels = Channels(
        y[:, None], np.ones((400, 1), bool), np.ones(400), np.array([0]), np.array([1e-9]), 400.0
    )
    return model, channels, DampingPrior(0.02, 1.0)


def test_descent_ends_where_the_gradient_vanishes():
    model, channels, prior = small_problem()
    fitted = fit_modes(model, channels, prior, decrease=1e-10)
    assert fitted.converged
    at = fitted.model.vector()
    for k in range(len(at)):
        step = np.zeros(len(at))
        step[k] = 1e-4
        up, down = (
            evaluate(fitted.model.moved(at + s * step), channels, prior).objective for s in (1, -1)
        )
        curvature = (up + down - 2.0 * fitted.objective) / 1e-8
        # In units of the distance to the minimum that the differences can see.
        assert abs((up - down) / 2e-4) < 1e-3 * curvature


def test_jacobian_of_the_response_at_frozen_weights():
    model, channels, prior = small_problem()
    fitted = evaluate(model, channels, prior)
    J = jacobians(fitted, channels)[0]
    at = model.vector()
    for k in range(len(at)):
        step = np.zeros(len(at))
        step[k] = 1e-5
        up, down = (
            evaluate(model.moved(at + s * step), channels, prior).columns[0] @ fitted.weights[0]
            for s in (1, -1)
        )
        np.testing.assert_allclose(J[:, k], (up - down) / 2e-5, atol=1e-5 * np.abs(J[:, k]).max())


def test_score_tests_of_a_linear_record_are_f_distributed():
    model, channels, prior = small_problem()
    statistics = []
    for seed in range(20):
        noise = np.random.default_rng(seed).normal(size=400)
        clean = three_modes(400, noise=0.0)[2]
        noisy = Channels(
            (clean + 0.02 * clean.std() * noise)[:, None],
            channels.seen,
            channels.root_weight,
            channels.sense,
            channels.floor,
            400.0,
        )
        fitted = fit_modes(model, noisy, prior)
        tests = score_tests(fitted, noisy, 0.01)
        assert not any(test.passed for test in tests)
        statistics.append(next(t for t in tests if t.force.kind == "q**3").statistic)
    # Of F(1, 380) the mean is 1; the largest of three q**3 tests is reported: about 1.9.
    assert 1.0 < np.mean(statistics) < 3.2


def linear_fit_to_a_spring_that_yields(share):
    """Score tests of a linear fit to a mode whose yielding spring carries a share of the force."""
    t, u, y = simulated_forced_mode(lambda w, q, z: -share * w * w * z, n=500)
    record = Record.make(t, y, u)
    model = ModalModel.make([record], ["acceleration"], TURN * 5, True)
    model = model.with_modes([model.new_mode(TURN * f, 0.015) for f in (2.0, 4.5)])
    floor = np.array([1e-9])
    channels = Channels(
        y[:, None], np.ones((len(t), 1), bool), np.ones(len(t)), np.array([0]), floor, float(len(t))
    )
    fitted = fit_modes(model, channels, DampingPrior(0.02, 1.0))
    tests = score_tests(fitted, channels, 0.01, ("hysteresis",))
    return [test for test in tests if test.mode == 0], [test for test in tests if test.mode == 1]


def test_score_test_sees_the_hysteresis_that_it_says_it_would():
    here, other = linear_fit_to_a_spring_that_yields(0.0)
    assert not any(test.passed for test in (*here, *other))
    assert all(0.0 < test.detectable < 0.1 for test in here)
    # A spring of about the width that was simulated, 2; z has at most the size of q.
    near = min(here, key=lambda test: abs(np.log(test.force.width / 2.0)))
    strong, _ = linear_fit_to_a_spring_that_yields(6.0 * near.detectable)
    weak, _ = linear_fit_to_a_spring_that_yields(near.detectable / 6.0)
    assert strong[0].passed
    assert not any(test.passed for test in weak)


# --- discovery


def test_finds_three_modes_and_their_transients():
    t, u, y, clean = three_modes()
    model = regressor().fit(t[:700], y[:700], u=u[:700])
    assert model.converged_
    found = model.modes_
    assert len(found) == 3
    assert not found["forces"].any()
    truth = np.array(THREE)
    assert np.all(np.abs(found["frequency"] - truth[:, 0]) < 4 * found["frequency_std"])
    assert np.all(np.abs(found["damping"] - truth[:, 1]) < 4 * found["damping_std"])
    weights = model.observation_.rates[0, 1::2] * (TURN * found["frequency"].to_numpy()) ** 2
    np.testing.assert_allclose(weights, truth[:, 2], rtol=0.05)
    np.testing.assert_allclose(model.observation_.inputs, [[0.3]], atol=0.02)
    forecast = model.predict(t[700:], u=u[700:])
    assert np.mean((forecast - clean[700:]) ** 2) < 1e-3 * clean.var()
    assert model.noise_std_[0] == pytest.approx(0.01 * clean.std(), rel=0.1)


def test_equations_observation_and_states_are_one_system():
    t, u, y, _ = three_modes(400)
    model = regressor().fit(t, y, u=u)
    rate = model.equations_.lambdify()
    size = len(model.state_names_)
    offset = rate(np.zeros(size), np.ones(1))
    A = np.stack([rate(row, np.zeros(1)) for row in np.eye(size)], axis=1)
    truth = exact_path(t, u, A, offset, model.x0_[0])
    np.testing.assert_allclose(model.states_.to_numpy(), truth, atol=1e-8 * np.abs(truth).max())
    rates = rate(truth, u[:, None])
    seen = model.observation_.values(truth, rates, u[:, None])[:, 0]
    np.testing.assert_allclose(seen, model.predict(t), atol=1e-7)
    # The fit explains all but the noise.
    assert np.std(y - model.predict(t)) < 1.1 * model.noise_std_[0]


def test_standard_errors_are_honest():
    scores = []
    for seed in range(6):
        t, u, y, _ = three_modes(400, seed=seed, noise=0.03)
        found = regressor(n_modes=3, forces="none").fit(t, y, u=u).modes_
        truth = np.array(THREE)
        scores.append((found["frequency"] - truth[:, 0]) / found["frequency_std"])
        scores.append((found["damping"] - truth[:, 1]) / found["damping_std"])
    # 36 scores: their mean square is 1 with a standard deviation of 0.24.
    assert 0.5 < np.mean(np.square(scores)) < 1.7


def test_from_rest_there_is_no_transient_to_estimate():
    t, u, y, _ = three_modes(600, start=None)
    model = regressor(initial_state="rest").fit(t, y, u=u)
    np.testing.assert_array_equal(model.x0_, 0.0)
    assert not any("(0)" in name for name in model.parameter_names_)
    np.testing.assert_allclose(model.modes_["frequency"], [4.0, 6.5, 9.0], rtol=5e-3)


def test_several_channels_runs_gaps_and_irregular_times():
    rng = np.random.default_rng(5)
    w, z = TURN * 2.0, 0.02
    times, inputs, outputs = [], [], []
    for start in ([0.5, 0.2], [-0.3, 0.4]):
        t = np.sort(rng.uniform(0, 12, 500))
        u = np.interp(t, np.arange(0, 12.1, 0.1), rng.normal(size=121))
        A = np.array([[0.0, 1.0], [-w * w, -2 * z * w]])
        q, v = exact_path(t, u, A, [0.0, w * w], np.array(start) * [1.0, w]).T
        acceleration = (u - q - 2 * z / w * v) * 0.7 + 0.1 * u
        y = np.column_stack([acceleration, 1.5 * q])
        y += 0.01 * y.std(axis=0) * rng.normal(size=y.shape)
        y[rng.uniform(size=y.shape) < 0.1] = np.nan
        times.append(t)
        inputs.append(u)
        outputs.append(y)
    observe = ["acceleration 1", "position 2"]
    model = regressor(observe=observe, max_modes=2, forces="none").fit(times, outputs, u=inputs)
    assert len(model.modes_) == 1
    assert model.modes_["frequency"].iloc[0] == pytest.approx(2.0, rel=2e-3)
    assert model.modes_["damping"].iloc[0] == pytest.approx(0.02, rel=0.1)
    assert model.observation_.states[1, 0] == pytest.approx(1.5, rel=0.01)
    assert model.observation_.rates[0, 1] == pytest.approx(0.7 / w**2, rel=0.01)
    np.testing.assert_allclose(model.x0_[:, 0], [0.5, -0.3], atol=0.03)
    assert len(model.states_) == 2


def test_participation_of_several_inputs():
    t = np.arange(1000) / 50.0
    u = np.column_stack([band_noise(1000, seed) for seed in (1, 2)])
    combined = u @ [1.0, -0.5]
    y = modal_response(t, combined, [(2.0, 0.02, 1.0), (4.0, 0.03, 0.0)])
    y += modal_response(t, u @ [0.2, 1.0], [(5.0, 0.02, 0.5)])
    y += 0.01 * y.std() * np.random.default_rng(3).normal(size=1000)
    model = regressor().fit(t, y, u=u)
    frame = dict(zip(model.terms_, model.coef_.T, strict=True))
    np.testing.assert_allclose(frame["u1"][1] / frame["u0"][1], -0.5, atol=0.05)
    np.testing.assert_allclose(frame["u0"][3] / frame["u1"][3], 0.2, atol=0.05)


def simulated_forced_mode(force, seed=0, n=800):
    """Acceleration of one nonlinear and one linear mode, integrated by SciPy."""
    t = np.arange(n) / 50.0
    u = 0.7 * band_noise(n, seed)
    spline = CubicSpline(t, u)
    w, z = TURN * 2.0, 0.01

    def rate(time, x):
        q, v, hidden = x
        slip = v - abs(v) * hidden / 2.0
        return [v, w * w * (spline(time) - q) - 2 * z * w * v + force(w, q, hidden), slip]

    path = solve_ivp(rate, (0, t[-1]), [0.3, 0.0, 0.0], "DOP853", t, rtol=1e-8)
    q, v, hidden = path.y
    y = u - q - 2 * z / w * v + force(w, q, hidden) / w**2
    y = y + modal_response(t, u, [(4.5, 0.02, 0.4)])
    return t, u, y + 0.01 * y.std() * np.random.default_rng(seed + 7).normal(size=n)


def test_a_cubic_spring_is_found_on_its_mode():
    t, u, y = simulated_forced_mode(lambda w, q, z: -0.004 * w * w * q**3)
    model = regressor("cubic", max_modes=3, forces=("q**3", "v**3", "hysteresis")).fit(t, y, u=u)
    assert list(model.modes_["forces"]) == ["q**3", ""]
    k = model.terms_.index("q1**3")
    truth = -0.004 * (TURN * 2.0) ** 2
    assert abs(model.coef_[1, k] - truth) < 4 * model.coef_std_[1, k]
    assert "without memory" in model.hysteresis_
    assert model.score_tests_["statistic"].is_monotonic_decreasing


def test_a_yielding_spring_is_found_with_its_state():
    t, u, y = simulated_forced_mode(lambda w, q, z: -0.4 * w * w * z)
    model = regressor("cubic", max_modes=3, forces=("q**3", "v**3", "hysteresis")).fit(t, y, u=u)
    assert model.modes_["forces"].iloc[0] == "hysteresis"
    assert model.state_names_[-1] == "z1"
    rates = model.equations_.terms()["z1"]
    assert min(float(value) for value in rates.values()) == pytest.approx(-0.5, rel=0.1)
    assert "asks for hysteresis" in model.hysteresis_


def test_linear_records_get_no_force():
    for seed in range(2):
        t, u, y, _ = three_modes(400, seed=seed, noise=0.02)
        model = regressor().fit(t, y, u=u)
        assert not model.modes_["forces"].any()
        assert "excludes none" in model.hysteresis_


def test_by_name_saved_and_on_a_run_that_was_not_fitted(tmp_path):
    t, u, y, _ = three_modes(400)
    by_name = SKANODERegressor("modal", interpolation="linear").fit(t[:300], y[:300], u=u[:300])
    assert len(by_name.modes_) == 3
    model = regressor(n_modes=3, forces=["q**3"]).fit(t, y, u=u)
    model.save(tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    np.testing.assert_array_equal(again.predict(t), model.predict(t))
    assert again.hysteresis_ == model.hysteresis_
    assert again.modes_.equals(model.modes_)
    other = three_modes(300, seed=8, start=((0.1, 0.3), (-0.5, 0.2), (0.3, 0.0)))
    assert model.score([other[0]], [other[2]], u=[other[1]]) > 0.999


def test_input_that_is_a_function_is_kept_as_samples(tmp_path):
    def force(t):
        return np.sin(9.0 * t) + np.cos(14.0 * t) + np.sin(21.0 * t)

    t = np.arange(300) / 50.0
    y = modal_response(t, force(t), [(2.0, 0.05, 1.0)])
    model = regressor(max_modes=1, forces="none").fit(t, y, u=force)
    model.save(tmp_path / "model.zip")
    again = load(tmp_path / "model.zip")
    between = t[:-1] + 0.01
    np.testing.assert_array_equal(again.predict(between), model.predict(between))
    beyond = t[-1] + 0.02 * np.arange(4)
    for one in (model, again):
        with pytest.raises(ValueError, match=r"u: the equations have the input"):
            one.predict(beyond)
        answers = one.predict(beyond, u=force), one.predict(beyond, u=force(beyond))
        np.testing.assert_allclose(*answers, atol=1e-2)
    np.testing.assert_allclose(
        again.predict(beyond, u=force), model.predict(beyond, u=force), rtol=1e-12
    )


def test_input_that_is_held():
    t = np.arange(800) / 50.0
    u = np.repeat(np.random.default_rng(4).normal(size=160), 5)
    w = TURN * 3.0
    A, B = [[0, 1], [-w * w, -0.04 * w]], [[0], [w * w]]
    y = lsim((A, B, [[-1.0, -0.04 / w]], [[1.0]]), u, t, interp=False)[1]
    model = regressor("hold").fit(t, y + 1e-3 * np.random.default_rng(1).normal(size=800), u=u)
    assert len(model.modes_) == 1
    assert model.modes_["frequency"].iloc[0] == pytest.approx(3.0, rel=1e-3)


@pytest.mark.parametrize(
    ("structure", "options", "words"),
    [
        ({}, {"library": "poly3"}, "library, required and forbidden"),
        ({}, {"observe": lambda x, f, u: x[:, 0]}, "observe must not be a function"),
        ({}, {"observe": "v1' + u0"}, "observe: column 'y0' is a sum"),
        ({"forces": ["cubic"]}, {}, r"forces holds \['cubic'\]"),
        ({"frequency_range": (5.0, 1.0)}, {}, "frequency_range must increase"),
        ({"damping_prior": (0.02,)}, {}, "damping_prior must be two"),
        ({"n_modes": 0}, {}, "'n_modes' parameter"),
    ],
)
def test_errors_name_the_argument(structure, options, words):
    t, u, y, _ = three_modes(60)
    with pytest.raises(ValueError, match=words):
        SKANODERegressor(ModalStructure(**structure), **options).fit(t, y, u=u)


def test_errors_of_data():
    t, u, y, _ = three_modes(60)
    with pytest.raises(ValueError, match="u is needed"):
        regressor().fit(t, y)
    with pytest.raises(ValueError, match="u never changes"):
        regressor().fit(t, y, u=0 * u)
    with pytest.raises(ValueError, match="x0 cannot be given"):
        regressor().fit(t, y, u=u, x0=[0.0, 0.0])


@pytest.mark.parametrize("n", [8, 12, 30])
def test_short_and_empty_records_end_finitely(n):
    t, u, y, _ = three_modes(n)
    for values in (y, 0.0 * y):
        model = regressor().fit(t, values, u=u)
        assert np.isfinite(model.coef_).all()
        assert np.isfinite(model.predict(t)).all()


# --- measured


@pytest.fixture(scope="module")
def f16():
    from discoverers.datasets import load_f16

    if "DISCOVERERS_DATA" not in os.environ:
        pytest.skip("DISCOVERERS_DATA does not name a folder with f16_gvt")
    try:
        data = load_f16()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    record = tuple(data[name].to_numpy() for name in ("t", "acceleration1", "acceleration2"))
    t, u, y = (column[:1000] for column in record)
    SKANODERegressor(ModalStructure()).fit(t, y, u=u)  # compiles: not what is timed
    return record


def f16_error(record, n, first=0):
    """Fit n rows of the F-16's wing, and the NMSE of the free run over the next 4000."""
    t, u, y = (column[first : first + n + 4000] for column in record)
    u, y = u - u[:n].mean(), y - y[:n].mean()
    began = time.process_time()
    model = SKANODERegressor(ModalStructure()).fit(t[:n], y[:n], u=u[:n])
    seconds = time.process_time() - began
    equations, theta = equations_model(model.equations_)
    run = Record.make(t[n - 1 :], np.zeros(4001), u[n - 1 :])
    path = integrate(equations, theta, model.solution_[0].X[-1], run, substeps=4)
    free = model.observation_.values(path.X, path.F, u[n - 1 :, None])[1:, 0]
    return model, np.mean((free - y[n:]) ** 2) / y[n:].var(), seconds


def test_f16_from_a_thousand_rows(f16):
    model, error, seconds = f16_error(f16, 1000)
    assert error <= 0.02
    assert not model.modes_["forces"].any()
    assert np.abs(model.modes_["frequency"] - 6.97).min() < 0.05
    assert seconds < 10.0


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 1000, 2000, 3000, 4000, 5000])
def test_f16_from_three_thousand_rows_wherever_they_begin(f16, first):
    model, error, seconds = f16_error(f16, 3000, first)
    assert error <= 0.0125
    assert seconds < 30.0
    if first == 0:
        near = model.modes_["frequency"].sub(6.97).abs().idxmin()
        assert model.modes_.loc[near, "forces"]


# --- modes out of phase


def damped_in_one_place(n=700, noise=0.005):
    """Accelerations of two masses whose damper sits between them, by the matrix exponential."""
    t, K = 0.05 * np.arange(n), np.array([[81.0, -36.0], [-36.0, 36.0]])
    C = 0.9 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    A = np.block([[np.zeros((2, 2)), np.eye(2)], [-K, -C]])
    u = band_noise(n, 7)
    X = exact_path(t, u, A, np.array([0.0, 0.0, 1.0, 0.0]), np.zeros(4))
    y = np.outer(u, [1.0, 0.0]) - X[:, :2] @ K - X[:, 2:] @ C
    return t, u, y + noise * y.std() * np.random.default_rng(8).normal(size=y.shape), A


def complex_model(model, *, joint):
    modes = [
        Mode(
            np.log(TURN * f), np.log(0.03), np.array([1.0, 0.4]), np.array([[0.3, -0.2]]),
            joint=joint, complex=True,
        )
        for f in (0.7, 1.6)
    ]  # fmt: skip
    return model.with_modes(modes)


@pytest.mark.parametrize("sense", ["displacement", "velocity", "acceleration"])
def test_complex_modes_are_the_same_seen_by_each_channel_or_jointly(sense):
    t = 0.05 * np.arange(120)
    u = np.column_stack([band_noise(120, 1), band_noise(120, 2)])
    model = ModalModel.make([Record.make(t, np.zeros((120, 2)), u)], [sense], 12.0, True)
    joint = complex_model(model, joint=True)
    seen = np.random.default_rng(4).normal(size=(4, 2))
    y = np.concatenate([joint.columns(mode)[0] for mode in joint.modes], axis=1) @ seen
    channels = Channels(
        y, np.ones_like(y, dtype=bool), np.ones(120), np.zeros(2, dtype=int),
        np.full(2, 1e-12), 100.0,
    )  # fmt: skip
    prior = DampingPrior(0.02, 1.0)
    free = evaluate(complex_model(model, joint=False), channels, prior)
    assert np.all(free.rss < 1e-12 * np.sum(y**2))
    again = evaluate(as_joint_model(free)[0], channels, prior)
    assert np.all(again.rss < 1e-12 * np.sum(y**2))
    moved, step = joint.vector(), 1e-6
    at = evaluate(joint, channels, prior)
    for k, J in enumerate(np.transpose(jacobians(at, channels)[1])):
        sides = []
        for sign in (1.0, -1.0):
            vector = moved.copy()
            vector[k] += sign * step
            modes = joint.moved(vector)
            columns = [modes.columns(mode)[0] for mode in modes.modes]
            sides.append(np.concatenate([u, *columns], axis=1) @ at.weights[1])
        np.testing.assert_allclose(
            J, (sides[0] - sides[1]) / (2 * step), atol=1e-6 * np.abs(y).max()
        )


@pytest.mark.slow
def test_a_damper_in_one_place_is_no_nonlinear_force():
    t, u, y, A = damped_in_one_place()
    model = SKANODERegressor(ModalStructure()).fit(t, y, u=u)
    poles = np.linalg.eigvals(A)
    poles = poles[poles.imag > 0][np.argsort(poles.imag[poles.imag > 0])]
    assert model.modes_["complex"].all()
    assert not model.modes_["forces"].any()
    np.testing.assert_allclose(TURN * model.modes_["frequency"], np.abs(poles), rtol=2e-3)
    np.testing.assert_allclose(model.modes_["damping"], -poles.real / np.abs(poles), rtol=0.02)
    assert np.all(model.noise_std_ < 0.012 * y.std())
    left = model.predict(t) - y
    assert np.all(left.std(axis=0) < 0.012 * y.std())
    real = SKANODERegressor(ModalStructure(n_modes=2, forces="none", shapes="real"))
    real.fit(t, y, u=u)
    assert not real.modes_["complex"].any()
    assert np.all(real.noise_std_ > 2.0 * model.noise_std_)
