"""The selected inverse of symmetric block-tridiagonal systems, in compiled loops.

Importing this module imports numba; `gpu_solver.backends.sweep` does so on first use. The loops are
without fast-math, so that a NaN is seen and results repeat to the last bit. They compile on first
call and are then cached on disk.

Notation: the Cholesky factor of M has diagonal blocks L_t and lower blocks B_t = M_{t+1,t} L_t^-T.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
