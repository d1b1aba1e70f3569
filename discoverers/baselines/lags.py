"""Lagged columns of evenly sampled runs, free runs over them, and the grid that both need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discoverers.trajectories import Trajectory

__all__ = [
    "Lags",
    "ScaledRun",
    "Step",
    "even_step",
    "grid_rows",
    "require_whole",
    "scale_of",
    "stack",
]

Array = NDArray[np.float64]
Step = Callable[[Array], Array]
"""The next sample (C,) from a row of lagged columns."""

UNEVEN = 1e-3
"""Largest deviation of a time from the even grid, in steps."""


@dataclass(frozen=True)
class Lags:
    """Which past rows the next one depends on: ``stride, 2 stride, ..., order stride``."""

    order: int
    stride: int

    @property
    def reach(self) -> int:
        """Rows of history that are needed."""
        return self.order * self.stride

    def past(self, row: int) -> NDArray[np.intp]:
        """The past rows of a row, the latest first."""
        return row - self.stride * np.arange(1, self.order + 1)

    def columns(self, y: Array, u: Array, row: int) -> Array:
        """Lagged columns of one row: past samples, the present input, past inputs."""
        past = self.past(row)
        return np.concatenate([y[past].ravel(), u[row], u[past].ravel()])

    def table(self, y: Array, u: Array) -> tuple[Array, Array]:
        """Lagged columns and the samples that follow, rows without gaps only."""
        rows = np.arange(self.reach, len(y))
        past = rows[:, None] - self.stride * np.arange(1, self.order + 1)
        blocks = [y[past].reshape(len(rows), -1), u[rows], u[past].reshape(len(rows), -1)]
        columns = np.hstack(blocks)
        whole = np.isfinite(columns).all(axis=1) & np.isfinite(y[rows]).all(axis=1)
        return columns[whole], y[rows][whole]

    def simulate(self, step: Step, history: Array, u: Array, bound: float) -> Array:
        """Free run over the rows of `u`, of which the history is measured; NaN after a blow-up."""
        y = np.full((len(u), history.shape[1]), np.nan)
        y[: self.reach] = history[: self.reach]
        for row in range(self.reach, len(u)):
            y[row] = step(self.columns(y, u, row))
            if not np.abs(y[row]).max() < bound:
                y[row] = np.nan
                break
        return y


@dataclass(frozen=True, eq=False)
class ScaledRun:
    """Samples (n, C) and inputs (n, m) of one run, in units of their rms."""

    y: Array
    u: Array


def stack(runs: Sequence[ScaledRun], lags: Lags) -> tuple[Array, Array]:
    """`Lags.table` of all runs that are long enough."""
    tables = [lags.table(run.y, run.u) for run in runs if len(run.y) > lags.reach]
    if not tables:
        return np.empty((0, 0)), np.empty((0, 0))
    return np.concatenate([t[0] for t in tables]), np.concatenate([t[1] for t in tables])


def scale_of(values: Array) -> Array:
    """Rms of each column; 1 where that is zero."""
    rms = np.sqrt(np.nanmean(values**2, axis=0)) if values.size else np.ones(values.shape[1])
    return np.where(rms > 0.0, rms, 1.0)


def even_step(runs: Sequence[Trajectory]) -> float:
    """The common step of all runs."""
    steps = np.concatenate([np.diff(run.t) for run in runs])
    step = float(np.median(steps))
    for run in runs:
        offsets = (run.t - run.t[0]) / step
        if np.abs(offsets - np.arange(len(offsets))).max() > UNEVEN * max(len(offsets), 10) ** 0.5:
            raise ValueError(
                "t must be evenly spaced, with the same step in all runs: lags are rows. Resample "
                "the record, or use SKANODERegressor, which takes irregular times."
            )
    return step


def grid_rows(t: Array, first: float, step: float) -> NDArray[np.intp]:
    """Rows of the training grid that times lie on, counted beyond its end."""
    position = (t - first) / step
    rows = np.rint(position)
    if np.abs(position - rows).max(initial=0.0) > 0.05 or rows.min(initial=0.0) < 0:
        raise ValueError(
            f"t must lie on the training grid {first:g}, {first + step:g}, ... or continue it."
        )
    return rows.astype(np.intp)


def require_whole(rows: NDArray[np.intp], n: int) -> None:
    """Refuse rows that leave out some between the training rows and the last."""
    if not np.array_equal(rows, np.arange(n, n + len(rows))):
        raise ValueError(
            f"t leaves gaps after the training rows: a free run needs the input at every step. "
            f"Pass all rows from step {n} on (got steps {rows[0]} to {rows[-1]}, {len(rows)} rows)."
        )
