"""Inputs between their samples, for integrations that ask for them at any time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from .coercion import check_finite, to_float, to_matrix
from .runs import Interpolation, evaluate_input
from .trajectories import Trajectories, Trajectory

if TYPE_CHECKING:
    from .shooting import InputSignal

__all__ = [
    "SampledInput",
    "engine_interpolation",
    "input_between_samples",
    "integrate_between_samples",
    "interpolated_input",
    "with_interpolation",
]

# Evaluates terms (n, K) at states (n, V) and inputs (n, m).
Terms = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class SampledInput:
    """A function of time through given values, constant outside of them.

    Attributes
    ----------
    knots : ndarray of shape (k,)
        Strictly increasing times.
    values : ndarray of shape (k, m)
    interpolation : {"linear", "cubic", "hold"}
    """

    knots: NDArray[np.float64]
    values: NDArray[np.float64]
    interpolation: Interpolation = "linear"

    def __call__(self, time: Any) -> NDArray[np.float64]:
        """Inputs (m,) at one time, (n, m) at times (n,)."""
        if self.interpolation == "hold":
            place = np.searchsorted(self.knots, time, side="right") - 1
            return np.asarray(self.values[np.clip(place, 0, len(self.knots) - 1)])
        if self.interpolation == "cubic" and len(self.knots) > 3:
            inside = np.clip(time, self.knots[0], self.knots[-1])
            return np.asarray(self._spline(inside))
        return np.stack([np.interp(time, self.knots, column) for column in self.values.T], axis=-1)

    @cached_property
    def _spline(self) -> CubicSpline:
        # Made once: an integration asks for thousands of values.
        return CubicSpline(self.knots, self.values)

    @property
    def longest_step(self) -> float:
        """Step that an integrator may take without passing over what happens between its ends.

        Of a system at rest a solver with step control only sees where it looks: steps grow, and a
        pulse is stepped over.
        """
        if len(self.knots) < 2:
            return float("inf")
        spacing = np.diff(self.knots)
        # Not below a quarter of the mean, or clustered samples would cost any number of steps.
        return float(max(np.median(spacing), 0.25 * spacing.mean()))


def interpolated_input(
    times: ArrayLike, values: ArrayLike, interpolation: Interpolation = "linear"
) -> SampledInput:
    """Input function through given values, constant outside of them.

    Parameters
    ----------
    times : array-like of shape (k,)
        In any order; of equal times the first counts.
    values : array-like of shape (k,) or (k, m)
    interpolation : {"linear", "cubic", "hold"}, default="linear"
        What happens in between: straight lines, a cubic spline (from 4 values on), or the last
        value.

    Returns
    -------
    SampledInput
        Maps a float to shape (m,) and an array of shape (n,) to shape (n, m).
    """
    knots = to_float(times, "t").ravel()
    matrix, names = to_matrix(values, "u")
    check_finite(matrix, "u", names)
    if len(matrix) != len(knots) or not len(knots):
        raise ValueError(f"u has {len(matrix)} row(s) but t has {len(knots)}. Pass one per time.")
    distinct, first = np.unique(knots, return_index=True)
    return SampledInput(distinct, matrix[first], interpolation)


def with_interpolation(trajectories: Trajectories, interpolation: Interpolation) -> Trajectories:
    """The same runs with inputs that run between samples as the user says."""
    runs = tuple(replace(run, interpolation=interpolation) for run in trajectories)
    return replace(trajectories, runs=runs)


def engine_interpolation(
    run: Trajectory,
) -> Literal["linear", "hold"] | Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """What `discoverers.shooting.Record.make` is told of a run's inputs between samples."""
    signal = run.signal
    if signal is not None:
        return lambda times: evaluate_input(signal, times)
    if run.interpolation == "cubic":
        # The spline is made once, for blocks and substeps alike.
        return SampledInput(run.t, run.u, "cubic")
    return run.interpolation


def input_between_samples(run: Trajectory) -> InputSignal | None:
    """A run's inputs as the engine reads them; None where straight lines between nodes are right.

    A function that the user passed is used as it is.
    """
    from .shooting import InputSignal

    how = engine_interpolation(run)
    if not run.u.shape[1] or how == "linear":
        return None
    return InputSignal(run.t, run.u, how)


def integrate_between_samples(
    run: Trajectory,
    signal: InputSignal,
    states: NDArray[np.float64],
    slopes: NDArray[np.float64],
    terms: Terms,
) -> NDArray[np.float64]:
    """Integrals (n, K) of candidate terms from the first sample on, by Simpson's rule.

    Every interval sees the input as it is inside of it: no step of the input is smoothed away.

    Parameters
    ----------
    run : Trajectory
    signal : InputSignal
        From `input_between_samples`.
    states, slopes : ndarray of shape (n, V)
        Denoised states and their derivatives in the user's unit of time; cubic in between.
    terms : callable
        Candidate terms (n, K) at states (n, V) and inputs (n, m).
    """
    h = np.diff(run.t)[:, None]
    inputs = signal.stages(run.t, 1)
    middle = 0.5 * (states[1:] + states[:-1]) + h / 8.0 * (slopes[:-1] - slopes[1:])
    parts = (
        terms(states[:-1], inputs[:, 0])
        + 4.0 * terms(middle, inputs[:, 1])
        + terms(states[1:], inputs[:, 2])
    )
    areas = h / 6.0 * parts
    return np.concatenate([np.zeros((1, areas.shape[1])), np.cumsum(areas, axis=0)])
