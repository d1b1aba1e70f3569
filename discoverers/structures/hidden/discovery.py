"""A hidden force with memory: whether there is one, and the equation of its rate.

Friction and yielding leave a trace that no law of position and velocity follows: the force depends
on the past. It is written as one more state z, measured in units of its own force (the gauge: z
enters the acceleration with the coefficient -1), whose rate is made of a few terms of a dictionary
of Bouc-Wen type. All of it is calibrated through the ODE against what was measured, usually the
acceleration alone, so that z comes out as a virtual measurement.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.exceptions import MisfitWarning
from discoverers.formatting import round_expression
from discoverers.structures.base import Data, Note, Options, StructuralFit

from .judging import SPLINES_EXPLAIN, Verdict, explains, judge, law_and_rate
from .rates import linear_gauge
from .report import HiddenStages, report_hidden
from .search import Candidate, Search
from .start import Scales, first_candidates
from .static import KnownLaw, further_terms, spline_law
from .task import HiddenTask

__all__ = ["HiddenSearch", "search_hidden"]

Array = NDArray[np.float64]

FEW_TERMS = 7
"""A law without hidden force that explains the data with no more terms than this is the answer."""

AT_NOISE = 1.15
"""Mean squared residual of splines, in units of the noise's, that leaves nothing to explain."""

STATIC_ROUNDS = 3
LONG_ROUNDS = 4
"""Rounds of improving a law without hidden force that was looked for before, and that was not."""

SHARP_ROUNDS = 2
"""Rounds after the steps of integration were made smaller."""

HIDDEN_ROUNDS = (6, 3)
"""Rounds of each of the first candidates that are improved, until one explains the data."""


@dataclass(frozen=True, eq=False)
class HiddenSearch:
    """What the search came to.

    Attributes
    ----------
    fit : StructuralFit or None
        With the hidden state after position and velocity; None if the data support none.
    notes : tuple of Note
        Why not, where that is of use.
    """

    fit: StructuralFit | None
    notes: tuple[Note, ...] = ()


def search_hidden(data: Data, options: Options, static: KnownLaw | None = None) -> HiddenSearch:
    """Look for a hidden force in the law of one mass.

    Parameters
    ----------
    data : Data
        Of a chain of order 2 with one degree of freedom.
    options : Options
    static : KnownLaw, optional
        A law without hidden force that was found elsewhere: one more to beat.

    Returns
    -------
    HiddenSearch

    Notes
    -----
    A hidden force is reported only if its law leaves no more than the noise, gains 10 in the
    criterion over every law without, of the library and of the usual springs and dampers; cannot
    be replaced by splines of position and velocity; has at most 4 terms in its rate; and forgets
    more slowly than the data are sampled. The linear spring and damper beside it are kept unless
    leaving them out costs less than 2 in the deviance (Akaike 1974, IEEE Trans. Autom. Control
    19:716); other terms pay the extended BIC.

    References
    ----------
    Wen 1976, J. Eng. Mech. Div. ASCE 102:249, for rates of this type; Ismail et al. 2009, Arch.
    Comput. Methods Eng. 16:161, for a survey.

    Examples
    --------
    A linear oscillator has no memory:

    >>> import numpy as np
    >>> from discoverers.shooting import Record
    >>> from discoverers.structures import Channel, Data, Options
    >>> from discoverers.structures.hidden.discovery import search_hidden
    >>> t = np.linspace(0.0, 10.0, 201)
    >>> channel = Channel("a", rates={"v": 1.0})
    >>> data = Data((Record.make(t, -np.cos(t)),), (channel,), (), np.array([[1.0, 0.0]]))
    >>> search_hidden(data, Options(library="poly1", initial_state="rest")).fit is None
    True
    """
    began = time.perf_counter()
    task = HiddenTask(data, options)
    plain = task.static_search()
    linear = _linear_law(task, plain)
    if linear is None:
        return HiddenSearch(None)
    known = _known(task, plain, static)
    first = min([linear, *known], key=lambda one: one.score)
    best = plain.descend(first, STATIC_ROUNDS if known else LONG_ROUNDS)
    best = _sharpened(task, plain, best)
    if explains(best.cost, task.n_rows):
        return HiddenSearch(None)
    scales = _scales(task, plain, best)
    if not scales.usable:
        return HiddenSearch(None)
    further = further_terms(*task.names[:2], scales, task.law[0], task.odd)
    longer = task.static_search(further)
    longest = _sharpened(task, longer, _extended(longer, [best, linear]))
    splines = spline_law(best, plain, np.concatenate(plain.states(best)), task.names[:2])
    if explains(longest.cost, task.n_rows) and len(longest.support) <= FEW_TERMS:
        return HiddenSearch(None, (_short_library(task, longer, longest),))
    if splines.cost <= AT_NOISE * task.n_rows:
        return HiddenSearch(None, (_unexplained(Verdict((SPLINES_EXPLAIN,))),))
    search = task.hidden_search(linear, _scales(task, plain, linear))
    found = _hidden_law(task, search, plain, linear)
    if found is None:
        return HiddenSearch(None, (_unexplained(Verdict(("no rate could be calibrated",))),))
    verdict = judge(task, search, found, (best, longest), splines)
    if not verdict.accepted:
        if explains(longest.cost, task.n_rows):
            return HiddenSearch(None, (_short_library(task, longer, longest),))
        return HiddenSearch(None, (_unexplained(verdict),))
    stages = HiddenStages(search, found, best, longest, splines, time.perf_counter() - began)
    return HiddenSearch(report_hidden(task, stages))


def _linear_law(task: HiddenTask, search: Search) -> Candidate | None:
    """Spring, damper and inputs, as far as the library has them, from rest and from zero."""
    terms, _, values, _ = task.law
    free = [term for term, value in zip(terms, values, strict=True) if value is None]
    x, v, _ = task.symbols
    inputs = [sympy.Symbol(name) for name in task.data.input_names]
    support = [k for k, term in enumerate(free) if term in (x, v, *inputs)]
    made = []
    for stiffness in (1.0, 10.0, 100.0):
        # In units of the record: some periods have to fit in it.
        record = task.records[0]
        frequency = 2.0 * np.pi * np.sqrt(stiffness) * 2.0 / (record.t[-1] - record.t[0])
        start = {x: -(frequency**2), v: -0.1 * frequency} | dict.fromkeys(inputs, 1.0)
        theta = np.zeros(len(free))
        theta[support] = [start[free[k]] for k in support]
        made.append(search.calibrated(support, theta, grow=True))
    found = min(made, key=lambda one: one.score)
    return found if np.isfinite(found.score) else None


def _known(task: HiddenTask, search: Search, static: KnownLaw | None) -> list[Candidate]:
    """The law found elsewhere, calibrated here."""
    if static is None:
        return []
    terms, _, values, _ = task.law
    free = [term for term, value in zip(terms, values, strict=True) if value is None]
    support = [k for k, term in enumerate(free) if term in static.terms]
    theta = np.zeros(len(free))
    theta[support] = [static.terms[free[k]] for k in support]
    made = [search.calibrated(support, theta, static.x0)]
    return [one for one in made if np.isfinite(one.score)]


def _scales(task: HiddenTask, search: Search, candidate: Candidate) -> Scales:
    states = np.concatenate(search.states(candidate))
    u = np.concatenate([record.u for record in task.records])
    rates = search.model.rates(states, u, search.full(candidate.theta))
    x, v, a = states[:, 0].std(), states[:, 1].std(), rates[:, 1].std()
    terms = [column.expr for column in search.model.columns if column.value is None]
    spring = [k for k, term in enumerate(terms) if term == task.symbols[0]]
    stiffness = -float(candidate.theta[spring[0]]) if spring else 0.0
    with np.errstate(all="ignore"):
        return Scales(float(x), float(v), float(a), max(stiffness, 0.3 * float(a / x)))


def _extended(search: Search, starts: list[Candidate]) -> Candidate:
    """The best law of the longer library, from laws of the shorter one."""
    found = []
    for start in starts:
        theta = np.zeros(len(search.charges))
        theta[: len(start.theta)] = start.theta
        found.append(search.calibrated(start.support, theta, start.x0))
    return search.descend(min(found, key=lambda one: one.score), STATIC_ROUNDS)


def _hidden_law(
    task: HiddenTask, search: Search, plain: Search, linear: Candidate
) -> Candidate | None:
    """The best law with a hidden force."""
    terms = [column.expr for column in plain.model.columns if column.value is None]
    base = {k: float(linear.theta[k]) for k in linear.support}
    position = terms.index(task.symbols[0]) if task.symbols[0] in terms else None
    scales = _scales(task, plain, linear)
    pool = first_candidates(search, base, task.rates, task.names, scales, position)
    starts = [one for one in pool if np.isfinite(one.score)][: len(HIDDEN_ROUNDS)]
    rounds = task.options.iterations("hidden force", len(starts))
    for start, turn in zip(starts, rounds, strict=False):
        if explains(search.descend(start, HIDDEN_ROUNDS[turn]).cost, task.n_rows):
            break
    best = search.best
    if best is None:
        return None
    return _canonical(task, search, search.pruned(_sharpened(task, search, best)))


def _sharpened(task: HiddenTask, search: Search, best: Candidate) -> Candidate:
    """The best law after steps of integration that are small enough for it."""
    if not search.refine_steps(best):
        return best
    best = search.calibrated(best.support, best.theta, best.x0)
    # Small steps cost: without hope it is not worth to look around.
    return search.descend(best, SHARP_ROUNDS) if explains(best.cost, task.n_rows) else best


def _canonical(task: HiddenTask, search: Search, candidate: Candidate) -> Candidate:
    """The same law in the gauge in which a linear rate does not hold the position."""
    law, rate = law_and_rate(task, search, candidate)
    law, rate, kappa = linear_gauge(law, rate, task.symbols)
    velocity = task.names[1]
    free = [column for column in search.model.columns if column.value is None]
    places = [
        {column.expr: k for k, column in enumerate(free) if (velocity in column.drives) == mine}
        for mine in (True, False)
    ]
    if kappa == 0.0 or not (set(law) <= set(places[0]) and set(rate) <= set(places[1])):
        return candidate
    theta = np.zeros(len(free))
    for coefficients, place in zip((law, rate), places, strict=True):
        for term, value in coefficients.items():
            theta[place[term]] = value
    x0 = candidate.x0.copy()
    x0[:, 2] += kappa * x0[:, 0]
    support = np.flatnonzero(theta).tolist()
    moved = search.calibrated(support, theta, x0)
    # Where the gauge is a matter of taste ours is kept, unless it needs one more term.
    return moved if moved.score <= candidate.score + 1.0 else candidate


def _short_library(task: HiddenTask, search: Search, candidate: Candidate) -> Note:
    free = [column for column in search.model.columns if column.value is None]
    own = set(task.law[0])
    helping = [
        str(round_expression(free[k].expr, 3)) for k in candidate.support if free[k].expr not in own
    ]
    return Note(
        "The library is short, and no hidden state is needed: with "
        f"{', '.join(helping)} a law without memory explains the data. Pass a `library` with "
        "such terms.",
        MisfitWarning,
    )


def _unexplained(verdict: Verdict) -> Note:
    return Note(
        "The library does not explain the data to within the noise, and a hidden force is not "
        f"supported either: {'; '.join(verdict.reasons)}. {verdict.advice}",
        MisfitWarning,
    )
