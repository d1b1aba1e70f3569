"""Compiled orthogonal factorisation of the least-squares rows, one sequential sweep in time.

Householder reflections turn the rows of W A that touch the times t and t+1 into a triangle; what
is left for t+1 is carried on. The result is the triangular factor of M = A^T W^2 A, found without
forming M: its rounding errors grow with the condition number of A, not with its square.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


@njit(cache=True, nogil=True, error_model="numpy")
def factorize(
    c: Array,
    s: Array,
    governing: Array,
    initial: Array,
    smooth: Array,
    taylor: Array,
    diagonal: Array,
    lower: Array,
) -> None:
    """Write the Cholesky factor of M, as `backends.sweep.cholesky` would, into diagonal and lower.

    ``c`` (p, T, Q, n), ``s`` (p, T-1), weights (not squared) ``governing`` (p, T, Q), ``initial``
    (p, T, n), ``smooth`` (p, T-1, n), ``taylor`` (R+1, R+1) with entries 1/(j-i)!.
    """
    problems, steps, equations, n = c.shape
    size = taylor.shape[0]
    rows = 4 * n + equations
    work = np.zeros((rows, 2 * n))
    for p in range(problems):
        work[:, :] = 0.0
        for t in range(steps):
            # The first n rows hold what the earlier times left for this one.
            for q in range(equations):
                for i in range(n):
                    work[n + q, i] = governing[p, t, q] * c[p, t, q, i]
            for i in range(n):
                work[n + equations + i, i] = initial[p, t, i]
            if t < steps - 1:
                for i in range(n):
                    r = i % size
                    forward, backward = 2 * n + equations + i, 3 * n + equations + i
                    power = s[p, t] ** r
                    work[forward, n + i] = smooth[p, t, i] * power
                    work[backward, i] = smooth[p, t, i] * power
                    sign = 1.0
                    for k in range(r, size):
                        entry = smooth[p, t, i] * taylor[r, k] * power
                        work[forward, i - r + k] -= entry
                        work[backward, n + i - r + k] -= sign * entry
                        power *= s[p, t]
                        sign = -sign
            width = 2 * n if t < steps - 1 else n
            for j in range(width):
                total = 0.0
                for i in range(j, rows):
                    total += work[i, j] * work[i, j]
                pivot = np.sqrt(total)
                if pivot > 0.0:
                    head = work[j, j]
                    beta = -pivot if head > 0.0 else pivot
                    work[j, j] = head - beta
                    scale = 1.0 / (beta * (head - beta))
                    for k in range(j + 1, width):
                        dot = 0.0
                        for i in range(j, rows):
                            dot += work[i, j] * work[i, k]
                        dot *= scale
                        for i in range(j, rows):
                            work[i, k] += dot * work[i, j]
                    work[j, j] = beta
                    for i in range(j + 1, rows):
                        work[i, j] = 0.0
            for i in range(n):
                flip = -1.0 if work[i, i] < 0.0 else 1.0
                for j in range(n):
                    diagonal[p, t, j, i] = flip * work[i, j]
                    if t < steps - 1:
                        lower[p, t, j, i] = flip * work[i, n + j]
            for i in range(n):
                for j in range(n):
                    work[i, j] = work[n + i, n + j]
            work[n:, :] = 0.0
            work[:n, n:] = 0.0
