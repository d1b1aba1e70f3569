"""Gross errors among the measurements: found by what their neighbours say, one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from .smoothing import ChannelFit, smooth_channels

__all__ = ["find_outliers"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

GROSS = 7.0
"""Left-out residuals beyond this many robust standard deviations are suspected."""

LONELY = 3.5
"""Neighbours of a gross error are no further off than this once it is left out."""

LARGEST_SHARE = 0.2
"""More than this are no outliers but another law of noise, or a signal that is too coarse."""

NEIGHBOURHOOD = 31
"""Samples over which the typical residual is taken."""

LARGEST_RATIO = 6.0
"""Where the residuals are larger than this many times the typical one, errors are the cause."""

ROUNDS = 12
FEWEST = 20


def find_outliers(
    steps: Sequence[Array],
    data: Sequence[Array],
    weight: Sequence[Array],
    fits: Sequence[ChannelFit],
) -> tuple[Mask, ...]:
    """Measurements that their own neighbours contradict, and that stand alone in it.

    A datum is suspected when leaving it out leaves a residual far beyond the typical one. It is a
    gross error only if the smoother, without it, agrees with its neighbours: a fast event that the
    samples barely resolve throws out its neighbours too, and is kept whole.

    Parameters
    ----------
    steps : sequence of ndarray of shape (n - 1,), one per run
        Time steps, about 1.
    data, weight : sequence of ndarray of shape (n, V)
        Measurements and their weights, 0 where nothing was measured.
    fits : sequence of ChannelFit
        The smoothed states, `smooth_channels(steps, data, weight)`.

    Returns
    -------
    tuple of ndarray of bool, shape (n, V), one per run

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.outliers import find_outliers
    >>> from discoverers.smoothing import smooth_channels
    >>> x = np.sin(0.2 * np.arange(60)) + 0.01 * np.random.default_rng(0).normal(size=60)
    >>> x[[17, 40]] += [0.5, -0.8]
    >>> runs = [np.ones(59)], [x[:, None]], [np.ones((60, 1))]
    >>> (found,) = find_outliers(*runs, smooth_channels(*runs))
    >>> np.flatnonzero(found[:, 0])
    array([17, 40])
    """
    masks = [np.zeros(part.shape, dtype=bool) for part in weight]
    for v in range(data[0].shape[1]):
        columns = [part[:, [v]] for part in data]
        weights = [part[:, [v]] for part in weight]
        measured = sum(int((part > 0).sum()) for part in weights)
        if min(int((part > 0).sum()) for part in weights) < FEWEST:
            continue
        found = _lonely(steps, columns, weights, fits[v], measured)
        for mask, own in zip(masks, found, strict=True):
            mask[:, v] = own
    return tuple(masks)


def _lonely(
    steps: Sequence[Array],
    x: Sequence[Array],
    weight: Sequence[Array],
    fit: ChannelFit,
    measured: int,
) -> list[Mask]:
    """Gross errors of one state."""
    none = [np.zeros(len(part), dtype=bool) for part in weight]
    suspected, kept = none, list(weight)
    for _ in range(ROUNDS):
        scores = _scores(x, kept, fit)
        fresh = [_peaks(score) & (part[:, 0] > 0) for score, part in zip(scores, kept, strict=True)]
        if not any(mask.any() for mask in fresh):
            break
        suspected = [one | other for one, other in zip(suspected, fresh, strict=True)]
        if sum(int(mask.sum()) for mask in suspected) > LARGEST_SHARE * measured:
            return none
        kept = [
            np.where(mask[:, None], 0.0, part) for mask, part in zip(suspected, weight, strict=True)
        ]
        (fit,) = smooth_channels(steps, x, kept)
    else:
        # It never ends where the signal itself is what stands out.
        return none
    return [
        _alone(mask, np.abs(score) > LONELY, own[:, 0] > 0, part[:, 0])
        for mask, score, own, part in zip(suspected, scores, kept, x, strict=True)
    ]


def _scores(x: Sequence[Array], weight: Sequence[Array], fit: ChannelFit) -> list[Array]:
    """Left-out residuals in robust standard deviations, 0 where nothing is measured."""
    residuals = []
    for part, own, values, leverage in zip(x, weight, fit.values, fit.leverage, strict=True):
        seen = own[:, 0] > 0
        left = np.sqrt(np.maximum(1.0 - leverage, 1e-9))
        residual = np.sqrt(own[:, 0]) * (part[:, 0] - values) / left
        residuals.append(np.where(seen, residual, np.nan))
    sizes = np.abs(np.concatenate(residuals))
    # Half of the residuals can be rounding alone; what then stands out is not gross.
    largest = max(float(np.abs(np.concatenate([part[:, 0] for part in x])).max()), 1e-300)
    typical = max(float(np.median(sizes[~np.isnan(sizes)])), 1e-6 * largest)
    return [
        np.nan_to_num(residual)
        / (1.4826 * np.clip(_local_size(residual), typical, LARGEST_RATIO * typical))
        for residual in residuals
    ]


def _local_size(residual: Array) -> Array:
    """Running median of the residuals' size: noise may grow with the state."""
    seen = np.flatnonzero(~np.isnan(residual))
    out = np.zeros(len(residual))
    if len(seen):
        out[seen] = median_filter(np.abs(residual[seen]), size=NEIGHBOURHOOD, mode="nearest")
    return out


def _peaks(score: Array) -> Mask:
    """Suspects: beyond the limit, and the largest among their neighbours."""
    size = np.abs(score)
    padded = np.pad(size, 2)
    around = np.max([padded[:-4], padded[1:-3], padded[3:-1], padded[4:]], axis=0)
    return np.asarray((size > GROSS) & (size >= around))


def _alone(suspected: Mask, off: Mask, measured: Mask, x: Array) -> Mask:
    """Suspects whose neighbours, the two nearest good measurements on either side, are not off.

    One of several suspects that lies between its neighbours may be the flank of a fast event.
    """
    out = suspected.copy()
    good = np.flatnonzero(measured)
    present = np.flatnonzero(measured | suspected)
    for i in np.flatnonzero(suspected):
        k = int(np.searchsorted(good, i))
        around = good[max(k - 2, 0) : k + 2]
        p = int(np.searchsorted(present, i))
        adjacent = present[max(p - 1, 0) : p + 2]
        crowded = suspected[present[max(p - 4, 0) : p + 5]].sum() > 1
        flank = crowded and len(around) > 0 and x[around].min() <= x[i] <= x[around].max()
        if off[around].any() or suspected[adjacent].sum() > 2 or flank:
            out[i] = False
    return out
