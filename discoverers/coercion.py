"""From what users pass (arrays, lists, pandas, datetimes) to float64 arrays and names.

Every function takes the name of the argument that it reads and uses it in its errors.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

TIME_UNITS = {
    "ns": np.timedelta64(1, "ns"),
    "us": np.timedelta64(1, "us"),
    "ms": np.timedelta64(1, "ms"),
    "s": np.timedelta64(1, "s"),
    "min": np.timedelta64(1, "m"),
    "h": np.timedelta64(1, "h"),
    "d": np.timedelta64(1, "D"),
}
"""Units that elapsed time may be counted in when `t` holds dates or durations."""

_CALENDAR = (datetime.date, np.datetime64)  # pandas.Timestamp is a datetime.datetime
FEWEST_ORDERED = 8
"""Rows that are hardly ever in ascending order by chance."""

_LABELLED = (pd.DataFrame, pd.Series)
_DURATION = (datetime.timedelta, np.timedelta64)
TimeKind = Literal["number", "datetime", "timedelta"]


@dataclass(frozen=True)
class Clock:
    """How the times that the user passes become float64 numbers.

    Parameters
    ----------
    kind : {"number", "datetime", "timedelta"}, default="number"
        What `t` held in `fit`. Numbers are used as they are.
    unit : str, default="s"
        Unit of the elapsed time that dates and durations are converted to, a key of
        `TIME_UNITS`; not used for numbers.
    origin : numpy.datetime64 or None
        The date at which the elapsed time is zero (the earliest date seen in `fit`), in UTC
        where the dates carried a time zone.
    zoned : bool, default=False
        Whether the dates carried a time zone.
    """

    kind: TimeKind = "number"
    unit: str = "s"
    origin: np.datetime64 | None = None
    zoned: bool = False

    def elapsed(self, times: NDArray[Any]) -> NDArray[np.float64]:
        """Map times of this clock's kind, or plain numbers, to float64."""
        if times.dtype.kind == "f":
            return times
        if self.origin is not None:
            times = times - self.origin
        return np.asarray(times / TIME_UNITS[self.unit], dtype=np.float64)


@dataclass(frozen=True)
class TimeTable:
    """`t` of one run or one stack of runs, read: the times and the further columns."""

    times: NDArray[Any]  # (n,) float64, datetime64 or timedelta64
    kind: TimeKind
    zoned: bool
    columns: NDArray[np.float64]  # (n, m) inputs in t's columns after the first
    column_names: tuple[str, ...] | None


def is_runs(value: Any) -> bool:
    """Whether a value is a list of runs rather than one array-like.

    A list (or tuple, or object array) is a list of runs when its entries are arrays or pandas
    objects, or are nested so deep that they can be nothing else. A list of numbers, or of lists
    of numbers, is one array.
    """
    if isinstance(value, np.ndarray) and (value.dtype != object or value.ndim != 1):
        return False
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) == 0:
        return False
    first = value[0]
    if isinstance(first, (list, tuple)):
        return bool(first) and isinstance(first[0], (list, tuple, np.ndarray))
    if isinstance(first, (pd.DataFrame, pd.Series, pd.Index)):
        return True
    return getattr(first, "ndim", 0) >= 1


def shape_of(value: Any, argument: str) -> tuple[int, ...]:
    """Shape of anything array-like, without NumPy's dispatch to the value's own functions."""
    shape = getattr(value, "shape", None)
    return tuple(shape) if isinstance(shape, tuple) else _as_array(value, argument).shape


def reject_sparse(value: Any, argument: str) -> None:
    """Raise scikit-learn's kind of error for sparse data."""
    if sparse.issparse(value):
        raise TypeError(
            f"Sparse data was passed for {argument}, but dense data is required. "
            f"Use '.toarray()' to convert to a dense numpy array."
        )


def to_float(value: Any, argument: str) -> NDArray[np.float64]:
    """Convert one array-like of numbers to float64, whatever its number of dimensions."""
    reject_sparse(value, argument)
    if isinstance(value, (pd.Series, pd.Index)) and pd.api.types.is_extension_array_dtype(
        value.dtype
    ):
        # Nullable and categorical columns: pandas.NA becomes NaN, numbers stay numbers.
        value = value.astype(object).where(value.notna(), np.nan)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{argument} cannot be made into one array ({error}). Several runs are passed as a "
            f"list of numpy arrays, not of nested lists."
        ) from error
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {argument} has dtype {array.dtype}.")
    if array.dtype.kind in "MmUSV":
        raise ValueError(
            f"{argument} must hold numbers, got dtype {array.dtype}. Convert it to float first."
        )
    try:
        return array.astype(np.float64)
    except TypeError as error:
        raise TypeError(f"{argument} must hold numbers: {error}") from error
    except ValueError as error:
        raise ValueError(f"{argument} must hold numbers: {error}") from error


def to_matrix(value: Any, argument: str) -> tuple[NDArray[np.float64], tuple[str, ...] | None]:
    """Read a table of numbers as (n, columns) and the names that its columns carry, if any."""
    reject_sparse(value, argument)
    if isinstance(value, pd.DataFrame):
        columns = [
            to_float(value.iloc[:, i], f"{argument} (column {name!r})")
            for i, name in enumerate(value.columns)
        ]
        matrix = np.column_stack(columns) if columns else np.empty((len(value), 0))
        return matrix, text_names(value.columns, argument)
    if isinstance(value, (pd.Series, pd.Index)):
        return to_float(value, argument)[:, None], text_names([value.name], argument)
    matrix = to_float(value, argument)
    if matrix.ndim not in (1, 2):
        advice = "Reshape your data"
        if matrix.ndim == 3:
            advice += f" or pass several runs as a list of arrays: list({argument})"
        raise ValueError(
            f"{argument} must have shape (n,) or (n, columns), got {matrix.shape}. {advice}."
        )
    return (matrix[:, None] if matrix.ndim == 1 else matrix), None


def text_names(names: Sequence[Hashable] | pd.Index, argument: str) -> tuple[str, ...] | None:
    """Names if every one is a text, else None; names have to differ and not be empty."""
    if not len(names) or not all(isinstance(name, str) for name in names):
        return None
    texts = tuple(str(name) for name in names)
    if len(set(texts)) < len(texts) or "" in texts:
        raise ValueError(f"{argument} needs distinct, non-empty column names, got {list(texts)}.")
    return texts


def read_times(value: Any, argument: str = "t") -> TimeTable:
    """Read `t`: its first (or only) column is time, the others are inputs."""
    reject_sparse(value, argument)
    names: tuple[str, ...] | None = None
    if isinstance(value, pd.DataFrame):
        _require_feature(value.shape, argument)
        inputs, names = to_matrix(value.iloc[:, 1:], argument)
        times, kind, zoned = _time_column(value.iloc[:, 0], argument)
    elif isinstance(value, (pd.Series, pd.Index)):
        times, kind, zoned = _time_column(value, argument)
        inputs = np.empty((len(times), 0))
    else:
        array = _as_array(value, argument)
        if array.ndim == 0 or array.ndim > 2:
            raise ValueError(
                f"{argument} must have shape (n,), (n, 1) or (n, 1 + inputs), got {array.shape} "
                f"({type(value).__name__}). Reshape your data; a single time is passed as [time]."
            )
        if array.ndim == 2:
            _require_feature(array.shape, argument)
        first = array if array.ndim == 1 else array[:, 0]
        times, kind, zoned = _time_column(first, argument)
        if array.ndim == 2 and array.shape[1] > 1:
            inputs = to_float(array[:, 1:], f"{argument} (input columns)")
        else:
            inputs = np.empty((len(times), 0))
    check_finite(inputs, f"{argument} (input columns)", names, first_column=1)
    return TimeTable(times, kind, zoned, inputs, names)


def check_finite(
    matrix: NDArray[np.float64],
    argument: str,
    names: Sequence[str] | None = None,
    *,
    allow_nan: bool = False,
    first_column: int = 0,
) -> None:
    """Raise a ValueError that names the first entry that is infinite (or NaN)."""
    bad = np.isinf(matrix) if allow_nan else ~np.isfinite(matrix)
    if not bad.any():
        return
    row, column = (int(i) for i in np.argwhere(bad)[0])
    kind = "NaN" if np.isnan(matrix[row, column]) else "inf"
    label = repr(names[column]) if names else str(column + first_column)
    advice = (
        "Mark values that were not measured with NaN"
        if allow_nan
        else "Remove the row or fill in the value"
    )
    raise ValueError(f"{argument} contains {kind} in row {row}, column {label}. {advice}.")


def warn_of_other_order(t: Any, X: Any, label: str) -> None:
    """Warn where t and X carry the same row labels in different orders: one of them was sorted."""
    if not (isinstance(t, _LABELLED) and isinstance(X, _LABELLED)) or t.index.equals(X.index):
        return
    if not (t.index.is_unique and X.index.is_unique) or len(
        X.index.difference(t.index, sort=False)
    ):
        return
    warnings.warn(
        f"X{label} has the row labels of t{label} in another order. Rows are matched by position, "
        f"as everywhere in scikit-learn: sort both alike, X.loc[t.index], if this is not meant.",
        UserWarning,
        stacklevel=7,
    )


def warn_if_swapped(times: NDArray[Any], states: NDArray[np.float64], label: str) -> None:
    """Warn where the states increase from row to row, as times do, and the times do not."""
    if len(times) < FEWEST_ORDERED or states.shape[1] != 1 or not (np.diff(states[:, 0]) > 0).all():
        return
    steps = np.diff(times)
    zero = steps.dtype.type(0)
    if (steps > zero).any() and (steps < zero).any():
        warnings.warn(
            f"t{label} goes up and down while X{label} increases from row to row: were the two "
            f"swapped? The order is fit(t, X), times first.",
            UserWarning,
            stacklevel=7,
        )


def _require_feature(shape: tuple[int, ...], argument: str) -> None:
    if shape[1] == 0:
        raise ValueError(
            f"Found array with 0 feature(s) (shape={shape}) while a minimum of 1 is required: "
            f"{argument} needs a time column."
        )


def _as_array(value: Any, argument: str) -> NDArray[Any]:
    if value is None or isinstance(value, (str, bytes)):
        raise ValueError(
            f"{argument}: Expected array-like (array or non-string sequence), got {value!r}"
        )
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(
            f"{argument} cannot be made into one array ({error}). Several runs are passed as a "
            f"list of numpy arrays, not of nested lists."
        ) from error


def _time_column(
    column: NDArray[Any] | pd.Series | pd.Index, argument: str
) -> tuple[NDArray[Any], TimeKind, bool]:
    """One column of times as float64, datetime64 or timedelta64, all finite."""
    zoned = isinstance(column.dtype, pd.DatetimeTZDtype)
    if isinstance(column.dtype, pd.PeriodDtype):
        column = pd.PeriodIndex(column).to_timestamp()
    if column.dtype == object and len(column):
        first = column.iloc[0] if isinstance(column, pd.Series) else column[0]
        if isinstance(first, _CALENDAR):
            column = _convert(pd.DatetimeIndex, column, argument)
            zoned = column.tz is not None
        elif isinstance(first, _DURATION):
            column = _convert(pd.TimedeltaIndex, column, argument)
    if zoned:
        column = pd.DatetimeIndex(column).tz_convert("UTC").tz_localize(None)
    if column.dtype.kind in "Mm":
        times = np.asarray(column)
        missing = np.isnat(times)
        kind: TimeKind = "datetime" if times.dtype.kind == "M" else "timedelta"
    else:
        if pd.api.types.is_string_dtype(column.dtype) and len(column):
            first = column.iloc[0] if isinstance(column, pd.Series) else column[0]
            if isinstance(first, str):
                raise ValueError(
                    f"{argument} holds text such as {str(first)!r}. Make it numbers by "
                    f"{argument}.astype(float), or dates by pandas.to_datetime({argument})."
                )
        times = to_float(column, argument)
        missing = ~np.isfinite(times)
        kind = "number"
    if missing.any():
        row = int(np.argmax(missing))
        what = "inf" if kind == "number" and np.isinf(times[row]) else "NaN"
        raise ValueError(
            f"{argument} contains {what} in row {row}: every row needs a finite time. "
            f"Remove the rows without one."
        )
    return times, kind, zoned


def _convert(index: type, column: Any, argument: str) -> Any:
    try:
        return index(column)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{argument} mixes kinds of times: {error}") from error
