"""Windows with a free initial value, and residuals made white within them.

In a window the data are ``x_i = a + (integral of f)_i + drift_i + noise_i``. The initial value a is
free, so errors do not add up over the record; the drift is a random walk, the integrated error of
features that come from smoothed instead of true states. This is the local-level model, and the
Kalman filter with a diffuse start whitens any column in O(n): the start removes a, the filter the
correlation (Durbin & Koopman, Time Series Analysis by State Space Methods, 2012, chapters 2, 5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .sparse import NormalEquations

__all__ = ["Windows", "split_windows", "whitened_normal_equations", "whitened_rows"]

Array = NDArray[np.float64]

TOGETHER = 4096
"""Windows filtered side by side: their levels stay in the processor's cache."""


@dataclass(frozen=True)
class Windows:
    """Rows of a record in windows of nearly equal length.

    Attributes
    ----------
    index : ndarray of int, shape (n_windows, length)
        Row numbers in increasing order; shorter windows repeat their last row.
    valid : ndarray of bool, shape (n_windows, length)
        False where a row is such a repetition.
    """

    index: NDArray[np.intp]
    valid: NDArray[np.bool_]

    def thinned(self, share: float) -> Windows:
        """About this share of the windows, one at least, spread evenly."""
        count = len(self.index)
        picked = np.unique(np.linspace(0, count - 1, max(1, round(share * count))).round())
        return self.rows(picked.astype(np.intp))

    def within(self, first: int, stop: int) -> Windows:
        """The windows that lie in these rows."""
        return self.rows(np.flatnonzero((self.index[:, 0] >= first) & (self.index[:, -1] < stop)))

    def rows(self, chosen: slice | NDArray[np.intp]) -> Windows:
        """Some of the windows."""
        return Windows(self.index[chosen], self.valid[chosen])


def split_windows(stretches: list[slice], length: int) -> Windows:
    """Cut stretches of rows into windows of about ``length`` rows that do not overlap."""
    parts = [
        part
        for stretch in stretches
        for part in np.array_split(
            np.arange(stretch.start, stretch.stop),
            max(1, round((stretch.stop - stretch.start) / length)),
        )
    ]
    longest = max(map(len, parts))
    index = np.stack([np.pad(part, (0, longest - len(part)), mode="edge") for part in parts])
    valid = np.arange(longest)[None, :] < np.array([len(part) for part in parts])[:, None]
    return Windows(index, valid)


def whitened_normal_equations(
    windows: Windows, columns: Array, precision: Array, elapsed: Array, drift: float
) -> NormalEquations:
    """Normal equations of the last column on the others, whitened window by window.

    Parameters
    ----------
    windows : Windows
    columns : ndarray of shape (n, K + 1)
        Integrated features, and the data last.
    precision : ndarray of shape (n,)
        Inverse noise variance of the data; 0 where nothing was measured.
    elapsed : ndarray of shape (n,)
        Time in steps.
    drift : float
        Variance that the random walk gains per unit of elapsed.

    Returns
    -------
    NormalEquations
        With the log-determinant of the residuals' covariance.
    """
    (found,) = whitened_for_drifts(windows, columns, precision, elapsed, [drift])
    return found


def whitened_for_drifts(
    windows: Windows, columns: Array, precision: Array, elapsed: Array, drifts: Sequence[float]
) -> list[NormalEquations]:
    """As `whitened_normal_equations`, for several drifts in one pass."""
    size, n_drifts = columns.shape[1], len(drifts)
    gram = np.zeros((n_drifts, size, size))
    log_determinant, n_rows = np.zeros(n_drifts), 0
    together = max(1, TOGETHER // n_drifts)
    for first in range(0, len(windows.index), together):
        some = windows.rows(slice(first, first + together))
        for white, variance in _innovations(some, columns, precision, elapsed, drifts):
            gram += np.swapaxes(white, 1, 2) @ white
            log_determinant += np.log(variance).sum(axis=1)
            n_rows += white.shape[1]
    return [
        NormalEquations(
            one[:-1, :-1].copy(), one[:-1, -1].copy(), float(one[-1, -1]), n_rows, float(logarithm)
        )
        for one, logarithm in zip(gram, log_determinant, strict=True)
    ]


def whitened_rows(
    windows: Windows, columns: Array, precision: Array, elapsed: Array, drift: float
) -> Array:
    """The whitened columns themselves, (rows, K): what `whitened_normal_equations` reduces.

    Linear in the columns: an identity gives the whitening as a matrix.
    """
    innovations = _innovations(windows, columns, precision, elapsed, [drift])
    parts = [white[0] for white, _ in innovations]
    return np.concatenate(parts) if parts else np.empty((0, columns.shape[1]))


def _innovations(
    windows: Windows, columns: Array, precision: Array, elapsed: Array, drifts: Sequence[float]
) -> Iterator[tuple[Array, Array]]:
    """Whitened rows of all windows at once, place by place, and the variance that scaled them.

    Shapes (drifts, rows, K) and (drifts, rows).
    """
    count, length = windows.index.shape
    rate = np.asarray(drifts, dtype=np.float64)[:, None]
    level = np.zeros((len(rate), count, columns.shape[1]))
    variance = np.zeros((len(rate), count))
    started = np.zeros(count, dtype=bool)
    for i in range(length):
        rows = windows.index[:, i]
        if i:
            variance = variance + rate * (elapsed[rows] - elapsed[windows.index[:, i - 1]])
        weight = precision[rows]
        seen = windows.valid[:, i] & (weight > 0)
        noise = 1.0 / np.where(seen, weight, 1.0)
        total = variance + noise
        gap = columns[rows] - level
        fresh = seen & started
        # A window's first datum sets its level; later ones give an innovation each.
        gain = np.where(fresh, variance / total, np.where(seen, 1.0, 0.0))
        scale = total if fresh.all() else total[:, fresh]
        part = gap if fresh.all() else gap[:, fresh]
        yield part / np.sqrt(scale)[..., None], scale
        level += gain[..., None] * gap
        variance = np.where(fresh, variance * noise / total, np.where(seen, noise, variance))
        started |= seen
