"""Rough inputs are taken out before states are guessed, against closed forms."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.interpolate import CubicSpline
from scipy.linalg import expm

from discoverers.shooting import Observation, Record
from discoverers.structures import Channel, Data, Options
from discoverers.structures.chain.driven import input_gains, input_responses, seen_responses
from discoverers.structures.chain.model import Chain
from discoverers.structures.chain.start import _smoothed, guess_states
from discoverers.structures.chain.structure import _task

RANDOM = np.random.default_rng(0)
UNEVEN = np.cumsum(RANDOM.uniform(0.05, 0.15, 60))


def record(t, u, interpolation="cubic", y=None):
    return Record.make(t, np.zeros(len(t)) if y is None else y, u, interpolation=interpolation)


def test_responses_to_a_spline_are_its_antiderivatives():
    u = RANDOM.normal(size=(len(UNEVEN), 2))
    X, F = input_responses(Chain(3, 1, ("f", "g")), record(UNEVEN, u))
    for case in range(2):
        curve = CubicSpline(UNEVEN, u[:, case])
        assert_allclose(F[:, 2, case], u[:, case])
        for place, degree in ((2, 1), (1, 2), (0, 3)):
            # Antiderivatives are 0 at the start, as the states are.
            assert_allclose(X[:, place, case], curve.antiderivative(degree)(UNEVEN), atol=1e-9)
            assert place == 2 or np.array_equal(F[:, place, case], X[:, place + 1, case])


def test_responses_to_a_held_input_are_parabolas():
    u = RANDOM.normal(size=len(UNEVEN))
    X, _ = input_responses(Chain(2, 2, ("f",)), record(UNEVEN, u, "hold"))
    x = v = 0.0
    for k, h in enumerate(np.diff(UNEVEN)):
        x, v = x + h * v + 0.5 * h * h * u[k], v + h * u[k]
        assert_allclose(X[k + 1, :2, 0], [x, v], rtol=1e-12)
        assert_allclose(X[k + 1, 2:, 1], [x, v], rtol=1e-12)
    assert not X[:, 2:, 0].any()
    assert not X[:, :2, 1].any()


def test_gains_are_read_from_steps_and_gaps_left_out():
    u = RANDOM.normal(size=(300, 2))
    t = 0.1 * np.arange(300)
    X, F = input_responses(Chain(2, 1, ("f", "g")), record(t, u, "hold"))
    seen = seen_responses(Observation.linear(["a"], rates=[[0.0, 2.0]], n_inputs=2), X, F)
    y = 2.0 * u @ np.array([[0.7], [-3.0]]) + 5.0 * np.sin(0.3 * t)[:, None]
    y[100:120] = np.nan
    assert_allclose(input_gains([y], [seen]), [0.7, -3.0], atol=0.05)
    assert not input_gains([np.full_like(y, np.nan)], [seen]).any()


def task_of(t, u, interpolation, y):
    given = Data(
        (record(t, u, interpolation, y),), (Channel("acc", rates={"v": 1.0}),), ("u",),
        np.full((1, 2), np.nan),
    )  # fmt: skip
    return _task(Chain(2, 1, ("u",)), given, Options(), given.records)


def test_states_under_a_force_that_jumps_with_every_sample():
    t = 0.08 * np.arange(250)
    u = 8.0 * np.random.default_rng(1).normal(size=len(t))
    step = expm(0.08 * np.array([[0.0, 1.0, 0.0], [-39.0, -0.5, 1.0], [0.0, 0.0, 0.0]]))
    states = [np.zeros(2)]
    for force in u[:-1]:
        states.append((step @ [*states[-1], force])[:2])
    X = np.array(states)
    a = u - 39.0 * X[:, 0] - 0.5 * X[:, 1]
    y = a + 0.01 * a.std() * np.random.default_rng(2).normal(size=len(t))
    start = guess_states(task_of(t, u, "hold", y))
    # Accelerations leave a level and a slope open.
    line = np.vander((t - t.mean()) / np.ptp(t), 3)
    left = start.states[0] - X
    left = left - line @ np.linalg.lstsq(line, left, rcond=None)[0]
    assert np.all(left.std(axis=0) < [0.3, 0.1] * X.std(axis=0))
    assert_allclose(start.rates[0][:, 1], a, atol=0.2 * a.std())
    assert start.noise_std[0] < 0.03 * a.std()


def test_under_a_smooth_force_nothing_is_taken_out():
    t = 0.1 * np.arange(150)
    y = -4.0 * np.sin(2.0 * t) + 0.01 * np.random.default_rng(3).normal(size=len(t))
    task = task_of(t, np.sin(0.9 * t), "cubic", y)
    plain = _smoothed(task, task.data.observation(("x", "v")), [y[:, None]], [np.zeros((150, 2))])
    start = guess_states(task)
    assert np.array_equal(start.states[0], plain.states[0])
    assert np.array_equal(start.noise_std, plain.noise_std)
