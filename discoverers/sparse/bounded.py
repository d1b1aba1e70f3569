"""The best step of a quadratic within bounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

__all__ = ["bounded_step"]

Array = NDArray[np.float64]


def bounded_step(
    matrix: Array, gradient: Array, damping: float, lower: Array, upper: Array, free: Array
) -> Array:
    """Minimise ``step @ matrix @ step / 2 - gradient @ step`` with lower <= step <= upper.

    Parameters
    ----------
    matrix : ndarray of shape (k, k)
        Symmetric, positive semidefinite; ``damping`` times its diagonal is added.
    gradient : ndarray of shape (k,)
    damping : float
    lower, upper : ndarray of shape (k,)
        Infinite where there is no bound. A start outside of its bounds is led back into them.
    free : ndarray of shape (k,)
        The step without bounds: the answer if it keeps them.

    Returns
    -------
    ndarray of shape (k,)

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.sparse.bounded import bounded_step
    >>> matrix, gradient = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([3.0, 0.0])
    >>> free = np.linalg.solve(matrix, gradient)
    >>> low, high = np.array([0.0, 0.0]), np.array([np.inf, np.inf])
    >>> bounded_step(matrix, gradient, 0.0, low, high, free).round(6)
    array([1.5, 0. ])
    """
    if np.all((free >= lower) & (free <= upper)):
        return free
    norms = np.sqrt(np.maximum(np.diagonal(matrix), 1e-300))
    scaled = matrix / np.outer(norms, norms) + (damping + 1e-13) * np.eye(len(norms))
    values, vectors = np.linalg.eigh(scaled)
    root = np.sqrt(np.maximum(values, 1e-15))
    answer = lsq_linear(
        (vectors * root).T,
        (vectors.T @ (gradient / norms)) / root,
        bounds=(lower * norms, upper * norms),
        method="bvls",
    )
    return np.asarray(answer.x / norms)
