"""Measured fields, checked once: times, positions and values of every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Field", "Fields", "as_fields", "default_names"]

Array = NDArray[np.float64]

MIN_TIMES = 16
MIN_POSITIONS = 24

UNIFORM = 1e-3
"""Steps may differ by this share of their mean and still count as equal."""

MOST_MISSING = 0.7


@dataclass(frozen=True, eq=False)
class Field:
    """One run: a field on a grid.

    Attributes
    ----------
    t : ndarray of shape (n_times,)
        Increasing times.
    x : ndarray of shape (n_space,)
        Increasing, equally spaced positions.
    X : ndarray of shape (n_times, n_space, V)
        Values; NaN where nothing was measured.
    """

    t: Array
    x: Array
    X: Array

    @property
    def spacing(self) -> float:
        """Distance between two positions."""
        return float((self.x[-1] - self.x[0]) / (len(self.x) - 1))

    @property
    def unseen(self) -> Array:
        """Positions at which nothing was ever measured."""
        return self.x[~np.isfinite(self.X).any(axis=(0, 2))]

    @property
    def uniform(self) -> bool:
        """Whether the times are equally spaced."""
        return _is_uniform(self.t)


@dataclass(frozen=True, eq=False)
class Fields:
    """Several runs of the same states, iterable.

    Attributes
    ----------
    runs : tuple of Field
    state_names : tuple of str
    listed : bool
        Whether the runs came as a list.
    squeeze : bool
        Whether the arrays had no axis for the states.
    """

    runs: tuple[Field, ...]
    state_names: tuple[str, ...]
    listed: bool
    squeeze: bool

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.runs)

    @property
    def n_states(self) -> int:
        """Number of states V."""
        return len(self.state_names)

    def shaped(self, values: Sequence[Array]) -> Any:
        """Values (n_times, n_space, V) of each run in the form in which the data came."""
        parts = [part[:, :, 0] if self.squeeze else part for part in values]
        return parts if self.listed else parts[0]


def default_names(n_states: int) -> tuple[str, ...]:
    """u, v, w; more states are u0, u1, and so on."""
    return tuple("uvw"[:n_states]) if n_states <= 3 else tuple(f"u{i}" for i in range(n_states))


def as_fields(t: Any, X: Any, x: Any, state_names: Sequence[str] | None = None) -> Fields:
    """Check fields of one or several runs.

    Parameters
    ----------
    t : array-like of shape (n_times,), or list of such arrays
    X : array-like of shape (n_times, n_space) or (n_times, n_space, V), or list of such arrays
    x : array-like of shape (n_space,), or list of such arrays
        One array serves all runs.
    state_names : sequence of str, optional

    Returns
    -------
    Fields

    Raises
    ------
    ValueError
        If shapes do not fit together, the grid is not usable, or values are not finite; the text
        names the argument and what to do.
    """
    listed = isinstance(X, (list, tuple)) and len(X) > 0 and np.ndim(X[0]) >= 2
    if x is None:
        raise ValueError(
            "x is missing: give the positions of the field's columns, x=array of shape (n_space,)."
        )
    if listed:
        if not isinstance(t, (list, tuple)) or len(t) != len(X):
            raise ValueError(
                f"t must be a list with one array of times per run, as X is a list of {len(X)} "
                f"run(s); got {_described(t)}."
            )
        own = isinstance(x, (list, tuple)) and len(x) > 0 and np.ndim(x[0]) == 1
        if own and len(x) != len(X):
            raise ValueError(f"x has {len(x)} grids for the {len(X)} run(s) of X.")
        grids = list(x) if own else [x] * len(X)
        triples = list(zip(t, X, grids, strict=True))
    else:
        triples = [(t, X, x)]
    several = len(triples) > 1
    runs = [
        _field(*triple, where=f" of run {i}" if several else "") for i, triple in enumerate(triples)
    ]
    widths = {run.X.shape[2] for run in runs}
    if len(widths) > 1:
        raise ValueError(f"X must have as many states in every run, got {sorted(widths)}.")
    names = _names(state_names, widths.pop())
    squeeze = all(np.ndim(part) == 2 for _, part, _ in triples)
    return Fields(tuple(runs), names, listed, squeeze)


def _field(t: Any, X: Any, x: Any, where: str) -> Field:
    times, positions = _numbers(t, f"t{where}"), _numbers(x, f"x{where}")
    values = _numbers(X, f"X{where}")
    times = times[:, 0] if times.ndim == 2 and times.shape[1] == 1 else times
    if times.ndim != 1 or positions.ndim != 1:
        raise ValueError(
            f"t{where} and x{where} must have one dimension, got shapes {times.shape} and "
            f"{positions.shape}."
        )
    values = values[:, :, None] if values.ndim == 2 else values
    expected = (len(times), len(positions))
    if values.ndim != 3 or values.shape[:2] != expected:
        raise ValueError(
            f"X{where} must have shape (n_times, n_space) or (n_times, n_space, n_states) with "
            f"n_times, n_space = {expected} as t and x have, got {np.shape(X)}. Transpose it if "
            "its first axis is space."
        )
    if len(times) < MIN_TIMES or len(positions) < MIN_POSITIONS:
        raise ValueError(
            f"X{where} has {len(times)} times and {len(positions)} positions; at least "
            f"{MIN_TIMES} and {MIN_POSITIONS} are needed."
        )
    if not (np.isfinite(times).all() and np.isfinite(positions).all()):
        raise ValueError(f"t{where} and x{where} must be finite.")
    order, along = np.argsort(times, kind="stable"), np.argsort(positions, kind="stable")
    times, positions = times[order], positions[along]
    values = values[order][:, along]
    if (np.diff(times) <= 0).any():
        raise ValueError(f"t{where} holds a time twice; average the fields of equal times.")
    if not _is_uniform(positions):
        steps = np.diff(positions)
        raise ValueError(
            f"x{where} must be equally spaced, its steps run from {steps.min():.6g} to "
            f"{steps.max():.6g}. Interpolate X onto a uniform grid first."
        )
    _check_values(values, where)
    return Field(times, positions, values)


def _check_values(values: Array, where: str) -> None:
    if np.isinf(values).any():
        raise ValueError(f"X{where} holds infinite values; mark what was not measured as NaN.")
    missing = np.isnan(values).mean(axis=(0, 1))
    if (missing > MOST_MISSING).any():
        raise ValueError(
            f"X{where} is NaN in {100 * missing.max():.0f} % of the cells of a state; at most "
            f"{100 * MOST_MISSING:.0f} % may be missing."
        )
    for v in range(values.shape[2]):
        layer = values[:, :, v]
        if np.nanmax(layer) - np.nanmin(layer) <= 1e-12 * np.nanmax(np.abs(layer)):
            raise ValueError(
                f"X{where} is constant in state {v}: there is nothing to discover. Leave it out."
            )


def _numbers(values: Any, name: str) -> Array:
    array = np.asarray(values)
    if array.dtype.kind == "c":
        raise ValueError(f"{name} is complex; pass its real part.")
    if array.dtype.kind in "mM":
        raise ValueError(
            f"{name} holds dates or durations ({array.dtype}); pass numbers, such as "
            "(t - t[0]) / np.timedelta64(1, 's')."
        )
    try:
        return np.asarray(array, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers only, got {_described(values)}.") from error


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return default_names(count)
    if isinstance(names, str) or len(names) != count:
        raise ValueError(f"state_names must name the {count} state(s) of X, got {names!r}.")
    chosen = tuple(names)
    if not all(isinstance(name, str) and name for name in chosen) or len(set(chosen)) < count:
        raise ValueError(f"state_names must be different, non-empty texts, got {names!r}.")
    for taken, what in (("t", "time"), ("x", "the position")):
        if taken in chosen:
            raise ValueError(
                f"state_names holds {taken!r}, which stands for {what} in the equations; choose "
                "another name."
            )
    return tuple(map(str, chosen))


def _is_uniform(values: Array) -> bool:
    steps = np.diff(values)
    return bool((steps > 0).all() and np.abs(steps - steps.mean()).max() <= UNIFORM * steps.mean())


def _described(value: Any) -> str:
    shape = np.shape(value) if isinstance(value, np.ndarray) else ""
    return f"{type(value).__name__}{f' of shape {shape}' if shape else ''}"
