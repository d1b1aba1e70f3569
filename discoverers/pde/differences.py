"""Derivatives along space: by Fourier on a ring, by differences of high order on an interval."""

from __future__ import annotations

from math import factorial

import numpy as np
from numpy.typing import NDArray

__all__ = ["derivative_matrix", "spatial_derivative", "stencil_weights"]

Array = NDArray[np.float64]

STENCIL = 11
"""Points of a difference formula: errors of order h**(11 - j) in a derivative of order j."""


def stencil_weights(offsets: Array, order: int) -> Array:
    """Weights of values at ``offsets`` (steps) for a derivative at 0, exact for polynomials.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.pde.differences import stencil_weights
    >>> stencil_weights(np.array([-1.0, 0.0, 1.0]), 2).round(12)
    array([ 1., -2.,  1.])
    """
    scale = max(float(np.abs(offsets).max()), 1.0)
    powers = (offsets / scale) ** np.arange(len(offsets))[:, None]
    moments = np.zeros(len(offsets))
    moments[order] = factorial(order) / scale**order
    return np.asarray(np.linalg.solve(powers, moments), dtype=np.float64)


def derivative_matrix(n: int, spacing: float, order: int, points: int = STENCIL) -> Array:
    """Matrix (n, n) of a derivative on a grid with ends; one-sided formulas near them."""
    points = min(points, n)
    out = np.zeros((n, n))
    weights: dict[int, Array] = {}
    for i in range(n):
        first = min(max(i - points // 2, 0), n - points)
        at = i - first
        if at not in weights:
            weights[at] = stencil_weights(np.arange(float(points)) - at, order)
        out[i, first : first + points] = weights[at]
    return out / spacing**order


def spatial_derivative(values: Array, spacing: float, order: int, periodic: bool) -> Array:
    """Derivative along the last axis.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.pde.differences import spatial_derivative
    >>> x = np.arange(32) * np.pi / 16
    >>> bool(np.allclose(spatial_derivative(np.sin(x), np.pi / 16, 2, True), -np.sin(x)))
    True
    """
    n = values.shape[-1]
    if not periodic:
        return values @ derivative_matrix(n, spacing, order).T
    symbol = (2j * np.pi * np.fft.rfftfreq(n, spacing)) ** order
    if n % 2 == 0 and order % 2:
        # The derivative of the mode that changes sign at every point vanishes on the grid.
        symbol[-1] = 0.0
    return np.fft.irfft(symbol * np.fft.rfft(values), n)
