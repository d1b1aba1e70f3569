"""Compiled kernel of a mode with nonlinear forces, with derivatives by all of its parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from .kernels import DISPLACEMENT, VELOCITY, transition_tables

__all__ = [
    "BY_DAMPING",
    "BY_FACTOR",
    "BY_FREQUENCY",
    "BY_HOLD",
    "BY_INPUT",
    "BY_POSITION",
    "BY_VELOCITY",
    "BY_WIDTH",
    "nonlinear_mode",
]

SQUARE, SIGNED_SQUARE, CUBE = 0, 1, 2
SIGNED_SQUARE_DAMPING, CUBE_DAMPING = 3, 4

BY_FREQUENCY, BY_DAMPING, BY_INPUT, BY_POSITION, BY_VELOCITY = 0, 1, 2, 3, 4
BY_FACTOR, BY_HOLD, BY_WIDTH = 5, 6, 7
"""What a derivative is by: logarithms of frequency, damping and width; all else as it is."""


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _power(kind: int, q: float, v: float) -> float:
    """A force of factor 1."""
    if kind == SQUARE:
        return q * q
    if kind == SIGNED_SQUARE:
        return q * abs(q)
    if kind == CUBE:
        return q * q * q
    if kind == SIGNED_SQUARE_DAMPING:
        return v * abs(v)
    if kind == CUBE_DAMPING:
        return v * v * v
    return q * q * v


@njit(cache=True, nogil=True, error_model="numpy")
def _force(
    kinds: Any, factors: Any, hold: float, q: float, v: float, x: float
) -> tuple[float, float, float]:
    """Nonlinear force on a mode, and its derivatives by q and v."""
    total, by_q, by_v = hold * x, 0.0, 0.0
    for i in range(len(kinds)):
        kind, factor = kinds[i], factors[i]
        total += factor * _power(kind, q, v)
        if kind == SQUARE:
            by_q += 2.0 * factor * q
        elif kind == SIGNED_SQUARE:
            by_q += 2.0 * factor * abs(q)
        elif kind == CUBE:
            by_q += 3.0 * factor * q * q
        elif kind == SIGNED_SQUARE_DAMPING:
            by_v += 2.0 * factor * abs(v)
        elif kind == CUBE_DAMPING:
            by_v += 3.0 * factor * v * v
        else:
            by_q += 2.0 * factor * q * v
            by_v += factor * q * q
    return total, by_q, by_v


@njit(cache=True, nogil=True, error_model="numpy")
def _yield(x: float, move: float, width: float) -> tuple[float, float, float, float]:
    """Exact hysteretic state after a displacement one way: x' = v - |v| x / width.

    With its derivatives by x, the displacement and the logarithm of the width.
    """
    end = width if move >= 0.0 else -width
    kept = math.exp(-move / end)
    by_move = (end - x) * kept / end
    return end + (x - end) * kept, kept, by_move, end * (1.0 - kept) - by_move * move


@njit(cache=True, nogil=True, error_model="numpy")
def _slide(
    x: float, q: float, v: float, to_q: float, to_v: float, h: float, width: float, D: Any
) -> float:
    """Hysteretic state after a step, by way of the turning point if there is one.

    Writes its derivatives by x, q, v, to_q, to_v and the logarithm of the width into D.
    """
    if v * to_v < 0.0:
        turn = 0.5 * h * v * v / (v - to_v)
        by_v = 0.5 * h * v * (v - 2.0 * to_v) / (v - to_v) ** 2
        by_to_v = 0.5 * h * (v / (v - to_v)) ** 2
        there, there_x, there_move, there_width = _yield(x, turn, width)
        back, back_x, back_move, back_width = _yield(there, to_q - q - turn, width)
        by_turn = back_x * there_move - back_move
        D[0] = back_x * there_x
        D[1] = -back_move
        D[2] = by_turn * by_v
        D[3] = back_move
        D[4] = by_turn * by_to_v
        D[5] = back_x * there_width + back_width
        return back
    value, by_x, by_move, by_width = _yield(x, to_q - q, width)
    D[0] = by_x
    D[1] = -by_move
    D[2] = 0.0
    D[3] = by_move
    D[4] = 0.0
    D[5] = by_width
    return value


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _along(
    D: Any, dx: float, dq: float, dv: float, to_dq: float, to_dv: float, own: float
) -> float:
    """Derivative of the hysteretic state by the chain rule; `own` is that of the log width."""
    return D[0] * dx + D[1] * dq + D[2] * dv + D[3] * to_dq + D[4] * to_dv + D[5] * own


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _own(by: int, index: int, kinds: Any, q: float, v: float, x: float) -> float:
    """Derivative of the force by its own factors, where the motion stays."""
    if by == BY_FACTOR:
        return _power(kinds[index], q, v)
    return x if by == BY_HOLD else 0.0


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _sensed(
    sense: int,
    by: int,
    w: float,
    z: float,
    v: float,
    force: float,
    dq: float,
    dv: float,
    df: float,
    du: float,
) -> float:
    """Derivative of q, q' / w or q'' / w^2 by those of q, q', the force and the input."""
    if sense == DISPLACEMENT:
        return dq
    if sense == VELOCITY:
        return (dv - (v if by == BY_FREQUENCY else 0.0)) / w
    value = -dq - 2.0 * z / w * dv + df / w**2
    if by == BY_FREQUENCY:
        value += 2.0 * z / w * v - 2.0 * force / w**2
    elif by == BY_DAMPING:
        value -= 2.0 * z / w * v
    return value + du


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _carried(A: Any, G: Any, d: int, i: int, q: float, v: float, a: Any) -> tuple[float, float]:
    """Linear motion over a step of kind i, or a derivative of it, from q and q' under an input."""
    to_q = A[d, i, 0, 0] * q + A[d, i, 0, 1] * v
    to_v = A[d, i, 1, 0] * q + A[d, i, 1, 1] * v
    for j in range(4):
        to_q += G[d, i, 0, j] * a[j]
        to_v += G[d, i, 1, j] * a[j]
    return to_q, to_v


@njit(cache=True, nogil=True, error_model="numpy")
def nonlinear_mode(
    w: float,
    z: float,
    start: Any,
    kinds: Any,
    factors: Any,
    hold: float,
    width: float,
    yields: bool,
    steps: Any,
    which: Any,
    cubic: Any,
    share: Any,
    u: Any,
    stride: int,
    senses: Any,
    wanted: Any,
) -> tuple[Any, Any]:
    """A mode with nonlinear forces: the linear part exactly, the forces by Runge-Kutta of order 4.

    Lawson's scheme: without forces it is `linear_mode`, so that adding a force changes nothing
    until its factor does. The hysteretic state does not depend on rates, only on the path, and is
    exact along it: a narrow width needs no small steps.

    Parameters
    ----------
    w, z : float
    start : ndarray of shape (2,)
        q and q' / w at the first sample.
    kinds : ndarray of int
        Forces, with their `factors`.
    hold, width : float
        Factor of the hysteretic state z' = v - |v| z / width, and its width; z starts at 0.
    yields : bool
        Whether there is a hysteretic state at all.
    steps, which : ndarray
        As of `linear_mode`.
    cubic : ndarray of shape (n - 1, 4, m)
        Coefficients of the inputs.
    share : ndarray of shape (m,)
        Of each input in the mode's own.
    u : ndarray of shape (N, m)
        Inputs at the samples.
    stride : int
        Steps between two samples.
    senses : ndarray of int, shape (S,)
    wanted : ndarray of int, shape (T, 2)
        Derivatives: what each is by (`BY_FREQUENCY`, ...), and which input or force.

    Returns
    -------
    ndarray of shape (4, N)
        q, q', the nonlinear force, and z at the samples.
    ndarray of shape (S, N, T)
        Derivatives of what channels may see.
    """
    n, m, T = len(which) + 1, cubic.shape[2], len(wanted)
    A, G = transition_tables(w, z, steps, 1.0)
    A2, G2 = transition_tables(w, z, steps, 0.5)
    out = np.zeros((4, len(u)))
    seen = np.zeros((len(senses), len(u), T))
    dq, dv, dx = np.zeros(T), np.zeros(T), np.zeros(T)
    a = np.zeros(4)
    # Derivatives of the hysteretic state after each stage.
    D2, D3, D4, D5 = np.zeros(6), np.zeros(6), np.zeros(6), np.zeros(6)
    q, v, x = start[0], start[1] * w, 0.0
    for t in range(T):
        if wanted[t, 0] == BY_FREQUENCY:
            dv[t] = v
        elif wanted[t, 0] == BY_POSITION:
            dq[t] = 1.0
        elif wanted[t, 0] == BY_VELOCITY:
            dv[t] = w
    for k in range(n):
        k1, q1q, q1v = _force(kinds, factors, hold, q, v, x)
        if k % stride == 0:
            N = k // stride
            out[0, N], out[1, N], out[2, N], out[3, N] = q, v, k1, x
            for t in range(T):
                by, index = wanted[t, 0], wanted[t, 1]
                own = _own(by, index, kinds, q, v, x)
                df = q1q * dq[t] + q1v * dv[t] + hold * dx[t] + own
                du = u[N, index] if by == BY_INPUT else 0.0
                for s in range(len(senses)):
                    seen[s, N, t] = _sensed(senses[s], by, w, z, v, k1, dq[t], dv[t], df, du)
        if k == n - 1:
            break
        i = which[k]
        h = steps[i]
        for j in range(4):
            a[j] = 0.0
            for r in range(m):
                a[j] += cubic[k, j, r] * share[r]
        mid_q, mid_v = _carried(A2, G2, 0, i, q, v, a)
        end_q, end_v = _carried(A, G, 0, i, q, v, a)
        q2 = mid_q + h / 2.0 * A2[0, i, 0, 1] * k1
        v2 = mid_v + h / 2.0 * A2[0, i, 1, 1] * k1
        x2 = _slide(x, q, v, q2, v2, h / 2.0, width, D2) if yields else x
        k2, q2q, q2v = _force(kinds, factors, hold, q2, v2, x2)
        v3 = mid_v + h / 2.0 * k2
        x3 = _slide(x, q, v, mid_q, v3, h / 2.0, width, D3) if yields else x
        k3, q3q, q3v = _force(kinds, factors, hold, mid_q, v3, x3)
        q4 = end_q + h * A2[0, i, 0, 1] * k3
        v4 = end_v + h * A2[0, i, 1, 1] * k3
        x4 = _slide(x, q, v, q4, v4, h, width, D4) if yields else x
        k4, q4q, q4v = _force(kinds, factors, hold, q4, v4, x4)
        k23 = 2.0 * (k2 + k3)
        next_q = end_q + h / 6.0 * (A[0, i, 0, 1] * k1 + A2[0, i, 0, 1] * k23)
        next_v = end_v + h / 6.0 * (A[0, i, 1, 1] * k1 + A2[0, i, 1, 1] * k23 + k4)
        next_x = _slide(x, q, v, next_q, next_v, h, width, D5) if yields else x
        for t in range(T):
            by, index = wanted[t, 0], wanted[t, 1]
            dmid_q = A2[0, i, 0, 0] * dq[t] + A2[0, i, 0, 1] * dv[t]
            dmid_v = A2[0, i, 1, 0] * dq[t] + A2[0, i, 1, 1] * dv[t]
            dend_q = A[0, i, 0, 0] * dq[t] + A[0, i, 0, 1] * dv[t]
            dend_v = A[0, i, 1, 0] * dq[t] + A[0, i, 1, 1] * dv[t]
            # Derivatives of what forces do in the step, beyond those of the forces.
            half_q, half_v, whole_q, whole_v = 0.0, 0.0, 0.0, 0.0
            if by in (BY_FREQUENCY, BY_DAMPING):
                d = 1 if by == BY_FREQUENCY else 2
                more_q, more_v = _carried(A2, G2, d, i, q, v, a)
                dmid_q, dmid_v = dmid_q + more_q, dmid_v + more_v
                more_q, more_v = _carried(A, G, d, i, q, v, a)
                dend_q, dend_v = dend_q + more_q, dend_v + more_v
                half_q, half_v = h * A2[d, i, 0, 1], h * A2[d, i, 1, 1]
                whole_q, whole_v = h * A[d, i, 0, 1], h * A[d, i, 1, 1]
            elif by == BY_INPUT:
                for j in range(4):
                    dmid_q += G2[0, i, 0, j] * cubic[k, j, index]
                    dmid_v += G2[0, i, 1, j] * cubic[k, j, index]
                    dend_q += G[0, i, 0, j] * cubic[k, j, index]
                    dend_v += G[0, i, 1, j] * cubic[k, j, index]
            own1, own2 = _own(by, index, kinds, q, v, x), _own(by, index, kinds, q2, v2, x2)
            own3, own4 = _own(by, index, kinds, mid_q, v3, x3), _own(by, index, kinds, q4, v4, x4)
            wider = 1.0 if by == BY_WIDTH else 0.0
            d1 = q1q * dq[t] + q1v * dv[t] + hold * dx[t] + own1
            dq2 = dmid_q + 0.5 * (h * A2[0, i, 0, 1] * d1 + half_q * k1)
            dv2 = dmid_v + 0.5 * (h * A2[0, i, 1, 1] * d1 + half_v * k1)
            d2 = q2q * dq2 + q2v * dv2 + own2
            if yields:
                d2 += hold * _along(D2, dx[t], dq[t], dv[t], dq2, dv2, wider)
            dv3 = dmid_v + h / 2.0 * d2
            d3 = q3q * dmid_q + q3v * dv3 + own3
            if yields:
                d3 += hold * _along(D3, dx[t], dq[t], dv[t], dmid_q, dv3, wider)
            dq4 = dend_q + h * A2[0, i, 0, 1] * d3 + half_q * k3
            dv4 = dend_v + h * A2[0, i, 1, 1] * d3 + half_v * k3
            d4 = q4q * dq4 + q4v * dv4 + own4
            if yields:
                d4 += hold * _along(D4, dx[t], dq[t], dv[t], dq4, dv4, wider)
            d23 = 2.0 * (d2 + d3)
            to_dq = (
                dend_q
                + (h * (A[0, i, 0, 1] * d1 + A2[0, i, 0, 1] * d23) + whole_q * k1 + half_q * k23)
                / 6.0
            )
            to_dv = (
                dend_v
                + (
                    h * (A[0, i, 1, 1] * d1 + A2[0, i, 1, 1] * d23 + d4)
                    + whole_v * k1
                    + half_v * k23
                )
                / 6.0
            )
            if yields:
                dx[t] = _along(D5, dx[t], dq[t], dv[t], to_dq, to_dv, wider)
            dq[t], dv[t] = to_dq, to_dv
        q, v, x = next_q, next_v, next_x
    return out, seen
