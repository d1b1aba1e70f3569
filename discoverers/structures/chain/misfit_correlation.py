"""How many samples tell of a law's terms, where what the best law leaves is no noise.

A criterion that adds up squared residuals takes them for independent. What a law that is not quite
the system's leaves is correlated: a further term that explains a share of it does so at many
samples at once, for one reason. Counted as so many reasons, any term that happens to resemble the
misfit seems proved, a corner or ``x |x|`` beside a cube, and leads the law astray where the data
did not go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from discoverers.sparse import NormalEquations
from discoverers.sparse.criterion import deviance

from .judging import Candidate, Judge, Support, shares
from .misfit import is_white

if TYPE_CHECKING:
    from .extraction import Extraction

__all__ = ["count_independent", "samples_each"]

Array = NDArray[np.float64]

LONGEST_LAG = 0.1
"""Autocorrelations are summed to this share of the shortest run."""

ROUNDS = 6
NEIGHBOURS = 4
"""Laws that are calibrated around the best one each time."""


def count_independent(work: Extraction) -> None:
    """Judge by independent samples, if even the best law leaves more than white noise.

    Fewer samples ask for simpler laws: they are sought among the neighbours of the best one. What
    further terms explain is weighed against the misfit of the law without them, as in a score test:
    with terms that resemble it, less misfit is left than there is.
    """
    if not work.ranked or work.leaves_white(work.ranked[0]):
        return
    judge: Judge | None = _by_misfit_of(work, work.ranked[0])
    for _ in range(ROUNDS):
        if judge is None:
            return
        work.judge = judge
        _descend(work)
        judge = _simpler(work, work.ranked[0])


def _by_misfit_of(work: Extraction, law: Candidate) -> Judge:
    """A judge that takes what a law leaves for the misfit, if it is more correlated."""
    each = samples_each(work.residuals(law), work.judge.floor)
    return Judge.of(work.task, work.dictionary, np.maximum(each, work.judge.each))


def _simpler(work: Extraction, best: Candidate) -> Judge | None:
    """The judge by the misfit of a simpler law that is then better than the best, if any."""

    def charged(law: Candidate) -> float:
        return float(work.judge.charges[list(law.support)].sum())

    simpler = [law for law in work.ranked if charged(law) < charged(best)]
    for law in simpler[:NEIGHBOURS]:
        judge = _by_misfit_of(work, law)
        if judge.score(law) < judge.score(best):
            return judge
    return None


def _descend(work: Extraction) -> None:
    """Go on to better neighbours of the best law until there is none."""
    for _ in range(ROUNDS):
        best = work.ranked[0]
        work.noise_std = work.judge.noise(best.rss, len(best.coef))
        theta = np.zeros(len(work.dictionary))
        theta[list(best.support)] = best.coef
        around = work.quadratic([], theta, best.x0)
        if around is None:
            return
        for support in _promising(work, best, around):
            work.try_support(support, around.solve(list(support)), best.x0)
        if work.ranked[0].support == best.support:
            return


def _promising(work: Extraction, best: Candidate, around: NormalEquations) -> list[Support]:
    """Neighbours that promise most, large terms that all but cancel charged for."""
    judge, laws = work.judge, np.array(work.dictionary.laws)
    rows = max(round(around.n_rows * judge.independent), 1)
    model = work.dictionary.chain.model(work.dictionary.columns)
    values = [
        model.term_values(X, record.u)[:, -len(laws) :]
        for X, record in zip(best.states, work.task.records, strict=True)
    ]
    scores = {}
    for support in set(_neighbours(work, best.support)) - work.pool.keys():
        chosen = list(support)
        ratios = shares([part[:, chosen] for part in values], around.solve(chosen), laws[chosen])
        if ratios.min() >= judge.least(support):
            scores[support] = (
                float(deviance(around.loss(chosen), rows) + judge.charges[chosen].sum())
                + 2.0 * float(np.log(np.maximum(ratios, 1.0)).sum())
            )  # fmt: skip
    return sorted(scores, key=scores.__getitem__)[:NEIGHBOURS]


def _neighbours(work: Extraction, support: Support) -> Iterator[Support]:
    """One or two terms fewer, one more, and one in another's place."""
    required = work.dictionary.required
    held = [k for k in support if not required[k]]
    others = [k for k in range(len(required)) if k not in support]
    fewer = [set(support) - set(out) for n in (1, 2) for out in combinations(held, n)]
    more = [set(support) | {k} for k in others]
    swapped = [set(support) - {out} | {k} for out in held for k in others]
    for found in [*fewer, *more, *swapped]:
        if 0 < len(found) <= work.max_terms:
            yield tuple(sorted(found))


def samples_each(residuals: Sequence[Array], floor: Array) -> Array:
    """Samples that count as one: how much more a useless term gains than if they were white.

    The gain in squared residuals is that of a product of two series, residuals and sensitivities.
    Where both passed the same dynamics their spectra are alike, and its expectation is
    ``1 + 2 sum_k r_k^2`` times the residuals' variance, with r_k their autocorrelation at lag k
    (Bartlett 1935). What chance alone gives the squares is taken off.

    Parameters
    ----------
    residuals : sequence of ndarray of shape (n, C)
        One for each run; NaN where nothing was measured.
    floor : ndarray of shape (C,)
        Errors that are not the law's. The criterion counts gains in units of the variance of both,
        so that residuals far below the floor gain nothing.

    Returns
    -------
    ndarray of shape (C,)
        At least 1; 1 for channels whose residuals are white in every run.

    References
    ----------
    Bartlett, M. S. (1935). Some aspects of the time-correlation problem in regard to tests of
    significance. Journal of the Royal Statistical Society 98(3), 536-543.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.structures.chain.misfit_correlation import samples_each
    >>> noise = np.random.default_rng(0).normal(size=(20001, 1))
    >>> samples_each([noise], np.zeros(1))
    array([1.])
    >>> samples_each([noise[1:] + noise[:-1]], np.zeros(1)).round(1)  # 1 + 2 * 0.5**2
    array([1.5])
    """
    lags = int(LONGEST_LAG * min(map(len, residuals)))
    out = np.ones(len(floor))
    for channel in range(len(floor)):
        parts = [run[:, channel] for run in residuals]
        if all(is_white(part[:, None]) for part in parts):
            continue
        seen = [~np.isnan(part) for part in parts]
        count = sum(int(mask.sum()) for mask in seen)
        centred = [
            np.where(mask, part - part[mask].mean(), 0.0) if mask.any() else np.zeros(len(part))
            for part, mask in zip(parts, seen, strict=True)
        ]
        energy = sum(float(part @ part) for part in centred)
        if energy == 0.0:
            continue
        products = [
            sum(float(part[k:] @ part[:-k]) for part in centred) for k in range(1, lags + 1)
        ]
        pairs = [
            sum(float(mask[k:].astype(float) @ mask[:-k]) for mask in seen)
            for k in range(1, lags + 1)
        ]
        # Chance alone makes a squared autocorrelation as much as `gain` times its share of pairs.
        chance = 1.0 + 2.0 * sum(pairs) / count**2
        gain = (1.0 + 2.0 * float(np.square(products).sum()) / energy**2) / chance
        out[channel] = max(gain * energy / (energy + count * floor[channel] ** 2), 1.0)
    return out
