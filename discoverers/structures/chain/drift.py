"""Integrated accelerations drift: find the drift under which one law explains the rates best."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from .model import ChainTask

__all__ = ["remove_drift"]

Array = NDArray[np.float64]

ITERATIONS = 8
SCAN = np.array([-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0])
"""Slopes to start from, in units of the coordinate's spread over half of the run."""


def remove_drift(
    task: ChainTask,
    states: Sequence[Array],
    residual: Callable[[Sequence[Array]], Array],
) -> tuple[Array, ...]:
    """Add to every drifting coordinate the polynomial in time that makes a law fit best.

    Variable projection: the law's coefficients are eliminated by `residual`; the polynomials (a
    level and a slope for a chain of two) are found by Gauss-Newton.

    Parameters
    ----------
    task : ChainTask
    states : sequence of ndarray of shape (n, n_s)
        Guesses, which drift.
    residual : callable
        Residuals (R,) of the best law through given states.

    Returns
    -------
    tuple of ndarray of shape (n, n_s)
    """
    order = task.chain.order
    unknowns = []
    level = True
    for run in range(len(states)):
        for place in task.chain.lowest:
            if task.free_x0[run, place]:
                # The first run's levels are free: a law through shifted states is as good.
                unknowns += [(run, place, degree) for degree in range(int(level), order)]
            else:
                # A known start stays; later the integrated noise wanders off.
                unknowns += [(run, place, degree) for degree in (order, order + 1)]
        level = False
    shapes = [_shape(task, states, *unknown) for unknown in unknowns]

    def moved(c: Array) -> list[Array]:
        out = [X.copy() for X in states]
        for value, (run, place, _), shape in zip(c, unknowns, shapes, strict=True):
            out[run][:, place : place + order] += value * shape
        return out

    best = np.zeros(len(unknowns))
    at = residual(moved(best))
    for k, (_, _, degree) in enumerate(unknowns):
        if degree not in (1, order):
            continue
        for value in SCAN:
            trial = best.copy()
            trial[k] = value
            there = residual(moved(trial))
            if there @ there < at @ at:
                best, at = trial, there
    damping = 1e-2
    for _ in range(ITERATIONS):
        slope = np.column_stack(
            [(residual(moved(best + 1e-4 * unit)) - at) / 1e-4 for unit in np.eye(len(best))]
        )
        normal = slope.T @ slope
        step = -np.linalg.solve(
            normal + damping * np.diag(np.diagonal(normal)) + 1e-12 * np.eye(len(best)),
            slope.T @ at,
        )
        there = residual(moved(best + step))
        if there @ there < at @ at:
            gain = 1.0 - float(there @ there) / float(at @ at)
            best, at, damping = best + step, there, damping / 5.0
            if gain < 1e-3:
                break
        else:
            damping *= 10.0
    return tuple(moved(best))


def _shape(task: ChainTask, states: Sequence[Array], run: int, place: int, degree: int) -> Array:
    """A power of time in one coordinate, with its derivatives, (n, order).

    Of a free start time counts from the middle, of a known one from the start.
    """
    t = task.records[run].t
    span = max(float(t[-1] - t[0]), 1e-300)
    scaled = (
        np.polynomial.Polynomial([-2.0 * t[0] / span - 1.0, 2.0 / span])
        if task.free_x0[run, place]
        else np.polynomial.Polynomial([-t[0] / span, 1.0 / span])
    )
    power = scaled**degree * float(np.std(states[run][:, place]))
    return np.column_stack([power.deriv(k)(t) if k else power(t) for k in range(task.chain.order)])
