"""Checks of arrays in one pass over memory, without temporary arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpu_solver.fused.cache import ANY_SIZE, kernels
from gpu_solver.fused.descriptors import address

__all__ = ["all_finite", "asymmetric"]

Array = NDArray[np.float64]

#: Difference from the transpose, relative to a block's size, that is more than rounding.
TOLERANCE = 1e-8


def asymmetric(diagonal: Array) -> bool:
    """Whether a block differs from its transpose by more than rounding; NaN is no difference."""
    blocks, n = np.ascontiguousarray(diagonal), diagonal.shape[-1]
    result = np.array([TOLERANCE])
    kernels("plain", ANY_SIZE)["asymmetric"](
        address(blocks), blocks.size // n**2, n, address(result)
    )
    return bool(result[0])


def all_finite(array: Array) -> bool:
    """Whether all numbers of a contiguous array are finite."""
    result = np.empty(1)
    kernels("plain", ANY_SIZE)["not_finite"](address(array), array.size, address(result))
    return bool(result[0] == 0.0)
