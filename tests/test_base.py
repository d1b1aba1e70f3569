"""Promises of `BaseDiscoverer`, on the smallest estimator that uses it."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sympy
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.metrics import r2_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    LeaveOneOut,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from discoverers.exceptions import (
    EmptyEquationWarning,
    IntegrationError,
    IntegrationWarning,
    InvalidParameterError,
    NotFittedError,
)
from tests.toy_discoverer import ToyDiscoverer

T = np.linspace(0, 6, 241)


def rotation(t, phase=0.0):
    """Solution of x' = y, y' = -x."""
    return np.column_stack([np.cos(t + phase), -np.sin(t + phase)])


X = rotation(T)
RUNS_T = [T, T[:200] + 1, T[:220] + 2]
RUNS_X = [rotation(t, phase) for t, phase in zip(RUNS_T, (0.0, 1.0, 2.0), strict=True)]
STACKED_T, STACKED_X = np.concatenate(RUNS_T), np.concatenate(RUNS_X)
IDS = np.repeat(["a", "b", "c"], [len(t) for t in RUNS_T])


@pytest.fixture(scope="module")
def fitted():
    return ToyDiscoverer().fit(T, pd.DataFrame(X, columns=["x", "y"]))


@pytest.fixture(scope="module")
def by_list():
    return ToyDiscoverer().fit(RUNS_T, RUNS_X)


@pytest.fixture(scope="module")
def by_ids():
    return ToyDiscoverer().fit(STACKED_T, STACKED_X, trajectory=IDS)


def blowing_up(**parameters):
    """x' = x**2 from x(0) = 0.5: infinite at t = 2."""
    t = np.linspace(0, 1, 2001)
    return ToyDiscoverer(degree=2, **parameters).fit(t, 1 / (2 - t)), t


# --- fit


def test_fit_sets_every_promised_attribute(fitted):
    assert fitted.equations_.compare(["y", "-x"]).max_coefficient_error < 1e-3
    assert fitted.state_names_ == ("x", "y")
    assert fitted.input_names_ == ()
    assert fitted.coef_.shape == fitted.coef_std_.shape == (2, len(fitted.terms_))
    assert fitted.noise_std_.shape == (2,)
    assert_array_equal(fitted.x0_, [[1.0, 0.0]])
    assert len(fitted.solution_) == 1
    assert isinstance(fitted.pareto_front_, pd.DataFrame)
    assert isinstance(fitted.history_, pd.DataFrame)
    assert fitted.converged_ is True
    assert fitted.n_features_in_ == 1
    assert not hasattr(fitted, "feature_names_in_")
    assert fitted.device_ == "cpu"
    assert fitted.n_rounds_ == 1


@pytest.mark.parametrize("failing", [RuntimeError("no"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("before", ["fresh", "fitted"])
def test_a_failed_or_interrupted_fit_leaves_the_estimator_as_it_was(failing, before):
    estimator = ToyDiscoverer()
    if before == "fitted":
        estimator.fit(pd.DataFrame({"t": T}), X)
    estimator.failing = failing
    state = dict(vars(estimator))
    with pytest.raises(type(failing)):
        estimator.fit(np.column_stack([T, T, T]), X[:, :1])
    assert vars(estimator) == state
    assert not hasattr(estimator, "half_done_")


def test_wrong_data_leave_the_estimator_as_it_was(fitted):
    estimator = pickle.loads(pickle.dumps(fitted))
    before = dict(vars(estimator))
    with pytest.raises(ValueError, match="X has 3 row"):
        estimator.fit(T, X[:3])
    assert vars(estimator) == before


def test_a_new_fit_leaves_nothing_of_the_old():
    estimator = ToyDiscoverer().fit(pd.DataFrame({"t": T}), X)
    assert list(estimator.feature_names_in_) == ["t"]
    module = estimator.module_
    estimator.fit(T, X[:, 0])
    assert not hasattr(estimator, "feature_names_in_")
    assert estimator.module_ is not module


def test_parameters_are_checked_before_data():
    for parameters in ({"degree": -1}, {"on_failure": "explode"}, {"time_unit": "year"}):
        with pytest.raises(InvalidParameterError, match=next(iter(parameters))):
            ToyDiscoverer(**parameters).fit(None, None)


def test_constant_states_give_an_empty_equation_and_say_so():
    with pytest.warns(EmptyEquationWarning, match="x0"):
        estimator = ToyDiscoverer().fit(T, np.column_stack([np.ones(len(T)), X]))
    assert estimator.equations_[0] == 0


def test_the_states_may_be_called_y():
    one, two = ToyDiscoverer().fit(T, y=X), ToyDiscoverer().fit(X=T[:, None], y=X)
    assert one.equations_ == two.equations_
    assert one.score(T, y=X) == one.score(T, X)
    with pytest.raises(TypeError, match="twice"):
        one.fit(T, X, y=X)


@pytest.mark.parametrize("method", ["predict", "score", "simulate", "derivative", "sympy"])
def test_unfitted_estimators_say_so(method):
    arguments = {"score": (T, X), "simulate": (T, [1, 0]), "sympy": ()}.get(method, (T,))
    with pytest.raises(NotFittedError):
        getattr(ToyDiscoverer(), method)(*arguments)
    assert not hasattr(ToyDiscoverer(), "module_")


# --- predict


def test_inside_the_span_predict_is_the_fitted_solution(fitted):
    rng = np.random.default_rng(0)
    t = rng.uniform(0, 6, 50)
    assert_allclose(fitted.predict(t), rotation(t), atol=1e-3)
    assert_allclose(fitted.predict(T), X, rtol=1e-14)


def test_hermite_interpolation_reproduces_cubics():
    t = np.linspace(0, 1, 5)
    estimator = ToyDiscoverer(degree=0).fit(t, t)
    cubic = np.polynomial.Polynomial([1, -2, 0.5, 3])
    fitted = estimator.solution_[0]
    exact = type(fitted)(t, cubic(t)[:, None], cubic.deriv()(t)[:, None], fitted.u)
    times = np.linspace(0, 1, 33)
    assert_allclose(exact(times)[:, 0], cubic(times), rtol=1e-13)


def test_outside_the_span_predict_integrates_on_and_back(fitted):
    t = np.array([8.0, -1.5, 3.0, 7.0])
    assert_allclose(fitted.predict(t), rotation(t), atol=5e-3)
    following = fitted.simulate(np.array([6.0, 8.0]), X[-1])
    assert_allclose(fitted.predict(t)[0], following[1], rtol=1e-7)


def test_rows_are_answered_one_by_one(fitted):
    t = np.linspace(-2, 9, 23)
    whole = fitted.predict(t)
    assert_allclose([fitted.predict([time])[0] for time in t], whole, atol=1e-7)
    order = np.random.default_rng(0).permutation(len(t))
    assert_allclose(fitted.predict(t[order]), whole[order], rtol=1e-12)


def test_states_without_columns_are_predicted_without():
    estimator = ToyDiscoverer().fit(T, np.exp(-T))
    assert estimator.predict(T).shape == T.shape
    assert_allclose(estimator.predict([7.0]), [np.exp(-7)], atol=1e-3)
    assert estimator.simulate([0.0, 1.0], 1.0).shape == (2,)
    assert estimator.derivative([1.0, 2.0]).shape == (2,)
    assert ToyDiscoverer().fit(T, np.exp(-T)[:, None]).predict(T).shape == (len(T), 1)


def test_dates_in_dates_out():
    dates = pd.date_range("2021-03-01", periods=len(T), freq="90s", tz="Europe/Rome")
    estimator = ToyDiscoverer(time_unit="h").fit(dates, X)
    # 6 time units of the rotation take 6 hours, so the equations are per hour.
    assert estimator.equations_.compare(["x1", "-x0"]).max_coefficient_error < 1e-3
    later = dates[-1] + pd.Timedelta(hours=1)
    assert_allclose(estimator.predict([later]), rotation(np.array([7.0])), atol=5e-3)
    assert_allclose(estimator.simulate([0.0, 1.0], [1.0, 0.0])[1], rotation(1.0)[0], atol=5e-3)
    with pytest.raises(ValueError, match="datetime values"):
        estimator.predict([7.0])
    with pytest.raises(ValueError, match="number values"):
        ToyDiscoverer().fit(T, X).predict(dates)


def test_predict_from_an_initial_state_is_simulate(fitted):
    t = np.array([3.0, 1.0, 2.0])
    answer = fitted.predict(t, x0=[0.0, 1.0])
    assert_array_equal(answer, fitted.simulate(t, [0.0, 1.0]))
    assert_array_equal(answer[1], [0.0, 1.0])
    # x0 holds at the earliest time
    assert_allclose(answer, np.column_stack([np.sin(t - 1), np.cos(t - 1)]), atol=5e-3)
    both = fitted.simulate([T[:3], T[:5]], [[1.0, 0.0], [0.0, 1.0]])
    assert [len(one) for one in both] == [3, 5]
    with pytest.raises(ValueError, match="x0 contains NaN"):
        fitted.simulate(t, [np.nan, 1.0])
    with pytest.raises(ValueError, match=r"x0 must have shape \(2,\)"):
        fitted.simulate(t, [1.0])
    with pytest.raises(ValueError, match="initial state"):
        fitted.simulate(t, None)


def test_predict_of_a_list_goes_by_position(by_list):
    answers = by_list.predict(RUNS_T)
    for answer, states in zip(answers, RUNS_X, strict=True):
        assert_allclose(answer, states, atol=1e-12)
    with pytest.raises(ValueError, match=r"got 2 run\(s\), but fit had 3.*x0="):
        by_list.predict(RUNS_T[:2])
    with pytest.raises(ValueError, match=r"got 1 run\(s\), but fit had 3"):
        by_list.predict(T)
    (third,) = by_list.predict([RUNS_T[2]], trajectory=[2])
    assert_allclose(third, RUNS_X[2], atol=1e-12)
    assert len(by_list.predict(RUNS_T[:2], x0=[[1, 0], [0, 1]])) == 2


def test_predict_by_ids_in_any_order(by_ids):
    order = np.random.default_rng(0).permutation(len(IDS))
    answer = by_ids.predict(STACKED_T[order], trajectory=IDS[order])
    assert_allclose(answer, STACKED_X[order], atol=1e-12)
    with pytest.raises(ValueError, match="fit was given trajectory ids"):
        by_ids.predict(T)
    with pytest.raises(ValueError, match="fit was given trajectory ids"):
        by_ids.score(T, X)
    with pytest.raises(ValueError, match=r"\['z'\] were not in fit"):
        by_ids.predict(T, trajectory=["z"] * len(T))
    new = by_ids.predict([0.0, 1.0], trajectory=["z"] * 2, x0={"z": [1, 0]})
    assert_allclose(new[1], rotation(1.0)[0], atol=5e-3)


def test_ids_from_a_column_are_found_again():
    frame = pd.DataFrame({"t": STACKED_T, "run": IDS})
    estimator = ToyDiscoverer(trajectory_column="run").fit(frame, STACKED_X)
    assert estimator.n_features_in_ == 1
    assert_allclose(estimator.predict(frame), STACKED_X, atol=1e-12)
    assert_allclose(estimator.predict(RUNS_T[1], trajectory=["b"] * 200), RUNS_X[1], atol=1e-12)
    with pytest.raises(ValueError, match="fit was given trajectory ids"):
        estimator.predict(frame[["t"]])


def test_ids_that_fit_never_saw_are_no_match_for_a_single_run(fitted):
    with pytest.raises(ValueError, match="were not in fit"):
        fitted.predict(T, trajectory=[0] * len(T))


# --- inputs


def driven(t):
    """Solution of x' = v - x with v = t, from x(0) = 1."""
    return t - 1 + 2 * np.exp(-t)


@pytest.mark.parametrize("form", ["columns", "array", "function", "frame"])
def test_inputs_reach_fit_and_forecast(form):
    t, later = np.linspace(0, 4, 801), np.array([5.0, 4.5, 2.0])
    states = driven(t)
    estimator = ToyDiscoverer()
    if form == "columns":
        answer = estimator.fit(np.c_[t, t], states).predict(np.c_[later, later])
        assert estimator.n_features_in_ == 2
    elif form == "frame":
        frame = pd.DataFrame({"time": t, "v": t})
        estimator.fit(frame, states)
        assert estimator.input_names_ == ("v",)
        answer = estimator.predict(pd.DataFrame({"time": later, "v": later}))
    else:
        wrap = (lambda times: times) if form == "array" else (lambda times: lambda time: time)
        answer = estimator.fit(t, states, u=wrap(t)).predict(later, u=wrap(later))
    assert_allclose(answer, driven(later), atol=2e-3)
    name = estimator.input_names_[0]
    assert estimator.equations_.compare([f"{name} - x0"]).max_coefficient_error < 1e-2


def test_inputs_are_asked_for_where_they_are_needed():
    t = np.linspace(0, 4, 101)
    estimator = ToyDiscoverer().fit(t, driven(t), u=t)
    assert_allclose(estimator.predict([2.0]), driven(2.0), atol=1e-2)
    for call in (
        lambda: estimator.predict([5.0]),
        lambda: estimator.simulate([0.0, 1.0], 1.0),
        lambda: estimator.derivative([1.0]),
        lambda: estimator.score([t], [driven(t)]),
    ):
        with pytest.raises(ValueError, match="u: the equations have the input"):
            call()
    with pytest.raises(ValueError, match=r"2 input\(s\) were given"):
        estimator.predict([5.0], u=[[1.0, 2.0]])
    with pytest.raises(ValueError, match="without inputs"):
        ToyDiscoverer().fit(T, X).derivative(X, u=T)
    with pytest.raises(ValueError, match=r"1 input\(s\) were given"):
        ToyDiscoverer().fit(T, X).predict(T, u=T)


# --- failures of the integration


def test_blow_up_is_nan_from_there_on_with_a_warning():
    estimator, _ = blowing_up()
    with pytest.warns(IntegrationWarning, match=r"stopped at t = .*NaN from there on"):
        answer = estimator.predict([0.5, 1.5, 3.0, -1.0])
    assert_allclose(answer[[0, 1, 3]], [1 / 1.5, 2.0, 1 / 3], rtol=1e-2)
    assert np.isnan(answer[2])


def test_blow_up_may_be_raised_but_never_from_score():
    estimator, t = blowing_up(on_failure="raise")
    with pytest.raises(IntegrationError, match="stopped at t ="):
        estimator.predict([3.0])
    assert np.isfinite(estimator.predict([1.5]))
    with pytest.warns(IntegrationWarning):
        score = estimator.score([np.append(t, 3.0)], [np.append(1 / (2 - t), 0.3)])
    assert -99 <= score < 1


# --- score


def test_score_is_r2_of_predict(fitted):
    rng = np.random.default_rng(0)
    noisy = X + rng.normal(scale=0.3, size=X.shape)
    weight = rng.uniform(0, 2, len(T))
    assert_allclose(fitted.score(T, noisy), r2_score(noisy, fitted.predict(T)), rtol=1e-12)
    assert_allclose(
        fitted.score(T, noisy, sample_weight=weight),
        r2_score(noisy, fitted.predict(T), sample_weight=weight),
        rtol=1e-12,
    )
    later = T + 3
    assert fitted.score(later, rotation(later)) > 0.999


def test_what_was_not_measured_does_not_count(fitted):
    gaps = X.copy()
    gaps[::3, 0] = gaps[1::2, 1] = np.nan
    noise = np.random.default_rng(0).normal(scale=0.3, size=X.shape)
    seen = ~np.isnan(gaps)
    expected = [r2_score((gaps + noise)[seen[:, i], i], X[seen[:, i], i]) for i in range(2)]
    assert_allclose(fitted.score(T, gaps + noise), np.mean(expected), rtol=1e-12)
    with pytest.raises(ValueError, match="nothing to score"):
        fitted.score(T, X * np.nan)


def test_runs_of_a_list_are_held_out_and_start_at_their_first_full_row(by_list):
    t = np.linspace(0, 3, 40)
    states = rotation(t, 0.7)
    states[:2, 0] = np.nan
    states[0, 1] = 50.0  # before the first full row: does not count
    assert by_list.score([t], [states]) > 0.999
    start = by_list.simulate(t[2:], states[2])
    assert_allclose(by_list.score([t], [states]), np.mean(
        [r2_score(states[2:, i], start[:, i]) for i in range(2)]
    ), rtol=1e-9)  # fmt: skip
    with pytest.raises(ValueError, match="no row in which all states are measured in run 0"):
        by_list.score([t], [states * [np.nan, 1]])


def test_unknown_ids_are_held_out_and_known_ones_predicted(by_ids):
    t = np.linspace(0, 3, 40)
    ids = ["a"] * 40 + ["new"] * 40
    both = by_ids.score(np.r_[t, t], np.r_[rotation(t), rotation(t, 0.4)], trajectory=ids)
    assert both > 0.999
    # Of a known run the fitted solution is compared, not a simulation from the given first row.
    wrong_start = rotation(t)
    wrong_start[0] = 5.0
    known = by_ids.score(t, wrong_start, trajectory=["a"] * 40)
    assert_allclose(known, r2_score(wrong_start, by_ids.predict(t, trajectory=["a"] * 40)))


def test_scores_are_finite_and_rank_early_blow_ups_below_late_ones():
    estimator, _ = blowing_up()
    scores = []
    for end in (2.1, 3.0, 6.0):
        times = np.linspace(0, end, 200)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", IntegrationWarning)
            scores.append(estimator.score(times, np.sin(times)))
    assert np.isfinite(scores).all()
    assert 1 > scores[0] > scores[1] > scores[2] >= -99


def test_states_that_do_not_vary_score_one_or_zero():
    with pytest.warns(EmptyEquationWarning):
        estimator = ToyDiscoverer().fit(T, np.full(len(T), 3.0))
    assert estimator.score(T, np.full(len(T), 3.0)) == 1.0
    assert estimator.score(T, np.full(len(T), 4.0)) == 0.0


# --- derivative and other forms


def test_derivative_is_the_right_hand_side_in_every_shape(fitted):
    exact = np.column_stack([X[:, 1], -X[:, 0]])
    assert_allclose(fitted.derivative(X), exact, atol=1e-3)
    assert_allclose(fitted.derivative(X[3]), exact[3], atol=1e-3)
    frame = pd.DataFrame(X, columns=["x", "y"])
    assert_allclose(fitted.derivative(frame), exact, atol=1e-3)
    with pytest.raises(ValueError, match=r"X must have shape \(2,\)"):
        fitted.derivative(X[:, :1])
    with pytest.raises(ValueError, match="columns"):
        fitted.derivative(frame[["y", "x"]])


def test_columns_in_another_order_are_refused(fitted):
    with pytest.raises(ValueError, match=r"\['y', 'x'\], but the estimator was fitted with"):
        fitted.score(T, pd.DataFrame(X, columns=["x", "y"])[["y", "x"]])
    with pytest.raises(ValueError, match="1 column"):
        fitted.score(T, X[:, 0])


def test_other_forms_of_the_equations_agree(fitted):
    torch = pytest.importorskip("torch")
    assert fitted.sympy() == tuple(fitted.equations_)
    assert all(isinstance(side, sympy.Expr) for side in fitted.sympy())
    assert r"\frac{d x}{d t}" in fitted.latex()
    expected = fitted.derivative(X)
    assert_allclose(fitted.to_callable("numpy")(X), expected)
    states = torch.tensor(X)
    assert_allclose(fitted.to_callable("torch")(states), expected)
    module = fitted.module_
    assert fitted.module_ is module
    assert_allclose(module(states).detach(), expected, atol=1e-12)
    module(states).sum().backward()
    assert module.coefficients.grad.shape == (len(module.labels),)
    copy = pickle.loads(pickle.dumps(module))
    assert_allclose(copy(states).detach(), expected, atol=1e-12)
    assert "_module" not in pickle.loads(pickle.dumps(fitted)).__dict__


@pytest.mark.parametrize("kind", ["fit", "phase", "coefficients", "pareto"])
def test_plots_draw(fitted, kind):
    pytest.importorskip("matplotlib")
    assert fitted.plot(kind) is not None


def test_unknown_plots_are_named(fitted):
    with pytest.raises(ValueError, match="kind must be one of"):
        fitted.plot("pie")


# --- scikit-learn around it


def test_cross_validation_splits_lists_by_run():
    for cv in (LeaveOneOut(), KFold(3)):
        assert cross_val_score(ToyDiscoverer(), RUNS_T, RUNS_X, cv=cv).min() > 0.999
    search = GridSearchCV(ToyDiscoverer(), {"degree": [0, 1]}, cv=3).fit(RUNS_T, RUNS_X)
    assert search.best_params_ == {"degree": 1}
    assert len(search.predict(RUNS_T)) == 3


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_searches_give_the_same_on_any_number_of_jobs(n_jobs):
    search = GridSearchCV(ToyDiscoverer(), {"degree": [0, 1]}, cv=3, n_jobs=n_jobs)
    if n_jobs == 2:
        from joblib import parallel_config

        with parallel_config(backend="threading"):
            search.fit(RUNS_T, RUNS_X)
    else:
        search.fit(RUNS_T, RUNS_X)
    alone = GridSearchCV(ToyDiscoverer(), {"degree": [0, 1]}, cv=3).fit(RUNS_T, RUNS_X)
    assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


def test_ids_are_routed_through_cross_validation():
    with config_context(enable_metadata_routing=True):
        estimator = (
            ToyDiscoverer()
            .set_fit_request(trajectory=True, sample_weight=True)
            .set_score_request(trajectory=True, sample_weight=False)
        )
        scores = cross_val_score(
            estimator,
            STACKED_T,
            STACKED_X,
            cv=GroupKFold(3),
            params={
                "trajectory": IDS,
                "groups": IDS,
                "sample_weight": np.ones(len(IDS)),
            },
        )
    assert scores.min() > 0.999


def test_only_metadata_can_be_requested():
    estimator = ToyDiscoverer()
    requests = {
        method: set(getattr(estimator.get_metadata_routing(), method).requests)
        for method in ("fit", "predict", "score")
    }
    assert requests["fit"] == {"trajectory", "u", "x0", "sample_weight"}
    assert requests["predict"] == {"trajectory", "u", "x0"}
    assert requests["score"] == {"trajectory", "u", "x0", "sample_weight"}


def test_pipelines_pass_times_through():
    pipeline = make_pipeline(FunctionTransformer(lambda t: t * 2), ToyDiscoverer())
    pipeline.fit(T[:, None], X)
    assert_allclose(pipeline[-1].coef_[0].max(), 0.5, atol=1e-3)
    assert pipeline.score(T[:, None], X) > 0.999
    assert cross_val_predict(ToyDiscoverer(), T[:, None], X, cv=2).shape == X.shape


def test_clones_and_pickles():
    estimator = ToyDiscoverer(degree=1).fit(T, X)
    assert not hasattr(clone(estimator), "equations_")
    copy = pickle.loads(pickle.dumps(estimator))
    assert_array_equal(copy.predict([8.0, 1.0]), estimator.predict([8.0, 1.0]))
    assert copy.equations_ == estimator.equations_


class Recorder:
    """A callback that notes its calls and stops after some rounds."""

    def __init__(self, stop_after=None, fail=False):
        self.stop_after, self.fail, self.calls = stop_after, fail, []

    def setup(self, estimator, context):
        self.calls.append("setup")

    def teardown(self, estimator, context):
        self.calls.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.calls.append(f"end {context.task_name}")
        if context.task_name == "fit":
            self.score = fitted_estimator.score(T, X)
            if self.fail:
                raise RuntimeError("callback")
        return context.task_name == "round" and context.task_id + 1 == self.stop_after


def test_callbacks_follow_the_fit_and_may_stop_it():
    recorder = Recorder(stop_after=2)
    estimator = ToyDiscoverer(max_rounds=5).set_callbacks(recorder).fit(T, X)
    assert estimator.n_rounds_ == 2
    rounds = ["begin round", "end round"] * 2
    assert recorder.calls == ["setup", "begin fit", *rounds, "end fit", "teardown"]
    assert recorder.score > 0.999


def test_a_failing_callback_leaves_the_estimator_as_it_was():
    recorder = Recorder(fail=True)
    estimator = ToyDiscoverer().set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="callback"):
        estimator.fit(T, X)
    assert recorder.calls[-1] == "teardown"
    assert not [name for name in vars(estimator) if name.endswith("_")]
