"""Laws that samples cannot resolve: what they say of one sample, the one before does not tell.

A steep enough law explains any data of a state, noise too, by a wiggle of another state that costs
next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .flow import Record
from .libraries import BoundLibrary

__all__ = ["Resolution", "step_growth"]

Array = NDArray[np.float64]
Flow = Callable[[Array, Array, Record], Array]

STEEP = 30.0
"""No sample tells of the next where changes grow more over a step."""

NUDGE = 1e-6
"""Change of a state, in units of its spread, whose growth over a step is looked at."""


@dataclass(frozen=True, eq=False)
class Resolution:
    """What coefficients can do between two samples.

    Attributes
    ----------
    reach : ndarray of shape (K,)
        Standard deviation of each term at the data, times the median step.
    spread : ndarray of shape (V,)
        Standard deviation of the data of each state; 0 where there are none.
    """

    reach: Array
    spread: Array

    @classmethod
    def of(
        cls, library: BoundLibrary, kept: NDArray[np.intp], records: Sequence[Record]
    ) -> Resolution:
        """From the data of all records."""
        x, u, seen = (
            np.concatenate(parts)
            for parts in zip(
                *((record.x, record.u, record.precision > 0) for record in records), strict=True
            )
        )
        steps = np.concatenate([record.steps for record in records])
        with np.errstate(all="ignore"):
            theta = library.evaluate(x, u)[:, kept]
            reach = theta.std(axis=0) * (np.median(steps) if len(steps) else 0.0)
        spread = [
            float(np.std(column[one])) if one.any() else 0.0
            for column, one in zip(x.T, seen.T, strict=True)
        ]
        return cls(reach, np.array(spread))

    def exceeded(
        self, flow: Flow, coef: Array, states: Sequence[Array], records: Sequence[Record]
    ) -> bool:
        """Whether a law says more of the next sample than the one before can tell.

        Terms that cannot move any state so far in a step need no closer look.
        """
        least = self.spread[self.spread > 0].min(initial=np.inf)
        moved = np.where(coef != 0.0, np.abs(coef) * self.reach, 0.0)
        by = np.where(self.spread > 0, self.spread, least)
        # Terms that are not finite where nothing was measured are looked at, too.
        if (moved <= STEEP * by[:, None]).all():
            return False
        spread = np.where(self.spread > 0, self.spread, np.concatenate(states).std(axis=0))
        return step_growth(flow, coef, states, records, spread) > STEEP


def step_growth(
    flow: Flow, coef: Array, states: Sequence[Array], records: Sequence[Record], spread: Array
) -> float:
    """How much a small change of the states grows from one sample to the next.

    Parameters
    ----------
    flow : callable
        Coefficients (V, K), nodes (n, V) and a record to ends of its intervals (n - 1, V).
    coef : ndarray of shape (V, K)
    states : sequence of ndarray of shape (n, V)
        Nodes of each record.
    records : sequence of Record
    spread : ndarray of shape (V,)
        Unit of each state.

    Returns
    -------
    float
        The median over the steps of the largest ratio of changes; NaN where the flow is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.flow import Record
    >>> from discoverers.resolution import step_growth
    >>> nodes = np.ones((3, 1))
    >>> record = Record(np.ones(2), nodes, nodes, np.empty((3, 0)), np.arange(3.0))
    >>> def doubled(coef, y, record):
    ...     return 2.0 * y[:-1]
    >>> round(step_growth(doubled, np.ones((1, 1)), [nodes], [record], np.ones(1)), 6)
    2.0
    """
    growth = []
    with np.errstate(all="ignore"):
        for y, record in zip(states, records, strict=True):
            ends = flow(coef, y, record)
            parts = [
                np.abs(flow(coef, y + nudge, record) - ends) / (NUDGE * spread)
                for nudge in np.diag(NUDGE * spread)
            ]
            growth.append(np.max(parts, axis=(0, 2)))
    return float(np.median(np.concatenate(growth)))
