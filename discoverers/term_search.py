"""The search of stage 4: from fit to fit on the quadratic that each one leaves in the coefficients.

It moves term by term from the best fit. What regression found about as good, but unlike it, is put
in its place equation by equation and searched from too: moves alone would not get there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .constraints import Rules
from .joint import LINK_LEVELS, JointFit, JointProblem
from .selection import Selection
from .sparse import NormalEquations, search_subsets
from .sparse.criterion import deviance
from .sparse.search import Support

__all__ = [
    "JointCriterion",
    "Rival",
    "Sweep",
    "columns_in_play",
    "levels_to",
    "rivals_of",
    "search_terms",
    "support_of",
]

Array = NDArray[np.float64]

MAX_COLUMNS = 240
"""Coefficients of all equations that are in play, at most."""

MAX_MOVES = 8
PROPOSALS = 6
HOPELESS = 30.0
"""An estimated score this far above the best one is not worth a fit."""

RIVALS = 3
"""Right-hand sides of each equation, unlike the regression's best, that are put in its place."""

RIVAL_GAP = 15.0
"""Their scores in the regression are within this of the best one's."""

UNLIKE = 3
"""Terms in which they differ from it and from each other: nearer ones are found from the best."""


@dataclass(frozen=True, eq=False)
class JointCriterion:
    """Charges of flattened coefficients."""

    values: Array

    def charges(self, n_rows: int) -> Array:
        """Charge of each column; they were set for the whole record."""
        return self.values


@dataclass(frozen=True, eq=False)
class Sweep:
    """One search at a fixed noise level."""

    problem: JointProblem
    columns: NDArray[np.intp]
    criterion: JointCriterion
    fits: dict[Support, JointFit]
    normal: NormalEquations
    estimates: dict[Support, float]
    chosen: Support

    @property
    def charges(self) -> Array:
        """What each column costs, shape (k,)."""
        return self.criterion.values

    def score(self, support: Support) -> float:
        """Deviance and charges of a fitted support; infinite if it could not be fitted."""
        fit = self.fits[support]
        value = float(deviance(fit.cost, self.problem.n_rows)) if np.isfinite(fit.cost) else np.inf
        return value + float(self.charges[list(support)].sum())

    def losses(self) -> dict[Support, float]:
        """Losses of everything seen, from fits where there is one."""
        fitted = {one: fit.cost for one, fit in self.fits.items() if np.isfinite(fit.cost)}
        return {**self.estimates, **fitted}

    def coef_of(self, support: Support) -> Array:
        """Coefficients (V, K), estimated where the support was not fitted."""
        fit = self.fits.get(support)
        if fit is not None and np.isfinite(fit.cost):
            return fit.coef
        flat = np.zeros(self.fits[self.chosen].coef.size)
        flat[self.columns[list(support)]] = self.normal.solve(support)
        return self.rules.complete(flat.reshape(self.fits[self.chosen].coef.shape))

    @property
    def rules(self) -> Rules:
        """What the user knows."""
        coef = self.fits[self.chosen].coef
        return self.problem.rules or Rules.none(*coef.shape)


@dataclass(frozen=True, eq=False)
class Rival:
    """A right-hand side that the regression found about as good: of a state, with coefficients."""

    state: int
    positions: Support  # in the columns of the search
    coef: Array

    def instead(self, support: Support, columns: NDArray[np.intp], n_terms: int) -> Support:
        """The support with this right-hand side in place of its own."""
        others = [one for one in support if columns[one] // n_terms != self.state]
        return tuple(sorted((*others, *self.positions)))

    def coef_in(self, coef: Array, rules: Rules | None) -> Array:
        """Coefficients (V, K) with this equation's in place."""
        changed = coef.copy()
        changed[self.state] = self.coef
        return changed if rules is None else rules.complete(changed)


def columns_in_play(selection: Selection) -> NDArray[np.intp]:
    """Flattened coefficients in play: all that are allowed, or those that regression liked best.

    Parameters
    ----------
    selection : Selection
        The regression.

    Returns
    -------
    ndarray of int, shape (k,)
    """
    n_states, n_kept = selection.coef.shape
    allowed = selection.library.allowed[:, selection.kept] & ~selection.rules.dependent
    if int(allowed.sum()) <= MAX_COLUMNS:
        return np.flatnonzero(allowed)
    chosen: list[int] = []
    for v, fit in enumerate(selection.fits):
        ranked: dict[int, None] = {}
        for support in sorted(fit.search.scores, key=lambda one: fit.search.scores[one]):
            ranked.update(dict.fromkeys(support))
        always = np.flatnonzero(selection.rules.needed & allowed[v]).tolist()
        own = list(dict.fromkeys([*fit.search.best, *always, *ranked]))
        chosen.extend(
            v * n_kept + one
            for one in own[: max(MAX_COLUMNS // n_states, len(fit.search.best) + len(always))]
            if allowed[v, one]
        )
    return np.array(sorted(chosen), dtype=np.intp)


def rivals_of(selection: Selection, columns: NDArray[np.intp]) -> list[Rival]:
    """Other right-hand sides that might win once all equations are fitted together.

    The search moves term by term; these are what it would not come upon that way: for each
    equation the best of the regression that are unlike its choice, and the best of lower degree.

    Parameters
    ----------
    selection : Selection
        The regression.
    columns : ndarray of int, shape (k,)
        Flattened coefficients (V, K') in play.

    Returns
    -------
    list of Rival
    """
    n_kept = selection.coef.shape[1]
    degrees = selection.library.degrees[selection.kept]
    place = {int(column): position for position, column in enumerate(columns)}
    found = []
    for v, fit in enumerate(selection.fits):
        scores = dict(fit.search.scores)
        lowest = min(scores.values())
        usable = np.array([key - v * n_kept for key in place if key // n_kept == v], dtype=np.intp)
        required = [one for one in usable.tolist() if selection.rules.required[v, one]]
        for degree in range(1, int(degrees.max(initial=0))):
            within = np.union1d(usable[degrees[usable] <= degree], required).astype(np.intp)
            simple = search_subsets(
                fit.normal, selection.criterion, within.tolist(), required=required
            )
            scores[simple.best] = simple.scores[simple.best]
        chosen = [set(fit.search.best)]
        for support in sorted(scores, key=lambda one: scores[one]):
            if scores[support] > lowest + RIVAL_GAP or len(chosen) > RIVALS:
                break
            keys = [v * n_kept + one for one in support]
            if not all(key in place for key in keys):
                continue
            if all(len(other.symmetric_difference(support)) >= UNLIKE for other in chosen):
                chosen.append(set(support))
                positions = tuple(place[key] for key in keys)
                found.append(Rival(v, positions, fit.coef_of(support)))
    return found


def search_terms(
    problem: JointProblem,
    best: JointFit,
    columns: NDArray[np.intp],
    criterion: JointCriterion,
    max_terms: int | None,
    rivals: Sequence[Rival],
) -> Sweep:
    """Move from the best fit term by term, then from what is unlike it and nearly as good.

    Parameters
    ----------
    problem : JointProblem
    best : JointFit
        Where to start; its level is that of all comparisons.
    columns : ndarray of int, shape (k,)
        Flattened coefficients (V, K) that may be nonzero.
    criterion : JointCriterion
    max_terms : int or None
        Most terms in one equation.
    rivals : sequence of Rival
        Right-hand sides to try in place of the best one's.

    Returns
    -------
    Sweep
        With every system that was fitted, and the one of the lowest score.
    """
    levels = [level for level in levels_to(best.level) if level <= max(0.1, best.level)]
    start = support_of(best, columns)
    fits = {start: best}

    def moved(chosen: Support) -> Sweep:
        return _moved(problem, columns, criterion, max_terms, levels, fits, chosen)

    sweep = moved(start)
    base = fits[sweep.chosen]
    for rival in rivals:
        support = rival.instead(sweep.chosen, columns, best.coef.shape[1])
        if support not in fits and _within(support, columns, best, max_terms):
            coef = rival.coef_in(base.coef, problem.rules)
            fits[support] = problem.fit(coef, base.states, levels)
    centres = [sweep.chosen]
    for support in sorted(fits, key=sweep.score):
        if sweep.score(support) > sweep.score(sweep.chosen) + RIVAL_GAP or len(centres) > RIVALS:
            break
        if all(len(set(support) ^ set(other)) >= UNLIKE for other in centres):
            centres.append(support)
            other = moved(support)
            if other.score(other.chosen) < sweep.score(sweep.chosen):
                sweep = other
    return sweep


def _moved(
    problem: JointProblem,
    columns: NDArray[np.intp],
    criterion: JointCriterion,
    max_terms: int | None,
    levels: Sequence[float],
    fits: dict[Support, JointFit],
    chosen: Support,
) -> Sweep:
    """Search the quadratic around a fit, fit the most promising, and move while it pays."""
    required = np.flatnonzero(_required(problem, columns)).tolist()
    for _ in range(MAX_MOVES):
        normal = problem.normal_equations(fits[chosen], columns)
        search = search_subsets(
            normal, criterion, range(len(columns)), starts=[chosen], required=required
        )
        permitted = {
            one: loss
            for one, loss in search.losses.items()
            if _within(one, columns, fits[chosen], max_terms)
        }
        sweep = Sweep(problem, columns, criterion, fits, normal, permitted, chosen)
        incumbent = sweep.score(chosen)
        fresh = sorted(
            (one for one in permitted if one not in fits),
            key=lambda one: search.scores[one],
        )
        tried = [chosen]
        for support in fresh[:PROPOSALS]:
            if search.scores[support] > incumbent + HOPELESS:
                break
            fits[support] = problem.fit(sweep.coef_of(support), fits[chosen].states, levels)
            tried.append(support)
        best = min(tried, key=sweep.score)
        if sweep.score(best) >= incumbent - 1e-6:
            return sweep
        chosen = best
    return replace(sweep, chosen=chosen)


def _required(problem: JointProblem, columns: NDArray[np.intp]) -> NDArray[np.bool_]:
    if problem.rules is None:
        return np.zeros(len(columns), dtype=bool)
    return np.asarray(problem.rules.required.ravel()[columns])


def _within(
    support: Support, columns: NDArray[np.intp], fit: JointFit, max_terms: int | None
) -> bool:
    if max_terms is None:
        return True
    counts = np.bincount(columns[list(support)] // fit.coef.shape[1])
    return not counts.size or int(counts.max()) <= max_terms


def support_of(fit: JointFit, columns: NDArray[np.intp]) -> Support:
    """Positions in ``columns`` of the active coefficients."""
    return tuple(np.flatnonzero(np.isin(columns, np.flatnonzero(fit.coef))).tolist())


def levels_to(level: float) -> list[float]:
    """Every other level down to one: the way a new start is annealed."""
    return [*(one for one in LINK_LEVELS[::2] if one > level), level]
