"""A compiled integrator with step control for laws that are stiff, forced by samples, or both.

RODAS4: six stages, order 4, L-stable. Its one linear system per step is what makes steep layers
(dry friction, whose sign is a jump) as cheap as smooth stretches: once the state sits in a layer,
steps grow again.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .kernels import DEPTH, _slope

__all__ = ["march"]

Array: TypeAlias = NDArray[np.float64]

GAMMA = 0.25
STAGES = np.array(
    [
        [0.0, 0.0, 0.0, 0.0],
        [1.544, 0.0, 0.0, 0.0],
        [0.9466785280815826, 0.2557011698983284, 0.0, 0.0],
        [3.314825187068521, 2.896124015972201, 0.9986419139977817, 0.0],
        [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950],
    ]
)
COUPLING = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [-5.6688, 0.0, 0.0, 0.0, 0.0],
        [-2.430093356833875, -0.2063599157091915, 0.0, 0.0, 0.0],
        [-0.1073529058151375, -9.594562251023355, -20.47028614809616, 0.0, 0.0],
        [7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160, 0.0],
        [
            8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136,
            -6.058818238834054,
        ],
    ]
)  # fmt: skip
TIMES = np.array([0.0, 0.386, 0.21, 0.63, 1.0, 1.0])
BY_TIME = np.array([0.25, -0.1043, 0.1035, -0.0362, 0.0, 0.0])

OK = 0
BLEW_UP = 1
UNDEFINED = 2
TOO_MANY = 3
STEP_FAILED = 4


@njit(cache=True, nogil=True, error_model="numpy")
def _inputs(at: float, origin: float, piece: Array, u: Array) -> None:
    """Value of one piece of the inputs, polynomials (4, m) of the time since its left end."""
    d = at - origin
    for j in range(u.shape[0]):
        u[j] = piece[0, j] + d * (piece[1, j] + d * (piece[2, j] + d * piece[3, j]))


@njit(cache=True, nogil=True, error_model="numpy")
def _factorise(W: Array, pivots: NDArray[np.int64]) -> bool:
    """LU in place with row exchanges; False if a pivot is zero or not a number."""
    n = W.shape[0]
    for c in range(n):
        best = c
        for r in range(c + 1, n):
            if abs(W[r, c]) > abs(W[best, c]):
                best = r
        if not abs(W[best, c]) > 0.0:
            return False
        pivots[c] = best
        if best != c:
            for j in range(n):
                W[c, j], W[best, j] = W[best, j], W[c, j]
        for r in range(c + 1, n):
            W[r, c] /= W[c, c]
            for j in range(c + 1, n):
                W[r, j] -= W[r, c] * W[c, j]
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _substitute(W: Array, pivots: NDArray[np.int64], b: Array) -> None:
    """Solve with the factors, in place."""
    n = W.shape[0]
    for c in range(n):
        b[c], b[pivots[c]] = b[pivots[c]], b[c]
    for r in range(n):
        for j in range(r):
            b[r] -= W[r, j] * b[j]
    for r in range(n - 1, -1, -1):
        for j in range(r + 1, n):
            b[r] -= W[r, j] * b[j]
        b[r] /= W[r, r]


@njit(cache=True, nogil=True, error_model="numpy")
def march(
    code: NDArray[np.int32],
    numbers: Array,
    splines: Array,
    n_terms: int,
    term_of: NDArray[np.int64],
    direction: Array,
    theta: Array,
    start: float,
    x0: Array,
    stops: Array,
    piece_of: NDArray[np.int64],
    origins: Array,
    pieces: Array,
    rtol: float,
    atol: Array,
    bound: float,
    max_steps: int,
    X: Array,
) -> tuple[int, int, int, float]:
    """Integrate from `start` to every one of `stops` (monotonous, either direction).

    No step passes a stop; between stop i - 1 and stop i the inputs are the polynomials
    ``pieces[piece_of[i]]`` (4, m) of the time since ``origins[piece_of[i]]``. States at the stops
    are written to `X`. Returns how many stops were reached, a status, the steps, and the last time.
    """
    n, m = x0.shape[0], pieces.shape[2]
    stack, slopes = np.empty(DEPTH), np.empty((DEPTH, n))
    phi, dphi = np.empty(n_terms), np.empty((n_terms, n))
    J, jacobian, W = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    none, empty = np.empty(0, dtype=np.int64), np.empty((n, 0))
    f, rate, x, at, k = np.empty(n), np.empty(n), np.empty(n), np.empty(n), np.empty((6, n))
    by_time, before = np.empty(n), np.empty(n)
    u, pivots = np.empty(m), np.empty(n, dtype=np.int64)
    t, steps, h, step, apart, last = start, 0, 0.0, 0.0, 0.0, False
    # Slices would be shorter, but numba compiles seconds for each.
    for a in range(n):
        x[a] = x0[a]
        by_time[a] = 0.0
    for i in range(stops.shape[0]):
        origin, piece = origins[piece_of[i]], pieces[piece_of[i]]
        sign = 1.0 if stops[i] >= t else -1.0
        fresh = True
        while sign * (stops[i] - t) > 0.0:
            left = abs(stops[i] - t)
            size = min(h, left)
            # Stages -3 to -1 are the rate and Jacobian here, and the rate a little before and after
            # for its change in time. One place calls the law: every further one costs a second of
            # compilation.
            error = np.inf
            for s in range(-3 if fresh else 0, 6):
                if s == -3:
                    for a in range(n):
                        at[a] = x[a]
                    _inputs(t, origin, piece, u)
                elif s < 0:
                    apart = 1e-5 * (size if size > 0.0 else 1e-3 * left)
                    _inputs(t + (2 * s + 3) * apart, origin, piece, u)
                elif s > 0:
                    for a in range(n):
                        at[a] = at[a] + k[4, a] if s == 5 else x[a]
                        if s < 5:
                            for r in range(s):
                                at[a] += STAGES[s, r] * k[r, a]
                    _inputs(t + TIMES[s] * step, origin, piece, u)
                if s != 0 and (s < -2 or s > 0 or m > 0):
                    _slope(code, numbers, splines, term_of, direction, theta, none, at, u, empty,
                           stack, slopes, phi, dphi, J, rate, empty)  # fmt: skip
                if s == -3:
                    for a in range(n):
                        f[a] = rate[a]
                        for b in range(n):
                            jacobian[a, b] = J[a, b]
                        if not abs(f[a]) < np.inf:
                            return i, UNDEFINED, steps, t
                elif s == -2:
                    for a in range(n):
                        before[a] = rate[a]
                elif s == -1:
                    if m > 0:
                        for a in range(n):
                            by_time[a] = (rate[a] - before[a]) / (2.0 * apart)
                    if h == 0.0:
                        # Cautiously at first: states move by a thousandth of their size.
                        h = left
                        for a in range(n):
                            if f[a] != 0.0:
                                h = min(h, 1e-3 * max(abs(x[a]), atol[a] / rtol) / abs(f[a]))
                        size = h
                else:
                    if s == 0:
                        last = size >= left * (1.0 - 1e-12)
                        step = sign * (left if last else size)
                        for a in range(n):
                            for b in range(n):
                                W[a, b] = -jacobian[a, b]
                            W[a, a] += 1.0 / (GAMMA * step)
                        if not _factorise(W, pivots):
                            break
                        for a in range(n):
                            rate[a] = f[a]
                    for a in range(n):
                        k[s, a] = rate[a] + step * BY_TIME[s] * by_time[a]
                        for r in range(s):
                            k[s, a] += COUPLING[s, r] / step * k[r, a]
                    _substitute(W, pivots, k[s])
                    if s == 5:
                        error = 0.0
                        for a in range(n):
                            at[a] += k[5, a]
                            tolerated = atol[a] + rtol * max(abs(x[a]), abs(at[a]))
                            part = abs(k[5, a]) / tolerated
                            if not part <= error:  # also if it is no number
                                error = part
            fresh = False
            steps += 1
            if error <= 1.0:
                t = stops[i] if last else t + step
                fresh = True
                for a in range(n):
                    x[a] = at[a]
                    if abs(x[a]) > bound:
                        return i, BLEW_UP, steps, t
            elif abs(step) <= 4.0 * np.finfo(np.float64).eps * max(abs(t), abs(stops[i])):
                return i, STEP_FAILED, steps, t
            grow = 0.1
            if error < np.inf:
                grow = min(5.0, max(0.1, 0.9 * max(error, 1e-12) ** -0.25))
            # A step cut short by a stop says nothing against the longer one that was meant.
            h = max(h, abs(step) * grow) if error <= 1.0 and last else abs(step) * grow
            if steps >= max_steps:
                return i, TOO_MANY, steps, t
        for a in range(n):
            X[i, a] = x[a]
    return stops.shape[0], OK, steps, t
