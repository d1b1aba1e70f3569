"""How large the measurement noise is: from smoother residuals and from divided differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NoiseModel", "difference_variance", "estimate_noise"]

Array = NDArray[np.float64]

DIFFERENCE_ORDERS = range(2, 7)

RELATIVE_FLOOR = 1e-4
"""Noise below this share of a state's amplitude is called model discrepancy, not noise: it makes
clean data a well-posed problem, and charges a term that explains less than that."""


@dataclass(frozen=True)
class NoiseModel:
    """Variance of a measurement of y: ``max(constant + proportional y**2, least) + discrepancy``.

    Attributes
    ----------
    constant, proportional : float
        Squared standard deviation, and squared relative one.
    least : float
        No datum is taken to be more exact than this: a tenth of the typical standard deviation.
    discrepancy : float
        Part that is not noise: what a right model may miss. See `RELATIVE_FLOOR`.
    """

    constant: float
    proportional: float
    least: float
    discrepancy: float

    def measurement(self, y: Array) -> Array:
        """Variance of the noise alone at states y, any shape."""
        return np.maximum(self.constant + self.proportional * y**2, self.least)

    def variance(self, y: Array) -> Array:
        """Variance at states y of a datum around the model, any shape."""
        return self.measurement(y) + self.discrepancy


def difference_variance(t: Array, x: Array) -> float:
    """Noise variance from high-order divided differences of one run.

    A difference of order p removes polynomials below degree p; scaled to unit weight it has the
    variance of the noise plus what is left of the signal, so the least over p = 2..6 is taken.

    Parameters
    ----------
    t, x : ndarray of shape (n,)
        Times, increasing, and finite values.

    Returns
    -------
    float
        Infinity when there are fewer than 8 values.
    """
    best = np.inf
    for order in DIFFERENCE_ORDERS:
        n = len(t) - order
        if n < 6:
            break
        nodes = np.lib.stride_tricks.sliding_window_view(t, order + 1)
        values = np.lib.stride_tricks.sliding_window_view(x, order + 1)
        gaps = (nodes[:, :, None] - nodes[:, None, :]) / (nodes[:, -1:, None] - nodes[:, :1, None])
        gaps[:, range(order + 1), range(order + 1)] = 1.0
        weights = 1.0 / gaps.prod(axis=2)
        weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
        best = min(best, float(np.mean((weights * values).sum(axis=1) ** 2)))
    return best


def estimate_noise(
    t: Sequence[Array],
    x: Sequence[Array],
    weight: Sequence[Array],
    fitted: Sequence[Array],
    leverage: Sequence[Array],
) -> NoiseModel:
    """Noise of one state from its smoother, pooled over runs.

    The level is the smaller of two estimates that both err upwards: leave-one-out residuals and
    divided differences. A part proportional to the state is kept only if the likelihood of the
    residuals gains more than 1.5 log n.

    Parameters
    ----------
    t, x, weight, fitted, leverage : sequence of ndarray of shape (n,), one per run
        Times, data (any value where weight is 0), sample weights, smoothed states, leverages.

    Returns
    -------
    NoiseModel
    """
    residual, states, differences, counts = [], [], [], []
    for times, data, w, y, h in zip(t, x, weight, fitted, leverage, strict=True):
        seen = w > 0
        # Near interpolation both are tiny and their ratio is still the left-out error.
        loo = (data - y)[seen] / np.maximum(1.0 - h[seen], 1e-9)
        residual.append(np.sqrt(w[seen]) * loo)
        states.append(y[seen])
        differences.append(difference_variance(times[seen], data[seen]))
        counts.append(int(seen.sum()))
    errors, values = np.concatenate(residual), np.concatenate(states)
    by_residual = float(np.mean(errors**2))
    by_difference = float(np.average(differences, weights=counts))
    level = min(by_residual, by_difference)
    amplitude = max(float(values.std()), 1e-8 * float(np.abs(values).max(initial=0.0)), 1e-150)
    discrepancy = (RELATIVE_FLOOR * amplitude) ** 2
    share = _proportional_share(errors, values) if level > discrepancy else 0.0
    # The mean variance is the level; the likelihood of the residuals only gives its shape.
    constant = level / float(np.mean(1.0 + share * values**2))
    return NoiseModel(constant, constant * share, 0.01 * level, discrepancy)


def _proportional_share(errors: Array, values: Array) -> float:
    """Ratio of proportional to constant in the likeliest model; 0 if a constant does as well."""
    n, scale = len(errors), float(np.mean(values**2))
    if scale == 0.0:
        return 0.0
    # Guard against exact zeros (repeated or interpolated points), which have no log-likelihood.
    squared = np.maximum(errors**2, 1e-6 * np.mean(errors**2))

    def cost(share: float) -> float:
        shape = 1.0 + share * values**2
        return float(np.log(shape).sum() + n * np.log(np.mean(squared / shape)))

    grid = 10.0 ** np.arange(-2.0, 4.01, 0.25) / scale
    costs = np.array([cost(share) for share in grid])
    best = int(np.argmin(costs))
    return float(grid[best]) if cost(0.0) - costs[best] > 3.0 * np.log(n) else 0.0
