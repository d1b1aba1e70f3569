"""Compiled kernels: the stack machine, and Runge-Kutta steps that carry exact sensitivities.

Arrays are C-ordered float64. States are (n_s,), sensitivities (n_s, P): the derivatives of the
states with respect to the free coefficients, then the free initial states.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from .program import STACK_DEPTH, Opcode

Array = NDArray[np.float64]

# Plain integers: the compiler folds them.
CONSTANT, STATE, INPUT = int(Opcode.CONSTANT), int(Opcode.STATE), int(Opcode.INPUT)
ADD, MULTIPLY = int(Opcode.ADD), int(Opcode.MULTIPLY)
INTEGER_POWER, POWER = int(Opcode.INTEGER_POWER), int(Opcode.POWER)
SIN, COS, TAN = int(Opcode.SIN), int(Opcode.COS), int(Opcode.TAN)
EXP, LOG, SQRT, TANH = int(Opcode.EXP), int(Opcode.LOG), int(Opcode.SQRT), int(Opcode.TANH)
ABS, SIGN, MAX, MIN = int(Opcode.ABS), int(Opcode.SIGN), int(Opcode.MAX), int(Opcode.MIN)
SINH, COSH, ATAN = int(Opcode.SINH), int(Opcode.COSH), int(Opcode.ATAN)
SPLINE, STORE = int(Opcode.SPLINE), int(Opcode.STORE)
DEPTH = STACK_DEPTH


@njit(cache=True, nogil=True, error_model="numpy")
def _spline(x: float, lower: float, width: float, intervals: float, index: float) -> Any:
    """Value and slope of one cubic basis function, continued linearly outside of the grid."""
    position = (x - lower) / width
    inside = min(max(position, 0.0), intervals)
    # The function of this index lives on [index - 3, index + 1] in units of the interval.
    local = inside - (index - 3.0)
    value = 0.0
    slope = 0.0
    if 0.0 < local < 4.0:
        if local < 1.0:
            value = local**3 / 6.0
            slope = 0.5 * local**2
        elif local < 2.0:
            r = local - 1.0
            value = (1.0 + 3.0 * r + 3.0 * r**2 - 3.0 * r**3) / 6.0
            slope = (1.0 + 2.0 * r - 3.0 * r**2) / 2.0
        elif local < 3.0:
            r = 3.0 - local
            value = (1.0 + 3.0 * r + 3.0 * r**2 - 3.0 * r**3) / 6.0
            slope = -(1.0 + 2.0 * r - 3.0 * r**2) / 2.0
        else:
            r = 4.0 - local
            value = r**3 / 6.0
            slope = -0.5 * r**2
    return value + slope * (position - inside), slope / width


@njit(cache=True, nogil=True, error_model="numpy")
def _unary(opcode: int, x: float) -> Any:
    """Value and derivative of a function of one argument."""
    if opcode == SIN:
        return math.sin(x), math.cos(x)
    if opcode == COS:
        return math.cos(x), -math.sin(x)
    if opcode == TANH:
        value = math.tanh(x)
        return value, 1.0 - value * value
    if opcode == EXP:
        value = np.exp(x)
        return value, value
    if opcode == ABS:
        return abs(x), 1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0)
    if opcode == SIGN:
        return 1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0), 0.0
    if opcode == SQRT:
        value = np.sqrt(x)
        return value, 0.5 / value
    if opcode == LOG:
        return np.log(x), 1.0 / x
    if opcode == TAN:
        value = math.tan(x)
        return value, 1.0 + value * value
    if opcode == SINH:
        return np.sinh(x), np.cosh(x)
    if opcode == COSH:
        return np.cosh(x), np.sinh(x)
    return math.atan(x), 1.0 / (1.0 + x * x)


@njit(cache=True, nogil=True, error_model="numpy")
def _integer_power(x: float, exponent: int) -> Any:
    """Value and derivative of an integer power, by repeated multiplication."""
    size = abs(exponent)
    below = 1.0
    for _ in range(size - 1):
        below *= x
    value = below * x if size > 0 else 1.0
    if exponent >= 0:
        return value, exponent * below if size > 0 else 0.0
    return 1.0 / value, exponent / (value * x)


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate_terms(
    code: NDArray[np.int32],
    numbers: Array,
    splines: Array,
    x: Array,
    u: Array,
    stack: Array,
    slopes: Array,
    phi: Array,
    dphi: Array,
) -> None:
    """Run a program: `phi` (n_terms,) and its gradient `dphi` (n_terms, n_s) are written.

    `stack` (DEPTH,) and `slopes` (DEPTH, n_s) are work space. Where `slopes` and `dphi` have no
    columns, only the values are.
    """
    n = slopes.shape[1]
    top = -1
    for step in range(code.shape[0]):
        opcode = code[step, 0]
        argument = code[step, 1]
        if opcode <= INPUT:
            top += 1
            for j in range(n):
                slopes[top, j] = 0.0
            if opcode == STATE:
                stack[top] = x[argument]
                if n > 0:
                    slopes[top, argument] = 1.0
            elif opcode == INPUT:
                stack[top] = u[argument]
            else:
                stack[top] = numbers[argument]
        elif opcode == MULTIPLY:
            a = stack[top - 1]
            b = stack[top]
            top -= 1
            stack[top] = a * b
            for j in range(n):
                slopes[top, j] = slopes[top, j] * b + slopes[top + 1, j] * a
        elif opcode == STORE:
            phi[argument] = stack[top]
            for j in range(n):
                dphi[argument, j] = slopes[top, j]
            top = -1
        elif opcode == INTEGER_POWER:
            value, slope = _integer_power(stack[top], argument)
            stack[top] = value
            for j in range(n):
                slopes[top, j] *= slope
        elif opcode == SPLINE:
            value, slope = _spline(
                stack[top],
                splines[argument, 0],
                splines[argument, 1],
                splines[argument, 2],
                splines[argument, 3],
            )
            stack[top] = value
            for j in range(n):
                slopes[top, j] *= slope
        elif opcode == ADD:
            top -= 1
            stack[top] += stack[top + 1]
            for j in range(n):
                slopes[top, j] += slopes[top + 1, j]
        elif opcode == POWER:
            a = stack[top - 1]
            b = stack[top]
            top -= 1
            value = a**b
            by_base = b * a ** (b - 1.0)
            by_exponent = value * np.log(a) if a > 0.0 else 0.0
            stack[top] = value
            for j in range(n):
                slopes[top, j] = slopes[top, j] * by_base + slopes[top + 1, j] * by_exponent
        elif opcode in (MAX, MIN):
            top -= 1
            second = stack[top + 1] > stack[top]
            if opcode == MIN:
                second = stack[top + 1] < stack[top]
            if second:
                stack[top] = stack[top + 1]
                for j in range(n):
                    slopes[top, j] = slopes[top + 1, j]
        else:
            value, slope = _unary(opcode, stack[top])
            stack[top] = value
            for j in range(n):
                slopes[top, j] *= slope


@njit(cache=True, nogil=True, error_model="numpy")
def evaluate_terms_many(
    code: NDArray[np.int32], numbers: Array, splines: Array, n_terms: int, X: Array, U: Array
) -> Array:
    """Terms at many points: X (n, n_s) and U (n, m) to (n, n_terms)."""
    stack = np.empty(DEPTH)
    slopes = np.empty((DEPTH, 0))
    dphi = np.empty((n_terms, 0))
    out = np.empty((X.shape[0], n_terms))
    for i in range(X.shape[0]):
        evaluate_terms(code, numbers, splines, X[i], U[i], stack, slopes, out[i], dphi)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _slope(
    code: NDArray[np.int32],
    numbers: Array,
    splines: Array,
    term_of: NDArray[np.int64],
    direction: Array,
    theta: Array,
    free: NDArray[np.int64],
    x: Array,
    u: Array,
    S: Array,
    stack: Array,
    slopes: Array,
    phi: Array,
    dphi: Array,
    J: Array,
    f: Array,
    dS: Array,
) -> None:
    """Rate `f` of the states and, if there are any, rate `dS` of the sensitivities `S`."""
    n = x.shape[0]
    width = S.shape[1]
    slopes_of = dphi.shape[1]
    evaluate_terms(code, numbers, splines, x, u, stack, slopes, phi, dphi)
    for i in range(n):
        f[i] = 0.0
        for j in range(slopes_of):
            J[i, j] = 0.0
    for k in range(theta.shape[0]):
        if theta[k] == 0.0:
            continue
        term = term_of[k]
        for i in range(n):
            weight = theta[k] * direction[k, i]
            if weight != 0.0:
                f[i] += weight * phi[term]
                for j in range(slopes_of):
                    J[i, j] += weight * dphi[term, j]
    if width == 0:
        return
    for i in range(n):
        for p in range(width):
            dS[i, p] = 0.0
        for j in range(n):
            weight = J[i, j]
            if weight != 0.0:
                for p in range(width):
                    dS[i, p] += weight * S[j, p]
    for p in range(free.shape[0]):
        k = free[p]
        value = phi[term_of[k]]
        if value == 0.0:
            continue
        for i in range(n):
            if direction[k, i] != 0.0:
                dS[i, p] += direction[k, i] * value


@njit(cache=True, nogil=True, error_model="numpy")
def shoot(
    code: NDArray[np.int32],
    numbers: Array,
    splines: Array,
    n_terms: int,
    term_of: NDArray[np.int64],
    direction: Array,
    theta: Array,
    free: NDArray[np.int64],
    starts: Array,
    S_start: Array,
    restart: bool,
    t: Array,
    u_nodes: Array,
    u_stages: Array,
    bound: Array,
    X: Array,
    F: Array,
    dX: Array,
    dF: Array,
) -> int:
    """Integrate from sample to sample with sensitivities; returns how many samples are valid.

    With ``restart`` every interval starts anew from `starts` (N, n_s) and `S_start`, and row i + 1
    of `X` and `dX` is where interval i ends (multiple shooting); else from ``starts[0]`` on.
    `u_stages` (N - 1, 2 substeps + 1, m) holds the inputs at ends and middles of the substeps.
    Rates `F` and their sensitivities `dF` are those at the samples: at the end of the interval,
    or at its start with ``restart``.
    """
    n_samples, n = X.shape
    width = S_start.shape[1]
    substeps = (u_stages.shape[1] - 1) // 2
    stack = np.empty(DEPTH)
    # Without sensitivities nobody asks for the terms' gradients.
    slopes_of = n if width > 0 else 0
    slopes = np.empty((DEPTH, slopes_of))
    phi = np.empty(n_terms)
    dphi = np.empty((n_terms, slopes_of))
    J = np.empty((n, n))
    x, stage, f = np.empty(n), np.empty(n), np.empty(n)
    S, S_stage, dS = np.empty((n, width)), np.empty((n, width)), np.empty((n, width))
    k, K = np.empty((4, n)), np.empty((4, n, width))
    # Slices would be shorter, but numba compiles seconds for each; so it does for every further
    # place that calls the law.
    for a in range(n):
        x[a] = starts[0, a]
        for p in range(width):
            S[a, p] = S_start[a, p]
    for i in range(n_samples):
        if restart and i > 0:
            for a in range(n):
                x[a] = starts[i, a]
                for p in range(width):
                    S[a, p] = S_start[a, p]
        if not restart or i == 0:
            for a in range(n):
                X[i, a] = x[a]
                for p in range(width):
                    dX[i, a, p] = S[a, p]
        h = (t[i + 1] - t[i]) / substeps if i + 1 < n_samples else 0.0
        # The first round only writes down the rates at the sample.
        for sub in range(-1, substeps if i + 1 < n_samples else 0):
            for r in range(4 if sub >= 0 else 1):
                share = 0.0 if r == 0 else (h if r == 3 else 0.5 * h)
                for a in range(n):
                    stage[a] = x[a] + (share * k[r - 1, a] if r > 0 else 0.0)
                    for p in range(width):
                        S_stage[a, p] = S[a, p] + (share * K[r - 1, a, p] if r > 0 else 0.0)
                at = u_nodes[i]
                if sub >= 0:
                    at = u_stages[i, 2 * sub + (0 if r == 0 else (2 if r == 3 else 1))]
                _slope(code, numbers, splines, term_of, direction, theta, free, stage, at,
                       S_stage, stack, slopes, phi, dphi, J, f, dS)  # fmt: skip
                for a in range(n):
                    k[r, a] = f[a]
                    for p in range(width):
                        K[r, a, p] = dS[a, p]
            if sub < 0:
                for a in range(n):
                    F[i, a] = f[a]
                    for p in range(width):
                        dF[i, a, p] = dS[a, p]
                continue
            for a in range(n):
                x[a] += h / 6.0 * (k[0, a] + 2.0 * k[1, a] + 2.0 * k[2, a] + k[3, a])
                for p in range(width):
                    S[a, p] += (
                        h / 6.0 * (K[0, a, p] + 2.0 * K[1, a, p] + 2.0 * K[2, a, p] + K[3, a, p])
                    )
        if i + 1 == n_samples:
            break
        for a in range(n):
            if not abs(x[a]) <= bound[a]:
                return i + 1
        if restart:
            for a in range(n):
                X[i + 1, a] = x[a]
                for p in range(width):
                    dX[i + 1, a, p] = S[a, p]
    return n_samples
