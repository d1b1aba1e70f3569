"""Promises of `as_trajectories`: every accepted form, and errors that say what to do."""

import datetime
import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from discoverers.trajectories import as_trajectories

N = 12
T = np.linspace(0.0, 1.1, N)
X = np.column_stack([np.sin(T), np.cos(T)])


@pytest.mark.parametrize(
    "t",
    [
        T,
        T[:, None],
        T.tolist(),
        pd.Series(T, name="time"),
        pd.Index(T),
        pd.DataFrame({"time": T}),
        np.asfortranarray(T[:, None]),
        T.astype(object),
    ],
    ids=["1d", "column", "list", "series", "index", "frame", "fortran", "object"],
)
@pytest.mark.parametrize(
    "states", [X, X.tolist(), pd.DataFrame(X), X.astype(object)], ids=["2d", "list", "frame", "obj"]
)
def test_all_forms_of_one_run_give_the_same_value(t, states):
    runs = as_trajectories(t, states)
    assert len(runs) == 1
    assert_array_equal(runs[0].t, T)
    assert_array_equal(runs[0].X, X)
    assert runs[0].u.shape == (N, 0)
    assert_array_equal(runs[0].weight, np.ones(N))
    assert runs.state_names == ("x0", "x1")
    assert (runs.n_states, runs.n_inputs, runs.n_samples) == (2, 0, N)
    assert not runs.squeeze


@pytest.mark.parametrize("states", [X[:, 0], X[:, 0].tolist(), pd.Series(X[:, 0])])
def test_states_without_columns_are_one_state_and_are_remembered(states):
    runs = as_trajectories(T, states)
    assert runs[0].X.shape == (N, 1)
    assert runs.squeeze


def test_pandas_columns_name_states_and_inputs():
    runs = as_trajectories(
        pd.DataFrame({"time": T, "voltage": T**2}), pd.DataFrame(X, columns=["angle", "my rate"])
    )
    assert runs.state_names == ("angle", "my rate")
    assert runs.input_names == ("voltage",)
    assert_array_equal(runs[0].u[:, 0], T**2)
    assert as_trajectories(T, pd.Series(X[:, 0], name="angle")).state_names == ("angle",)


def test_nullable_pandas_columns_become_nan():
    column = pd.array([1.0, None, *X[2:, 0]], dtype="Float64")
    runs = as_trajectories(T, pd.DataFrame({"x": column}))
    assert_array_equal(np.isnan(runs[0].X[:, 0]), np.arange(N) == 1)


@pytest.mark.parametrize("unit", ["ms", "s", "min", "h", "d"])
@pytest.mark.parametrize("kind", ["index", "series", "numpy", "ns", "list", "frame", "zoned"])
def test_dates_become_elapsed_time_units(unit, kind):
    start = datetime.datetime(2020, 3, 28, 22)
    dates = [start + datetime.timedelta(minutes=30 * i) for i in range(N)]
    forms = {
        "index": lambda: pd.DatetimeIndex(dates),
        "series": lambda: pd.Series(dates),
        "numpy": lambda: np.array(dates, dtype="datetime64[s]"),
        "ns": lambda: np.array(dates, dtype="datetime64[ns]")[:, None],
        "list": lambda: dates,
        "frame": lambda: pd.DataFrame({"when": dates}),
        # clocks change in this night: elapsed time does not
        "zoned": lambda: pd.DatetimeIndex(dates, tz="UTC").tz_convert("Europe/Paris"),
    }
    seconds = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}[unit]
    runs = as_trajectories(forms[kind](), X, time_unit=unit)
    assert_allclose(runs[0].t, np.arange(N) * 1800.0 / seconds, rtol=1e-14)
    assert runs.clock.kind == "datetime"
    assert runs.clock.origin == np.datetime64(start)
    assert runs.clock.unit == unit


def test_durations_count_from_zero():
    t = pd.to_timedelta(np.arange(N) + 5, unit="min")
    for form in (t, t.to_numpy(), list(t), pd.Series(t)):
        assert_allclose(as_trajectories(form, X, time_unit="min")[0].t, np.arange(N) + 5.0)


def test_the_earliest_date_of_all_runs_is_the_origin():
    later = pd.date_range("2020-01-02", periods=N, freq="h")
    earlier = pd.date_range("2020-01-01", periods=N, freq="h")
    runs = as_trajectories([later, earlier], [X, X], time_unit="h")
    assert [run.t[0] for run in runs] == [24.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.permutations(range(2 * N)), st.integers(0, 2**32 - 1))
def test_order_of_rows_does_not_matter_to_the_last_bit(order, seed):
    rng = np.random.default_rng(seed)
    t = np.concatenate([T, T])
    states = rng.normal(size=(2 * N, 2))
    states[rng.random(states.shape) < 0.2] = np.nan
    states[[0, N - 1]] = 1.0
    u, weight = rng.normal(size=(2 * N, 1)), rng.uniform(0.1, 2, 2 * N)
    order = np.asarray(order)
    one = as_trajectories(t, states, u=u, sample_weight=weight)[0]
    other = as_trajectories(t[order], states[order], u=u[order], sample_weight=weight[order])[0]
    for name in ("t", "X", "u", "weight"):
        assert_array_equal(getattr(one, name), getattr(other, name))


def test_duplicate_times_are_averaged_ignoring_what_is_missing():
    t = [0.0, 1.0, 1.0, 1.0, 2.0]
    states = [[0.0, 1.0], [1.0, np.nan], [3.0, np.nan], [np.nan, 5.0], [2.0, np.nan]]
    run = as_trajectories(t, states, sample_weight=[1, 1, 3, 2, 1], u=[0, 1, 2, 3, 4])[0]
    assert_array_equal(run.t, [0, 1, 2])
    assert_allclose(run.X[1], [(1 + 3 * 3) / 4, 5.0])
    assert_allclose(run.u[:, 0], [0, (1 + 6 + 6) / 6, 4])
    assert_array_equal(run.weight, [1, 6, 1])


def test_weights_equal_repetition():
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, N)
    weight[:3] = 1
    weighted = as_trajectories(T, X, sample_weight=weight)[0]
    repeated = as_trajectories(T.repeat(weight), X.repeat(weight, axis=0))[0]
    for name in ("t", "X", "weight"):
        assert_array_equal(getattr(weighted, name), getattr(repeated, name))


def test_unmeasured_rows_stay_inside_and_go_outside():
    states = X.copy()
    states[[0, 1, 5, -1]] = np.nan
    run = as_trajectories(T, states)[0]
    assert_array_equal(run.t, T[2:-1])
    assert_array_equal(run.measured.any(axis=1), np.arange(2, N - 1) != 5)


def test_lists_are_runs_by_position():
    runs = as_trajectories([T, T[:5] + 3], [X, X[:5]], u=[T, T[:5]], sample_weight=[1.0, 2.0])
    assert runs.form == "list"
    assert runs.ids == (0, 1)
    assert [len(run.t) for run in runs] == [N, 5]
    assert_array_equal(runs[1].weight, np.full(5, 2.0))
    assert runs.input_names == ("u0",)


def test_object_arrays_of_arrays_are_runs():
    t = np.empty(2, dtype=object)
    states = np.empty(2, dtype=object)
    t[:], states[:] = [T, T[:5]], [X, X[:5]]
    assert len(as_trajectories(t, states)) == 2


def test_ids_group_interleaved_rows_in_order_of_appearance():
    ids = np.array(["b", "a"] * (N // 2))
    runs = as_trajectories(T, X, trajectory=ids)
    assert runs.form == "ids"
    assert runs.ids == ("b", "a")
    assert_array_equal(runs[1].t, T[1::2])
    assert as_trajectories(T, X, trajectory=pd.Series([7, 8]).repeat(N // 2)).ids == (7, 8)
    assert as_trajectories([T, T], [X, X], trajectory=["p", "q"]).ids == ("p", "q")


@pytest.mark.parametrize("where", ["t", "X", "both"])
def test_trajectory_column_of_a_frame_is_taken_out(where):
    ids = np.repeat([1, 2], N // 2)
    t, states = pd.DataFrame({"t": T}), pd.DataFrame(X, columns=["a", "b"])
    if where != "X":
        t["run"] = ids
    if where != "t":
        states["run"] = ids
    runs = as_trajectories(t, states, trajectory_column="run")
    assert runs.ids == (1, 2)
    assert runs.state_names == ("a", "b")
    assert runs.n_inputs == 0


@pytest.mark.parametrize(
    "u",
    [
        np.sin(T),
        np.sin(T)[:, None],
        pd.Series(np.sin(T)),
        np.sin,
        lambda time: float(np.sin(time)) if np.ndim(time) == 0 else np.sin(time)[:, None],
        math.sin,
    ],
    ids=["1d", "column", "series", "function", "matrix function", "scalar function"],
)
def test_all_forms_of_inputs_agree(u):
    runs = as_trajectories(T, X, u=u)
    assert_allclose(runs[0].u, np.sin(T)[:, None], rtol=1e-15)
    assert_allclose(as_trajectories(np.c_[T, np.sin(T)], X)[0].u, runs[0].u, rtol=1e-15)


def test_known_initial_states_reach_their_runs():
    ids = np.repeat(["a", "b"], N // 2)
    assert np.isnan(as_trajectories(T, X)[0].x0).all()
    assert_array_equal(as_trajectories(T, X, x0=[1, np.nan])[0].x0, [1, np.nan])
    runs = as_trajectories(T, X, trajectory=ids, x0={"b": [3, 4], "a": [1, 2]})
    assert_array_equal([run.x0 for run in runs], [[1, 2], [3, 4]])
    assert_array_equal(as_trajectories([T], [X], x0=[[1, 2]])[0].x0, [1, 2])


def test_the_users_arrays_are_neither_changed_nor_kept():
    t, states, weight = T.copy(), X.copy(), np.ones(N)
    runs = as_trajectories(t, states, sample_weight=weight)
    runs[0].t[:], runs[0].X[:], runs[0].weight[:] = 7, 7, 7
    assert_array_equal(t, T)
    assert_array_equal(states, X)
    assert_array_equal(weight, 1)


LATE = pd.date_range("2020", periods=N)
SHORT = [T, T[:2]], [X, X[:2]]
WRONG = {
    "lengths": (T, X[:4], {}, ValueError, r"X has 4 row\(s\) but t has 12"),
    "one sample": (T[:1], X[:1], {}, ValueError, r"1 sample\(s\)"),
    "two samples": (T[:2], X[:2], {}, ValueError, "minimum of 3"),
    "empty": (T[:0], X[:0], {}, ValueError, r"0 sample\(s\)"),
    "no columns": (np.empty((N, 0)), X, {}, ValueError, r"0 feature\(s\) \(shape=\(12, 0\)\)"),
    "no states": (T, X[:, :0], {}, ValueError, r"0 feature\(s\)"),
    "constant t": (np.ones(N), X, {}, ValueError, "t is constant"),
    "NaN t": (np.where(T > 1.05, np.nan, T), X, {}, ValueError, "t contains NaN in row 11"),
    "inf t": (np.where(T > 1.05, np.inf, T), X, {}, ValueError, "t contains inf in row 11"),
    "NaT": (LATE.where(LATE[0] < LATE), X, {}, ValueError, "t contains NaN in row 0"),
    "inf X": (T, np.where(X == 1, -np.inf, X), {}, ValueError, "X contains inf in row 0, column 1"),
    "all NaN": (T, X * np.nan, {}, ValueError, r"0 sample\(s\)"),
    "NaN state": (T, X * [1, np.nan], {}, ValueError, r"state\(s\) \['x1'\] are NaN"),
    "huge": (T, X * [1, 1e150], {}, ValueError, "state 'x1' is .*e.150.* another unit"),
    "tiny": (T, X * [1e-150, 1], {}, ValueError, "state 'x0' is .*e-1.* another unit"),
    "complex": (T, X * 1j, {}, ValueError, "Complex data not supported: X"),
    "complex t": (T * 1j, X, {}, ValueError, "Complex data not supported: t"),
    "text": (T, X.astype(str), {}, ValueError, "X must hold numbers"),
    "text column": (
        T,
        pd.DataFrame({"a": T, "b": ["?"] * N}),
        {},
        ValueError,
        r"X \(column 'b'\) must hold numbers",
    ),
    "object": (T, np.array([{}] * N), {}, TypeError, "X must hold numbers"),
    "dates in X": (T, LATE, {}, ValueError, "X must hold numbers"),
    "mixed dates": ([T, LATE], [X, X], {}, ValueError, "one kind of times"),
    "3-D X": (T, X[None], {}, ValueError, r"list\(X\)"),
    "3-D t": (T[None, None], X, {}, ValueError, "Reshape your data"),
    "ragged": (T, [[1, 2], [3]] * 6, {}, ValueError, "X cannot be made into one array"),
    "no X": (T, None, {}, ValueError, "Expected array-like"),
    "text t": ("abc", X, {}, ValueError, "Expected array-like"),
    "dates as text": (
        list(map(str, LATE)),
        X,
        {},
        ValueError,
        r"text such as '2020-01-01.*to_datetime",
    ),
    "a column of text": (pd.Series(LATE.astype(str)), X, {}, ValueError, "text such as '2020"),
    "numbers as text": (T.astype(str), X, {}, ValueError, r"text such as '0.0'.*astype\(float\)"),
    "sparse t": (sparse.csr_array(T[:, None]), X, {}, TypeError, "Sparse data was passed for t"),
    "sparse X": (T, sparse.csr_array(X), {}, TypeError, "Sparse data was passed for X"),
    "short run": (*SHORT, {}, ValueError, "in run 1 of the list"),
    "short id": (T, X, {"trajectory": [0] * 10 + [5] * 2}, ValueError, "trajectory id 5"),
    "one list": ([T, T], X, {}, ValueError, r"t=\[t\] \* len\(X\)"),
    "list lengths": ([T, T], [X], {}, ValueError, "same length"),
    "columns differ": ([T, T], [X, X[:, :1]], {}, ValueError, "X of run 1 has 1 column"),
    "names differ": (
        [T, T],
        [pd.DataFrame(X, columns=list("ab")), pd.DataFrame(X, columns=list("ba"))],
        {},
        ValueError,
        "same columns in the same order",
    ),
    "names repeat": (T, pd.DataFrame(X, columns=["a", "a"]), {}, ValueError, "distinct"),
    "id lengths": (T, X, {"trajectory": [1, 2]}, ValueError, r"2 id\(s\)"),
    "one id": (T, X, {"trajectory": "a"}, TypeError, "trajectory must be a sequence"),
    "missing id": (T, X, {"trajectory": [None] * N}, ValueError, "missing id"),
    "ids repeat": ([T, T], [X, X], {"trajectory": [1, 1]}, ValueError, "distinct id"),
    "no column": (T, X, {"trajectory_column": "run"}, ValueError, "no column of t or X"),
    "list column": ([T], [X], {"trajectory_column": "run"}, ValueError, "trajectory_column=None"),
    "negative": (T, X, {"sample_weight": -T}, ValueError, "must not be negative"),
    "zero": (T, X, {"sample_weight": 0 * T}, ValueError, "at least one non-zero"),
    "2-D weight": (T, X, {"sample_weight": X}, ValueError, "1-dimensional"),
    "weights": (T, X, {"sample_weight": [1.0]}, ValueError, "sample_weight has 1 row"),
    "NaN u": (T, X, {"u": np.where(T > 1.05, np.nan, T)}, ValueError, "u contains NaN in row 11"),
    "u twice": (np.c_[T, T], X, {"u": T}, ValueError, "given twice"),
    "u short": (T, X, {"u": T[:3]}, ValueError, r"u has 3 row\(s\)"),
    "same names": (
        T,
        pd.DataFrame(X, columns=["u0", "b"]),
        {"u": T},
        ValueError,
        "name.s. a state and an input",
    ),
    "x0": (T, X, {"x0": [1, 2, 3]}, ValueError, r"x0 must have shape \(2,\)"),
    "x0 ids": (T, X, {"x0": {"a": [1, 2]}}, ValueError, "x0 has no entry"),
    "unit": (LATE, X, {"time_unit": "year"}, ValueError, "time_unit must be one of"),
}


@pytest.mark.parametrize("case", WRONG)
def test_errors_name_the_argument_and_what_came(case):
    t, states, options, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        as_trajectories(t, states, **options)


def test_rows_that_were_sorted_in_one_table_only_are_told():
    frame = pd.DataFrame({"t": np.arange(6.0), "x": [3.0, 1.0, 2.0, 6.0, 5.0, 4.0]})
    with pytest.warns(UserWarning, match="labels of t in another order.*X.loc"):
        as_trajectories(frame["t"], frame[["x"]].sort_values("x"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_trajectories(frame["t"], frame[["x"]])
        as_trajectories(frame["t"][::-1], frame[["x"]][::-1])
        # Labels of their own say nothing about an order.
        as_trajectories(frame["t"], frame[["x"]].set_axis(list("abcdef")))
        as_trajectories(frame["t"].reset_index(drop=True), frame[["x"]].set_axis(range(1, 7)))


def test_states_and_times_that_came_in_each_others_place_are_told():
    t, x = np.linspace(0.0, 6.0, 40), np.sin(np.linspace(0.0, 6.0, 40))
    for wrong in (x, np.column_stack([x, np.cos(t)]), pd.to_timedelta(x, unit="s")):
        with pytest.warns(UserWarning, match=r"swapped\? The order is fit\(t, X\)"):
            as_trajectories(wrong, t)
    order = np.random.default_rng(0).permutation(40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        as_trajectories(t, x)
        as_trajectories(t[order], t[order] ** 2)
        as_trajectories(t[::-1], np.exp(-t[::-1]))
