"""How large the measurement noise is: from smoother residuals and from divided differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["NoiseModel", "difference_variance", "estimate_noise"]

Array = NDArray[np.float64]

DIFFERENCE_ORDERS = range(2, 7)

CHUNK = 4096
"""Differences taken at once: what stays in the processor's cache."""

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


def difference_variance(t: Array, x: Array, weight: Array) -> float:
    """Noise variance from high-order divided differences of one run.

    A difference of order p removes polynomials below degree p; scaled to unit weight it has the
    variance of the noise plus what is left of the signal, so the least over p = 2..6 is taken.

    Parameters
    ----------
    t, x : ndarray of shape (n,)
        Times, increasing, and finite values.
    weight : ndarray of shape (n,)
        Relative precisions: the variance of x_i is the answer divided by weight_i.

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
        total = 0.0
        for first in range(0, n, CHUNK):
            rows = slice(first, min(first + CHUNK, n) + order)
            total += _squared_differences(t[rows], x[rows], weight[rows], order)
        best = min(best, total / n)
    return best


def _squared_differences(t: Array, x: Array, weight: Array, order: int) -> float:
    """Sum of the squared divided differences of an order, each scaled to unit variance."""
    nodes, values, spread = (
        np.lib.stride_tricks.sliding_window_view(part, order + 1).T for part in (t, x, 1.0 / weight)
    )
    inverse = 1.0 / (nodes[-1] - nodes[0])
    product = np.ones(nodes.shape)
    for i in range(order + 1):
        for j in range(i):
            gap = (nodes[i] - nodes[j]) * inverse
            product[i] *= gap
            product[j] *= gap  # its sign: below
    signs = np.where(np.arange(order, -1, -1) % 2, -1.0, 1.0)
    contrast = signs[:, None] / product
    difference = np.einsum("pn,pn->n", contrast, values)
    unit = np.einsum("pn,pn,pn->n", contrast, contrast, spread)
    return float((difference**2 / unit).sum())


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
    seen = [w > 0 for w in weight]
    errors = np.concatenate(
        [
            # Near interpolation both are tiny and their ratio is still the left-out error.
            np.sqrt(w[one]) * (data - y)[one] / np.maximum(1.0 - h[one], 1e-9)
            for data, w, y, h, one in zip(x, weight, fitted, leverage, seen, strict=True)
        ]
    )
    values = np.concatenate([y[one] for y, one in zip(fitted, seen, strict=True)])
    freedom = np.concatenate(
        [np.maximum(1.0 - h[one], 1e-9) for h, one in zip(leverage, seen, strict=True)]
    )

    def level(share: float) -> float:
        """Variance at y = 0 if that at y is ``1 + share y**2`` times it."""
        by_residual = float(np.mean(errors**2 / (1.0 + share * values**2)))
        differences = [
            (difference_variance(times[one], data[one], (w / (1.0 + share * y**2))[one]), one.sum())
            for times, data, w, y, one in zip(t, x, weight, fitted, seen, strict=True)
        ]
        finite = [(value, count) for value, count in differences if np.isfinite(value)]
        if not finite:
            return by_residual
        by_difference = sum(value * count for value, count in finite) / sum(n for _, n in finite)
        return min(by_residual, float(by_difference))

    # A state that is exactly 0 throughout has no size; anything else would divide by nothing.
    amplitude = max(float(values.std()), 1e-8 * float(np.abs(values).max(initial=0.0))) or 1.0
    discrepancy = (RELATIVE_FLOOR * amplitude) ** 2
    constant, share = level(0.0), 0.0
    if constant > discrepancy:
        share = _proportional_share(freedom * errors, values, freedom)
        constant = level(share)
    mean = constant * float(np.mean(1.0 + share * values**2))
    return NoiseModel(constant, constant * share, 0.01 * mean, discrepancy)


def _proportional_share(residuals: Array, values: Array, freedom: Array) -> float:
    """Ratio of proportional to constant in the likeliest model; 0 if a constant does as well.

    Each datum counts by the freedom that the smoother leaves it: at peaks between which the samples
    barely follow the signal, left-out errors are large for all that the noise is not.
    """
    n, left = len(residuals), float(freedom.sum())
    scale = float(np.mean(values**2))
    if scale == 0.0:
        return 0.0
    # Guard against exact zeros (repeated or interpolated points), which have no log-likelihood.
    squared = np.maximum(residuals**2, 1e-6 * np.mean(residuals**2))

    def cost(share: float) -> float:
        shape = 1.0 + share * values**2
        return float(
            (freedom * np.log(shape)).sum() + left * np.log((squared / shape).sum() / left)
        )

    grid = 10.0 ** np.arange(-2.0, 4.01, 0.25) / scale
    costs = np.array([cost(share) for share in grid])
    best = int(np.argmin(costs))
    return float(grid[best]) if cost(0.0) - costs[best] > 3.0 * np.log(n) else 0.0
