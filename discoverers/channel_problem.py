"""What the smoothers of one state have in common: Taylor rows, scaling, degrees of freedom."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpu_solver.assembly import taylor_matrix

__all__ = [
    "LEAST_FREEDOM",
    "freedom_left",
    "row_weights",
    "standardised",
    "taylor_blocks",
    "typical_precision",
]

Array = NDArray[np.float64]

LEAST_FREEDOM = 1e-9
"""Share of the degrees of freedom that must be left for residuals to mean something."""

SHORTEST_STEP = 0.3
"""Of shorter steps the rows of low derivatives weigh no more: they would leave float64 no room for
the data."""


def row_weights(steps: Array, order: int) -> Array:
    """Squared weights of Taylor rows with which smoothness does not depend on the sampling.

    A highest derivative that wanders as a random walk over time gains a variance of h over a step
    of length h, and ``s**r y`` one of h**(2 R + 1), whatever r is. Rows weighted alike at all steps
    would leave the highest derivative free at short ones, and stiff over gaps.

    Parameters
    ----------
    steps : ndarray of shape (n - 1,)
        About 1, where the weights are 1.
    order : int
        R.

    Returns
    -------
    ndarray of shape (n - 1, R + 1)

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.channel_problem import row_weights
    >>> row_weights(np.array([1.0, 0.5, 2.0]), 1)
    array([[1.   , 1.   ],
           [8.   , 8.   ],
           [0.125, 0.125]])
    """
    power = 2.0 * order + 1.0
    step = steps[:, None]
    return np.minimum(step**-power, SHORTEST_STEP**-power * step ** (-2.0 * np.arange(order + 1)))


def taylor_blocks(steps: Array, order: int, weights: Array) -> tuple[Array, Array]:
    """Blocks of A^T W^2 A of the Taylor rows alone.

    Parameters
    ----------
    steps : ndarray of shape (n - 1,)
    order : int
        R.
    weights : ndarray of shape (R + 1,) or (n - 1, R + 1)
        Squared weight of the row of each derivative, at all steps or at each.

    Returns
    -------
    diagonal : ndarray of shape (n, R + 1, R + 1)
    lower : ndarray of shape (n - 1, R + 1, R + 1)
    """
    size = order + 1
    ahead, back, unit = taylor_matrix(order), taylor_matrix(order, -1), np.eye(size)

    def weighted(one: Array, other: Array) -> Array:
        """Sum of products of rows of two matrices."""
        products = (one[:, :, None] * other[:, None, :]).reshape(size, -1)
        return (np.atleast_2d(weights) @ products).reshape(-1, size, size)

    # Every entry is a power of the step times a constant.
    exponents = np.arange(size)[:, None] + np.arange(size)
    powers = (steps[:, None] ** np.arange(2.0 * order + 1.0))[:, exponents]
    diagonal = np.zeros((len(steps) + 1, size, size))
    diagonal[:-1] = powers * (weighted(ahead, ahead) + weighted(unit, unit))
    diagonal[1:] += powers * (weighted(back, back) + weighted(unit, unit))
    powers *= -(weighted(unit, ahead) + weighted(back, unit))
    return diagonal, powers


def freedom_left(precision: Sequence[Array], leverages: Sequence[Array]) -> float:
    """Weighted degrees of freedom left, as a share of the weights.

    Each datum counts by its weight: else leaving out a single one of little weight would pay for
    interpolating all the others.
    """
    total = sum(float(weight.sum()) for weight in precision)
    left = sum(
        float((weight * (1.0 - leverage)).sum())
        for weight, leverage in zip(precision, leverages, strict=True)
    )
    return max(left, LEAST_FREEDOM * total) / total


def typical_precision(precision: Array) -> float:
    """Median of the precisions that are not 0."""
    positive = precision[precision > 0]
    return float(np.median(positive)) if positive.size else 1.0


def standardised(X: Sequence[Array], weights: Sequence[Array]) -> tuple[list[Array], Array, Array]:
    """Centre and scale each column by its measured entries; unmeasured ones become 0."""
    measured = np.concatenate([x[weight > 0] for x, weight in zip(X, weights, strict=True)])
    centre = measured.mean(axis=0)
    spread = measured.std(axis=0)
    spread = np.where(spread > 1e-12 * np.abs(centre), spread, np.maximum(np.abs(centre), 1.0))
    return (
        [
            np.where(weight[:, None] > 0, (x - centre) / spread, 0.0)
            for x, weight in zip(X, weights, strict=True)
        ],
        centre,
        spread,
    )
