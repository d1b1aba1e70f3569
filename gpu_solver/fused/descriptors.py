"""Arrays of a flat batch as the compiled loops take them: addresses, strides and dtype.

A descriptor is 8 integers: address, whether it is float32, the strides in bytes over problems,
times and entries, the number of times (1: the same at all times), how many lanes' problems are
folded into one of the array's, and the stride over those.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["descriptor", "flat_descriptor"]

_NOTHING = (0, 0, 0, 0, 0, 0, 1, 0)
_SINGLE = np.dtype(np.float32)


def descriptor(array: NDArray[Any] | None, fold_axis: int | None = None) -> tuple[int, ...]:
    """Describe an array (problems, times, entries), or with an axis of parts among these."""
    if array is None:
        return _NOTHING
    shape, strides = array.shape, array.strides
    parts, stride = 1, 0
    if fold_axis is not None:
        parts, stride = shape[fold_axis], strides[fold_axis]
        shape = shape[:fold_axis] + shape[fold_axis + 1 :]
        strides = strides[:fold_axis] + strides[fold_axis + 1 :]
    return (
        array.__array_interface__["data"][0],
        int(array.dtype == _SINGLE),
        *strides,
        shape[1],
        parts,
        stride,
    )


def flat_descriptor(array: NDArray[Any]) -> tuple[int, ...] | None:
    """Describe an array (problems, times, ...), or say None if its entries lie unevenly.

    What does not move in time is described as the same at all times, whatever its shape says.
    """
    step = array.itemsize
    following: int | None = None
    for size, stride in zip(reversed(array.shape[2:]), reversed(array.strides[2:]), strict=True):
        if size == 1:
            continue
        if following is None:
            step = stride
        elif stride != following:
            return None
        following = size * stride
    problems, times = array.strides[:2]
    return (
        array.__array_interface__["data"][0],
        int(array.dtype == _SINGLE),
        problems,
        times,
        step,
        array.shape[1] if times else 1,
        1,
        0,
    )
