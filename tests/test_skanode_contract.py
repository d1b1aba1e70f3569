"""Promises of `SKANODERegressor` whatever its structure, on the smallest one, with exact data."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests.driven_oscillator import (
    ACCELERATION,
    START,
    STATES,
    B,
    C,
    K,
    T,
    coefficients,
    force,
    make,
    oscillator,
)


@pytest.fixture(scope="module")
def fitted():
    return make().fit(T, ACCELERATION, u=force(T))


# --- fit and its attributes


def test_fit_finds_coefficients_and_states_that_were_never_measured(fitted):
    assert_allclose(coefficients(fitted), [K, C, B], rtol=1e-4)
    assert fitted.equations_.compare(["v", "2*u0 - 4*x - 0.3*v"]).exact
    assert fitted.converged_ is True
    assert fitted.state_names_ == ("x", "v")
    assert fitted.channel_names_ == ("y0",)
    assert fitted.input_names_ == ("u0",)
    assert fitted.n_features_in_ == 1
    assert_allclose(fitted.x0_, [START], atol=1e-4)
    assert fitted.x0_std_.shape == (1, 2)
    assert fitted.coef_.shape == fitted.coef_std_.shape == (2, 3)
    assert fitted.noise_std_.shape == (1,)
    assert fitted.noise_std_[0] < 1e-4
    assert fitted.covariance_.shape == (5, 5) == 2 * (len(fitted.parameter_names_),)
    assert fitted.edge_functions_ == ()
    assert fitted.x_offset_identifiable_ is None
    for frame in (fitted.pareto_front_, fitted.alternatives_, fitted.history_):
        assert isinstance(frame, pd.DataFrame)


def test_states_come_with_names_and_times(fitted):
    assert list(fitted.states_.columns) == ["x", "v"]
    assert_array_equal(fitted.states_.index, T)
    assert_allclose(fitted.states_.to_numpy(), STATES, atol=1e-4)
    assert_array_equal(fitted.states(T), fitted.states_.to_numpy())
    assert isinstance(fitted.states_, pd.DataFrame)
    several = make().fit([T, T], [ACCELERATION, ACCELERATION], u=[force(T), force(T)])
    assert [list(frame.columns) for frame in several.states_] == [["x", "v"]] * 2
    assert "of run 1" in several.parameter_names_[-1]


def test_intervals_list_what_was_kept(fitted):
    frame = fitted.coef_interval(0.9)
    assert list(frame["term"]) == ["v", "x", "v", "u0"]
    assert list(frame["equation"]) == ["x", "v", "v", "v"]
    half = 1.6448536269514722 * fitted.coef_std_[1]
    assert_allclose(frame["upper"].iloc[1:] - frame["coefficient"].iloc[1:], half)
    assert_allclose(frame["lower"].iloc[0], 1.0)
    with pytest.raises(ValueError, match="level must be between 0 and 1, got 95"):
        fitted.coef_interval(95)


def test_standard_errors_are_those_of_repeated_measurements():
    rng = np.random.default_rng(0)
    found, errors = [], []
    for _ in range(25):
        noisy = ACCELERATION + rng.normal(scale=0.05, size=T.size)
        model = make(noise_std=0.05).fit(T, noisy, u=force(T))
        found.append(coefficients(model))
        errors.append(model.coef_std_[1])
    ratio = np.std(found, axis=0, ddof=1) / np.mean(errors, axis=0)
    # 25 repetitions know a standard deviation to 14 %.
    assert ((ratio > 0.55) & (ratio < 1.5)).all()


@pytest.mark.parametrize("form", ["columns", "frame", "named", "function", "per moment", "runs"])
def test_inputs_come_in_any_form(form, fitted):
    model, u = make(), force(T)
    if form == "columns":
        model.fit(np.c_[T, u], ACCELERATION)
        assert model.n_features_in_ == 2
    elif form == "frame":
        model.fit(pd.DataFrame({"time": T, "f": u}), pd.Series(ACCELERATION, name="a"))
        assert (model.input_names_, model.channel_names_) == (("f",), ("a",))
    elif form == "named":
        model.fit(T, ACCELERATION, u=pd.DataFrame({"f": u}))
    elif form == "function":
        model.fit(T, ACCELERATION, u=force)
    elif form == "per moment":
        model.fit(T, ACCELERATION, u=lambda time: float(force(time)))
    else:
        model.fit([T], [ACCELERATION], u=[u])
    assert_allclose(coefficients(model), [K, C, B], rtol=1e-4)
    if form in ("function", "per moment"):
        # Nothing is lost between samples; a spline through them loses a little.
        assert np.abs(coefficients(model) - [K, C, B]).max() < 1e-6
        assert np.abs(coefficients(fitted) - [K, C, B]).max() > 1e-6


def test_irregular_times_and_gaps_in_any_order():
    rng = np.random.default_rng(0)
    t = np.sort(rng.uniform(0, 15, 300))
    _, y = oscillator(t)
    u = force(t)
    y[rng.uniform(size=t.size) < 0.2] = np.nan
    order = rng.permutation(t.size)
    model = make().fit(t[order], y[order], u=u[order])
    assert_allclose(coefficients(model), [K, C, B], rtol=2e-3)
    again = make().fit(t, y, u=u)
    assert_array_equal(model.coef_, again.coef_)
    assert_array_equal(model.predict(t[order]), again.predict(t)[order])


@pytest.mark.parametrize("form", ["list", "ids", "column"])
def test_several_runs_share_coefficients_and_have_their_own_start(form):
    runs = [(T, START), (T[:100] + 3.0, (-1.0, 2.0))]
    times = [t for t, _ in runs]
    found = [oscillator(t, start, t0=t[0]) for t, start in runs]
    states, y = [one[0] for one in found], [one[1] for one in found]
    u = [force(t) for t in times]
    model, stacked = make(), np.concatenate(times)
    ids = np.repeat(["a", "b"], [len(t) for t in times])
    if form == "list":
        model.fit(times, y, u=u)
        answers = model.states(times)
    elif form == "ids":
        model.fit(stacked, np.concatenate(y), u=np.concatenate(u), trajectory=ids)
        answers = np.split(model.states(stacked, trajectory=ids), [T.size])
    else:
        model.set_params(trajectory_column="run")
        frame = pd.DataFrame({"t": stacked, "u": np.concatenate(u), "run": ids})
        model.fit(frame, np.concatenate(y))
        answers = np.split(model.states(frame), [T.size])
    assert_allclose(coefficients(model), [K, C, B], rtol=1e-4)
    assert_allclose(model.x0_, [start for _, start in runs], atol=1e-4)
    for answer, truth in zip(answers, states, strict=True):
        assert_allclose(answer, truth, atol=1e-4)


def test_dates_become_elapsed_time():
    dates = pd.Timestamp("2024-05-01") + pd.to_timedelta(T, unit="h")
    model = make(time_unit="h").fit(dates, ACCELERATION, u=force)
    assert_allclose(coefficients(model), [K, C, B], rtol=1e-5)
    later = dates[-1] + pd.Timedelta(hours=2)
    truth = oscillator(np.array([T[-1] + 2]))
    assert_allclose(model.predict([later], u=force), truth[1], atol=1e-4)
    assert model.states_.index[0] == 0.0


def test_known_initial_states_are_exact_and_gaps_in_them_are_estimated():
    model = make().fit(T, ACCELERATION, u=force, x0=START)
    assert_array_equal(model.x0_, [START])
    assert_array_equal(model.x0_std_, [[0.0, 0.0]])
    assert model.covariance_.shape == (3, 3)
    half = make().fit(T, ACCELERATION, u=force, x0=[0.5, np.nan])
    assert half.x0_[0, 0] == 0.5
    assert_allclose(half.x0_[0, 1], -1.0, atol=1e-5)
    assert half.x0_std_[0, 0] == 0.0 < half.x0_std_[0, 1]
    rest = make(initial_state="rest").fit(T, oscillator(T, (0.0, 0.0))[1], u=force)
    assert_array_equal(rest.x0_, [[0.0, 0.0]])
    assert_allclose(coefficients(rest), [K, C, B], rtol=1e-5)
    with pytest.raises(ValueError, match=r"x0 must have shape \(2,\).*got \(3,\)"):
        make().fit(T, ACCELERATION, u=force, x0=[1.0, 2.0, 3.0])


def test_weights_equal_repetition_and_noise_may_be_known(fitted):
    rng = np.random.default_rng(0)
    noisy = ACCELERATION + rng.normal(scale=0.1, size=T.size)
    weight = np.where(T < 7, 2.0, 1.0)
    twice = np.r_[T, T[T < 7]], np.r_[noisy, noisy[T < 7]]
    one = make().fit(T, noisy, u=force, sample_weight=weight)
    two = make().fit(*twice, u=force)
    assert_allclose(one.coef_, two.coef_, rtol=1e-9)
    wide, narrow = (make(noise_std=s).fit(T, noisy, u=force) for s in (0.2, 0.1))
    assert_allclose(wide.coef_std_, 2 * narrow.coef_std_, rtol=1e-3)
    with pytest.raises(ValueError, match=r"one number per measured column \(1\).*\(3,\)"):
        make(noise_std=[1.0, 2.0, 3.0]).fit(T, ACCELERATION, u=force)


@pytest.mark.parametrize(
    ("observe", "measured"),
    [
        ("position", STATES[:, 0]),
        ("velocity", STATES[:, 1]),
        ("v'", ACCELERATION),
        ("v' + u0", ACCELERATION + force(T)),
        (["velocity", "acceleration"], np.c_[STATES[:, 1], ACCELERATION]),
        ([[0.0, 0.0, 0.0, 1.0]], ACCELERATION),
        (lambda X, F, U: np.tanh(F[:, 1]), np.tanh(ACCELERATION)),
    ],
    ids=["position", "velocity", "rate", "sum", "two", "matrix", "function"],
)
def test_whatever_is_observed_is_predicted(observe, measured):
    model = make(observe=observe).fit(T, measured, u=force)
    assert_allclose(coefficients(model), [K, C, B], rtol=1e-4)
    assert_allclose(model.predict(T, u=force), measured, atol=1e-4)
    assert_allclose(model.states(T), STATES, atol=1e-4)
    assert model.score(T, measured, u=force) > 1 - 1e-6


def test_channels_may_be_measured_at_different_times():
    y = np.c_[STATES[:, 0], ACCELERATION]
    y[::2, 0] = y[1::2, 1] = np.nan
    frame = pd.DataFrame(y, columns=["gauge", "accelerometer"])
    model = make(observe={"accelerometer": "acceleration", "gauge": "position"})
    model.fit(T, frame, u=force)
    assert model.channel_names_ == ("gauge", "accelerometer")
    assert_allclose(coefficients(model), [K, C, B], rtol=1e-4)
    assert_allclose(model.predict(T, u=force), np.c_[STATES[:, 0], ACCELERATION], atol=1e-4)
    with pytest.raises(ValueError, match=r"X has the columns \['a', 'b'\]"):
        model.score(T, frame.set_axis(["a", "b"], axis=1), u=force)
    with pytest.raises(ValueError, match=r"X has 1 column\(s\).*fitted with 2 \['gauge'"):
        model.score(T, ACCELERATION, u=force)
