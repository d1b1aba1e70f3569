"""Levenberg-Marquardt on single shooting with exact sensitivities, in one compiled loop.

Unknowns are coefficients (K,) but for known ones, constants inside of terms (m,), then the free
initial states run by run. Samples of all runs stand one below the other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from discoverers.shooting.kernels import shoot

from .kernels import solve

Array = NDArray[np.float64]
Places = NDArray[np.int64]

DAMPING = 1e-3
LARGEST_DAMPING = 1e8
BOUND = 1e8


@njit(cache=True, nogil=True, error_model="numpy")
def _add_rows(
    X: Array,
    dX: Array,
    data: Array,
    weight: Array,
    first: int,
    where: Places,
    matrix: Array,
    gradient: Array,
    rss: Array,
    paths: Array,
) -> float:
    """Add a run's residuals to the normal equations (lower half); returns their cost.

    Row i of the path belongs to row ``first + i`` of the data; column a of the sensitivities to
    the unknown ``where[a]``.
    """
    cost = 0.0
    for i in range(X.shape[0]):
        for v in range(rss.shape[0]):
            paths[first + i, v] = X[i, v]
            w = weight[first + i, v]
            if w == 0.0:
                continue
            residual = (data[first + i, v] - X[i, v]) * w
            rss[v] += residual * residual
            cost += residual * residual
            for a in range(where.shape[0]):
                slope = dX[i, v, a] * w
                gradient[where[a]] += slope * residual
                for b in range(a + 1):
                    matrix[where[a], where[b]] += slope * dX[i, v, b] * w
    return cost


@njit(cache=True, nogil=True, error_model="numpy")
def _damped_step(
    matrix: Array, gradient: Array, damping: float, scaled: Array, step: Array
) -> bool:
    """Marquardt's step for columns scaled to one, into `step`; False if there is none."""
    size = len(gradient)
    scale = np.empty(size)
    for a in range(size):
        scale[a] = np.sqrt(matrix[a, a]) if matrix[a, a] > 0.0 else 1.0
    for a in range(size):
        step[a] = gradient[a] / scale[a]
        for b in range(size):
            scaled[a, b] = matrix[a, b] / (scale[a] * scale[b])
        scaled[a, a] += damping
    sound = bool(solve(scaled, step))
    for a in range(size):
        step[a] /= scale[a]
        sound = sound and bool(np.isfinite(step[a]))
    return sound


@njit(cache=True, nogil=True, error_model="numpy")
def _linearised(
    code: NDArray[np.int32],
    numbers: Array,
    splines: Array,
    n_terms: int,
    term_of: Places,
    direction: Array,
    theta: Array,
    free: Places,
    constants: Array,
    x0: Array,
    place: Places,
    at: Places,
    t: Array,
    inputs: Array,
    stages: Array,
    data: Array,
    weight: Array,
    window: int,
    matrix: Array,
    gradient: Array,
    rss: Array,
    paths: Array,
) -> float:
    """Cost of whitened residuals; normal equations and paths are written."""
    n_runs, V = x0.shape
    K, m = len(free), len(constants)
    n_s = V + m
    cost = 0.0
    finite = True
    for a in range(len(gradient)):
        gradient[a] = 0.0
        for b in range(len(gradient)):
            matrix[a, b] = 0.0
    for v in range(V):
        rss[v] = 0.0
    for run in range(n_runs):
        first = at[run]
        n = min(at[run + 1] - first, window)
        width = K + m
        for v in range(V):
            if place[run, v] >= 0:
                width += 1
        S = np.zeros((n_s, width))
        start = np.empty((1, n_s))
        where = np.arange(width)
        size = 1.0
        column = K + m
        for v in range(V):
            start[0, v] = x0[run, v]
            size = max(size, abs(x0[run, v]))
            if place[run, v] >= 0:
                S[v, column] = 1.0
                where[column] = place[run, v]
                column += 1
        for a in range(m):
            start[0, V + a] = constants[a]
            S[V + a, K + a] = 1.0
        X, F = np.empty((n, n_s)), np.empty((n, n_s))
        dX, dF = np.empty((n, n_s, width)), np.empty((n, n_s, width))
        bound = np.empty(n_s)
        for v in range(n_s):
            bound[v] = max(BOUND * size, 10.0 * abs(start[0, v]))
        valid = shoot(
            code, numbers, splines, n_terms, term_of, direction, theta, free, start, S, False,
            t[first : first + n], inputs[first : first + n], stages[first : first + n], bound,
            X, F, dX, dF,
        )  # fmt: skip
        if valid < n:
            return np.inf
        cost += _add_rows(X, dX, data, weight, first, where, matrix, gradient, rss, paths)
    for a in range(len(gradient)):
        for b in range(a):
            both = matrix[a, b] + matrix[b, a]
            matrix[a, b] = both
            matrix[b, a] = both
            finite = finite and np.isfinite(both)
    return cost if finite else np.inf


@njit(cache=True, nogil=True, error_model="numpy")
def calibrate_system(
    code: NDArray[np.int32],
    numbers: Array,
    splines: Array,
    n_terms: int,
    term_of: Places,
    direction: Array,
    theta: Array,
    free: Places,
    constants: Array,
    bounds: Array,
    x0: Array,
    place: Places,
    at: Places,
    t: Array,
    inputs: Array,
    stages: Array,
    data: Array,
    weight: Array,
    window: int,
    iterations: int,
    decrease: float,
    give_up: float,
) -> Any:
    """Minimise over all unknowns on the first `window` samples of each run.

    `free` holds the places of the unknown coefficients. `place` (runs, V) is where an initial state
    stands among the unknowns, -1 if it is known.
    `theta`, `constants` and `x0` are written over; constants stay within `bounds` (m, 2). A fit
    that is far above `give_up` and falls slowly ends early. Returns theta, constants, x0, cost, rss
    (V,), normal matrix, paths, converged, and the number of integrations.
    """
    K, m = len(free), len(constants)
    size = max(K + m, place.max() + 1)
    matrix, gradient, rss = np.empty((size, size)), np.empty(size), np.empty(x0.shape[1])
    trial_matrix, trial_gradient, trial_rss = matrix.copy(), gradient.copy(), rss.copy()
    paths = np.zeros_like(data)
    trial_paths = np.zeros_like(data)
    cost = _linearised(
        code, numbers, splines, n_terms, term_of, direction, theta, free, constants, x0, place, at,
        t, inputs, stages, data, weight, window, matrix, gradient, rss, paths,
    )  # fmt: skip
    count = 1
    scaled, step = np.empty((size, size)), np.empty(size)
    trial_theta, trial_constants, trial_x0 = theta.copy(), constants.copy(), x0.copy()
    damping = DAMPING
    converged = False
    slow = 0
    if not np.isfinite(cost):
        return theta, constants, x0, np.inf, rss, matrix, paths, False, count
    for _ in range(iterations):
        accepted = False
        last = cost
        while damping <= LARGEST_DAMPING:
            sound = _damped_step(matrix, gradient, damping, scaled, step)
            for a in range(K):
                trial_theta[free[a]] = theta[free[a]] + step[a]
            for a in range(m):
                goal = constants[a] + step[K + a]
                trial_constants[a] = min(max(goal, bounds[a, 0]), bounds[a, 1])
            for run in range(x0.shape[0]):
                for v in range(x0.shape[1]):
                    away = step[place[run, v]] if place[run, v] >= 0 else 0.0
                    trial_x0[run, v] = x0[run, v] + away
            trial = np.inf
            if sound:
                trial = _linearised(
                    code, numbers, splines, n_terms, term_of, direction, trial_theta, free,
                    trial_constants, trial_x0, place, at, t, inputs, stages, data, weight, window,
                    trial_matrix, trial_gradient, trial_rss, trial_paths,
                )  # fmt: skip
                count += 1
            if trial <= cost:
                accepted = True
                break
            damping *= 10.0
        if not accepted:
            # No step in any direction lowers the cost: rounding is all that is left of it.
            converged = True
            break
        cost = trial
        theta, trial_theta = trial_theta, theta
        constants, trial_constants = trial_constants, constants
        x0, trial_x0 = trial_x0, x0
        matrix, trial_matrix = trial_matrix, matrix
        gradient, trial_gradient = trial_gradient, gradient
        rss, trial_rss = trial_rss, rss
        paths, trial_paths = trial_paths, paths
        damping = max(damping / 10.0, 1e-12)
        if last - cost <= decrease * cost + 1e-12:
            converged = True
            break
        slow = slow + 1 if last - cost < 0.1 * cost else 0
        if slow >= 2 and cost > give_up:
            break
    return theta, constants, x0, cost, rss, matrix, paths, converged, count
