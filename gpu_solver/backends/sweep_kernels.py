"""Compiled block Cholesky of symmetric block-tridiagonal systems, one sequential sweep in time.

Importing this module imports numba; `gpu_solver.backends.sweep` does so on first use. The kernels
are plain loops without fast-math, so that a NaN is seen and results repeat to the last bit. They
compile on first call (about two seconds altogether) and are then cached on disk.

Notation: the Cholesky factor of M has diagonal blocks L_t and lower blocks B_t = M_{t+1,t} L_t^-T.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy")
def factorize(diagonal: Array, lower: Array, status: Codes, pivot_ratio: Array) -> None:
    """Replace the blocks of M (p, T, n, n), (p, T-1, n, n) by those of its Cholesky factor.

    ``pivot_ratio`` (p,) receives the smallest pivot relative to the diagonal entry it came from,
    a measure of the digits lost. A problem that breaks down keeps status 3 and is abandoned.
    """
    problems, steps, n = diagonal.shape[0], diagonal.shape[1], diagonal.shape[2]
    for p in range(problems):
        if status[p] != 0:
            continue
        smallest = 1.0
        for t in range(steps):
            for j in range(n):
                for i in range(j, n):
                    value = diagonal[p, t, i, j]
                    original = value
                    if t > 0:
                        for k in range(n):
                            value -= lower[p, t - 1, i, k] * lower[p, t - 1, j, k]
                    for k in range(j):
                        value -= diagonal[p, t, i, k] * diagonal[p, t, j, k]
                    if i == j:
                        if not value > 0.0 or not value < np.inf:
                            status[p] = 3
                            break
                        smallest = min(smallest, value / original)
                        diagonal[p, t, j, j] = np.sqrt(value)
                    else:
                        diagonal[p, t, i, j] = value / diagonal[p, t, j, j]
                        diagonal[p, t, j, i] = 0.0
                if status[p] != 0:
                    break
            if status[p] != 0:
                break
            if t < steps - 1:
                for i in range(n):
                    for j in range(n):
                        value = lower[p, t, i, j]
                        for k in range(j):
                            value -= lower[p, t, i, k] * diagonal[p, t, j, k]
                        lower[p, t, i, j] = value / diagonal[p, t, j, j]
        pivot_ratio[p] = smallest


@njit(cache=True, nogil=True, error_model="numpy")
def solve(diagonal: Array, lower: Array, which: Codes, rhs: Array) -> None:
    """Overwrite rhs (problems, T, n, K) by the solution; ``which`` names each problem's factor."""
    steps, n, columns = rhs.shape[1], rhs.shape[2], rhs.shape[3]
    for p in range(rhs.shape[0]):
        f = which[p]
        for t in range(steps):
            for i in range(n):
                if t > 0:
                    for k in range(n):
                        for c in range(columns):
                            rhs[p, t, i, c] -= lower[f, t - 1, i, k] * rhs[p, t - 1, k, c]
                for k in range(i):
                    for c in range(columns):
                        rhs[p, t, i, c] -= diagonal[f, t, i, k] * rhs[p, t, k, c]
                for c in range(columns):
                    rhs[p, t, i, c] /= diagonal[f, t, i, i]
        for t in range(steps - 1, -1, -1):
            for i in range(n - 1, -1, -1):
                if t < steps - 1:
                    for k in range(n):
                        for c in range(columns):
                            rhs[p, t, i, c] -= lower[f, t, k, i] * rhs[p, t + 1, k, c]
                for k in range(i + 1, n):
                    for c in range(columns):
                        rhs[p, t, i, c] -= diagonal[f, t, k, i] * rhs[p, t, k, c]
                for c in range(columns):
                    rhs[p, t, i, c] /= diagonal[f, t, i, i]


@njit(cache=True, nogil=True, error_model="numpy")
def selected_inverse(diagonal: Array, lower: Array, out: Array, out_lower: Array) -> None:
    """Blocks (t, t) and (t+1, t) of the inverse, from the last step to the first.

    With J_t = L_t^-1 and G_t = B_t J_t:  S_{t+1,t} = -S_{t+1,t+1} G_t  and
    S_{t,t} = J_t^T J_t - G_t^T S_{t+1,t}.
    """
    steps, n = diagonal.shape[1], diagonal.shape[2]
    inverse = np.zeros((n, n))
    gain = np.zeros((n, n))
    for p in range(diagonal.shape[0]):
        for t in range(steps - 1, -1, -1):
            for j in range(n):
                for i in range(j, n):
                    value = 1.0 if i == j else 0.0
                    for k in range(j, i):
                        value -= diagonal[p, t, i, k] * inverse[k, j]
                    inverse[i, j] = value / diagonal[p, t, i, i]
            if t < steps - 1:
                for i in range(n):
                    for j in range(n):
                        value = 0.0
                        for k in range(j, n):
                            value += lower[p, t, i, k] * inverse[k, j]
                        gain[i, j] = value
                for i in range(n):
                    for j in range(n):
                        value = 0.0
                        for k in range(n):
                            value -= out[p, t + 1, i, k] * gain[k, j]
                        out_lower[p, t, i, j] = value
            for i in range(n):
                for j in range(i + 1):
                    value = 0.0
                    for k in range(i, n):
                        value += inverse[k, i] * inverse[k, j]
                    if t < steps - 1:
                        for k in range(n):
                            value -= gain[k, i] * out_lower[p, t, k, j]
                    out[p, t, i, j] = value
                    out[p, t, j, i] = value
