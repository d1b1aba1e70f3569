"""Sweeps over the equations: propose, judge, keep the best, sharpen the noise, prune."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sympy
from numpy.typing import NDArray

from .atoms import Template
from .equivalence import distinct
from .judge import BEYOND_POLYNOMIALS, Judge, Verdict, best_of
from .proposals import Proposal, Proposals
from .snapping import snapped
from .systems import Candidate, Law, Shared, System, denominators_of, reduced

__all__ = ["Found", "count", "search"]

Array = NDArray[np.float64]

SWEEPS = 3
JUDGED = 24
"""Right-hand sides of one state that are calibrated in a sweep."""

HOPELESS = 25.0
"""A right-hand side whose weak form is this much worse than the incumbent's is not calibrated."""

CLOSE = 150.0
ALTERNATIVES = 6.0
BUDGET = 1.5e9
"""Operations of the integrator after which nothing new is tried; about 25 s of one core."""

NEAR = 6.0
"""Ratios are tried unless something simpler has a score so much lower in the weak form."""

RATIOS = 8
"""Ratios that are proposed for one equation at most."""

SHARING = 3
"""Denominators that are tried in several equations, with the same constants and without."""

GROSS = 4.0
"""Mean squared residual, in units of the noise, above which a wide search follows."""

DRIFT = 1e-2
"""Variance, in units of the noise's, that the denoised states' errors add to an integral a step."""


@dataclass(frozen=True, eq=False)
class Found:
    """The best system, what came close, and how many were calibrated.

    Attributes
    ----------
    best : Verdict
    pool : tuple of Verdict
        The lowest score first.
    judge : Judge
    n_judged : int
    """

    best: Verdict
    pool: tuple[Verdict, ...]
    judge: Judge
    n_judged: int


def count(name: str, maximum: int) -> Iterable[int]:
    """Iterations that nobody watches."""
    return range(maximum)


def search(
    judge: Judge,
    proposals: Proposals,
    start: System,
    iterations: Callable[[str, int], Iterable[int]] = count,
) -> Found | None:
    """Improve a system equation by equation until no proposal is better.

    Parameters
    ----------
    judge : Judge
    proposals : Proposals
    start : System
        The polynomial stage's system; it may be wrong.
    iterations : callable, optional
        Counts the sweeps and may end them early: name and largest number to an iterator.

    Returns
    -------
    Found or None
        None if no system could be calibrated.
    """
    plain = {state: proposals.ranked(state, DRIFT) for state in start.searched}
    ratios = {state: proposals.ratios(state, DRIFT, plain[state]) for state in plain}
    ranked = {state: _mixed(_with_ratios(plain[state], ratios[state])) for state in plain}
    # What each equation's own regression likes best may lead where a wrong polynomial does not.
    first = start
    for state, options in ranked.items():
        first = first.with_law(state, min(options, key=lambda one: one.score).law)
    best = best_of([judge(start), judge(first)])
    shared = [judge(one) for one in _sharing(plain, ratios, best.system)]
    best = best_of([best, *shared])
    n_judged = len(shared)
    wide = False
    for sweep in iterations("sweep over the equations", SWEEPS):
        before = best.system.structure
        for turn, (state, options) in enumerate(ranked.items()):
            held = proposals.score(best.system.laws[state], state, DRIFT)
            fresh = [
                system
                for one in options
                if one.score <= held + HOPELESS
                for system in [best.system.with_law(state, one.law)]
                if system.structure not in judge.seen
            ]
            # Most is found in two sweeps; no equation may eat up what the next ones need.
            share = min(1.0, (sweep + (turn + 1) / len(ranked)) / 2.0)
            verdicts = list(_judged(judge, fresh[:JUDGED], best, share * BUDGET))
            n_judged += len(verdicts)
            best = best_of([best, *verdicts])
        best = _pruned(judge, best, proposals)
        sharper = judge.sharpened(best) if np.isfinite(best.score) else judge
        changed = float(np.max(judge.noise_std / sharper.noise_std))
        if changed > 1.1:
            close = judge.pool(CLOSE)[: 2 * JUDGED]
            judge = sharper
            best = best_of([judge(one.system, one) for one in (best, *close)])
        elif best.system.structure == before and (wide or not judge.misfits(best, GROSS)):
            break
        settled = sweep > 0 or best.system.structure == before
        if settled and not wide and sweep + 1 < SWEEPS and judge.misfits(best, GROSS):
            # A law is missing, not evidence: look among many more before that is the answer.
            wide = True
            for state in ranked:
                more = sorted(
                    [*plain[state], *proposals.wider(state, DRIFT)], key=lambda one: one.score
                )
                ranked[state] = _mixed(_with_ratios(more, ratios[state]))
    if not np.isfinite(best.score):
        return None
    _, freer = snapped(judge, best, proposals.templates)
    pool = _pool(judge, freer)
    return Found(pool[0], pool, judge, n_judged)


def _pool(judge: Judge, freer: Sequence[System]) -> tuple[Verdict, ...]:
    """What comes close, functions beside polynomials by what they cost without being functions.

    A law that can be written in several ways is in it once.
    """
    left_out = {system.structure for system in freer}
    final = [one for one in judge.final() if one.system.structure not in left_out]
    reach = final[0].score + ALTERNATIVES
    beyond = reach + (BEYOND_POLYNOMIALS if final[0].system.is_polynomial else 0.0)
    close = (one for one in final if one.score <= (reach if one.system.is_polynomial else beyond))
    return tuple(distinct(judge, close))


def _with_ratios(ranked: list[Proposal], ratios: list[Proposal]) -> list[Proposal]:
    """The best ratios among the others, where nothing simpler scores better."""
    reach = min((one.score for one in ranked), default=np.inf) + NEAR
    paying = [one for one in ratios if one.score <= reach][:RATIOS]
    return sorted([*ranked, *paying], key=lambda one: one.score)


def _sharing(
    plain: Mapping[int, Sequence[Proposal]],
    ratios: Mapping[int, Sequence[Proposal]],
    system: System,
) -> list[System]:
    """Systems of which several equations have the same denominator: what is eaten is gained."""
    options: dict[Shared, dict[int, Proposal]] = {}
    for state, found in ratios.items():
        for one in found:
            for monomials in denominators_of(one.law):
                options.setdefault(monomials, {}).setdefault(state, one)
    scored = []
    for place, (monomials, laws) in enumerate(options.items()):
        over = denominators_of(next(iter(laws.values())).law)[monomials]
        saved = over.choice(len(system.laws))
        behind = {
            state: one.score - min(other.score for other in plain[state])
            for state, one in laws.items()
        }
        better = sorted(state for state, by in behind.items() if by - saved <= NEAR)
        total = sum(behind[state] for state in better) - saved * (len(better) - 1)
        if len(better) > 1 and total <= NEAR:
            scored.append((total, place, {state: laws[state].law for state in better}))
    chosen = [laws for _, _, laws in sorted(scored, key=lambda one: one[:2])[:SHARING]]
    return [one for laws in chosen for one in _loose_and_tied(system, laws)]


def _loose_and_tied(system: System, laws: Mapping[int, Law]) -> list[System]:
    for state, law in laws.items():
        system = system.with_law(state, law)
    return [system, *system.tied()]


def _mixed(ranked: list[Proposal]) -> list[Proposal]:
    """The best over all first, the best of each size early among them."""
    sizes: dict[int, int] = {}
    order = []
    for place, one in enumerate(ranked[: 20 * JUDGED]):
        sizes[len(one.law)] = sizes.get(len(one.law), 0) + 1
        # The second best of a size comes where the twelfth over all does.
        order.append((min(place, 6 * sizes[len(one.law)]), place, one))
    return [one for _, _, one in sorted(order, key=lambda entry: entry[:2])][: 3 * JUDGED]


def _judged(
    judge: Judge,
    systems: Iterable[System],
    near: Verdict,
    budget: float = BUDGET,
    *,
    again: bool = False,
) -> Iterator[Verdict]:
    """Calibrate one after the other while there is budget; `again` from other numbers too."""
    for system in systems:
        if judge.work > budget:
            return
        yield judge.again(system, near) if again else judge(system, near)


def _pruned(judge: Judge, best: Verdict, proposals: Proposals) -> Verdict:
    """Leave out terms, functions and monomials of denominators one by one while the score falls."""
    while np.isfinite(best.score):
        tried = [*_without_one(best.system), *_simpler_below(best.system, proposals.templates)]
        smaller = best_of([best, *_judged(judge, tried, best)])
        if smaller is best:
            below = _simpler_below(best.system, proposals.templates)
            plainer = [new for one in (best.system, *below) for new in _plainer(one, proposals)]
            smaller = best_of([best, *_judged(judge, plainer, best, again=True)])
        if smaller is best:
            return best
        best = smaller
    return best


def _without_one(system: System) -> Iterator[System]:
    for state in system.searched:
        law = system.laws[state]
        for place in range(len(law)):
            yield system.with_law(state, law[:place] + law[place + 1 :])


def _simpler_below(system: System, templates: Mapping[sympy.Expr, Template]) -> Iterator[System]:
    """With one monomial of a denominator only, where that makes terms of the dictionary."""
    for state in system.searched:
        law = system.laws[state]
        for monomials in denominators_of(law):
            for place in range(len(monomials)):
                simpler = tuple(reduced(one, place, templates) for one in law)
                if None not in simpler:
                    yield system.with_law(state, tuple(one for one in simpler if one is not None))


def _plainer(system: System, proposals: Proposals) -> Iterator[System]:
    """With a constant or a state in the place of one function, as near as that comes.

    ``a/(k1 + x**2) + b*x**2/(k2 + x**2)`` comes up before ``a/k + c*x**2/(k + x**2)``, of which it
    is the same function with a constant to spare.
    """
    plain = [
        one
        for one in proposals.templates.values()
        if not one.factors and (one.expr == 1 or one.expr.is_Symbol)
    ]
    for state in system.searched:
        law = system.laws[state]
        held = {one.structure for one in law}
        for place, one in enumerate(law):
            if not one.template.factors and one.over is None:
                continue
            for template in plain:
                if template.expr not in held:
                    moved = (*law[:place], Candidate(template), *law[place + 1 :])
                    yield system.with_law(state, proposals.alike(moved, law))
