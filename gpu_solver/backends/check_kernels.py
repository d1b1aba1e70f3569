"""What is asked of blocks before anything is done with them, in one pass over memory."""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit

from gpu_solver.backends.lanes import instruction

load = instruction("load")

options = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**options)
def asymmetric(blocks, count, n, tolerance):
    """Whether one of ``count`` blocks (n, n) at an address differs from its transpose."""
    for block in range(count):
        at = blocks + block * n * n * 8
        gap, scale = 0.0, 0.0
        for i in range(n):
            for j in range(i + 1):
                a, b = load(at + 8 * (i * n + j)), load(at + 8 * (j * n + i))
                gap = max(gap, abs(a - b))
                scale = max(scale, max(abs(a), abs(b)))
        if gap > tolerance * scale:
            return True
    return False


@njit(**options)
def all_finite(numbers, count):
    """Whether ``count`` numbers at an address are all finite."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0  # sums that need not wait for each other
    for k in range(0, count - 3, 4):
        at = numbers + 8 * k
        a += load(at) * 0.0
        b += load(at + 8) * 0.0
        c += load(at + 16) * 0.0
        d += load(at + 24) * 0.0
    for k in range(count // 4 * 4, count):
        a += load(numbers + 8 * k) * 0.0
    return not np.isnan(a + b + c + d)
