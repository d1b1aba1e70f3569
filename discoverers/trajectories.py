"""Measured runs as one checked value: everything that `fit(t, X, ...)` accepts, read once, here."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .coercion import TIME_UNITS, Clock, check_finite, is_runs
from .runs import Form, InputFunction, Interpolation, RawRun, Runs, read_runs, run_label

__all__ = ["TIME_UNITS", "Clock", "Trajectories", "Trajectory", "as_trajectories"]

StateNames = Callable[[Sequence[str], Sequence[str]], tuple[str, ...]]

MIN_SAMPLES = 3
"""Distinct times with a measured state that a run needs: fewer show no curvature."""

LARGEST = 1e100
"""Values up to here, and down to its inverse: squares and products of larger ones are no floats."""


@dataclass(frozen=True)
class Trajectory:
    """One run, checked, sorted in time, duplicate times averaged.

    Attributes
    ----------
    t : ndarray of shape (n,)
        Strictly increasing times, in the user's units (dates: elapsed `time_unit`).
    X : ndarray of shape (n, V)
        Measured states; NaN where a state was not measured.
    u : ndarray of shape (n, m)
        Inputs at `t`; m may be 0. Always finite.
    weight : ndarray of shape (n,)
        Sample weights, positive; the sum over the averaged rows.
    x0 : ndarray of shape (V,)
        Initial state that the user knows (`fit(..., x0=)`), NaN where it is not given.
    signal : callable or None
        Inputs as a function of time, if the user passed one.
    interpolation : {"linear", "cubic", "hold"}
        How inputs run between samples where they are no function.
    """

    t: NDArray[np.float64]
    X: NDArray[np.float64]
    u: NDArray[np.float64]
    weight: NDArray[np.float64]
    x0: NDArray[np.float64]
    signal: InputFunction | None = None
    interpolation: Interpolation = "linear"

    @property
    def measured(self) -> NDArray[np.bool_]:
        """Which entries of `X` were measured, shape (n, V)."""
        return ~np.isnan(self.X)


@dataclass(frozen=True)
class Trajectories:
    """All runs of one data set: iterable over `Trajectory`, ``len`` is the number of runs.

    Attributes
    ----------
    runs : tuple of Trajectory
    ids : tuple of hashable
        The user's ids, or 0, 1, ... by position.
    state_names, input_names : tuple of str
        Names of the columns of `X` and of the inputs, from pandas objects, else ``x0, x1, ...``
        and ``u0, u1, ...``.
    clock : Clock
        How raw times map to the numbers in `runs`.
    form : {"array", "list", "ids"}
        How the runs came: one array, a list of runs, or rows stacked with ids.
    squeeze : bool
        Whether the states came without a column axis, so that predictions have none either.
    """

    runs: tuple[Trajectory, ...]
    ids: tuple[Hashable, ...]
    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    clock: Clock
    form: Form = "array"
    squeeze: bool = False

    def __iter__(self) -> Iterator[Trajectory]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> Trajectory:
        return self.runs[index]

    @property
    def n_states(self) -> int:
        """Number of states V."""
        return len(self.state_names)

    @property
    def n_inputs(self) -> int:
        """Number of inputs m."""
        return len(self.input_names)

    @property
    def n_samples(self) -> int:
        """Number of distinct times over all runs."""
        return sum(len(run.t) for run in self.runs)


def as_trajectories(
    t: Any,
    X: Any,
    *,
    trajectory: Any = None,
    u: Any = None,
    x0: Any = None,
    sample_weight: Any = None,
    trajectory_column: Hashable | None = None,
    time_unit: str = "s",
    min_samples: int = MIN_SAMPLES,
    prefix: str = "x",
    state_names: StateNames | None = None,
    may_be_unmeasured: Callable[[str, Sequence[str]], bool] | None = None,
) -> Trajectories:
    """Check measured time series in any accepted form and return them as `Trajectories`.

    Parameters
    ----------
    t : array-like of shape (n,), (n, 1) or (n, 1 + m), or list of such arrays
        Times, as numbers or as dates or durations (datetime64, timedelta64, `datetime`, pandas).
        Of an array or DataFrame with several columns the first is time and the others are
        inputs. Rows may come in any order. Dates become elapsed `time_unit` since the earliest.
    X : array-like of shape (n,) or (n, V), or list of such arrays
        Measured states; the columns of a DataFrame and the name of a Series name the states.
        NaN marks what was not measured. Rows without any measurement are kept as unmeasured
        nodes between the first and the last measured row and are dropped outside.
    trajectory : array-like of shape (n,), default=None
        Ids of stacked rows; with a list of runs, one id per run.
    u : array-like of shape (n,) or (n, m), list of such arrays, or callable, default=None
        Inputs, or a function of the times (shape (k,)) that returns them (shape (k,) or (k, m)).
    x0 : array-like of shape (V,) or (runs, V), or mapping from id to (V,), default=None
        Initial states that are known exactly; NaN for those that are not.
    sample_weight : array-like of shape (n,), list of such arrays or of numbers, default=None
        Non-negative weights. A row with weight 0 is dropped; weight 2 equals the row given twice.
    trajectory_column : str, default=None
        Column of the DataFrame `t` or `X` that holds the ids.
    time_unit : {"ns", "us", "ms", "s", "min", "h", "d"}, default="s"
        Unit of elapsed time for dates and durations.
    min_samples : int, default=3
        Distinct times with a measured state that every run needs.
    prefix : str, default="x"
        What columns of `X` without names are called, followed by a number.
    state_names : callable, default=None
        Where the columns of `X` are not the states themselves: the names of the states that `x0`
        is about, as a function of the names of the columns and of the inputs.
    may_be_unmeasured : callable, default=None
        Whether a column may be NaN in every row, as a function of its name and of all names;
        by default none may.

    Returns
    -------
    Trajectories

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what came and what to do.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.trajectories import as_trajectories
    >>> runs = as_trajectories([2.0, 0.0, 1.0, 1.0], [4.0, 0.0, 1.0, 2.0])
    >>> runs[0].t
    array([0., 1., 2.])
    >>> runs[0].X.ravel()
    array([0. , 1.5, 4. ])
    >>> runs.state_names
    ('x0',)
    """
    raw = read_runs(
        t,
        X,
        trajectory=trajectory,
        u=u,
        sample_weight=sample_weight,
        trajectory_column=trajectory_column,
        time_unit=time_unit,
        prefix=prefix,
    )
    if not any(np.any(run.weight > 0) for run in raw.runs):
        raise ValueError("sample_weight: Sample weights must contain at least one non-zero number.")
    names = raw.state_names
    n_states = len(state_names(names, raw.input_names) if state_names else names)
    known = initial_states(x0, raw, n_states, allow_nan=True)
    runs = tuple(
        _checked(run, known[i], run_label(raw, i), min_samples) for i, run in enumerate(raw.runs)
    )
    measured = np.any([run.measured.any(axis=0) for run in runs], axis=0)
    if not measured.all():
        unseen = [name for name, seen in zip(names, measured, strict=True) if not seen]
        if may_be_unmeasured is not None:
            unseen = [name for name in unseen if not may_be_unmeasured(name, names)]
        if unseen:
            raise ValueError(
                f"X: state(s) {unseen} are NaN in every row, so nothing can be learnt about them. "
                f"Leave the column(s) out."
            )
    _check_range(runs, names)
    return Trajectories(
        runs=runs,
        ids=tuple(run.id for run in raw.runs),
        state_names=raw.state_names,
        input_names=raw.input_names,
        clock=raw.clock,
        form=raw.form,
        squeeze=raw.squeeze,
    )


def _check_range(runs: Sequence[Trajectory], names: Sequence[str]) -> None:
    """Raise a ValueError that names the first state in a unit that float64 cannot compute in."""
    for v, name in enumerate(names):
        size = max(float(np.abs(run.X[run.measured[:, v], v]).max(initial=0.0)) for run in runs)
        if size > LARGEST or 0.0 < size < 1.0 / LARGEST:
            raise ValueError(
                f"X: the largest absolute value of state {name!r} is {size:.3g}, of which float64 "
                f"holds no products. Measure it in another unit, between {1.0 / LARGEST:.0e} and "
                f"{LARGEST:.0e}."
            )


def initial_states(
    x0: Any, raw: Runs, n_states: int, *, allow_nan: bool = False
) -> NDArray[np.float64]:
    """Read `x0` as one initial state per run, shape (runs, V); all NaN if `x0` is None."""
    n_runs = len(raw.runs)
    if x0 is None:
        return np.full((n_runs, n_states), np.nan)
    if isinstance(x0, dict):
        missing = [run.id for run in raw.runs if run.id not in x0]
        if missing:
            raise ValueError(
                f"x0 has no entry for trajectory id(s) {missing}; got {list(x0)}. A mapping goes "
                f"from the ids of runs to initial states; give one state as a list of numbers."
            )
        x0 = [np.atleast_1d(x0[run.id]) for run in raw.runs]
    elif isinstance(x0, pd.DataFrame):
        x0 = x0.to_numpy(dtype=np.float64)
    elif is_runs(x0):
        x0 = [np.atleast_1d(entry) for entry in x0]
    try:
        states = np.asarray(x0, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"x0 must hold {n_states} numbers per run, got {type(x0).__name__} ({error})."
        ) from error
    if states.ndim < 2 and states.size == n_states and n_runs == 1:
        states = states.reshape(1, n_states)
    elif states.ndim == 1 and n_states == 1:
        states = states[:, None]
    elif states.ndim == 1 and states.size == n_states:
        states = np.broadcast_to(states, (n_runs, n_states))
    if states.shape != (n_runs, n_states):
        raise ValueError(
            f"x0 must have shape ({n_states},) for one run or ({n_runs}, {n_states}) for "
            f"{n_runs} run(s) of {n_states} state(s), got {states.shape}."
        )
    check_finite(states, "x0", allow_nan=allow_nan)
    return np.array(states)


def _checked(run: RawRun, x0: NDArray[np.float64], label: str, min_samples: int) -> Trajectory:
    """Sort one run, average duplicate times, drop what carries no information, check the rest."""
    t, X, u, weight = merged_rows(run)
    measured = np.flatnonzero(~np.isnan(X).all(axis=1))
    if len(measured) < min_samples:
        cause = f"Found {len(measured)} sample(s) at distinct times with a measured value"
        if len(t) == 1 and len(run.t) > 1:
            cause = f"t is constant ({t[0]:g}). {cause}"
        raise ValueError(
            f"{cause}{label} (t has shape {run.t.shape}, X {run.X.shape}) while a minimum "
            f"of {min_samples} is required. Pass more rows, or leave the run out."
        )
    inside = slice(measured[0], measured[-1] + 1)
    return Trajectory(t[inside], X[inside], u[inside], weight[inside], x0, run.signal)


def merged_rows(run: RawRun) -> tuple[NDArray[np.float64], ...]:
    """Times, X, u and weights of the rows that count, in order of time, duplicates averaged."""
    keep = run.weight > 0
    t, X, u, weight = run.t[keep], run.X[keep], run.u[keep], run.weight[keep]
    # Sorting by the values after the time makes the averages the same, bit by bit, for every
    # order of the rows.
    order = np.lexsort((weight, *u.T, *X.T, t))
    t, X, u, weight = t[order], X[order], u[order], weight[order]
    first = np.ones(len(t), dtype=bool)
    first[1:] = t[1:] != t[:-1]
    if first.all():
        return t, X, u, weight
    starts = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    merged = np.add.reduceat(weight, starts)
    return t[starts], _means(X, weight, group, starts), _means(u, weight, group, starts), merged


def _means(
    values: NDArray[np.float64],
    weight: NDArray[np.float64],
    group: NDArray[np.intp],
    starts: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Weighted means per group of rows, ignoring NaN; NaN where a group has nothing else."""
    if values.shape[1] == 0:
        return values[starts]
    known = ~np.isnan(values)
    # Averaging the distances from the group's smallest known value keeps the mean of equal
    # values exactly equal to them.
    reference = np.fmin.reduceat(values, starts)
    distance = np.where(known, values - reference[group], 0.0)
    total = np.add.reduceat(np.where(known, weight[:, None], 0.0), starts)
    moment = np.add.reduceat(distance * weight[:, None], starts)
    with np.errstate(invalid="ignore", divide="ignore"):
        return reference + moment / total
