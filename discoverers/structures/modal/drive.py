"""Recorded inputs as cubics between samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from discoverers.shooting import Record

__all__ = ["Drive"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Drive:
    """The inputs of one run as cubics between samples.

    Attributes
    ----------
    steps : ndarray of shape (S,)
        The different lengths of the intervals.
    which : ndarray of int, shape (n - 1,)
    cubic : ndarray of shape (n - 1, 4, m)
        Coefficients in powers of the interval's share.
    u : ndarray of shape (N, m)
        Inputs at the samples.
    stride : int
        Intervals between two samples; ``n - 1 == stride * (N - 1)``.
    """

    steps: Array
    which: NDArray[np.int64]
    cubic: Array
    u: Array
    stride: int

    @classmethod
    def make(cls, record: Record, stride: int = 1) -> Drive:
        """Sample the record's inputs four times in every interval."""
        lengths = np.diff(record.t) / stride
        # Rounded, or the last digits of evenly spaced times would make every step another one.
        size = float(lengths.mean())
        steps, which = np.unique(np.round(lengths / size, 9), return_inverse=True)
        n, m = len(lengths), record.u.shape[1]
        shares = np.arange(4) / 3.0
        if record.signal.interpolation == "hold":
            values = np.repeat(record.u[:-1, None, None, :], 4, axis=2)
            values = np.repeat(values, stride, axis=1)
        else:
            left = record.t[:-1, None] + lengths[:, None] * np.arange(stride)
            times = left[:, :, None] + lengths[:, None, None] * shares
            values = record.signal(times.ravel()).reshape(n, stride, 4, m)
        powers = np.linalg.inv(np.vander(shares, increasing=True))
        cubic = np.einsum("jp,npm->njm", powers, values.reshape(n * stride, 4, m))
        return cls(
            steps * size,
            np.repeat(which.ravel(), stride).astype(np.int64),
            np.ascontiguousarray(cubic),
            record.u,
            stride,
        )
