"""Smooth test functions on a grid, chosen so that measurement noise stays white under them.

Integration by parts moves derivatives from noisy data to these functions. Along time, and along
space with ends, they are combinations of B-splines that vanish at the ends with their derivatives;
on a ring they are Fourier modes. Within each family the combinations are orthonormal under the sum
over grid points, and so are their first derivatives up to scale: noise of equal variance in all
cells stays independent, and every function has a frequency.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import BSpline
from scipy.linalg import eigh

__all__ = ["TestFunctions", "fourier_tests", "spline_tests"]

Array = NDArray[np.float64]

SMOOTHNESS = 7
"""Degree of the B-splines, above the number of derivatives that they take over in space. Sums over
grid points then equal integrals for polynomials of this degree."""

KNOT_STEP = 2
SHORT = 40
"""Grids with fewer points have a knot at every point, to leave enough functions."""

DEALIASED = 2.0 * np.pi / 3.0
"""Highest frequency per step on a ring: products of two modes below it alias to others only."""


@dataclass(frozen=True, eq=False)
class TestFunctions:
    """A family of test functions on one axis.

    Attributes
    ----------
    values : ndarray of shape (order + 1, m, n)
        ``(-1)**j`` times the j-th derivative of each of m functions at n grid points.
    frequency : ndarray of shape (m,)
        Root of the Rayleigh quotient of the derivative, in radians per step.
    """

    __test__ = False  # pytest collects classes whose names begin with Test

    values: Array
    frequency: Array

    def __len__(self) -> int:
        return len(self.frequency)


def fourier_tests(n: int, spacing: float, order: int, highest: float) -> TestFunctions:
    """Fourier modes of a ring of n points up to a frequency in radians per step."""
    count = int(min(highest, DEALIASED) * n / (2.0 * np.pi) + 1e-9)
    frequency = 2.0 * np.pi * np.arange(min(count, (n - 1) // 2) + 1) / n
    phase = np.outer(frequency, np.arange(n))
    layers = []
    for j in range(order + 1):
        turn = j * np.pi / 2.0
        weight = (-frequency / spacing) ** j * np.sqrt(np.where(frequency > 0, 2.0, 1.0) / n)
        even = weight[:, None] * np.cos(phase + turn)
        odd = weight[1:, None] * np.sin(phase[1:] + turn)
        layers.append(np.concatenate([even, odd]))
    return TestFunctions(np.stack(layers), np.concatenate([frequency, frequency[1:]]))


def spline_tests(n: int, spacing: float, order: int, highest: float) -> TestFunctions:
    """Combinations of B-splines on n points with ends, up to a frequency in radians per step."""
    degree = SMOOTHNESS + (order if order > 1 else 0)
    step = KNOT_STEP if n >= max(SHORT, 2 * KNOT_STEP * (degree + 1)) else 1
    intervals = (n - 1) // step
    knots = (n - 1 - intervals * step) / 2.0 + step * np.arange(intervals + 1.0)
    grid = np.arange(float(n))
    layers = np.zeros((order + 1, intervals - degree, n))
    for i in range(intervals - degree):
        bump = BSpline.basis_element(knots[i : i + degree + 2], extrapolate=False)
        for j in range(order + 1):
            part = bump.derivative(j)(grid) if j else bump(grid)
            layers[j, i] = (-1.0 / spacing) ** j * np.nan_to_num(part)
    slopes = spacing * layers[1]
    eigenvalues, mixing = eigh(slopes @ slopes.T, layers[0] @ layers[0].T)
    frequency = np.sqrt(np.maximum(eigenvalues, 0.0))
    # Two functions at least, the smoothest, whatever the data's own band.
    kept = frequency <= max(highest, frequency[1])
    return TestFunctions(np.einsum("ia,jin->jan", mixing[:, kept], layers), frequency[kept])
