"""Inputs between their samples, and one run of observations as the engine reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

__all__ = ["InputSignal", "Interpolation", "Record"]

Array = NDArray[np.float64]
Interpolation = Literal["cubic", "linear", "hold"]


@dataclass(frozen=True, eq=False)
class InputSignal:
    """Inputs as functions of time.

    Parameters
    ----------
    t : ndarray of shape (N,)
        Strictly increasing times.
    u : ndarray of shape (N, m)
        Inputs at `t`.
    interpolation : {"cubic", "linear", "hold"} or callable, default="cubic"
        A cubic spline through the samples, straight lines, the last sample, or the user's own
        function of times (k,) to (k, m).

    Notes
    -----
    How the input runs between samples limits the accuracy of a calibrated model: with a smooth
    force straight lines bias a cubic stiffness by about a percent, the spline by 1e-6.
    """

    t: Array
    u: Array
    interpolation: Interpolation | Callable[[Array], Array] = "cubic"

    def __post_init__(self) -> None:
        known = ("cubic", "linear", "hold")
        if not callable(self.interpolation) and self.interpolation not in known:
            raise ValueError(
                f"interpolation must be one of {list(known)} or a function of time, got "
                f"{self.interpolation!r}."
            )

    @property
    def n_inputs(self) -> int:
        """Number of inputs m."""
        return int(self.u.shape[1])

    def __call__(self, times: ArrayLike) -> Array:
        """Inputs at times (k,), shape (k, m); constant outside of the samples."""
        at = np.asarray(times, dtype=np.float64)
        if callable(self.interpolation):
            values = np.asarray(self.interpolation(at), dtype=np.float64)
            return values.reshape(len(at), self.n_inputs)
        if self.n_inputs == 0:
            return np.zeros((len(at), 0))
        inside = np.clip(at, self.t[0], self.t[-1])
        if self.interpolation == "hold":
            return np.asarray(self.u[self._interval(inside)])
        if self.interpolation == "linear" or len(self.t) < 4:
            return np.column_stack([np.interp(inside, self.t, column) for column in self.u.T])
        return np.asarray(self._spline(inside))

    def stages(self, t: Array, substeps: int) -> Array:
        """Inputs at ends and middles of the substeps of each interval, (N - 1, 2 substeps + 1, m).

        An input that is held keeps the interval's value up to and including its right end.
        """
        share = np.linspace(0.0, 1.0, 2 * substeps + 1)
        times = t[:-1, None] + np.diff(t)[:, None] * share
        if self.interpolation == "hold":
            values = self(t[:-1])
            return np.repeat(values[:, None, :], 2 * substeps + 1, axis=1)
        return self(times.ravel()).reshape(*times.shape, self.n_inputs)

    @cached_property
    def _spline(self) -> CubicSpline:
        # Made once: windows and numbers of substeps ask again and again.
        return CubicSpline(self.t, self.u)

    def _interval(self, times: Array) -> NDArray[np.intp]:
        return np.clip(np.searchsorted(self.t, times, side="right") - 1, 0, len(self.t) - 1)


@dataclass(frozen=True, eq=False)
class Record:
    """One run of observations.

    Attributes
    ----------
    t : ndarray of shape (N,)
        Strictly increasing times.
    y : ndarray of shape (N, C)
        Observed channels; NaN where a channel was not measured.
    u : ndarray of shape (N, m)
        Inputs at `t`.
    weight : ndarray of shape (N,)
        Weights of the rows; 2 counts as measured twice.
    signal : InputSignal
        Inputs between the samples.
    """

    t: Array
    y: Array
    u: Array
    weight: Array
    signal: InputSignal
    _stages: dict[int, Array] = field(default_factory=dict, repr=False)

    @classmethod
    def make(
        cls,
        t: ArrayLike,
        y: ArrayLike,
        u: ArrayLike | None = None,
        *,
        interpolation: Interpolation | Callable[[Array], Array] = "cubic",
        weight: ArrayLike | None = None,
    ) -> Record:
        """A record from arrays: t (N,), y (N,) or (N, C), u (N,) or (N, m)."""
        times = np.ascontiguousarray(t, dtype=np.float64)
        channels = np.asarray(y, dtype=np.float64).reshape(len(times), -1)
        inputs = np.zeros((len(times), 0)) if u is None else np.asarray(u, dtype=np.float64)
        inputs = np.ascontiguousarray(inputs.reshape(len(times), -1 if inputs.size else 0))
        weights = np.ones(len(times)) if weight is None else np.asarray(weight, dtype=np.float64)
        return cls(times, channels, inputs, weights, InputSignal(times, inputs, interpolation))

    def __len__(self) -> int:
        return len(self.t)

    def stages(self, substeps: int) -> Array:
        """`InputSignal.stages` of the whole record, computed once."""
        if substeps not in self._stages:
            self._stages[substeps] = np.ascontiguousarray(self.signal.stages(self.t, substeps))
        return self._stages[substeps]

    def head(self, n: int) -> Record:
        """The first n rows, with the inputs interpolated as in the whole record."""
        return Record(
            self.t[:n],
            self.y[:n],
            self.u[:n],
            self.weight[:n],
            self.signal,
            {key: value[: max(n - 1, 0)] for key, value in self._stages.items()},
        )
