"""Read a table of measurements, and say exactly what is wrong with it."""

import csv
import difflib
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from discoverers.commandline.errors import CommandLineError

_MISSING = frozenset({"", "nan", "na", "n/a", "null", "none"})
_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Measurements:
    """Checked columns of a table.

    Parameters
    ----------
    t : ndarray of shape (n,)
        Times: float64, or datetime64 if the column holds dates.
    X : DataFrame of shape (n, V)
        States; NaN where a cell is empty.
    u : DataFrame of shape (n, m) or None
        Inputs.
    trajectory : ndarray of shape (n,) or None
        Run that each row belongs to.
    time_name : str
        Name of the column of times.
    """

    t: NDArray[Any]
    X: pd.DataFrame
    u: pd.DataFrame | None
    trajectory: NDArray[np.object_] | None
    time_name: str


def read_measurements(
    file: str,
    *,
    time: str,
    states: Sequence[str] | None = None,
    inputs: Sequence[str] = (),
    trajectory_column: str | None = None,
) -> Measurements:
    """Read a table of measurements and check it cell by cell.

    Parameters
    ----------
    file : str
        Path of the table, or ``"-"`` for standard input. The first line that is neither empty nor a
        comment (``#``) holds the names; commas, semicolons or tabs separate the cells.
    time : str
        Column of times: numbers, or dates in ISO 8601.
    states : sequence of str, optional
        Columns of states. The default are all columns that no other argument names.
    inputs : sequence of str, default=()
        Columns of inputs.
    trajectory_column : str, optional
        Column that tells the runs apart.

    Returns
    -------
    Measurements
        Times, states, inputs and runs, in the order of the file.

    Raises
    ------
    CommandLineError
        If the file cannot be read, a column is missing, a cell is no number, or times do not
        increase; the message names the line and the column.

    Examples
    --------
    >>> from discoverers.commandline import read_measurements
    >>> read_measurements("none.csv", time="t")
    Traceback (most recent call last):
    ...
    discoverers.commandline.errors.CommandLineError: none.csv: there is no such file
    """
    table = _read_cells(file)
    roles = _Roles(time, list(inputs), trajectory_column)
    chosen = roles.check(table, states)
    times = table.times(time)
    if not states:
        for name in chosen:
            table.require_measurements(name)
    X = pd.DataFrame({name: table.numbers(name, missing=True) for name in chosen})
    u = pd.DataFrame({name: table.numbers(name, missing=False) for name in inputs})
    runs = table.labels(trajectory_column) if trajectory_column is not None else None
    _check_order(table, time, times, runs)
    return Measurements(times, X, u if len(inputs) else None, runs, time)


@dataclass(frozen=True)
class _Table:
    """Cells as text, with the line of the file that each row stands in."""

    source: str
    columns: dict[str, list[str]]
    lines: list[int]

    def fail(self, row: int, column: str, problem: str) -> CommandLineError:
        """Return an error that names the cell."""
        return CommandLineError(
            f"{self.source}, line {self.lines[row]}, column {column!r}: {problem}"
        )

    def numbers(self, column: str, *, missing: bool) -> NDArray[np.float64]:
        """Convert a column, NaN where a cell says that there is no value."""
        values = np.empty(len(self.lines))
        for row, cell in enumerate(self.columns[column]):
            if cell.lower() in _MISSING:
                if not missing:
                    raise self.fail(row, column, "the cell is empty; a number is needed here")
                values[row] = np.nan
                continue
            number = _number(cell)
            if number is None:
                raise self.fail(row, column, f"{cell!r} is not a number{_comma_hint(cell)}")
            if not np.isfinite(number):
                raise self.fail(row, column, f"{cell!r} is not finite; leave the cell empty")
            values[row] = number
        return values

    def require_measurements(self, column: str) -> None:
        """Say what to do about a column of words that was taken for a state."""
        cells = [cell for cell in self.columns[column] if cell.lower() not in _MISSING]
        if cells and all(_number(cell) is None and not _comma_hint(cell) for cell in cells):
            raise CommandLineError(
                f"{self.source}: column {column!r} holds no numbers ({cells[0]!r}); name the "
                "columns of the states with --states, or the one that tells runs apart with "
                "--trajectory-column"
            )

    def times(self, column: str) -> NDArray[Any]:
        """Convert a column of numbers or of dates."""
        cells = self.columns[column]
        if cells[0].lower() in _MISSING or _number(cells[0]) is not None:
            return self.numbers(column, missing=False)
        dates = pd.to_datetime(
            pd.Series(cells), format="ISO8601", errors="coerce", utc=True
        ).dt.tz_localize(None)
        if dates.isna().any():
            row = int(dates.isna().to_numpy().argmax())
            raise self.fail(
                row,
                column,
                f"{cells[row]!r} is neither a number nor a date such as 2024-05-31"
                f"{_comma_hint(cells[row])}",
            )
        return dates.to_numpy()

    def labels(self, column: str) -> NDArray[np.object_]:
        """Return a column of run labels, none of them empty."""
        cells = self.columns[column]
        for row, cell in enumerate(cells):
            if not cell:
                raise self.fail(row, column, "the cell is empty; it must name the row's run")
        return np.array(cells, dtype=object)


@dataclass(frozen=True)
class _Roles:
    """Which columns the user named, and for what."""

    time: str
    inputs: list[str]
    trajectory: str | None = field(default=None)

    def check(self, table: _Table, states: Sequence[str] | None) -> list[str]:
        """Check the names against the table and return the states' columns."""
        named = [(self.time, "--time"), *((name, "--inputs") for name in self.inputs)]
        if self.trajectory is not None:
            named.append((self.trajectory, "--trajectory-column"))
        named += [(name, "--states") for name in states or ()]
        seen: dict[str, str] = {}
        for name, option in named:
            if name not in table.columns:
                raise CommandLineError(
                    f"{table.source}: no column {name!r} for {option}; "
                    f"{_suggest(name, list(table.columns))}"
                )
            if name in seen:
                raise CommandLineError(
                    f"{table.source}: column {name!r} is named twice, by {seen[name]} and {option}"
                )
            seen[name] = option
        chosen = list(states) if states else [name for name in table.columns if name not in seen]
        if not chosen:
            raise CommandLineError(
                f"{table.source}: no column is left for the states beside {', '.join(seen)}"
            )
        return chosen


def _read_cells(file: str) -> _Table:
    """Read a file as text, row by row."""
    source = "standard input" if file == "-" else file
    try:
        stream = (
            nullcontext(sys.stdin) if file == "-" else open(file, newline="", encoding="utf-8-sig")  # noqa: SIM115
        )
        with stream as opened:
            return _parse(source, opened)
    except FileNotFoundError as error:
        raise CommandLineError(f"{source}: there is no such file") from error
    except IsADirectoryError as error:
        raise CommandLineError(f"{source}: this is a folder, not a table") from error
    except OSError as error:
        raise CommandLineError(f"{source}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandLineError(
            f"{source}: byte {error.start} is not UTF-8 text; save the table as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        raise CommandLineError(f"{source}: is not a table of text: {error}") from error


def _parse(source: str, stream: TextIO) -> _Table:
    """Split lines into cells."""
    counter = _Lines(stream)
    header_line = next(counter, None)
    if header_line is None:
        raise CommandLineError(f"{source}: the file is empty; a header line and rows are needed")
    separator = max(_SEPARATORS, key=header_line.count)
    header = [name.strip() for name in next(csv.reader([header_line], delimiter=separator))]
    if header and not header[-1]:
        header.pop()  # some instruments end every line with a separator
    for position, name in enumerate(header, start=1):
        if not name:
            raise CommandLineError(
                f"{source}, line {counter.number}: column {position} has no name; name it, or "
                "leave it out (pandas writes such a column of row numbers unless index=False)"
            )
        if header.count(name) > 1:
            raise CommandLineError(
                f"{source}, line {counter.number}: two columns are named {name!r}"
            )
    rows: list[list[str]] = []
    lines: list[int] = []
    for cells in csv.reader(counter, delimiter=separator):
        if len(cells) == len(header) + 1 and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(header):
            raise CommandLineError(
                f"{source}, line {counter.number}: {len(cells)} cells where the header has "
                f"{len(header)} ({', '.join(header)})"
            )
        rows.append([cell.strip() for cell in cells])
        lines.append(counter.number)
    if not rows:
        raise CommandLineError(f"{source}: there are no rows below the header")
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    return _Table(source, columns, lines)


class _Lines(Iterator[str]):
    """Lines of a stream that hold data, and the number of the last one."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.number = 0

    def __next__(self) -> str:
        for line in self.stream:
            self.number += 1
            if line.strip() and not line.startswith("#"):
                return line
        raise StopIteration


def _check_order(
    table: _Table, time: str, times: NDArray[Any], runs: NDArray[np.object_] | None
) -> None:
    """Check that times increase within every run."""
    last: dict[Any, int] = {}
    for row in range(len(times)):
        run = None if runs is None else runs[row]
        before = last.get(run)
        if before is not None and not times[row] > times[before]:
            cell, line = table.columns[time][row], table.lines[before]
            what = (
                f"the time {cell} stands in line {line} already"
                if times[row] == times[before]
                else f"the time {cell} is before {table.columns[time][before]} in line {line}"
            )
            todo = (
                "if the table has several runs, name the column that tells them apart with "
                "--trajectory-column; otherwise sort the rows and keep one for each time"
                if run is None
                else f"times must increase within run {run!r}"
            )
            raise table.fail(row, time, f"{what}; {todo}")
        last[run] = row


def _number(cell: str) -> float | None:
    """Convert a cell, None if it holds no number."""
    try:
        return float(cell)
    except ValueError:
        return None


def _comma_hint(cell: str) -> str:
    """Explain a decimal comma."""
    if cell.count(",") == 1 and _number(cell.replace(",", ".")) is not None:
        return "; write decimals with a point"
    return ""


def _suggest(name: str, columns: list[str]) -> str:
    """Say which columns there are, the closest first."""
    close = difflib.get_close_matches(name, columns, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    if len(columns) == 1:
        return (
            f"the only column is {columns[0]!r}: names and cells are separated by commas, "
            "semicolons or tabs"
        )
    shown = ", ".join(columns[:12]) + (", ..." if len(columns) > 12 else "")
    return f"{hint}the columns are {shown}"
