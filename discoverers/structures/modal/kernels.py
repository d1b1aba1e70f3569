"""Compiled kernels: one mode under an input that is a cubic between samples.

All arguments may be complex. A parameter that carries an imaginary part of 1e-20 of its size gives
the derivative with respect to it in the imaginary part of the answer, to machine precision.
"""

from __future__ import annotations

import cmath
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["ACCELERATION", "DISPLACEMENT", "VELOCITY", "linear_mode", "nonlinear_mode"]

DISPLACEMENT, VELOCITY, ACCELERATION = 0, 1, 2
SQUARE, SIGNED_SQUARE, CUBE = 0, 1, 2
SIGNED_SQUARE_DAMPING, CUBE_DAMPING = 3, 4

Complex = NDArray[np.complex128]


@njit(cache=True, nogil=True, error_model="numpy")
def _transition(w: complex, z: complex, h: float, A: Any, G: Any) -> None:
    """Exact step of q'' = w^2 (u - q) - 2 z w q' over h.

    The state (q, q') becomes ``A @ (q, q') + G @ a`` under the input u = sum_j a_j (s / h)^j.
    """
    mu = z * w
    x = (mu * mu - w * w) * h * h
    if abs(x) < 1e-2:
        # cosh and sinh(r) / r are even in r = sqrt(x), so critical damping is no exception.
        c = 1.0 + x / 2.0 * (1.0 + x / 12.0 * (1.0 + x / 30.0 * (1.0 + x / 56.0)))
        s = 1.0 + x / 6.0 * (1.0 + x / 20.0 * (1.0 + x / 42.0 * (1.0 + x / 72.0)))
    else:
        r = cmath.sqrt(x)
        c = cmath.cosh(r)
        s = cmath.sinh(r) / r
    decay = cmath.exp(-mu * h)
    A[0, 0] = decay * (c + mu * h * s)
    A[0, 1] = decay * h * s
    A[1, 0] = -decay * w * w * h * s
    A[1, 1] = decay * (c - mu * h * s)
    if abs(w * h) * (1.0 + 2.0 * abs(z)) < 1.5:
        for j in range(4):
            # Power series of the integral: no cancellation on short steps.
            q, v = 0.0 * w, w * w
            factor = h / (j + 1.0)
            G[0, j] = 0.0
            G[1, j] = 0.0
            for k in range(26):
                G[0, j] += q * factor
                G[1, j] += v * factor
                q, v = v, -w * w * q - 2.0 * mu * v
                factor *= h / (k + j + 2.0)
    else:
        for j in range(4):
            # The particular solution of a polynomial input is a polynomial.
            b0, b1, b2, b3 = 0.0 * w, 0.0 * w, 0.0 * w, 0.0 * w
            if j == 3:
                b3 = 1.0 + 0.0 * w
            b2 = (1.0 if j == 2 else 0.0) - 6.0 * z / (w * h) * b3
            b1 = (1.0 if j == 1 else 0.0) - 4.0 * z / (w * h) * b2 - 6.0 / (w * h) ** 2 * b3
            b0 = (1.0 if j == 0 else 0.0) - 2.0 * z / (w * h) * b1 - 2.0 / (w * h) ** 2 * b2
            v0 = b1 / h
            G[0, j] = b0 + b1 + b2 + b3 - A[0, 0] * b0 - A[0, 1] * v0
            G[1, j] = (b1 + 2.0 * b2 + 3.0 * b3) / h - A[1, 0] * b0 - A[1, 1] * v0


@njit(cache=True, nogil=True, error_model="numpy")
def linear_mode(
    w: complex, z: complex, steps: Any, which: Any, cubic: Any, u: Any, senses: Any
) -> Any:
    """Forced and free responses of a linear mode at all samples.

    Parameters
    ----------
    w, z : complex
        Natural frequency (radians per unit of time) and damping ratio.
    steps : ndarray of shape (S,)
        The different lengths of the intervals.
    which : ndarray of int, shape (n - 1,)
        Which of them each interval has.
    cubic : ndarray of shape (n - 1, 4, m)
        Coefficients of the inputs in each interval, in powers of its share.
    u : ndarray of shape (n, m)
        Inputs at the samples.
    senses : ndarray of int, shape (S,)
        `DISPLACEMENT`, `VELOCITY` or `ACCELERATION`.

    Returns
    -------
    complex ndarray of shape (S, n, m + 2)
        q, q' / w or q'' / w^2 of the m inputs' responses from rest, and of the free responses from
        (q, q') = (1, 0) and (0, w).
    """
    n, m = len(which) + 1, cubic.shape[2]
    A = np.zeros((len(steps), 2, 2), np.complex128)
    G = np.zeros((len(steps), 2, 4), np.complex128)
    for i in range(len(steps)):
        _transition(w, z, steps[i], A[i], G[i])
    out = np.empty((len(senses), n, m + 2), np.complex128)
    for j in range(m + 2):
        q = (1.0 if j == m else 0.0) + 0.0 * w
        v = w if j == m + 1 else 0.0 * w
        for k in range(n):
            for s in range(len(senses)):
                if senses[s] == DISPLACEMENT:
                    out[s, k, j] = q
                elif senses[s] == VELOCITY:
                    out[s, k, j] = v / w
                else:
                    out[s, k, j] = (u[k, j] if j < m else 0.0) - q - 2.0 * z / w * v
            if k < n - 1:
                i = which[k]
                q, v = A[i, 0, 0] * q + A[i, 0, 1] * v, A[i, 1, 0] * q + A[i, 1, 1] * v
                if j < m:
                    for p in range(4):
                        q += G[i, 0, p] * cubic[k, p, j]
                        v += G[i, 1, p] * cubic[k, p, j]
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _force(kinds: Any, factors: Any, hold: complex, q: complex, v: complex, z: complex) -> complex:
    """Nonlinear force on a mode; a modulus is continued as plus or minus its argument."""
    total = hold * z
    for i in range(len(kinds)):
        kind = kinds[i]
        if kind == SQUARE:
            value = q * q
        elif kind == SIGNED_SQUARE:
            value = q * q if q.real >= 0.0 else -q * q
        elif kind == CUBE:
            value = q * q * q
        elif kind == SIGNED_SQUARE_DAMPING:
            value = v * v if v.real >= 0.0 else -v * v
        elif kind == CUBE_DAMPING:
            value = v * v * v
        else:
            value = q * q * v
        total += factors[i] * value
    return total


@njit(cache=True, nogil=True, error_model="numpy")
def _yield(x: complex, move: complex, width: complex) -> complex:
    """Exact hysteretic state after a displacement one way: x' = v - |v| x / width."""
    end = width if move.real >= 0.0 else -width
    return end + (x - end) * cmath.exp(-move / end)


@njit(cache=True, nogil=True, error_model="numpy")
def _slide(
    x: complex, q: complex, v: complex, to_q: complex, to_v: complex, h: float, width: complex
) -> complex:
    """Hysteretic state after a step, by way of the turning point if there is one."""
    if v.real * to_v.real < 0.0:
        turn = 0.5 * h * v * v / (v - to_v)
        return _yield(_yield(x, turn, width), to_q - q - turn, width)
    return _yield(x, to_q - q, width)


@njit(cache=True, nogil=True, error_model="numpy")
def nonlinear_mode(
    w: complex,
    z: complex,
    start: Any,
    kinds: Any,
    factors: Any,
    hold: complex,
    width: complex,
    yields: bool,
    steps: Any,
    which: Any,
    cubic: Any,
) -> Any:
    """A mode with nonlinear forces: the linear part exactly, the forces by Runge-Kutta of order 4.

    Lawson's scheme: without forces it is `linear_mode`, so that adding a force changes nothing
    until its factor does. The hysteretic state does not depend on rates, only on the path, and is
    exact along it: a narrow width needs no small steps.

    Parameters
    ----------
    w, z : complex
    start : complex ndarray of shape (2,)
        q and q' / w at the first sample.
    kinds : ndarray of int
        Forces, with their `factors`.
    hold, width : complex
        Factor of the hysteretic state z' = v - |v| z / width, and its width; z starts at 0.
    yields : bool
        Whether there is a hysteretic state at all.
    steps, which : ndarray
        As of `linear_mode`.
    cubic : complex ndarray of shape (n - 1, 4)
        Coefficients of the mode's input.

    Returns
    -------
    complex ndarray of shape (4, n)
        q, q', the nonlinear force, and z.
    """
    n = len(which) + 1
    A = np.zeros((len(steps), 2, 2), np.complex128)
    G = np.zeros((len(steps), 2, 4), np.complex128)
    A2 = np.zeros((len(steps), 2, 2), np.complex128)
    G2 = np.zeros((len(steps), 2, 4), np.complex128)
    for i in range(len(steps)):
        _transition(w, z, steps[i], A[i], G[i])
        _transition(w, z, steps[i] / 2.0, A2[i], G2[i])
        for j in range(4):
            # Half a step sees the input's power of s / h, not of s / (h / 2).
            G2[i, 0, j] *= 0.5**j
            G2[i, 1, j] *= 0.5**j
    out = np.zeros((4, n), np.complex128)
    q, v, x = start[0], start[1] * w, 0.0 * w
    for k in range(n):
        k1 = _force(kinds, factors, hold, q, v, x)
        out[0, k], out[1, k], out[2, k], out[3, k] = q, v, k1, x
        if k == n - 1:
            break
        i = which[k]
        h = steps[i]
        mid_q = A2[i, 0, 0] * q + A2[i, 0, 1] * v
        mid_v = A2[i, 1, 0] * q + A2[i, 1, 1] * v
        end_q = A[i, 0, 0] * q + A[i, 0, 1] * v
        end_v = A[i, 1, 0] * q + A[i, 1, 1] * v
        for j in range(4):
            mid_q += G2[i, 0, j] * cubic[k, j]
            mid_v += G2[i, 1, j] * cubic[k, j]
            end_q += G[i, 0, j] * cubic[k, j]
            end_v += G[i, 1, j] * cubic[k, j]
        q2 = mid_q + h / 2.0 * A2[i, 0, 1] * k1
        v2 = mid_v + h / 2.0 * A2[i, 1, 1] * k1
        x2 = _slide(x, q, v, q2, v2, h / 2.0, width) if yields else x
        k2 = _force(kinds, factors, hold, q2, v2, x2)
        v3 = mid_v + h / 2.0 * k2
        x3 = _slide(x, q, v, mid_q, v3, h / 2.0, width) if yields else x
        k3 = _force(kinds, factors, hold, mid_q, v3, x3)
        q4 = end_q + h * A2[i, 0, 1] * k3
        v4 = end_v + h * A2[i, 1, 1] * k3
        x4 = _slide(x, q, v, q4, v4, h, width) if yields else x
        k4 = _force(kinds, factors, hold, q4, v4, x4)
        next_q = end_q + h / 6.0 * (A[i, 0, 1] * k1 + 2.0 * A2[i, 0, 1] * (k2 + k3))
        next_v = end_v + h / 6.0 * (A[i, 1, 1] * k1 + 2.0 * A2[i, 1, 1] * (k2 + k3) + k4)
        if yields:
            x = _slide(x, q, v, next_q, next_v, h, width)
        q, v = next_q, next_v
    return out
