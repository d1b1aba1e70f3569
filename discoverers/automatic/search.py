"""Sweeps over the equations: propose, judge, keep the best, sharpen the noise, prune."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .judge import Judge, Verdict, best_of
from .proposals import Proposals
from .systems import System

__all__ = ["Found", "search"]

Array = NDArray[np.float64]

SWEEPS = 3
JUDGED = 12
"""Right-hand sides of one state that are calibrated in a sweep."""

HOPELESS = 25.0
"""A right-hand side whose weak form is this much worse than the incumbent's is not calibrated."""

CLOSE = 150.0
ALTERNATIVES = 6.0
DRIFTS = (0.0, 1e-2)


@dataclass(frozen=True, eq=False)
class Found:
    """The best system, what came close, and how many were calibrated."""

    best: Verdict
    pool: tuple[Verdict, ...]
    judge: Judge
    n_judged: int


def search(judge: Judge, proposals: Proposals, start: System) -> Found | None:
    """Improve a system equation by equation until no proposal is better.

    Parameters
    ----------
    judge : Judge
    proposals : Proposals
    start : System
        The polynomial stage's system; it may be wrong.

    Returns
    -------
    Found or None
        None if no system could be calibrated.
    """
    ranked = [
        [one for drift in DRIFTS for one in proposals.ranked(state, drift)[: 3 * JUDGED]]
        for state in range(len(start.laws))
    ]
    best = judge(start)
    if not np.isfinite(best.score):
        # Where to start from is then what each equation's own regression likes best.
        best = judge(
            System(tuple(min(options, key=lambda one: one.score).law for options in ranked))
        )
    n_judged = 0
    for _ in range(SWEEPS):
        before = best.system.structure
        for state, options in enumerate(ranked):
            held = min(proposals.score(best.system.laws[state], state, d) for d in DRIFTS)
            chosen = sorted(options, key=lambda one: one.score)
            fresh = [
                system
                for one in chosen
                if one.score <= held + HOPELESS
                for system in [best.system.with_law(state, one.law)]
                if system.structure not in judge.seen
            ]
            verdicts = [judge(system, _starts(best, judge)) for system in fresh[:JUDGED]]
            n_judged += len(verdicts)
            best = best_of([best, *verdicts])
        best = _pruned(judge, best)
        sharper = judge.sharpened(best) if np.isfinite(best.score) else judge
        changed = float(np.max(judge.noise_std / sharper.noise_std))
        if changed > 1.1:
            close = judge.pool(CLOSE)[: 2 * JUDGED]
            judge = sharper
            best = best_of([judge(one.system, _starts(one, judge)) for one in (best, *close)])
        elif best.system.structure == before:
            break
    if not np.isfinite(best.score):
        return None
    return Found(best, tuple(judge.pool(ALTERNATIVES)), judge, n_judged)


def _starts(verdict: Verdict, judge: Judge) -> Array:
    n = len(judge.state_names)
    return verdict.fit.x0[:, :n] if np.isfinite(verdict.score) else judge.starts


def _pruned(judge: Judge, best: Verdict) -> Verdict:
    """Leave out terms one by one while the score falls."""
    while np.isfinite(best.score):
        smaller = best_of(
            [best, *(judge(system, _starts(best, judge)) for system in _without_one(best.system))]
        )
        if smaller is best:
            return best
        best = smaller
    return best


def _without_one(system: System) -> Iterator[System]:
    for state, law in enumerate(system.laws):
        for place in range(len(law)):
            yield system.with_law(state, law[:place] + law[place + 1 :])
