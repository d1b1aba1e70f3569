"""Columns of the data that say nothing new: a state that repeats another one, or the times."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
from numpy.typing import NDArray

from .exceptions import IdentifiabilityWarning
from .trajectories import Trajectories

__all__ = ["warn_of_doubled_columns"]

Array = NDArray[np.float64]

EXACT = 1e-9
"""Share of its spread by which a copy may differ: converted and rounded, but not measured again."""


def warn_of_doubled_columns(trajectories: Trajectories) -> None:
    """Warn of states that are another state, up to scale and offset, or the times themselves.

    Two such states obey infinitely many laws: every term of one can be written in the other. A
    column of times has the law ``t' = 1``, and terms in it make the laws depend on time.

    Parameters
    ----------
    trajectories : Trajectories
        The checked data.
    """
    names = trajectories.state_names
    t = np.concatenate([run.t for run in trajectories])
    X = np.concatenate([run.X for run in trajectories])
    clocks = [name for v, name in enumerate(names) if _is_clock(t, X[:, v])]
    if clocks:
        warnings.warn(
            f"State(s) {clocks} of X hold the times themselves: the equation reads "
            f"{clocks[0]}' = 1, and terms in it make the laws depend on time. Leave the column out "
            f"unless that is meant.",
            UserWarning,
            stacklevel=6,
        )
    for v, w in itertools.combinations(range(len(names)), 2):
        if names[v] not in clocks and names[w] not in clocks and _is_copy(X[:, v], X[:, w]):
            warnings.warn(
                f"States {names[v]!r} and {names[w]!r} are the same up to scale and offset, so "
                f"every term of one can be written in the other and the data cannot tell which is "
                f"meant. Leave one of them out.",
                IdentifiabilityWarning,
                stacklevel=6,
            )


def _is_clock(t: Array, x: Array) -> bool:
    seen = np.isfinite(x)
    return bool(np.abs(x[seen] - t[seen]).max(initial=0.0) <= EXACT * np.ptp(t[seen]))


def _is_copy(x: Array, y: Array) -> bool:
    both = np.isfinite(x) & np.isfinite(y)
    x, y = x[both], y[both]
    # Three rows or fewer lie on a line too easily.
    if len(x) < 4 or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return False
    x, y = (x - x.mean()) / np.ptp(x), (y - y.mean()) / np.ptp(y)
    slope = float(x @ y) / float(x @ x)
    return bool(np.abs(y - slope * x).max() <= EXACT)
