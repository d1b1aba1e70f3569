"""Guessed states and accelerations of chains, from the channels alone: where training starts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline, PPoly, make_smoothing_spline

from discoverers.shooting import LinearObservation, Observation, Record

__all__ = ["Guess", "guess"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Guess:
    """Guessed states (n, n_s) of one run, and what the network should give there, (n, d)."""

    states: Array
    outputs: Array


def guess(record: Record, observation: Observation, order: int, n_dof: int) -> Guess:
    """States of `n_dof` chains of length `order` by integrating or differentiating channels.

    A channel that reads a derivative of one coordinate alone gives that coordinate: differentiated
    by a smoothing spline, or integrated with a polynomial drift removed. Coordinates that no
    channel reads alone start as the mean of the others.
    """
    tables: list[Array | None] = [
        _coordinate(record, observation, order, dof) for dof in range(n_dof)
    ]
    known = [table for table in tables if table is not None]
    if not known:
        # Nothing to go by: states at rest, and the network starts from the inputs' size alone.
        known = [np.zeros((len(record), order + 1))]
    mean = np.mean(known, axis=0)
    full = [mean if table is None else table for table in tables]
    states = np.column_stack([table[:, :order] for table in full])
    outputs = np.column_stack([table[:, order] for table in full])
    return Guess(states, outputs)


def _coordinate(record: Record, observation: Observation, order: int, dof: int) -> Array | None:
    """The coordinate and its derivatives up to `order`, (n, order + 1), or None."""
    found = _channel(observation, order, dof)
    if found is None:
        return None
    column, derivative, factor = found
    seen = np.isfinite(record.y[:, column])
    if seen.sum() < 6:
        return None
    t, y = record.t, record.y[:, column] / factor
    measured: PPoly = CubicSpline(t[seen], y[seen])
    table = np.empty((len(t), order + 1))
    table[:, derivative] = measured(t)
    integral = measured
    for lower in range(derivative - 1, -1, -1):
        integral = integral.antiderivative()
        table[:, lower] = integral(t)
        # The drift of an integral is a polynomial of the integration constants, and of noise.
        degree = derivative - lower
        drift = np.polynomial.Polynomial.fit(t, table[:, lower], degree)
        table[:, lower] -= drift(t)
    if derivative < order:
        # In samples, not in the user's units of time: the search for the amount of smoothing is
        # on a fixed range, and over short steps it would make a straight line of anything.
        step = float(np.median(np.diff(t[seen])))
        smooth = make_smoothing_spline(t[seen] / step, y[seen])
        for higher in range(derivative + 1, order + 1):
            rate = smooth.derivative(higher - derivative)(t / step)
            table[:, higher] = rate / step ** (higher - derivative)
    return table


def _channel(observation: Observation, order: int, dof: int) -> tuple[int, int, float] | None:
    """Channel, derivative that it reads of this coordinate, and its factor; highest first."""
    if not isinstance(observation, LinearObservation):
        return None
    best: tuple[int, int, float] | None = None
    for column, (by_state, by_rate) in enumerate(
        zip(observation.states, observation.rates, strict=True)
    ):
        weights = np.zeros(order + 1)
        own = slice(dof * order, (dof + 1) * order)
        weights[:order] += by_state[own]
        weights[1:] += by_rate[own]
        others = np.abs(by_state).sum() + np.abs(by_rate).sum()
        read = np.flatnonzero(weights)
        if len(read) != 1 or not np.isclose(np.abs(weights).sum(), others):
            continue
        derivative = int(read[0])
        if best is None or derivative > best[1]:
            best = (column, derivative, float(weights[derivative]))
    return best
