"""A second search, from rest, where one with unknown initial states got lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from discoverers.sparse.criterion import deviance

from .prepare import Task
from .search import FITS, Found, Ranked

__all__ = ["freed", "lost"]

KEPT = 5
"""Structures whose initial states are freed."""

EFFORT = (60, 1e-7)


def lost(found: Found) -> bool:
    """Whether a search that came to its end has nothing to show for it."""
    best = found.ranked[0]
    misfit = best.cost / max(found.measured.n_observed, 1)
    return found.complete and not (best.converged and misfit <= FITS)


def freed(resting: Found, task: Task) -> Found:
    """Structures found from rest, calibrated with the unknown initial states free.

    Levels and drifts of positions are what accelerations tell least, and a structure that is only
    half right carries them far away. Most tests begin at rest or nearly so: from the structure that
    rest gives it is a short way to the true initial states.

    Parameters
    ----------
    resting : Found
        Of a search in which every unknown initial state was 0.
    task : Task
        With the initial states unknown.
    """
    measured = replace(resting.measured, free_start=task.free.free_start)
    rows = measured.n_observed
    charges = task.charges.charges(rows)
    ranked = []
    for each in resting.ranked[:KEPT]:
        point, cost, converged = measured.minimise(each.point, *EFFORT)
        if np.isfinite(cost):
            score = float(deviance(cost, rows)) + float(charges[list(point.support)].sum())
            ranked.append(Ranked(score, cost, point, converged))
    ranked.sort(key=lambda one: one.score)
    return replace(resting, ranked=tuple(ranked) or resting.ranked, measured=measured)
