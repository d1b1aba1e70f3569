"""Compiled kernels of linear modes: exact steps under an input that is a cubic between samples.

The steps' matrices are complex: a parameter that carries an imaginary part of 1e-20 of its size
gives their derivative in the imaginary part, to machine precision. They are made once for every
length of step; what is done at every sample is real, derivatives beside values.
"""

from __future__ import annotations

import cmath
from typing import Any

import numpy as np
from numba import njit

__all__ = ["ACCELERATION", "DISPLACEMENT", "VELOCITY", "linear_mode", "transition_tables"]

DISPLACEMENT, VELOCITY, ACCELERATION = 0, 1, 2

TURN = 1e-20
"""Imaginary step; there is no subtraction, so it may be this small."""


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
def transition_tables(w: float, z: float, steps: Any, share: float) -> tuple[Any, Any]:
    """Matrices of all lengths of steps, and their derivatives.

    Parameters
    ----------
    w, z : float
    steps : ndarray of shape (S,)
    share : float
        Of each step that is gone, from its beginning; inputs stay powers of the whole step's share.

    Returns
    -------
    A : ndarray of shape (3, S, 2, 2)
        Values, then derivatives by the logarithms of w and z.
    G : ndarray of shape (3, S, 2, 4)
    """
    A = np.zeros((3, len(steps), 2, 2))
    G = np.zeros((3, len(steps), 2, 4))
    a = np.zeros((2, 2), np.complex128)
    g = np.zeros((2, 4), np.complex128)
    for i in range(len(steps)):
        for d in range(1, 3):
            turned_w = w * complex(1.0, TURN) if d == 1 else complex(w)
            turned_z = z * complex(1.0, TURN) if d == 2 else complex(z)
            _transition(turned_w, turned_z, steps[i] * share, a, g)
            for r in range(2):
                for c in range(2):
                    A[0, i, r, c] = a[r, c].real
                    A[d, i, r, c] = a[r, c].imag / TURN
                for c in range(4):
                    G[0, i, r, c] = g[r, c].real * share**c
                    G[d, i, r, c] = g[r, c].imag / TURN * share**c
    return A, G


@njit(cache=True, nogil=True, error_model="numpy")
def linear_mode(
    w: float, z: float, steps: Any, which: Any, cubic: Any, u: Any, senses: Any, derivatives: bool
) -> Any:
    """Forced and free responses of a linear mode at all samples.

    Parameters
    ----------
    w, z : float
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
    derivatives : bool
        Whether derivatives by the logarithms of w and z are wanted too.

    Returns
    -------
    ndarray of shape (1 or 3, S, n, m + 2)
        Values, then derivatives: q, q' / w or q'' / w^2 of the m inputs' responses from rest, and
        of the free responses from (q, q') = (1, 0) and (0, w).
    """
    n, m = len(which) + 1, cubic.shape[2]
    A, G = transition_tables(w, z, steps, 1.0)
    out = np.empty((3 if derivatives else 1, len(senses), n, m + 2))
    for j in range(m + 2):
        q = 1.0 if j == m else 0.0
        v = w if j == m + 1 else 0.0
        # Derivatives of q and v by log w and by log z.
        qw, vw, qz, vz = 0.0, v, 0.0, 0.0
        for k in range(n):
            for s in range(len(senses)):
                if senses[s] == DISPLACEMENT:
                    out[0, s, k, j] = q
                elif senses[s] == VELOCITY:
                    out[0, s, k, j] = v / w
                else:
                    out[0, s, k, j] = (u[k, j] if j < m else 0.0) - q - 2.0 * z / w * v
                if derivatives:
                    if senses[s] == DISPLACEMENT:
                        out[1, s, k, j] = qw
                        out[2, s, k, j] = qz
                    elif senses[s] == VELOCITY:
                        out[1, s, k, j] = (vw - v) / w
                        out[2, s, k, j] = vz / w
                    else:
                        out[1, s, k, j] = -qw - 2.0 * z / w * (vw - v)
                        out[2, s, k, j] = -qz - 2.0 * z / w * (vz + v)
            if k == n - 1:
                break
            i = which[k]
            if derivatives:
                next_q = A[0, i, 0, 0] * qw + A[0, i, 0, 1] * vw
                vw = A[0, i, 1, 0] * qw + A[0, i, 1, 1] * vw
                qw = next_q + A[1, i, 0, 0] * q + A[1, i, 0, 1] * v
                vw += A[1, i, 1, 0] * q + A[1, i, 1, 1] * v
                next_q = A[0, i, 0, 0] * qz + A[0, i, 0, 1] * vz
                vz = A[0, i, 1, 0] * qz + A[0, i, 1, 1] * vz
                qz = next_q + A[2, i, 0, 0] * q + A[2, i, 0, 1] * v
                vz += A[2, i, 1, 0] * q + A[2, i, 1, 1] * v
                if j < m:
                    for p in range(4):
                        qw += G[1, i, 0, p] * cubic[k, p, j]
                        vw += G[1, i, 1, p] * cubic[k, p, j]
                        qz += G[2, i, 0, p] * cubic[k, p, j]
                        vz += G[2, i, 1, p] * cubic[k, p, j]
            next_q = A[0, i, 0, 0] * q + A[0, i, 0, 1] * v
            v = A[0, i, 1, 0] * q + A[0, i, 1, 1] * v
            q = next_q
            if j < m:
                for p in range(4):
                    q += G[0, i, 0, p] * cubic[k, p, j]
                    v += G[0, i, 1, p] * cubic[k, p, j]
    return out
