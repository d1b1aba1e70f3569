"""Among laws that the data do not tell apart, the one that the others contradict least.

Laws that fit one run equally well part where the run has not been. From there each near-equal is
simulated, and the law is taken whose paths most often agree with those of the others, weighted by
how well these fit: the one that is expected to fail least. A law with more than half of the weight
is never left for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from discoverers.shooting import integrate

from .judge import Judge, Verdict
from .search import Found

__all__ = ["settled"]

Array = NDArray[np.float64]

STARTS = 8
MOST = 8
"""Near-equals that are looked at, the best ones."""

APART = 0.02
"""Mean square distance, in units of the data's range, above which two paths disagree."""

FARTHEST = 5.0
"""Ranges from the data beyond which a path's place does not matter."""


def settled(found: Found) -> Found:
    """Choose among the pool; polynomials stay polynomials, and other laws other laws."""
    lowest = found.pool[0]
    kind = lowest.system.is_polynomial
    near = [one for one in found.pool if one.system.is_polynomial == kind][:MOST]
    if len(near) < 3:
        # Of two laws the better one has the weight of more than half.
        return replace(found, best=lowest)
    # Sharper than likelihoods: the best of many has earned a little more than its score says.
    weights = np.exp(lowest.score - np.array([one.score for one in near]))
    return replace(found, best=near[int(np.argmin(_disagreement(found.judge, near) @ weights))])


def _disagreement(judge: Judge, verdicts: Sequence[Verdict]) -> Array:
    """Share of starts within the data's range from which two laws' paths part, shape (n, n)."""
    low, high = judge.box.states.min(axis=0), judge.box.states.max(axis=0)
    reach = np.where(high > low, high - low, 1.0)
    random = np.random.default_rng(0)
    starts = low + (high - low) * random.random((STARTS, len(low)))
    paths = np.stack([_paths(judge, one, starts) for one in verdicts])
    scaled = np.clip((paths - low) / reach, -FARTHEST, FARTHEST)
    apart = np.mean((scaled[:, None] - scaled[None]) ** 2, axis=(3, 4))
    return np.asarray((apart > APART).mean(axis=2))


def _paths(judge: Judge, verdict: Verdict, starts: Array) -> Array:
    """Paths (starts, samples, V) over the longest record; far away from where they end early."""
    model, system = verdict.system.model(*judge.names), verdict.system
    record = max(judge.records.runs, key=len)
    n = starts.shape[1]
    out = np.full((len(starts), len(record), n), np.inf)
    for path, start in zip(out, starts, strict=True):
        found = integrate(
            model,
            system.coefficients,
            np.concatenate([start, system.parameters]),
            record,
            substeps=verdict.fit.substeps,
        )
        path[: found.n_valid] = found.X[: found.n_valid, :n]
    return np.where(np.isfinite(out), out, np.inf)
