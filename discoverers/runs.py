"""The rows that a user passed, split into runs and converted, but still in the user's order.

`fit` goes on to `Trajectories`; `predict` and `score` answer row by row and need the rows as they
came.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .coercion import (
    TIME_UNITS,
    Clock,
    TimeTable,
    check_finite,
    is_runs,
    read_times,
    shape_of,
    to_float,
    to_matrix,
    warn_if_swapped,
    warn_of_other_order,
)
from .trajectory_ids import group_rows, ids_of_runs

Form = Literal["array", "list", "ids"]
Interpolation = Literal["linear", "cubic", "hold"]
InputFunction = Callable[[Any], Any]


@dataclass(frozen=True)
class RawRun:
    """The rows of one run."""

    id: Hashable
    rows: NDArray[np.intp]  # where the rows stood in what the user passed
    t: NDArray[np.float64]  # (n,)
    X: NDArray[np.float64]  # (n, V); V = 0 when no states were passed
    u: NDArray[np.float64]  # (n, m); NaN where a function gives the inputs and none is known yet
    weight: NDArray[np.float64]  # (n,)
    signal: InputFunction | None = None  # u as a function of time, when it was passed as one


@dataclass(frozen=True)
class Runs:
    """All runs of one call, and how they came."""

    runs: tuple[RawRun, ...]
    form: Form
    clock: Clock
    state_names: tuple[str, ...]
    input_names: tuple[str, ...]
    squeeze: bool
    states_named: bool = False
    inputs_named: bool = False
    listed: bool = False

    @property
    def n_rows(self) -> int:
        """Number of rows over all runs."""
        return sum(len(run.t) for run in self.runs)


@dataclass(frozen=True)
class _Block:
    """One table of rows: all rows of an array, or one entry of a list of runs."""

    label: str  # " of run 2" in messages about lists, else ""
    times: TimeTable
    X: NDArray[np.float64]
    state_names: tuple[str, ...] | None
    u: NDArray[np.float64] | None
    signal: InputFunction | None
    input_names: tuple[str, ...] | None
    weight: NDArray[np.float64]
    squeeze: bool


def run_label(raw: Runs, index: int) -> str:
    """Name a run in a message: nothing for a single array, its id or position otherwise."""
    if raw.form == "array":
        return ""
    if raw.form == "list" and raw.runs[index].id == index:
        return f" in run {index} of the list"
    return f" in the run with trajectory id {raw.runs[index].id!r}"


def read_runs(
    t: Any,
    X: Any = None,
    *,
    trajectory: Any = None,
    u: Any = None,
    sample_weight: Any = None,
    trajectory_column: Hashable | None = None,
    time_unit: str = "s",
    clock: Clock | None = None,
    allow_elapsed: bool = False,
    with_states: bool = True,
    prefix: str = "x",
) -> Runs:
    """Convert and split; see `discoverers.trajectories.as_trajectories` for what is accepted.

    With ``with_states=False`` there is no `X`. With a `clock` the times must be of its kind, or,
    with `allow_elapsed`, numbers that count its units. Columns without names are numbered after
    the `prefix`.
    """
    if with_states and X is None:
        raise ValueError(
            "X (scikit-learn's y): Expected array-like (array or non-string sequence), got None. "
            "Pass the measured states."
        )
    listed = is_runs(t) or (with_states and is_runs(X))
    if listed:
        if trajectory_column is not None:
            raise ValueError(
                "trajectory_column is for one DataFrame that holds all runs, but t is a list of "
                "runs. Set trajectory_column=None."
            )
        blocks = _list_blocks(t, X, u, sample_weight, with_states)
        ids = ids_of_runs(trajectory, len(blocks))
        form: Form = "list" if trajectory is None else "ids"
        rows = [np.arange(len(block.times.times)) for block in blocks]
        parts = list(zip(blocks, rows, strict=True))
    else:
        t, X, trajectory = _split_off_ids(t, X, trajectory, trajectory_column)
        block = _read_block(t, X, u, sample_weight, with_states, "")
        blocks = [block]
        n = len(block.times.times)
        if trajectory is None:
            form, ids, rows = "array", (0,), [np.arange(n)]
        else:
            form = "ids"
            ids, rows = group_rows(trajectory, n)
        parts = [(block, r) for r in rows]
    if clock is None:
        clock = _common_clock(blocks, time_unit)
    elif not (allow_elapsed and all(block.times.kind == "number" for block in blocks)):
        _require_clock(blocks, clock)
    state_names = _common_names(blocks, "X", prefix) if with_states else ()
    input_names = _common_names(blocks, "u", "u")
    runs = []
    for run_id, run_rows, (block, part) in zip(ids, rows, parts, strict=True):
        times = clock.elapsed(block.times.times[part])
        inputs = _inputs(block, times, part)
        weight = block.weight[part]
        runs.append(RawRun(run_id, run_rows, times, block.X[part], inputs, weight, block.signal))
    widths = {run.u.shape[1] for run in runs}
    if len(widths) > 1:
        raise ValueError(f"u must have as many columns in every run, got {sorted(widths)}.")
    if not input_names:
        input_names = tuple(f"u{i}" for i in range(widths.pop()))
    clash = set(state_names) & set(input_names)
    if clash:
        raise ValueError(
            f"{sorted(clash)} name(s) a state and an input. Columns of t after the first are "
            f"inputs: pass the time alone as t, or rename one of the two."
        )
    squeeze = all(block.squeeze for block in blocks)
    return Runs(
        tuple(runs),
        form,
        clock,
        state_names,
        input_names,
        squeeze,
        states_named=blocks[0].state_names is not None,
        inputs_named=blocks[0].input_names is not None,
        listed=listed,
    )


def evaluate_input(
    signal: InputFunction, times: NDArray[np.float64], argument: str = "u"
) -> NDArray[np.float64]:
    """Values of an input function at the times, shape (n, m)."""
    if len(times) == 0:
        return np.empty((0, 0))
    try:
        values = to_float(signal(times), f"{argument}(t)")
    except (TypeError, ValueError):
        # A function written for one time at a time; if it is wrong, it fails again below.
        values = np.empty(())
    if values.ndim == 1 and len(values) == len(times):
        values = values[:, None]
    if values.ndim != 2 or len(values) != len(times):
        values = np.stack(
            [np.atleast_1d(to_float(signal(time), f"{argument}(t)")) for time in times]
        )
    if values.ndim != 2:
        raise ValueError(
            f"{argument}(t) must return shape (k,) or (k, m) for k times, got {values.shape}."
        )
    check_finite(values, f"{argument}(t)")
    return values


def _list_blocks(t: Any, X: Any, u: Any, sample_weight: Any, with_states: bool) -> list[_Block]:
    named = {"t": t} | ({"X": X} if with_states else {})
    if u is not None and not callable(u):
        named["u"] = u
    for argument, value in named.items():
        if not isinstance(value, (list, tuple, np.ndarray)) or (
            argument != "u" and not is_runs(value)
        ):
            raise ValueError(
                f"Several runs were passed as a list, but {argument} is one "
                f"{type(value).__name__}. Pass t, X and u as lists with one array per run "
                f"(the same times for all runs: t=[t] * len(X))."
            )
    if sample_weight is not None and np.ndim(sample_weight) == 0:
        raise ValueError("sample_weight must have one entry per run for a list of runs.")
    counts = {argument: len(value) for argument, value in named.items()}
    if sample_weight is not None:
        counts["sample_weight"] = len(sample_weight)
    if len(set(counts.values())) > 1:
        raise ValueError(f"Lists of runs must have the same length, got {counts}.")
    weights = [None] * len(t) if sample_weight is None else list(sample_weight)
    return [
        _read_block(
            t[i],
            X[i] if with_states else None,
            u if u is None or callable(u) else u[i],
            weights[i],
            with_states,
            f" of run {i}",
        )
        for i in range(len(t))
    ]


def _read_block(
    t: Any, X: Any, u: Any, sample_weight: Any, with_states: bool, label: str
) -> _Block:
    times = read_times(t, f"t{label}")
    n = len(times.times)
    squeeze = False
    state_names: tuple[str, ...] | None = None
    if with_states:
        states, state_names = to_matrix(X, f"X{label}")
        shape = shape_of(X, f"X{label}")
        squeeze = len(shape) == 1
        check_finite(states, f"X{label}", state_names, allow_nan=True)
        _same_length(len(states), n, f"X{label}", f"t{label}")
        warn_of_other_order(t, X, label)
        warn_if_swapped(times.times, states, label)
        if n == 0 or states.shape[1] == 0:
            what = "sample" if n == 0 else "feature"
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is "
                f"required: X{label} is empty."
            )
    else:
        states = np.empty((n, 0))
    inputs, signal, input_names = _read_inputs(times, u, label)
    weight = _read_weight(sample_weight, n, label)
    return _Block(label, times, states, state_names, inputs, signal, input_names, weight, squeeze)


def _read_inputs(
    times: TimeTable, u: Any, label: str
) -> tuple[NDArray[np.float64] | None, InputFunction | None, tuple[str, ...] | None]:
    has_columns = times.columns.shape[1] > 0
    if u is None:
        return times.columns, None, times.column_names if has_columns else None
    if has_columns:
        raise ValueError(
            f"Inputs were given twice: t{label} has {times.columns.shape[1]} column(s) after the "
            f"time, and u was passed as well. Use one of the two."
        )
    if callable(u):
        return None, u, None
    inputs, names = to_matrix(u, f"u{label}")
    check_finite(inputs, f"u{label}", names)
    _same_length(len(inputs), len(times.times), f"u{label}", f"t{label}")
    return inputs, None, names


def _inputs(block: _Block, times: NDArray[np.float64], part: Any) -> NDArray[np.float64]:
    if block.signal is not None:
        return evaluate_input(block.signal, times, f"u{block.label}")
    if block.u is None:
        return np.empty((len(times), 0))
    return block.u[part]


def _read_weight(sample_weight: Any, n: int, label: str) -> NDArray[np.float64]:
    if sample_weight is None:
        return np.ones(n)
    argument = f"sample_weight{label}"
    weight = to_float(sample_weight, argument)
    if weight.ndim == 0:
        weight = np.full(n, float(weight))
    if weight.ndim != 1:
        raise ValueError(f"{argument} must be 1-dimensional, got shape {weight.shape}.")
    _same_length(len(weight), n, argument, f"t{label}")
    check_finite(weight[:, None], argument)
    if (weight < 0).any():
        row = int(np.argmax(weight < 0))
        raise ValueError(f"{argument} must not be negative, got {weight[row]:g} in row {row}.")
    return weight


def _same_length(given: int, expected: int, argument: str, reference: str) -> None:
    if given != expected:
        raise ValueError(
            f"{argument} has {given} row(s) but {reference} has {expected}. Pass one row per time."
        )


def _split_off_ids(
    t: Any, X: Any, trajectory: Any, column: Hashable | None
) -> tuple[Any, Any, Any]:
    """Take the column of ids out of the DataFrames."""
    if column is None:
        return t, X, trajectory
    holders = [
        frame for frame in (t, X) if isinstance(frame, pd.DataFrame) and column in frame.columns
    ]
    if holders:
        if trajectory is not None:
            raise ValueError(
                f"Ids were given twice: as trajectory= and as column {column!r}. Use one."
            )
        trajectory = holders[0][column]
        if len(holders) == 2 and not np.array_equal(holders[1][column], trajectory):
            raise ValueError(
                f"trajectory_column={column!r} is in t and in X with different values."
            )
    elif trajectory is None and X is not None:
        raise ValueError(
            f"trajectory_column={column!r} is no column of t or X. Pass a DataFrame that has it, "
            f"or trajectory=."
        )
    t, X = (
        frame.drop(columns=column) if any(frame is holder for holder in holders) else frame
        for frame in (t, X)
    )
    return t, X, trajectory


def _common_clock(blocks: Sequence[_Block], time_unit: str) -> Clock:
    kinds = {block.times.kind for block in blocks}
    if len(kinds) > 1:
        raise ValueError(f"t must hold one kind of times in all runs, got {sorted(kinds)}.")
    kind = kinds.pop()
    if time_unit not in TIME_UNITS:
        raise ValueError(f"time_unit must be one of {list(TIME_UNITS)}, got {time_unit!r}.")
    if kind != "datetime":
        return Clock(kind, time_unit)
    zoned = {block.times.zoned for block in blocks}
    if len(zoned) > 1:
        raise ValueError("t has dates with a time zone in some runs and without in others.")
    origin = min(block.times.times.min() for block in blocks if len(block.times.times))
    return Clock("datetime", time_unit, origin, zoned.pop())


def _require_clock(blocks: Sequence[_Block], clock: Clock) -> None:
    for block in blocks:
        if (block.times.kind, block.times.zoned) != (clock.kind, clock.zoned):
            zone = {True: " with a time zone", False: ""}
            raise ValueError(
                f"t{block.label} holds {block.times.kind} values{zone[block.times.zoned]}, but "
                f"the estimator was fitted with {clock.kind} values{zone[clock.zoned]}. "
                f"Pass times of the same kind."
            )


def _common_names(
    blocks: Sequence[_Block], which: Literal["X", "u"], prefix: str
) -> tuple[str, ...]:
    """Names shared by all blocks, or numbered ones; errors name the block that differs."""
    if which == "X":
        widths = [block.X.shape[1] for block in blocks]
        names = [block.state_names for block in blocks]
    else:
        widths = [0 if block.u is None else block.u.shape[1] for block in blocks]
        names = [block.input_names for block in blocks]
    for i, block in enumerate(blocks):
        if widths[i] != widths[0]:
            raise ValueError(
                f"{which}{block.label} has {widths[i]} column(s) but {which}{blocks[0].label} has "
                f"{widths[0]}. Every run needs the same columns."
            )
        if names[i] != names[0]:
            raise ValueError(
                f"{which}{block.label} has the columns {names[i]} but {which}{blocks[0].label} "
                f"has {names[0]}. Every run needs the same columns in the same order."
            )
    return names[0] or tuple(f"{prefix}{i}" for i in range(widths[0]))
