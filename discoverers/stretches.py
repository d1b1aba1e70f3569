"""Stretches of records: between gaps, and of long ones what settles a few numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .integration import Integral

__all__ = [
    "between_gaps",
    "integrated_stretches",
    "spread_stretches",
    "trial_share",
    "trial_stretches",
]

TRIAL_SAMPLES = 16_384
"""Weights for records of more than twice as many samples are chosen on so many, in stretches."""

TRIAL_STRETCH = 2048

GAP = 10.0
"""A step so many times the median one is a gap: times that fall at random rarely leave such."""

LEAST_BESIDE_GAP = 8
"""Samples on either side that a cut needs, to tell something by themselves."""


def between_gaps(steps: NDArray[np.float64]) -> list[slice]:
    """Rows of a run between its gaps, in which samples say nothing of what happened.

    No quadrature of the right-hand side reaches over a gap, and no path need be followed there:
    an unknown state after it costs little.

    Parameters
    ----------
    steps : ndarray of shape (n - 1,)
        In any unit of time.

    Returns
    -------
    list of slice
        In order; together all n rows.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.stretches import between_gaps
    >>> between_gaps(np.diff(np.r_[0:20, 60:80]))
    [slice(0, 20, None), slice(20, 40, None)]
    """
    n = len(steps) + 1
    bounds = [0]
    for first in (np.flatnonzero(steps > GAP * np.median(steps)) + 1).tolist() if n > 1 else []:
        if min(first - bounds[-1], n - first) >= LEAST_BESIDE_GAP:
            bounds.append(first)
    return [slice(start, stop) for start, stop in zip(bounds, [*bounds[1:], n], strict=True)]


def integrated_stretches(integral: Integral, steps: NDArray[np.float64]) -> list[slice]:
    """Rows of a run that are integrated on their own: the integral's, and no gap in any.

    Parameters
    ----------
    integral : Integral
    steps : ndarray of shape (n - 1,)
        In any unit of time.

    Returns
    -------
    list of slice
        In order.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.integration import MechanisticIntegral
    >>> from discoverers.stretches import integrated_stretches
    >>> integrated_stretches(MechanisticIntegral(), np.diff(np.r_[0:20, 60:80]))
    [slice(0, 20, None), slice(20, 40, None)]
    """
    return [
        slice(piece.start + part.start, piece.start + part.stop)
        for piece in between_gaps(steps)
        for part in integral.segments(piece.stop - piece.start)
    ]


def spread_stretches(lengths: Sequence[int], length: int, most: int) -> list[tuple[int, slice]]:
    """Stretches of contiguous samples, spread evenly over all runs.

    Parameters
    ----------
    lengths : sequence of int
        Samples of each run.
    length : int
        Samples of a stretch; shorter runs are stretches of their own.
    most : int
        Samples of all stretches together, about; at least one stretch is returned.

    Returns
    -------
    list of (int, slice)
        Run and rows of each stretch, in order.

    Examples
    --------
    >>> from discoverers.stretches import spread_stretches
    >>> spread_stretches([100, 5], length=10, most=30)
    [(0, slice(0, 10, None)), (0, slice(50, 60, None)), (1, slice(0, 5, None))]
    """
    found = [
        (run, slice(first, min(first + length, n)))
        for run, n in enumerate(lengths)
        for first in range(0, max(n - length, 0) + 1, length)
    ]
    held = sum(rows.stop - rows.start for _, rows in found)
    count = max(1, int(len(found) * most / held))
    picked = np.unique(np.linspace(0, len(found) - 1, count).round().astype(int))
    return [found[k] for k in picked]


def trial_share(n_samples: int) -> float:
    """Share of so many samples that suffices for hyperparameters; 1 for records read whole."""
    return 1.0 if n_samples <= 2 * TRIAL_SAMPLES else TRIAL_SAMPLES / n_samples


def trial_stretches(precision: Sequence[NDArray[np.float64]]) -> list[tuple[int, slice]]:
    """Where hyperparameters for long records are chosen.

    Parameters
    ----------
    precision : sequence of ndarray of shape (n, V)
        Weights of the data of each run, 0 for what was not measured.

    Returns
    -------
    list of (int, slice)
        As `spread_stretches`; empty for records that are read whole, and where stretches would
        hold less than half of what they should of some state.
    """
    share = trial_share(sum(map(len, precision)))
    if share == 1.0:
        return []
    found = spread_stretches(list(map(len, precision)), TRIAL_STRETCH, TRIAL_SAMPLES)
    seen = sum((precision[run][rows] > 0).sum(axis=0) for run, rows in found)
    expected = sum((part > 0).sum(axis=0) for part in precision) * share
    return found if (seen >= 0.5 * expected).all() else []
