"""A fitted solution across gaps of its record: integrated, where a cubic would miss what happens.

Between neighbouring samples the fitted states and their rates determine a cubic that is as exact as
the record. A gap may hold whole oscillations, of which the cubic knows nothing; the equations do.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline

from .simulation import Simulation

__all__ = ["cross_gaps"]

Array = NDArray[np.float64]

WIDE = 2.0
"""Steps above so many times the median step are gaps, if the cubic is wrong in them."""

CUBIC_ERROR = 1e-3
"""Error of the cubic, in standard deviations of the state, that is left as it is."""


def cross_gaps(
    nodes: Array,
    states: Array,
    slopes: Array,
    times: Array,
    rates: Callable[[Array, Array], Array],
    integrate: Callable[[Array, float, Array], Simulation],
) -> tuple[Array, str]:
    """States between fitted ones: a cubic, and across gaps what the equations say.

    A gap is crossed by integration from the end from which the other end is met best; by how much
    it is missed is spread over the gap in proportion to time, so that both ends are met. Which gap
    that is needed for tells the cubic itself: a quarter into it, its rate and the equations'.

    Parameters
    ----------
    nodes : ndarray of shape (n,)
        Times of the fitted states, strictly increasing.
    states, slopes : ndarray of shape (n, N)
        Fitted states, with their derivatives below the order of the equations, and their rates.
    times : ndarray of shape (k,)
        Inside of the span of the nodes, in any order.
    rates : callable
        Rates (k, N) of states (k, N) at times (k,).
    integrate : callable
        Of times (k,), the time and the state (N,) to start from: a `Simulation`.

    Returns
    -------
    values : ndarray of shape (k, N)
        NaN in a gap that can be integrated from neither side.
    message : str
        Why; empty if there is no such gap.
    """
    cubic = CubicHermiteSpline(nodes, states, slopes)
    values = np.asarray(cubic(times), dtype=np.float64)
    steps = np.diff(nodes)
    if not len(steps) or not len(times):
        return values, ""
    spread = states.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    place = np.clip(np.searchsorted(nodes, times, side="right") - 1, 0, len(steps) - 1)
    inside = (nodes[place] < times) & (times < nodes[place + 1])
    inside &= steps[place] > WIDE * np.median(steps)
    messages = []
    for gap in np.unique(place[inside]):
        start, end = nodes[gap], nodes[gap + 1]
        # There a cubic's rate, times the step, is off by three times the cubic's largest error.
        quarters = start + (end - start) * np.array([0.25, 0.75])
        slip = (end - start) * np.abs(cubic(quarters, 1) - rates(quarters, cubic(quarters)))
        if (slip <= 3.0 * CUBIC_ERROR * scale).all():
            continue
        rows = inside & (place == gap)
        values[rows], message = _integrated(
            nodes[gap : gap + 2], states[gap : gap + 2], times[rows], scale, integrate
        )
        messages += [message] if message else []
    return values, " ".join(messages)


def _integrated(
    ends: Array,
    states: Array,
    times: Array,
    scale: Array,
    integrate: Callable[[Array, float, Array], Simulation],
) -> tuple[Array, str]:
    """States at times between two ends, from the better of them."""
    best, least, messages = np.full((len(times), states.shape[1]), np.nan), np.inf, []
    for here, there in ((0, 1), (1, 0)):
        found = integrate(np.append(times, ends[there]), float(ends[here]), states[here])
        if not found.success:
            messages.append(found.message)
            continue
        miss = states[there] - found.X[-1]
        size = float((np.abs(miss) / scale).max())
        if size < least:
            share = (times - ends[here]) / (ends[there] - ends[here])
            best, least = found.X[:-1] + share[:, None] * miss, size
    return best, "" if np.isfinite(least) else " ".join(messages)
