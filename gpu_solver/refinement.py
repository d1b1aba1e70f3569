"""Iterative refinement with the residual from A, and what it says about the digits lost.

The normal matrix M squares the condition number of A; the residual ``A^T W^2 (b - A y)`` does not
go through M, so that corrections restore what the factorisation lost, as long as they shrink.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gpu_solver.status import SolverStatus

__all__ = ["refine"]

Array = NDArray[np.float64]

#: At most this many corrections.
MAX_CORRECTIONS = 3
#: A correction below this part of the answer is rounding.
NEGLIGIBLE = 1e-15
#: A first correction above this part of the trajectory is worth telling: status "refined".
NOTICEABLE = 1e-12
#: An expected remaining error above this part of the trajectory is "ill-conditioned".
WORRYING = 1e-9


def refine(
    y: Array,
    correction: Callable[[Array], Array],
    scale: Array,
) -> tuple[Array, NDArray[np.int64]]:
    """Add corrections while they shrink usefully.

    Parameters
    ----------
    y : array (..., T, V, R+1)
        First answer.
    correction : callable
        Maps an answer to ``M^-1`` of its residual.
    scale : array (..., 1, 1, R+1)
        Brings the derivatives to one size for norms, such as ``s**r``.

    Returns
    -------
    y : array
        The refined answer.
    status : int array (...)
        ``OK``, ``REFINED`` or ``ILL_CONDITIONED`` for each problem.
    """
    shape = y.shape[:-3]
    status = np.full(shape, int(SolverStatus.OK), dtype=np.int64)
    previous = np.full(shape, np.inf)
    remaining = np.zeros(shape)
    last = np.ones(shape)
    active = np.ones(shape, dtype=bool)
    for step in range(MAX_CORRECTIONS):
        delta = correction(y)
        size, trajectory_size = _relative_sizes(delta, y, scale)
        if step == 0:
            status[trajectory_size > NOTICEABLE] = int(SolverStatus.REFINED)
        helps = active & (size < 0.5 * previous)
        # Corrections shrink geometrically, so the last two foretell the error that is left.
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(last > 0.0, np.minimum(trajectory_size / last, 1.0), 0.0)
        remaining = np.where(active, trajectory_size * ratio, remaining)
        last = np.where(active, trajectory_size, last)
        if helps.all():
            y = y + delta
        elif helps.any():
            y = np.where(helps[..., None, None, None], y + delta, y)
        previous = np.where(helps, size, previous)
        active = helps & (size > NEGLIGIBLE)
        if not active.any():
            break
    status[~(remaining < WORRYING)] = int(SolverStatus.ILL_CONDITIONED)
    return y, status


def _relative_sizes(delta: Array, y: Array, scale: Array) -> tuple[Array, Array]:
    """Largest correction relative to each derivative's own size, and to the whole trajectory's."""
    weight = scale[..., 0, :, :]
    change = np.abs(delta).max(axis=-3) * weight
    size = np.abs(y).max(axis=-3) * weight
    largest = size.max(axis=(-2, -1), keepdims=True)
    # A derivative that is nearly zero beside the others, once scaled, has no digits of its own.
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.where(change == 0.0, 0.0, change / np.maximum(size, 1e-12 * largest))
        whole = np.where(change == 0.0, 0.0, change / largest)
    return own.max(axis=(-2, -1)), whole.max(axis=(-2, -1))
