"""Compiled assembly of the joint fit's normal equations, interval by interval."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["assemble"]

Array = NDArray[np.float64]
Places = NDArray[np.int64]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def assemble(
    bounds: Places,
    nodes: Array,
    data: Array,
    precision: Array,
    link: Array,
    ends: Array,
    by_state: Array,
    by_column: Array,
    diagonal: Array,
    lower: Array,
    right: Array,
    rows: Array,
) -> None:
    """Write the normal matrix of the states, its right-hand sides, and the rows of the links.

    An interval from node s to node e asks ``y_e - A y_s - B xi = -gap``, with variance link**2.

    Parameters
    ----------
    bounds : (runs + 1,)
        Where the runs' nodes begin, and their number.
    nodes, data, precision : (N, V)
    link : (V,)
        Standard deviations of the links.
    ends : (I, V)
        Where the flow gets to.
    by_state, by_column : (I, V, V), (I, V, k)
        A and B.
    diagonal, lower : (N, V, V), (I, V, V)
        Written: blocks of the matrix.
    right : (N, V, k + 1)
        Written: what couples states and coefficients, and the states' own right-hand side.
    rows : (I, V, k + 1)
        Written: B and the gap in units of the links.
    """
    V, k = nodes.shape[1], by_column.shape[2]
    for node in range(nodes.shape[0]):
        for v in range(V):
            for w in range(V):
                diagonal[node, v, w] = 0.0
            diagonal[node, v, v] = precision[node, v]
            for c in range(k):
                right[node, v, c] = 0.0
            right[node, v, k] = precision[node, v] * (data[node, v] - nodes[node, v])
    for run in range(len(bounds) - 1):
        for start in range(bounds[run], bounds[run + 1] - 1):
            i, end = start - run, start + 1
            for v in range(V):
                scale = 1.0 / link[v]
                tight = scale * scale
                diagonal[end, v, v] += tight
                gap = nodes[end, v] - ends[i, v]
                for c in range(k):
                    rows[i, v, c] = scale * by_column[i, v, c]
                    right[end, v, c] -= tight * by_column[i, v, c]
                rows[i, v, k] = scale * gap
                right[end, v, k] -= tight * gap
                for w in range(V):
                    lower[i, v, w] = -tight * by_state[i, v, w]
            for v in range(V):
                for w in range(V):
                    slope = -lower[i, w, v]
                    for c in range(k):
                        right[start, v, c] += slope * by_column[i, w, c]
                    right[start, v, k] += slope * (nodes[end, w] - ends[i, w])
                for w in range(v + 1):
                    total = 0.0
                    for j in range(V):
                        total -= lower[i, j, v] * by_state[i, j, w]
                    diagonal[start, v, w] += total
                    if w < v:
                        diagonal[start, w, v] += total
