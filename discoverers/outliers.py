"""Gross errors among the measurements: found by what their neighbours say, one sample at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

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

BARELY = 0.02
"""Share of a gross error's height that its neighbours may be off: of an event so steep that they
are off by no more, the samples tell nothing."""

LARGEST_SHARE = 0.2
"""More than this are no outliers but another law of noise, or a signal that is too coarse."""

WORST = 0.1
"""Suspects of a round are at least this share of the worst one."""

NEIGHBOURHOOD = 31
"""Samples over which the typical residual is taken."""

LARGEST_RATIO = 6.0
"""Where the residuals are larger than this many times the typical one, errors are the cause."""

SIDE_BY_SIDE = 3
"""Errors in a row, at most; more are an event."""

ROUNDS = 12
FEWEST = 20

END = 3
"""Samples at either end of a run that are judged by extrapolation: the smoother follows them."""

STRETCH = 60
"""Samples from which an end is judged."""

FAINT = 1e-9
"""Weight, in units of the typical one, of a datum that is predicted but must have no say."""


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
        good = [(part[:, 0] > 0) & ~mask for part, mask in zip(weight, suspected, strict=True)]
        residuals = _residuals(x, weight, fit, good)
        sizes = _sizes(x, residuals)
        scores = [np.nan_to_num(part) / size for part, size in zip(residuals, sizes, strict=True)]
        # A gross error makes its surroundings look wrong too: the worst go first.
        limit = max(GROSS, WORST * max(float(np.abs(score).max()) for score in scores))
        fresh = [_peaks(score, limit) & own for score, own in zip(scores, good, strict=True)]
        if not any(mask.any() for mask in fresh):
            # Errors inside spoil the smoothness that the ends are judged by: the ends go last.
            fresh = _ends(steps, x, kept, good, sizes)
        if not any(mask.any() for mask in fresh):
            break
        suspected = [one | other for one, other in zip(suspected, fresh, strict=True)]
        if sum(int(mask.sum()) for mask in suspected) > LARGEST_SHARE * measured:
            return none
        kept = _faint(weight, suspected)
        (fit,) = smooth_channels(steps, x, kept)
    else:
        # It never ends where the signal itself is what stands out.
        return none
    found = _standing(x, weight, kept, suspected, fit, sizes)
    # Of errors side by side, those in the middle agree with what is left of the others.
    between = [
        _between(mask & ~stands, own)
        for mask, stands, own in zip(suspected, found, good, strict=True)
    ]
    if not any(mask.any() for mask in between):
        return found
    suspected = [one | other for one, other in zip(suspected, between, strict=True)]
    kept = _faint(weight, suspected)
    (fit,) = smooth_channels(steps, x, kept)
    good = [(part[:, 0] > 0) & ~mask for part, mask in zip(weight, suspected, strict=True)]
    # The smoother that followed them left less.
    sizes = _sizes(x, _residuals(x, weight, fit, good))
    again = _standing(x, weight, kept, suspected, fit, sizes)
    return [one | other for one, other in zip(found, again, strict=True)]


def _faint(weight: Sequence[Array], suspected: Sequence[Mask]) -> list[Array]:
    """Weights with which suspects are predicted, and have no say."""
    return [
        np.where(mask[:, None], FAINT * part, part)
        for mask, part in zip(suspected, weight, strict=True)
    ]


def _standing(
    x: Sequence[Array],
    weight: Sequence[Array],
    kept: Sequence[Array],
    suspected: Sequence[Mask],
    fit: ChannelFit,
    sizes: Sequence[Array],
) -> list[Mask]:
    """Suspects that stand alone, in the fit that was made without them."""
    good = [(part[:, 0] > 0) & ~mask for part, mask in zip(weight, suspected, strict=True)]
    residuals = _residuals(x, weight, fit, good)
    left_out = [
        _left_out(*parts) for parts in zip(x, weight, kept, fit.values, fit.leverage, strict=True)
    ]
    found = []
    for mask, own, residual, (error, spread), size, part in zip(
        suspected, good, residuals, left_out, sizes, x, strict=True
    ):
        height = np.abs(error) / (size * spread)
        # What others made look wrong, before they were left out themselves, is good after all.
        cleared = mask & (height <= GROSS)
        away = np.where(cleared, height, np.abs(np.nan_to_num(residual)) / size)
        found.append(_alone(mask & ~cleared, away, own | cleared, part[:, 0], height))
    return found


def _left_out(
    x: Array, weight: Array, faint: Array, values: Array, leverage: Array
) -> tuple[Array, Array]:
    """Distance of data from what the others predict, and its standard deviation in unit noise."""
    own, little = weight[:, 0], np.where(faint[:, 0] > 0, faint[:, 0], 1.0)
    # However faint, where the smoother is free it follows: what was left out exactly is known.
    left = np.maximum(1.0 - leverage, 1e-9)
    spread = np.sqrt(1.0 + own / little * leverage / left)
    return np.sqrt(own) * (x[:, 0] - values) / left, spread


def _residuals(
    x: Sequence[Array], weight: Sequence[Array], fit: ChannelFit, good: Sequence[Mask]
) -> list[Array]:
    """Residuals of equal variance, NaN where there is no good datum."""
    found = []
    for part, own, values, leverage, seen in zip(
        x, weight, fit.values, fit.leverage, good, strict=True
    ):
        left = np.sqrt(np.maximum(1.0 - leverage, 1e-9))
        found.append(np.where(seen, np.sqrt(own[:, 0]) * (part[:, 0] - values) / left, np.nan))
    return found


def _sizes(x: Sequence[Array], residuals: Sequence[Array]) -> list[Array]:
    """Robust standard deviation of the residuals around each sample."""
    values = np.abs(np.concatenate(residuals))
    # Half of the residuals can be rounding alone; what then stands out is not gross.
    largest = max(float(np.abs(np.concatenate([part[:, 0] for part in x])).max()), 1e-300)
    typical = max(float(np.median(values[~np.isnan(values)])), 1e-6 * largest)
    return [
        1.4826 * np.clip(_local_size(residual), typical, LARGEST_RATIO * typical)
        for residual in residuals
    ]


def _local_size(residual: Array) -> Array:
    """Running median of the residuals' size: noise may grow with the state."""
    seen = np.flatnonzero(~np.isnan(residual))
    out = np.zeros(len(residual))
    if len(seen):
        out[seen] = median_filter(np.abs(residual[seen]), size=NEIGHBOURHOOD, mode="mirror")
    return out


@dataclass(frozen=True, eq=False)
class _End:
    """The first or last stretch of a run: which, and its good rows from the end inwards."""

    run: int
    rows: NDArray[np.intp]


def _ends(
    steps: Sequence[Array],
    x: Sequence[Array],
    weight: Sequence[Array],
    good: Sequence[Mask],
    sizes: Sequence[Array],
) -> list[Mask]:
    """Gross errors among the first and last data of each run, which their own fit hides.

    The smoother follows whatever stands at an end, so each such datum is predicted from those
    further in, the innermost first, and the smoothness is chosen without it. Several in a row to
    the same side are a fast start of the signal.
    """
    found = [np.zeros(len(part), dtype=bool) for part in weight]
    ends = [
        _End(i, np.flatnonzero(own)[::way][:STRETCH])
        for i, own in enumerate(good)
        for way in (1, -1)
    ]
    scores = _extrapolated(steps, x, weight, sizes, ends, [END] * len(ends))
    doubtful = [k for k, score in enumerate(scores) if np.abs(score).max() > LONELY]
    if not doubtful:
        return found
    ends, scores = [ends[k] for k in doubtful], [scores[k] for k in doubtful]
    for held in range(END - 1, 0, -1):
        inner = _extrapolated(steps, x, weight, sizes, ends, [held] * len(ends))
        for score, fresh in zip(scores, inner, strict=True):
            score[:held] = fresh
    for end, score in zip(ends, scores, strict=True):
        off = np.abs(score) > GROSS
        for side in (off & (score > 0), off & (score < 0)):
            if side.sum() == 1:
                found[end.run][end.rows[:END][side]] = True
    return found


def _extrapolated(
    steps: Sequence[Array],
    x: Sequence[Array],
    weight: Sequence[Array],
    sizes: Sequence[Array],
    ends: Sequence[_End],
    held: Sequence[int],
) -> list[Array]:
    """How far the outermost data are from what the others predict, in standard deviations."""
    nodes = [np.arange(end.rows.min(), end.rows.max() + 1) for end in ends]
    weights = [weight[end.run][own].copy() for end, own in zip(ends, nodes, strict=True)]
    places = [end.rows[:count] - own[0] for end, own, count in zip(ends, nodes, held, strict=True)]
    for part, outer in zip(weights, places, strict=True):
        part[outer] *= FAINT
    (fit,) = smooth_channels(
        [steps[end.run][own[:-1]] for end, own in zip(ends, nodes, strict=True)],
        [x[end.run][own] for end, own in zip(ends, nodes, strict=True)],
        weights,
    )
    scores = []
    for k, (end, own, outer) in enumerate(zip(ends, nodes, places, strict=True)):
        data, full, size = x[end.run][own], weight[end.run][own], sizes[end.run][own]
        error, spread = _left_out(data, full, weights[k], fit.values[k], fit.leverage[k])
        scores.append((error / (size * spread))[outer])
    return scores


def _peaks(score: Array, limit: float) -> Mask:
    """Suspects: beyond the limit, and the largest among their neighbours."""
    size = np.abs(score)
    padded = np.pad(size, 2)
    around = np.max([padded[:-4], padded[1:-3], padded[3:-1], padded[4:]], axis=0)
    return np.asarray((size > limit) & (size >= around))


def _between(suspected: Mask, good: Mask) -> Mask:
    """Good data with suspects on both sides, at most `SIDE_BY_SIDE` in a row."""
    present = np.flatnonzero(suspected | good)
    off = suspected[present]
    inside = np.zeros(len(off), dtype=bool)
    ends = np.flatnonzero(off)
    for first, last in pairwise(ends):
        if last - first <= SIDE_BY_SIDE + 1:
            inside[first + 1 : last] = True
    found = np.zeros(len(suspected), dtype=bool)
    found[present[inside]] = True
    return found


def _alone(suspected: Mask, away: Array, measured: Mask, x: Array, height: Array) -> Mask:
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
        crowded = suspected[present[max(p - 4, 0) : p + 5]].sum() > 1
        flank = crowded and len(around) > 0 and x[around].min() <= x[i] <= x[around].max()
        if (away[around] > max(LONELY, BARELY * height[i])).any() or flank:
            out[i] = False
    row = suspected[present]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]])))
    for first, last in edges.reshape(-1, 2):
        side_by_side = present[first:last]
        if not _abrupt(height[side_by_side]):
            out[side_by_side] = False
    return out


def _abrupt(height: Array) -> bool:
    """Whether suspects side by side are errors rather than an event that the samples follow.

    A smooth pulse falls off no faster than a Gaussian: by its height in the middle and at its edge
    the samples next to it would stand out too.
    """
    if len(height) > SIDE_BY_SIDE:
        return False
    return len(height) < 3 or bool(height.min() ** 4 > GROSS * height.max() ** 3)
