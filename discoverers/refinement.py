"""Stage 4: the terms judged by the joint fit, around the regression's choice.

At a joint fit the objective is a quadratic in all coefficients, the states eliminated. Subsets are
searched on that quadratic, over all equations at once; the most promising are fitted in earnest,
and the search moves while the score falls. Then the noise is estimated anew: a first fit with
wrong terms overstates it and hides evidence.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .identifiability import entangled_terms
from .inputs import input_between_samples
from .joint import LINK_LEVELS, JointFit, JointProblem, Record
from .second_try import RoughLaws
from .selection import Selection
from .sparse.criterion import deviance
from .sparse.search import Support
from .stretches import between_gaps, spread_stretches
from .term_search import (
    JointCriterion,
    Rival,
    Sweep,
    columns_in_play,
    levels_to,
    rivals_of,
    search_terms,
    support_of,
)

__all__ = ["FrontRow", "Refined", "refine"]

Array = NDArray[np.float64]

MAX_SWEEPS = 3
SAME = 1e-6
"""The search does not move for a gain of less."""

SEARCH_NODES = 2000
"""Terms are searched on at most so many samples, in blocks; the last fit uses all of them."""

BLOCK = 250
RECORD = 5000
SUBSTEPS = (1, 2, 4, 8, 16)
AFTER_SELECTION = 1.1
"""Standard errors of terms that were selected by the same data are larger by about so much."""

NO_WORSE = 1.2
"""J of a sample of the whole record, over that of the blocks, that needs no gentler start."""

POLISH_LEVELS = (0.003, 0.001)
EVIDENCE_SLACK = 2.0
"""Of two link levels whose -2 log evidence differs by less, the data say nothing."""


@dataclass(frozen=True, eq=False)
class FrontRow:
    """The best system found of its size; its loss is estimated unless ``fitted``."""

    n_terms: int
    coef: Array
    loss: float
    score: float
    selected: bool


@dataclass(frozen=True, eq=False)
class _Search:
    """What the terms were searched with, and every system that was fitted."""

    selection: Selection
    problem: JointProblem
    states: tuple[Array, ...]
    searched: JointProblem
    sweep: Sweep
    known_noise: bool


@dataclass(frozen=True, eq=False)
class Refined:
    """The best joint fit, and what it was compared with.

    Attributes
    ----------
    coef, coef_std : ndarray of shape (V, K')
    states : tuple of ndarray of shape (n, V), one per run
    noise_std, chi2 : ndarray of shape (V,)
        Noise of the measurements, and the fit's J per measurement in units of the noise that the
        smoother saw: well above 1 if the equations miss something.
    link_level : float
        Standard deviation of the links in units of the noise.
    converged : bool
    n_fitted : int
        Systems fitted.
    seconds : float
    entangled : ndarray of bool, shape (V, K')
        Terms of which the data tell only a combination; see `entangled_terms`.
    """

    coef: Array
    coef_std: Array
    states: tuple[Array, ...]
    noise_std: Array
    chi2: Array
    link_level: float
    converged: bool
    n_fitted: int
    seconds: float
    entangled: NDArray[np.bool_]
    _search: _Search

    @property
    def searched(self) -> tuple[JointProblem, JointFit, float]:
        """The problem of the last search, the fit that it chose, and the charge of its terms."""
        sweep = self._search.sweep
        charge = float(sweep.charges[list(sweep.chosen)].sum())
        return sweep.problem, sweep.fits[sweep.chosen], charge

    def front(self) -> list[FrontRow]:
        """Best systems by size, at the last sweep: each better than all smaller ones."""
        sweep = self._search.sweep
        n = sweep.problem.n_rows
        best: dict[int, tuple[float, Support]] = {}
        for support, loss in sweep.losses().items():
            held = best.get(len(support))
            if held is None or loss < held[0]:
                best[len(support)] = (loss, support)
        chosen = sweep.chosen
        best[len(chosen)] = (sweep.fits[chosen].cost, chosen)
        rows, lowest = [], np.inf
        for size in sorted(best):
            loss, support = best[size]
            value = float(deviance(loss, n))
            if support != chosen and value > lowest - 1.0:
                continue
            lowest = min(lowest, value)
            score = value + float(sweep.charges[list(support)].sum())
            coef = self.coef if support == chosen else sweep.coef_of(support)
            rows.append(FrontRow(size, coef, loss / n, score, support == chosen))
        return rows

    def alternatives(self, within: float) -> list[tuple[Array, float]]:
        """Fitted systems whose scores come within reach of the best: coefficients and scores."""
        sweep = self._search.sweep
        best = sweep.score(sweep.chosen)
        found = [
            (self.coef if one == sweep.chosen else sweep.fits[one].coef, sweep.score(one))
            for one in sweep.fits
        ]
        # Where another one answers than the best, those before it cannot be integrated.
        return [(coef, score) for coef, score in found if best - SAME <= score <= best + within]

    def others(self) -> Iterator[tuple[Array, Callable[[], Refined | None]]]:
        """The other systems that were fitted, in order of their scores.

        Coefficients (V, K'), and what makes the system the answer; None comes of that where its
        states cannot be eliminated from the fit to all data.
        """
        sweep = self._search.sweep
        for support in sorted(sweep.fits, key=sweep.score):
            if support != sweep.chosen and np.isfinite(sweep.score(support)):
                search = replace(self._search, sweep=replace(sweep, chosen=support))
                yield sweep.fits[support].coef, partial(self._instead, search)

    def _instead(self, search: _Search) -> Refined | None:
        try:
            return _finished(search, self.n_fitted, time.perf_counter() - self.seconds)
        except (FloatingPointError, np.linalg.LinAlgError):
            return None


def refine(selection: Selection, max_terms: int | None, *, known_noise: bool) -> Refined | None:
    """Improve terms and coefficients by joint fits.

    Parameters
    ----------
    selection : Selection
        Where to start.
    max_terms : int or None
        Most terms in one equation.
    known_noise : bool
        Whether the noise level stays as it is.

    Returns
    -------
    Refined or None
        None where no joint fit of the regression's equations exists: their flow is not finite, or
        the states' normal matrix is singular in float64.
    """
    try:
        return _refine(selection, max_terms, known_noise=known_noise)
    except (FloatingPointError, np.linalg.LinAlgError):
        return None


def _refine(selection: Selection, max_terms: int | None, *, known_noise: bool) -> Refined | None:
    began = time.perf_counter()
    coef = selection.rules.gather(selection.coef)
    problem, states = _problem(selection, RECORD)
    small = problem.n_nodes <= SEARCH_NODES
    searched, start = (problem, states) if small else _blocks(problem, states)
    columns = columns_in_play(selection)
    rivals = rivals_of(selection, columns)
    charges = np.tile(selection.criterion.charges(problem.n_rows), len(coef))[columns]
    searched = searched.with_substeps(SUBSTEPS, coef, start)
    best, _ = searched.likeliest_level(coef, start)
    if not np.isfinite(best.cost):
        return None
    sweeps = partial(
        _swept,
        columns=columns,
        criterion=JointCriterion(charges),
        max_terms=max_terms,
        rivals=rivals,
        known_noise=known_noise,
    )
    if (swept := sweeps(searched, best)) is None:
        return None
    first, n_fitted = RoughLaws(swept[1], coef), swept[2]
    other = first.better(max_terms, rivals) if first.found else None
    if other is not None and (again := sweeps(searched, other)):
        n_fitted += again[2]
        swept = again if first.worse_than(again[1]) else swept
    searched, sweep, _ = swept
    search = _Search(selection, problem, states, searched, sweep, known_noise=known_noise)
    return _finished(search, n_fitted + 1, began)


def _swept(
    searched: JointProblem,
    best: JointFit,
    *,
    columns: NDArray[np.intp],
    criterion: JointCriterion,
    max_terms: int | None,
    rivals: Sequence[Rival],
    known_noise: bool,
) -> tuple[JointProblem, Sweep, int] | None:
    """Search terms and estimate the noise anew in turns: the problem, the last search, its fits."""
    n_fitted = 0
    for _ in range(MAX_SWEEPS):
        sharper = searched if known_noise else searched.sharpened(best)
        change = float(np.max(searched.link_std / sharper.link_std))
        searched = sharper.with_substeps(SUBSTEPS, best.coef, best.states)
        level = best.level
        best, _ = searched.likeliest_level(best.coef, best.states)
        if not np.isfinite(best.cost):
            return None
        sweep = search_terms(searched, best, columns, criterion, max_terms, rivals)
        n_fitted += len(sweep.fits)
        moved = sweep.chosen != support_of(best, columns)
        best = sweep.fits[sweep.chosen]
        if not moved and change < 1.1 and best.level == level:
            break
    return searched, sweep, n_fitted


def _finished(search: _Search, n_fitted: int, began: float) -> Refined | None:
    """The chosen system's fit on all data, polished, with its errors."""
    selection, problem, searched = search.selection, search.problem, search.searched
    known_noise, columns = search.known_noise, search.sweep.columns
    best = search.sweep.fits[search.sweep.chosen]
    whole, final = searched, best
    if problem.n_nodes > SEARCH_NODES:
        whole = replace(problem, substeps=searched.substeps)
        final = whole.fit(best.coef, search.states, (best.level,))
        expected = whole.n_rows * max(best.cost / searched.n_rows, 1.0)
        if not (final.converged and final.cost < NO_WORSE * expected):  # too far to go at once
            final = whole.fit(best.coef, search.states, levels_to(best.level))
        if not known_noise and np.isfinite(final.cost):
            whole = whole.sharpened(final)
            final = whole.fit(final.coef, final.states, (best.level,))
    if not np.isfinite(final.cost):
        return None
    whole, final = _polished(whole, final)
    active = whole.parameters(final.coef)
    normal = whole.normal_equations(final, active)
    variance = np.diagonal(normal.covariance(range(len(active))))
    scale = max(1.0, final.cost / whole.n_rows)
    if len(active) < len(columns):
        scale *= AFTER_SELECTION**2
    coef_std = np.zeros(final.coef.size)
    coef_std[active] = np.sqrt(scale * np.where(variance > 0, variance, np.inf))  # singular if not
    ends = np.cumsum([len(run.t) for run in selection.trajectories])[:-1]
    entangled = np.zeros(final.coef.shape, dtype=bool)
    entangled.flat[active] = entangled_terms(final.coef.ravel()[active], normal.gram, scale)
    return Refined(
        coef=final.coef,
        coef_std=selection.rules.errors(coef_std.reshape(final.coef.shape)),
        states=tuple(np.split(np.concatenate(final.states), ends)),
        noise_std=selection.denoised.noise_std if known_noise else whole.noise_std(final),
        chi2=_tight_chi2(replace(problem, substeps=whole.substeps), final),
        link_level=final.level,
        converged=final.converged,
        n_fitted=n_fitted,
        seconds=time.perf_counter() - began,
        entangled=entangled,
        _search=search,
    )


def _polished(problem: JointProblem, fit: JointFit) -> tuple[JointProblem, JointFit]:
    """Tighten the links of a law that holds exactly until they add no freedom of their own.

    Errors of links add up along a run like a random walk. At the tightest level of the search they
    still reach a third of the noise over a thousand samples, which blurs the coefficients and
    widens their standard errors; a level is kept while the evidence does not speak against it.
    """
    if fit.level > LINK_LEVELS[-1]:
        return problem, fit
    evidence = problem.evidence(fit)
    for level in POLISH_LEVELS:
        finer = problem.with_substeps(SUBSTEPS, fit.coef, fit.states, level)
        tighter = finer.fit(fit.coef, fit.states, (level,))
        value = finer.evidence(tighter) if np.isfinite(tighter.cost) else np.inf
        if not value < evidence + EVIDENCE_SLACK:
            break
        problem, fit, evidence = finer, tighter, min(evidence, value)
    return problem, fit


def _tight_chi2(problem: JointProblem, fit: JointFit) -> Array:
    """J per degree of freedom of the equations as exact laws, in units of the smoother's noise."""
    tight = LINK_LEVELS[-1]
    exact = fit if fit.level <= tight else problem.fit(fit.coef, fit.states, levels_to(tight))
    if not np.isfinite(exact.cost):
        return np.full(len(fit.coef), np.inf)
    return problem.chi2(exact)


def _problem(selection: Selection, length: int) -> tuple[JointProblem, tuple[Array, ...]]:
    """The joint problem on all data, runs cut at gaps and long ones: records share no link."""
    denoised = selection.denoised
    records, states = [], []
    for i, run in enumerate(selection.trajectories):
        pieces = [
            rows
            for piece in between_gaps(np.diff(run.t))
            for rows in np.array_split(np.r_[piece], -(-(piece.stop - piece.start) // length))
        ]
        signal = input_between_samples(run)
        measured, precision = denoised.measurements[i]
        for rows in pieces:
            records.append(
                Record(
                    steps=np.diff(run.t[rows]),
                    x=measured[rows],
                    precision=precision[rows],
                    u=run.u[rows],
                    t=run.t[rows],
                    signal=signal,
                )
            )
            states.append(selection.states[i][rows])
    typical = np.array(
        [np.median(column[column > 0]) for column in np.concatenate(denoised.precision).T]
    )
    problem = JointProblem(
        library=selection.library,
        kept=selection.kept,
        records=tuple(records),
        substeps=1,
        link_std=1.0 / np.sqrt(typical),
        floor_std=denoised.discrepancy,
        rules=selection.rules if selection.rules.active else None,
    )
    return problem, tuple(states)


def _blocks(
    problem: JointProblem, states: Sequence[Array]
) -> tuple[JointProblem, tuple[Array, ...]]:
    """Blocks of contiguous samples, spread evenly over the records."""
    records, chosen = [], []
    for i, rows in spread_stretches([len(x) for x in states], BLOCK, SEARCH_NODES):
        records.append(problem.records[i].rows(rows))
        chosen.append(states[i][rows])
    return replace(problem, records=tuple(records)), tuple(chosen)
