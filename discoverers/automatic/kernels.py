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
    for i in range(len(left)):
        if norm[i] <= COLLINEAR:
            continue
        for j in range(i):
            if norm[j] <= COLLINEAR or kind[i] == kind[j]:
                continue
            gain = _gain(gram, taken, norm, left, i, j)
            a, c = min(kind[i], kind[j]), max(kind[i], kind[j])
            if gain > gains[a, c]:
                gains[a, c] = gain
                places[a, c, 0], places[a, c, 1] = i, j
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


@njit(cache=True, nogil=True, error_model="numpy")
def _project(columns: Array, target: Array, basis: Array) -> Any:
    """Orthonormal basis of columns (k, r), coefficients (k,), and what they leave of the target."""
    k = len(columns)
    triangle = np.zeros((k, k))
    for a in range(k):
        basis[a] = columns[a]
        size = np.sqrt(np.dot(columns[a], columns[a]))
        for _ in range(2):
            for b in range(a):
                share = np.dot(basis[b], basis[a])
                triangle[b, a] += share
                basis[a] -= share * basis[b]
        length = np.sqrt(np.dot(basis[a], basis[a]))
        if length <= 1e-11 * size or length == 0.0:
            basis[a] = 0.0
            triangle[a, a] = 0.0
        else:
            triangle[a, a] = length
            basis[a] /= length
    rest = target.copy()
    share_of = np.zeros(k)
    for a in range(k):
        share_of[a] = np.dot(basis[a], rest)
        rest -= share_of[a] * basis[a]
    coefficients = np.zeros(k)
    for a in range(k - 1, -1, -1):
        value = share_of[a]
        for b in range(a + 1, k):
            value -= triangle[a, b] * coefficients[b]
        coefficients[a] = value / triangle[a, a] if triangle[a, a] > 0.0 else 0.0
    return coefficients, rest


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
        if not (abs(phi[0]) < 1e12 and abs(dphi[0, width]) < 1e15):
            return False
    place = 0
    for run in range(len(rows) - 1):
        r, m = rows[run + 1] - rows[run], samples[run + 1] - samples[run]
        part = weigh[place : place + r * m].reshape((r, m))
        first = samples[run]
        value[rows[run] : rows[run + 1]] = np.dot(part, raw[0, first : first + m])
        slope[rows[run] : rows[run + 1]] = np.dot(part, raw[1, first : first + m])
        place += r * m
    return True


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

    `columns` (k, r) are the filtered terms at the given constants. Constants with a positive lower
    bound move in their logarithm.
    """
    k, r = columns.shape
    free = np.flatnonzero(~np.isnan(parameters))
    m = len(free)
    basis = np.empty((k, r))
    coefficients, rest = _project(columns, target, basis)
    loss = np.dot(rest, rest)
    if m == 0:
        return parameters, coefficients, loss
    value, slope = np.empty(r), np.empty(r)
    slopes = np.empty((m, r))
    trial_slopes = np.empty((m, r))
    for a in range(m):
        f = free[a]
        if not _filtered(
            code[code_at[f] : code_at[f + 1]], numbers[numbers_at[f] : numbers_at[f + 1]], splines,
            states, inputs, parameters[f], weigh, rows, samples, value, slope,
        ):  # fmt: skip
            return parameters, coefficients, loss
        slopes[a] = slope
    for _ in range(iterations):
        J = np.empty((m, r))
        for a in range(m):
            f = free[a]
            scale = parameters[f] if bounds[f, 0] > 0.0 else 1.0
            J[a] = slopes[a] * (coefficients[f] * scale)
            for b in range(k):
                J[a] -= np.dot(basis[b], J[a]) * basis[b]
        matrix = np.dot(J, J.T)
        gradient = np.dot(J, rest)
        for a in range(m):
            matrix[a, a] += 1e-4 * matrix[a, a] + 1e-30
        step = np.linalg.solve(matrix, gradient)
        share = 1.0
        moved = False
        for _ in range(HALVINGS):
            trial = parameters.copy()
            trial_columns = columns.copy()
            fine = True
            for a in range(m):
                f = free[a]
                low, high = bounds[f, 0], bounds[f, 1]
                if low > 0.0:
                    change = min(max(share * step[a], -0.7), 0.7)
                    goal = parameters[f] * np.exp(change)
                else:
                    reach = 0.1 * (high - low)
                    goal = parameters[f] + min(max(share * step[a], -reach), reach)
                trial[f] = min(max(goal, low), high)
                fine = fine and _filtered(
                    code[code_at[f] : code_at[f + 1]], numbers[numbers_at[f] : numbers_at[f + 1]],
                    splines, states, inputs, trial[f], weigh, rows, samples, value, slope,
                )  # fmt: skip
                trial_columns[f] = value
                trial_slopes[a] = slope
            if fine:
                trial_coefficients, trial_rest = _project(trial_columns, target, basis)
                trial_loss = np.dot(trial_rest, trial_rest)
                if trial_loss < loss:
                    moved = True
                    break
            share *= 0.3
        if not moved:
            break
        gain = loss - trial_loss
        parameters, columns, coefficients = trial, trial_columns, trial_coefficients
        rest, slopes = trial_rest, trial_slopes.copy()
        loss = trial_loss
        if gain <= 1e-5 * loss:
            break
    return parameters, coefficients, loss
