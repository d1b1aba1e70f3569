"""ARX and NARX against difference equations that are known, and against scikit-learn."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.signal import lfilter
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from discoverers.baselines import ARXBaseline, NARXBaseline
from discoverers.baselines.lags import Lags


def second_order(n=400, seed=0):
    """y_k = 1.6 y_{k-1} - 0.8 y_{k-2} + 0.5 u_{k-1} by SciPy's filter."""
    u = np.random.default_rng(seed).normal(size=n)
    return np.arange(n) * 0.1, u, lfilter([0.0, 0.5], [1.0, -1.6, 0.8], u)


def test_recovers_a_difference_equation_and_runs_free():
    t, u, y = second_order()
    model = ARXBaseline(order=2, stride=1, alpha=0.0).fit(t[:200], y[:200], u=u[:200])
    u_scale, y_scale = np.sqrt(np.mean(u[:200] ** 2)), np.sqrt(np.mean(y[:200] ** 2))
    expected = [1.6, -0.8, 0.0, 0.5 * u_scale / y_scale, 0.0]
    np.testing.assert_allclose(model.estimator_.coef_.ravel(), expected, atol=1e-9)
    np.testing.assert_allclose(model.predict(t[200:], u=u[200:]), y[200:], atol=1e-8)
    np.testing.assert_allclose(model.predict(t[:200], u=u[:200]), y[:200], atol=1e-8)
    assert model.score(t[200:], y[200:], u=u[200:]) == pytest.approx(1.0)


def test_choices_are_made_on_the_training_rows_only():
    t, u, y = second_order()
    noisy = y + 0.01 * np.random.default_rng(1).normal(size=len(y))
    model = ARXBaseline(max_order=6).fit(t[:200], noisy[:200], u=u[:200])
    assert set(model.selection_) == {"order", "stride", "alpha", "error"}
    chosen = model.selection_.loc[model.selection_["error"].idxmin()]
    assert (model.order_, model.stride_, model.alpha_) == tuple(
        chosen[["order", "stride", "alpha"]]
    )
    assert model.score(t[200:], y[200:], u=u[200:]) > 0.99


def test_lagged_table_is_what_its_definition_says():
    rng = np.random.default_rng(2)
    y, u = rng.normal(size=(30, 2)), rng.normal(size=(30, 1))
    columns, samples = Lags(3, 2).table(y, u)
    k = 10
    row = np.concatenate([y[8], y[6], y[4], u[k], u[8], u[6], u[4]])
    np.testing.assert_array_equal(columns[k - 6], row)
    np.testing.assert_array_equal(samples[k - 6], y[k])
    np.testing.assert_array_equal(Lags(3, 2).columns(y, u, k), row)


def test_rows_with_gaps_are_left_out_of_the_regression():
    t, u, y = second_order()
    y = y.copy()
    y[50] = np.nan
    model = ARXBaseline(order=2, stride=1, alpha=0.0).fit(t[:200], y[:200], u=u[:200])
    np.testing.assert_allclose(model.predict(t[200:], u=u[200:]), y[200:], atol=1e-8)


def test_two_channels_two_runs_and_a_callable_input():
    t = np.arange(0, 20, 0.1)
    runs = [np.column_stack([np.cos(t + phase), np.sin(t + phase)]) for phase in (0.0, 1.0)]
    model = ARXBaseline(order=1, stride=1, alpha=0.0).fit([t[:100]] * 2, [y[:100] for y in runs])
    for predicted, y in zip(model.predict([t[100:]] * 2), runs, strict=True):
        np.testing.assert_allclose(predicted, y[100:], atol=1e-10)
    forced = ARXBaseline(order=2, stride=1).fit(t, np.cos(t), u=np.sin)
    assert forced.predict(20.0 + t[:5], u=np.sin).shape == (5,)


@pytest.mark.parametrize(
    ("options", "limit"), [({"kind": "polynomial"}, 1e-6), ({"kind": "kernel", "width": 1.0}, 0.05)]
)
def test_narx_finds_a_quadratic_map(options, limit):
    rng = np.random.default_rng(3)
    u = rng.uniform(-0.3, 0.3, size=260)
    y = np.zeros(260)
    for k in range(1, 260):
        y[k] = 0.6 * y[k - 1] + u[k - 1] + 0.8 * y[k - 1] * u[k - 1]
    t = np.arange(260.0)
    model = NARXBaseline(order=1, stride=1, alpha=0.0, **options).fit(t[:200], y[:200], u=u[:200])
    error = model.predict(t[200:], u=u[200:]) - y[200:]
    assert np.sqrt(np.mean(error**2)) < limit * y.std()


@pytest.mark.parametrize("model", [ARXBaseline(2), NARXBaseline(2), NARXBaseline(2, kind="kernel")])
def test_one_row_is_predicted_as_the_scikit_learn_regressor_does(model):
    t, u, y = second_order(120)
    model = clone(model).set_params(stride=1, alpha=1e-2).fit(t, y, u=u)
    row = np.random.default_rng(4).normal(size=5)
    direct = np.ravel(model.estimator_.predict(row[None]))
    np.testing.assert_allclose(model._step(model.estimator_)(row), direct, rtol=1e-9, atol=1e-12)


def test_least_squares_are_scikit_learns():
    t, u, y = second_order(100)
    y = y + 0.1 * np.random.default_rng(5).normal(size=100)
    model = ARXBaseline(order=3, stride=2, alpha=0.0).fit(t, y, u=u)
    scaled_y, scaled_u = y / np.sqrt(np.mean(y**2)), u / np.sqrt(np.mean(u**2))
    columns, samples = Lags(3, 2).table(scaled_y[:, None], scaled_u[:, None])
    reference = LinearRegression().fit(columns, samples)
    np.testing.assert_allclose(model.estimator_.coef_, reference.coef_)


def test_a_blow_up_is_nan_and_its_score_finite():
    y = 1.3 ** np.arange(60.0)
    model = ARXBaseline(order=1, stride=1, alpha=0.0).fit(np.arange(30.0), y[:30])
    later = np.arange(30.0, 90.0)
    assert np.isnan(model.predict(later)[-1])
    assert np.isfinite(model.score(later[:30], y[30:]))


def test_pickle_clone_and_names():
    t, u, y = second_order()
    frame = pd.DataFrame({"acceleration": y[:200]})
    model = ARXBaseline(order=2, stride=1).fit(t[:200], frame, u=pd.DataFrame({"force": u[:200]}))
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        again.predict(t[200:], u=u[200:]), model.predict(t[200:], u=u[200:])
    )
    assert model.channel_names_ == ("acceleration",)
    assert model.input_names_ == ("force",)
    assert not hasattr(clone(model), "estimator_")
    assert NARXBaseline(degree=3).get_params()["degree"] == 3


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda m, t, u, y: m.fit(t**2, y, u=u), "t must be evenly spaced"),
        (lambda m, t, u, y: m.fit(t[:9], y[:9], u=u[:9]), "t has 9 rows"),
        (lambda m, t, u, y: m.fit(t, y, u=u).predict(t[-1:] + 1.0, u=[0.0]), "gaps"),
        (lambda m, t, u, y: m.fit(t, y, u=u).predict(t + 0.03, u=u), "training grid"),
        (lambda m, t, u, y: m.fit(t, y, u=u).predict(t[-1:] + 0.1), "u has 0 column"),
        (lambda m, t, u, y: m.fit(t, y, u=u).predict([t, t], u=[u, u]), "t has 2 run"),
        (lambda m, t, u, y: m.set_params(order=0).fit(t, y, u=u), "'order' parameter"),
    ],
)
def test_errors_name_the_argument(act, words):
    t, u, y = second_order(100)
    with pytest.raises(ValueError, match=words):
        act(ARXBaseline(order=12, stride=1, alpha=0.0), t, u, y)
