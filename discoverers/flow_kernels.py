"""Compiled Runge-Kutta steps of polynomial equations, many intervals side by side.

Intervals are taken in packs, and all that belongs to a pack stays in the processor's cache; the
innermost loops run over its intervals, which compilers turn into SIMD code.

A polynomial's program: monomials stand in a table, the first is 1, and row ``(place, parent,
variable)`` of `products` makes the one at `place`. Rates, slopes and columns are lists of summands:
``rate[of] += factor * monomial[at]``, ``slope[of, by] += factor * monomial[at]``, and for
derivatives by coefficients ``rate of column[of, by] += factor * monomial[at]``.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["follow", "follow_with_slopes"]

Array = NDArray[np.float64]
Places = NDArray[np.int64]

# Values of a pack's arrays, about: what the first two levels of cache hold.
PACK = 4096
WIDEST = 64
NARROWEST = 8


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _width(rows: int) -> int:
    """Intervals of a pack whose largest array has so many rows."""
    return min(WIDEST, max(NARROWEST, PACK // max(rows, 1) // NARROWEST * NARROWEST))


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _monomials(x: Array, n: int, products: Places, table: Array) -> None:
    """Fill the table (places, width) at variables x (variables, width)."""
    for p in range(products.shape[0]):
        place, parent, variable = products[p, 0], products[p, 1], products[p, 2]
        for i in range(n):
            table[place, i] = table[parent, i] * x[variable, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _rates(table: Array, n: int, places: Places, factors: Array, rate: Array) -> None:
    for v in range(rate.shape[0]):
        for i in range(n):
            rate[v, i] = 0.0
    for k in range(len(factors)):
        v, at, factor = places[k, 0], places[k, 1], factors[k]
        for i in range(n):
            rate[v, i] += factor * table[at, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _read_inputs(stages: Array, first: int, n: int, at: int, n_states: int, x: Array) -> None:
    for u in range(stages.shape[2]):
        for i in range(n):
            x[n_states + u, i] = stages[first + i, at, u]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _ahead(base: Array, motion: Array, h: Array, n: int, stage: int, place: Array) -> None:
    """Where a stage of the method looks, from `base` along the last stage's motion."""
    share = 1.0 if stage == 3 else 0.5
    for r in range(base.shape[0]):
        if stage == 0:
            for i in range(n):
                place[r, i] = base[r, i]
        else:
            for i in range(n):
                place[r, i] = base[r, i] + share * h[i] * motion[r, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _accumulate(motion: Array, n: int, stage: int, total: Array) -> None:
    """Add a stage's share in the motion of the step."""
    share = 1.0 / 6.0 if stage == 0 or stage == 3 else 1.0 / 3.0
    for r in range(motion.shape[0]):
        if stage == 0:
            for i in range(n):
                total[r, i] = share * motion[r, i]
        else:
            for i in range(n):
                total[r, i] += share * motion[r, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _advance(base: Array, total: Array, h: Array, n: int) -> None:
    for r in range(base.shape[0]):
        for i in range(n):
            base[r, i] += h[i] * total[r, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _slopes(table: Array, n: int, places: Places, factors: Array, slopes: Array) -> None:
    slopes[:] = 0.0
    for s in range(len(factors)):
        v, by, at, factor = places[s, 0], places[s, 1], places[s, 2], factors[s]
        for i in range(n):
            slopes[v, by, i] += factor * table[at, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def _changes(
    slopes: Array, moved: Array, table: Array, n: int, places: Places, factors: Array, change: Array
) -> None:
    """Rates of the derivatives: slopes times derivatives, and what the columns do themselves."""
    V, C = moved.shape[0], moved.shape[1]
    for v in range(V):
        for c in range(C):
            for i in range(n):
                change[v, c, i] = slopes[v, 0, i] * moved[0, c, i]
        for w in range(1, V):
            for c in range(C):
                for i in range(n):
                    change[v, c, i] += slopes[v, w, i] * moved[w, c, i]
    for s in range(len(factors)):
        v, by, at, factor = places[s, 0], places[s, 1], places[s, 2], factors[s]
        for i in range(n):
            value = table[at, i]
            change[v, V + by, i] += factor * value if value * 0.0 == 0.0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def follow(
    steps: Array,
    starts: Array,
    stages: Array,
    count: int,
    products: Places,
    n_places: int,
    rate_places: Places,
    rate_factors: Array,
    ends: Array,
) -> None:
    """Integrate every interval in `count` steps of the classical method of fourth order.

    Parameters
    ----------
    steps : (n,)
    starts : (n or more, V)
    stages : (n, 2 count + 1, m)
        Inputs at the beginning, the middle and the end of every step.
    count : int
    products, n_places
        The table of monomials, see the module.
    rate_places : (r, 2)
        Columns `of` and `at`.
    rate_factors : (r,)
    ends : (n, V)
        Written.
    """
    n_all, V = ends.shape
    width = _width(n_places)
    x = np.empty((V + stages.shape[2], width))
    table = np.ones((n_places, width))
    state, total = np.empty((V, width)), np.empty((V, width))
    rate = np.zeros((V, width))
    h = np.empty(width)
    for first in range(0, n_all, width):
        n = min(width, n_all - first)
        for i in range(n):
            h[i] = steps[first + i] / count
        for v in range(V):
            for i in range(n):
                state[v, i] = starts[first + i, v]
        for step in range(count):
            for stage in range(4):
                _ahead(state, rate, h, n, stage, x)
                _read_inputs(stages, first, n, 2 * step + (stage + 1) // 2, V, x)
                _monomials(x, n, products, table)
                _rates(table, n, rate_places, rate_factors, rate)
                _accumulate(rate, n, stage, total)
            _advance(state, total, h, n)
        for v in range(V):
            for i in range(n):
                ends[first + i, v] = state[v, i]


@njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})
def follow_with_slopes(
    steps: Array,
    starts: Array,
    stages: Array,
    count: int,
    products: Places,
    n_places: int,
    rate_places: Places,
    rate_factors: Array,
    slope_places: Places,
    slope_factors: Array,
    column_places: Places,
    column_factors: Array,
    ends: Array,
    by_state: Array,
    by_column: Array,
) -> None:
    """As `follow`, with exact derivatives by the starts (n, V, V) and by columns (n, V, k).

    `slope_places` and `column_places` have the columns `of`, `by` and `at`. Summands of columns
    that are not finite count as 0: a term that is not in the equations must not spoil the rest.
    """
    n_all, V = ends.shape
    k = by_column.shape[2]
    C = V + k
    width = _width(V * C)
    x = np.empty((V + stages.shape[2], width))
    table = np.ones((n_places, width))
    state, total = np.empty((V, width)), np.empty((V, width))
    rate = np.zeros((V, width))
    slopes = np.empty((V, V, width))
    derivative, moved = np.empty((V, C, width)), np.empty((V, C, width))
    change, sums = np.zeros((V, C, width)), np.empty((V * C, width))
    derivative_rows = derivative.reshape(V * C, width)
    moved_rows, change_rows = moved.reshape(V * C, width), change.reshape(V * C, width)
    h = np.empty(width)
    for first in range(0, n_all, width):
        n = min(width, n_all - first)
        for i in range(n):
            h[i] = steps[first + i] / count
        for v in range(V):
            for i in range(n):
                state[v, i] = starts[first + i, v]
            for c in range(C):
                value = 1.0 if c == v else 0.0
                for i in range(n):
                    derivative[v, c, i] = value
        for step in range(count):
            for stage in range(4):
                _ahead(state, rate, h, n, stage, x)
                _ahead(derivative_rows, change_rows, h, n, stage, moved_rows)
                _read_inputs(stages, first, n, 2 * step + (stage + 1) // 2, V, x)
                _monomials(x, n, products, table)
                _rates(table, n, rate_places, rate_factors, rate)
                _slopes(table, n, slope_places, slope_factors, slopes)
                _changes(slopes, moved, table, n, column_places, column_factors, change)
                _accumulate(rate, n, stage, total)
                _accumulate(change_rows, n, stage, sums)
            _advance(state, total, h, n)
            _advance(derivative_rows, sums, h, n)
        for v in range(V):
            for i in range(n):
                ends[first + i, v] = state[v, i]
            for w in range(V):
                for i in range(n):
                    by_state[first + i, v, w] = derivative[v, w, i]
            for c in range(k):
                for i in range(n):
                    by_column[first + i, v, c] = derivative[v, V + c, i]
