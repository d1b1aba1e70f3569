"""Memory for answers and scratch that is used again after its array is gone.

The first touch of fresh pages costs more than the arithmetic of a solve. A block given out here
belongs to one array, with all its views, until the last of them is gone; only then may another
array have it. So arrays never share memory, and nothing is remembered but the memory itself.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["KEPT", "empty", "release_buffers"]

#: Bytes from which an array gets its memory here; the allocator itself does well below.
LEAST = 1 << 16
#: Most bytes that are kept for arrays to come.
KEPT = 1 << 28
#: A block may be larger than what is asked for by this factor.
SLACK = 1.25
_ALIGNMENT = 64

Block = NDArray[np.uint8]
#: Blocks whose arrays are gone. Appending is atomic: it happens wherever an array may die.
_returned: deque[Block] = deque()
_free: list[Block] = []
_free_bytes = 0
_lock = threading.Lock()


class _Loan:
    """What an array over a block has as its base: lives as long as the array and its views."""

    __slots__ = ("__array_interface__", "_block")

    def __init__(self, block: Block, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        address = block.__array_interface__["data"][0]
        self._block = block
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (address + -address % _ALIGNMENT, False),
        }

    def __del__(self, give: Any = _returned.append, most: int = KEPT) -> None:
        if self._block.nbytes <= most:
            give(self._block)
            _tidy(blocking=False)


def empty(shape: tuple[int, ...], dtype: Any = np.float64) -> NDArray[Any]:
    """Array of undefined content, in memory used before where there is some.

    Examples
    --------
    >>> empty((3, 2)).shape
    (3, 2)
    """
    dtype = np.dtype(dtype)
    size = prod(shape) * dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    return np.asarray(_Loan(_take(size + _ALIGNMENT), shape, dtype))


def release_buffers() -> int:
    """Give the memory that is kept for arrays to come back to the system; return its bytes."""
    global _free_bytes
    with _lock:
        _collect()
        total, _free_bytes = _free_bytes, 0
        _free.clear()
    return total


def _take(size: int) -> Block:
    global _free_bytes
    with _lock:
        _collect()
        best, least = -1, int(SLACK * size)
        for k, block in enumerate(_free):
            if size <= block.nbytes <= least:
                best, least = k, block.nbytes
        if best >= 0:
            _free_bytes -= least
            return _free.pop(best)
    return np.empty(size, np.uint8)


def _collect() -> None:
    """Move returned blocks to the free ones; forget the oldest beyond the limit."""
    global _free_bytes
    while _returned:
        _free.append(_returned.popleft())
        _free_bytes += _free[-1].nbytes
    while _free_bytes > KEPT:
        _free_bytes -= _free.pop(0).nbytes


def _tidy(blocking: bool) -> None:
    """Collect unless somebody, perhaps this very thread, is at it."""
    if _lock.acquire(blocking=blocking):
        try:
            _collect()
        finally:
            _lock.release()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
