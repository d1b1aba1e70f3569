"""Inputs between their samples, for integrations that ask for them at any time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from .coercion import check_finite, to_float, to_matrix
from .runs import Interpolation

__all__ = ["SampledInput", "interpolated_input"]


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
