"""Compiled loops of the automatic library: pairs of columns, and constants inside of terms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from discoverers.shooting.kernels import evaluate_terms
from discoverers.shooting.program import STACK_DEPTH

Array = NDArray[np.float64]
Places = NDArray[np.int64]

DEPTH = STACK_DEPTH
COLLINEAR = 1e-11
HALVINGS = 5
LARGEST = 1e100
"""Values of a term and slopes by its constant beyond which squares of them may overflow."""


@njit(cache=True, nogil=True, error_model="numpy")
def _gain(gram: Array, taken: Array, norm: Array, left: Array, i: int, j: int) -> float:
    """How much two columns lower the loss; 0 if they are one and the same."""
    if norm[i] <= COLLINEAR or norm[j] <= COLLINEAR:
        return 0.0
    cross = gram[i, j]
    for b in range(taken.shape[0]):
        cross -= taken[b, i] * taken[b, j]
    free = norm[i] * norm[j] - cross * cross
    if free <= COLLINEAR * norm[i]:
        return 0.0
    return float(
        (
            left[i] * left[i] * norm[j]
            + left[j] * left[j] * norm[i]
            - 2.0 * left[i] * left[j] * cross
        )
        / free
    )


@njit(cache=True, nogil=True, error_model="numpy")
def _gains_beside(gram: Array, taken: Array, norm: Array, left: Array, i: int, row: Array) -> None:
    """`_gain` of a column with each one before it, in loops that a compiler makes wide."""
    beside = gram[i]
    for j in range(i):
        row[j] = beside[j]
    for b in range(taken.shape[0]):
        share, other = taken[b, i], taken[b]
        for j in range(i):
            row[j] -= share * other[j]
    own, rest = norm[i], left[i]
    for j in range(i):
        free = own * norm[j] - row[j] * row[j]
        total = rest * rest * norm[j] + left[j] * left[j] * own - 2.0 * rest * left[j] * row[j]
        apart = norm[j] > COLLINEAR and free > COLLINEAR * own
        row[j] = total / (free if apart else 1.0) * (1.0 if apart else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _fall(middle: float, below: float, above: float) -> float:
    """How far the least value of a parabola through three losses lies under the middle one."""
    curvature = below + above - 2.0 * middle
    if curvature <= 0.0:
        return 0.0
    return (above - below) ** 2 / (8.0 * curvature)


@njit(cache=True, nogil=True, error_model="numpy")
def best_pairs(
    gram: Array,
    taken: Array,
    norm: Array,
    left: Array,
    energy: float,
    kind: Places,
    alone: NDArray[np.bool_],
    n_kinds: int,
) -> Any:
    """The best two columns of every two kinds, beside columns that are always in.

    `gram` (K, K) holds the inner products of columns of unit length. What the base explains is
    `taken` (b, K) of each column; `norm` (K,) is the square of what is left of it, and `left` (K,)
    its product with what is left of the target, whose square is `energy`. Columns of a kind stand
    side by side in the order of their constants; those that are `alone` have none. Returns losses
    of the best pair of each two kinds, (n_kinds, n_kinds), the same as they would be between the
    places of the grid, and its columns (n_kinds, n_kinds, 2), -1 where there is none.
    """
    gains = np.zeros((n_kinds, n_kinds))
    places = np.full((n_kinds, n_kinds, 2), -1)
    row = np.empty(len(left))
    for i in range(len(left)):
        if norm[i] <= COLLINEAR:
            continue
        _gains_beside(gram, taken, norm, left, i, row)
        first = 0
        while first < i:
            # Columns of one kind stand side by side: only their best is kept.
            place, last = first, first + 1
            while last < i and kind[last] == kind[first]:
                if row[last] > row[place]:
                    place = last
                last += 1
            a, c = min(kind[i], kind[first]), max(kind[i], kind[first])
            if kind[first] != kind[i] and row[place] > gains[a, c]:
                gains[a, c] = row[place]
                places[a, c, 0], places[a, c, 1] = i, place
            first = last
    plain = np.full((n_kinds, n_kinds), np.inf)
    losses = plain.copy()
    last = len(left) - 1
    for a in range(n_kinds):
        for c in range(n_kinds):
            i, j = places[a, c, 0], places[a, c, 1]
            if i < 0:
                continue
            here = max(energy - gains[a, c], 0.0)
            fall = 0.0
            for turn in range(2):
                k, other = (i, j) if turn == 0 else (j, i)
                if alone[k] or k == 0 or k == last:
                    continue
                if kind[k - 1] != kind[k] or kind[k + 1] != kind[k]:
                    continue
                below = energy - _gain(gram, taken, norm, left, k - 1, other)
                above = energy - _gain(gram, taken, norm, left, k + 1, other)
                fall += _fall(here, below, above)
            plain[a, c] = here
            losses[a, c] = max(here - fall, 0.02 * here)
    return plain, losses, places


# Loops instead of expressions of arrays: each of those costs numba a second to compile.


@njit(cache=True, nogil=True, error_model="numpy", fastmath=True)
def _dot(a: Array, b: Array) -> float:
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _add(target: Array, source: Array, share: float) -> None:
    """Add a share of the source to the target in place."""
    for i in range(len(target)):
        target[i] += share * source[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _copy(target: Array, source: Array) -> None:
    for i in range(len(target)):
        target[i] = source[i]


@njit(cache=True, nogil=True, error_model="numpy")
def solve(matrix: Array, vector: Array) -> bool:
    """Gauss elimination with pivots, in place; False where the matrix is singular."""
    n = len(vector)
    for a in range(n):
        pivot = a
        for b in range(a + 1, n):
            if abs(matrix[b, a]) > abs(matrix[pivot, a]):
                pivot = b
        if not abs(matrix[pivot, a]) > 0.0:
            return False
        if pivot != a:
            for c in range(n):
                matrix[a, c], matrix[pivot, c] = matrix[pivot, c], matrix[a, c]
            vector[a], vector[pivot] = vector[pivot], vector[a]
        for b in range(a + 1, n):
            share = matrix[b, a] / matrix[a, a]
            for c in range(a, n):
                matrix[b, c] -= share * matrix[a, c]
            vector[b] -= share * vector[a]
    for a in range(n - 1, -1, -1):
        for b in range(a + 1, n):
            vector[a] -= matrix[a, b] * vector[b]
        vector[a] /= matrix[a, a]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _project(
    columns: Array, target: Array, basis: Array, coefficients: Array, rest: Array
) -> float:
    """Least squares of the target on columns (k, r); returns the loss.

    Written are an orthonormal `basis` (k, r), `coefficients` (k,) and what is left, `rest` (r,).
    """
    k = len(columns)
    triangle = np.zeros((k, k))
    for a in range(k):
        _copy(basis[a], columns[a])
        size = np.sqrt(_dot(columns[a], columns[a]))
        for _ in range(2):
            for b in range(a):
                share = _dot(basis[b], basis[a])
                triangle[b, a] += share
                _add(basis[a], basis[b], -share)
        length = np.sqrt(_dot(basis[a], basis[a]))
        if length > 1e-11 * size:
            triangle[a, a] = length
            _add(basis[a], basis[a], 1.0 / length - 1.0)
        else:
            _add(basis[a], basis[a], -1.0)
    _copy(rest, target)
    for a in range(k):
        coefficients[a] = _dot(basis[a], rest)
        _add(rest, basis[a], -coefficients[a])
    for a in range(k - 1, -1, -1):
        for b in range(a + 1, k):
            coefficients[a] -= triangle[a, b] * coefficients[b]
        coefficients[a] = coefficients[a] / triangle[a, a] if triangle[a, a] > 0.0 else 0.0
    return _dot(rest, rest)


@njit(cache=True, nogil=True, error_model="numpy")
def _filtered(
    code: NDArray[np.int32],
    numbers: Array,
    splines: Array,
    states: Array,
    inputs: Array,
    parameter: float,
    weigh: Array,
    rows: Places,
    samples: Places,
    value: Array,
    slope: Array,
) -> bool:
    """Filtered values (r,) of one term and of its slope by its constant; False if undefined."""
    n, width = states.shape
    x = np.empty(width + 1)
    x[width] = parameter
    stack = np.empty(DEPTH)
    slopes = np.empty((DEPTH, width + 1))
    phi = np.empty(1)
    dphi = np.empty((1, width + 1))
    raw = np.empty((2, n))
    for i in range(n):
        for v in range(width):
            x[v] = states[i, v]
        evaluate_terms(code, numbers, splines, x, inputs[i], stack, slopes, phi, dphi)
        raw[0, i] = phi[0]
        raw[1, i] = dphi[0, width]
        if not (abs(phi[0]) < LARGEST and abs(dphi[0, width]) < LARGEST):
            return False
    place = 0
    for run in range(len(rows) - 1):
        first, m = samples[run], samples[run + 1] - samples[run]
        for i in range(rows[run], rows[run + 1]):
            part = weigh[place : place + m]
            value[i] = _dot(part, raw[0, first : first + m])
            slope[i] = _dot(part, raw[1, first : first + m])
            place += m
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _goal(now: float, step: float, low: float, high: float) -> float:
    """Where a constant goes: not too far at once, and not beyond its bounds."""
    if low > 0.0:
        goal = now * np.exp(min(max(step, -0.7), 0.7))
    else:
        reach = 0.1 * (high - low)
        goal = now + min(max(step, -reach), reach)
    return float(min(max(goal, low), high))


@njit(cache=True, nogil=True, error_model="numpy")
def refine_constants(
    code: NDArray[np.int32],
    code_at: Places,
    numbers: Array,
    numbers_at: Places,
    splines: Array,
    states: Array,
    inputs: Array,
    weigh: Array,
    rows: Places,
    samples: Places,
    target: Array,
    columns: Array,
    parameters: Array,
    bounds: Array,
    iterations: int,
) -> Any:
    """Variable projection: constants (k,), NaN where a term has none, coefficients and the loss.

    `columns` (k, r) are the filtered terms at the given constants; they and `parameters` are
    written over. Constants with a positive lower bound move in their logarithm.
    """
    k, r = columns.shape
    basis, trial_columns = np.empty((k, r)), np.empty((k, r))
    coefficients, rest = np.empty(k), np.empty(r)
    loss = _project(columns, target, basis, coefficients, rest)
    m = 0
    free = np.empty(k, dtype=np.int64)
    for a in range(k):
        if not np.isnan(parameters[a]):
            free[m] = a
            m += 1
    if m == 0:
        return coefficients, loss
    slopes, trial_slopes, J = np.empty((m, r)), np.empty((m, r)), np.empty((m, r))
    trial, trial_coefficients, trial_rest = np.empty(k), np.empty(k), np.empty(r)
    matrix, step = np.empty((m, m)), np.empty(m)
    _copy(trial, parameters)
    # The first round only finds the slopes.
    for iteration in range(iterations + 1):
        if iteration > 0:
            for a in range(m):
                f = free[a]
                scale = coefficients[f] * (parameters[f] if bounds[f, 0] > 0.0 else 1.0)
                for i in range(r):
                    J[a, i] = slopes[a, i] * scale
                for b in range(k):
                    _add(J[a], basis[b], -_dot(basis[b], J[a]))
            for a in range(m):
                step[a] = _dot(J[a], rest)
                for b in range(m):
                    matrix[a, b] = _dot(J[a], J[b])
                matrix[a, a] += 1e-4 * matrix[a, a] + 1e-30
            if not solve(matrix, step):
                break
        share = 1.0
        moved = False
        fall = 0.0
        for _ in range(HALVINGS):
            fine = True
            for c in range(k):
                _copy(trial_columns[c], columns[c])
            for a in range(m):
                f = free[a]
                if iteration > 0:
                    trial[f] = _goal(parameters[f], share * step[a], bounds[f, 0], bounds[f, 1])
                fine = fine and _filtered(
                    code[code_at[f] : code_at[f + 1]], numbers[numbers_at[f] : numbers_at[f + 1]],
                    splines, states, inputs, trial[f], weigh, rows, samples, trial_columns[f],
                    trial_slopes[a],
                )  # fmt: skip
            if fine:
                trial_loss = _project(trial_columns, target, basis, trial_coefficients, trial_rest)
                if trial_loss < loss or iteration == 0:
                    fall = loss - trial_loss
                    loss = trial_loss
                    moved = True
                    break
            share *= 0.3
        if not moved:
            break
        _copy(parameters, trial)
        _copy(coefficients, trial_coefficients)
        _copy(rest, trial_rest)
        for c in range(k):
            _copy(columns[c], trial_columns[c])
        for a in range(m):
            _copy(slopes[a], trial_slopes[a])
        if iteration > 0 and fall <= 1e-5 * loss:
            break
    return coefficients, loss
