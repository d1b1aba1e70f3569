"""Checks of arrays in one pass over memory, without temporary arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["all_finite", "asymmetric"]

Array = NDArray[np.float64]

#: Difference from the transpose, relative to a block's size, that is more than rounding.
TOLERANCE = 1e-8


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def asymmetric(diagonal: Array) -> bool:
    """Whether a block differs from its transpose by more than rounding; NaN is no difference."""
    from gpu_solver.backends import check_kernels

    blocks, n = np.ascontiguousarray(diagonal), diagonal.shape[-1]
    return bool(check_kernels.asymmetric(_address(blocks), blocks.size // n**2, n, TOLERANCE))


def all_finite(array: Array) -> bool:
    """Whether all numbers of a contiguous array are finite."""
    from gpu_solver.backends import check_kernels

    return bool(check_kernels.all_finite(_address(array), array.size))
