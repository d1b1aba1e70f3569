"""Arrays of a flat batch as the compiled loops take them: addresses, strides and dtype.

A descriptor is 8 integers: address, whether it is float32, the strides in bytes over problems,
times and entries, the number of times (1: the same at all times), how many lanes' problems are
folded into one of the array's, and the stride over those.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["address", "addresses", "described", "descriptor", "one_stride"]

Array = NDArray[Any]

_NOTHING = (0, 0, 0, 0, 0, 0, 1, 0)
_SINGLE = np.dtype(np.float32)


def address(array: NDArray[Any]) -> int:
    """Where an array's numbers begin."""
    place: int = array.__array_interface__["data"][0]
    return place


def addresses(*arrays: NDArray[Any]) -> tuple[int, ...]:
    """Where each array's numbers begin; the arrays must outlive the use of it."""
    return tuple(array.__array_interface__["data"][0] for array in arrays)


def described(array: NDArray[Any] | None, alive: list[NDArray[Any]]) -> tuple[int, ...]:
    """Describe an array (problems, times, ...), or a copy where its entries lie unevenly.

    Copies are appended to ``alive``.
    """
    if array is None:
        return _NOTHING
    found = _evenly(array)
    if found is None:
        alive.append(one_stride(array))
        found = descriptor(alive[-1])
    return found


def descriptor(array: NDArray[Any] | None, fold_axis: int | None = None) -> tuple[int, ...]:
    """Describe an array (problems, times, entries), or with an axis of parts among these.

    What does not move in time is described as the same at all times, whatever its shape says.
    """
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
        shape[1] if strides[1] else 1,
        parts,
        stride,
    )


def _evenly(array: NDArray[Any]) -> tuple[int, ...] | None:
    """Describe an array (problems, times, ...), or say None if its entries lie unevenly."""
    problems, times, *strides = array.strides
    count, *sizes = array.shape[1:]
    step = strides[-1] if strides else array.itemsize
    if len(sizes) > 1:
        step = array.itemsize
        following: int | None = None
        for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
            if size == 1:
                continue
            if following is None:
                step = stride
            elif stride != following:
                return None
            following = size * stride
    return (
        array.__array_interface__["data"][0],
        int(array.dtype == _SINGLE),
        problems,
        times,
        step,
        count if times else 1,
        1,
        0,
    )


def one_stride(array: Array) -> Array:
    """The array as (problems, times, entries): a view, or a copy where entries lie unevenly.

    Axes along which the array repeats itself stay repeated in a copy.
    """
    if array.ndim == 3:
        return array
    if array.flags.c_contiguous:
        return array.reshape(*array.shape[:2], -1)
    lead = array.shape[:2]
    once = array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides[:2])]
    flat = once.reshape(*once.shape[:2], -1)
    return np.broadcast_to(flat, (*lead, flat.shape[2]))
