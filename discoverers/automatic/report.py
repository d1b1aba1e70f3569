"""What the automatic library found, written down as a `Discovery`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray

from discoverers.discovery import Discovery, FittedTrajectory
from discoverers.equations import Equations
from discoverers.formatting import term_name
from discoverers.identifiability import entangled_terms
from discoverers.reporting import TIED, alternatives_frame, front_frame, too_few
from discoverers.selection import Selection
from discoverers.sparse.criterion import deviance

from .atoms import PARAMETER
from .growth import Growth
from .judge import BEYOND_POLYNOMIALS, Verdict
from .systems import Constant, System

__all__ = ["answer_of", "constants_frame", "others_grown"]

Array = NDArray[np.float64]


def answer_of(growth: Growth, polynomial: Discovery, selection: Selection) -> Discovery:
    """The grown system, or the polynomial stage's if that is the best, with what came close.

    A polynomial law that could not be followed through the records was never compared with the
    others: of coarse chaotic records they may all be wrong. It stays unless the grown one leaves
    less of the data unexplained.
    """
    if _stays(growth, polynomial, selection):
        return polynomial
    if growth.better:
        return report_growth(growth, polynomial, selection)
    return with_alternatives(growth, polynomial, selection)


def _stays(growth: Growth, polynomial: Discovery, selection: Selection) -> bool:
    """Whether the polynomial answers because none of the others does better, compared or not."""
    if growth.comparable:
        return False
    left = growth.found.judge.noise_left(growth.found.best) / selection.denoised.noise_std
    return not np.mean(selection.worst(left**2)) < np.mean(polynomial.extras["chi2_"])


def report_growth(growth: Growth, polynomial: Discovery, selection: Selection) -> Discovery:
    """Put the grown system in the place of the polynomial stage's."""
    found = growth.found
    best, judge = found.best, found.judge
    equations = _equations(best.system, selection)
    names, coef, coef_std = _table(best, selection)
    noise_std = judge.noise_left(best)
    chi2 = (noise_std / judge.noise_std) ** 2
    others = [one for one in found.pool if one is not best]
    behind = _behind(others, found.pool[0])
    systems = [_equations(one.system, selection) for one in (best, *others)]
    entangled = _entangled(best, judge.n_rows, selection)
    sizes = np.array([len(law) for law in best.system.laws], dtype=np.float64)
    history = polynomial.history.assign(
        noise_std=selection.by_state(noise_std),
        n_terms=selection.reported(sizes).astype(int),
        chi2=selection.worst(chi2),
        terms_tried=growth.n_tried,
        systems_calibrated=found.n_judged,
    )
    return replace(
        polynomial,
        equations=equations,
        terms=names,
        coef=coef,
        coef_std=coef_std,
        pareto_front=_front(growth, selection),
        noise_std=selection.by_column(noise_std),
        solution=_solution(growth, equations, selection),
        history=history,
        converged=best.fit.converged,
        extras={
            **polynomial.extras,
            "chi2_": selection.worst(chi2),
            "alternatives_": alternatives_frame(systems, [0.0, *behind]),
            "identifiable_": not (
                entangled or min(behind, default=np.inf) <= TIED or too_few(selection.denoised)
            ),
            "entangled_": entangled,
            "constants_": _constants(best, selection),
        },
    )


def _behind(others: Sequence[Verdict], best: Verdict) -> list[float]:
    """How far others score behind the best; what was chosen among near-equals counts as that.

    What a function pays for being no polynomial tells of the choice, not of the data: one that
    explains them better than the polynomial that was chosen is as good.
    """
    free = BEYOND_POLYNOMIALS - TIED if best.system.is_polynomial else 0.0
    return [
        max(one.score - best.score - (0.0 if one.system.is_polynomial else free), 0.0)
        for one in others
    ]


def _equations(system: System, selection: Selection) -> Equations:
    """The user's equations: those of a derivative's rate as equations of higher order."""
    runs, chains = selection.trajectories, selection.chains
    found = system.equations(runs.state_names, runs.input_names)
    if chains is None:
        return found
    return Equations(
        [found[int(place)] for place in chains.highest],
        chains.names,
        runs.input_names,
        order=chains.orders,
    )


def _table(best: Verdict, selection: Selection) -> tuple[tuple[str, ...], Array, Array]:
    """Names of the terms, coefficients and standard errors, (V, K)."""
    runs = selection.trajectories
    symbols = [sympy.Symbol(name) for name in (*runs.state_names, *runs.input_names)]
    names: dict[str, int] = {}
    entries = []
    errors = iter(best.fit.errors.tolist())
    laws = np.arange(len(best.system.laws), dtype=np.float64)
    reported = selection.reported(laws).astype(int).tolist()
    for state, law in enumerate(best.system.laws):
        for one in law:
            error = 0.0 if one.known else next(errors)
            if state in reported:
                name = term_name(sympy.N(one.expr(), 6), symbols)
                place = names.setdefault(name, len(names))
                entries.append((reported.index(state), place, one.coefficient, error))
    coef = np.zeros((len(reported), max(len(names), 1)))
    std = np.zeros_like(coef)
    for state, place, value, error in entries:
        # A power of 2.0000001 reads as a square does.
        coef[state, place] += value
        std[state, place] = np.hypot(std[state, place], error)
    return tuple(names) or ("1",), coef, std


def _entangled(best: Verdict, n_rows: int, selection: Selection) -> tuple[tuple[str, str], ...]:
    """State and term wherever the data tell only a combination of coefficients and constants.

    Of ``v*x/(k + x)`` far below k they tell v/k: v and k may be anything.
    """
    system, fit = best.system, best.fit
    own = [
        (state, place)
        for state, law in enumerate(system.laws)
        for place, one in enumerate(law)
        if not one.known
    ]
    own += [(one.state, one.place) for one in system.constants]
    numbers = np.concatenate([fit.theta[_searched(system)], fit.constants])
    unknown = entangled_terms(numbers, fit.information, max(1.0, fit.cost / n_rows))
    names = np.array(selection.trajectories.state_names, dtype=object)
    if selection.chains is not None:
        names[selection.chains.highest] = selection.chains.names
    symbols = list(map(sympy.Symbol, (*selection.trajectories.state_names,)))
    symbols += list(map(sympy.Symbol, selection.trajectories.input_names))
    told = {place: None for place, one in zip(own, unknown, strict=True) if one}
    return tuple(
        (str(names[state]), term_name(sympy.N(system.laws[state][place].expr(), 6), symbols))
        for state, place in told
    )


def _searched(system: System) -> NDArray[np.bool_]:
    """Which coefficients are not known, in the order of the laws' terms."""
    return np.array([not one.known for law in system.laws for one in law], dtype=bool)


def constants_frame(rows: Sequence[tuple[str, str, float, float]] = ()) -> pd.DataFrame:
    """Constants inside of terms: equation, term, value p, standard error."""
    return pd.DataFrame(list(rows), columns=["equation", "term", "p", "p_std"])


def _constants(best: Verdict, selection: Selection) -> pd.DataFrame:
    errors = best.fit.errors[best.fit.n_free :].tolist()
    names = np.array(selection.trajectories.state_names, dtype=object)
    if selection.chains is not None:
        # The constants of x'' = ... stand in the equation of the state x.
        names[selection.chains.highest] = selection.chains.names
    return constants_frame(
        [
            (str(names[one.state]), _term_of(best.system, one), one.value, error)
            for one, error in zip(best.system.constants, errors, strict=True)
        ]
    )


def _term_of(system: System, constant: Constant) -> str:
    """The term with p in the constant's place; others of the same term are numbers."""
    held = system.laws[constant.state][constant.place]
    if constant.index < 0 or held.over is None:
        return str(held.template.expr)
    numbers: list[sympy.Expr] = [sympy.Float(value, 4) for value in held.over.values]
    numbers[constant.index] = PARAMETER
    return str(held.template.expr / held.over.expr(numbers))


def with_alternatives(growth: Growth, polynomial: Discovery, selection: Selection) -> Discovery:
    """The polynomial stage's system, which stays, with what came close in either library."""
    pool = growth.found.pool
    others = [one for one in pool if one is not growth.found.best]
    systems = [polynomial.equations, *(_equations(one.system, selection) for one in others)]
    scores = [0.0, *_behind(others, pool[0])]
    held = {_terms(one) for one in systems}
    close = polynomial.extras["alternatives_"]
    for one, behind in zip(close["equations"], close["score_behind"], strict=True):
        if _terms(one) not in held:
            systems.append(one)
            scores.append(float(behind))
    tied = min(scores[1:], default=np.inf) <= TIED
    return replace(
        polynomial,
        extras={
            **polynomial.extras,
            "alternatives_": alternatives_frame(systems, scores),
            "identifiable_": not (
                tied or polynomial.extras["entangled_"] or too_few(selection.denoised)
            ),
        },
    )


def _terms(equations: Equations) -> tuple[frozenset[sympy.Expr], ...]:
    """Terms of each equation, whatever their coefficients."""
    return tuple(
        frozenset(term.as_coeff_Mul()[1] for term in sympy.Add.make_args(law)) for law in equations
    )


def others_grown(
    growth: Growth, polynomial: Discovery, selection: Selection
) -> Iterator[tuple[Equations, Callable[[], Discovery]]]:
    """What else was judged, the best first, and what makes it the answer.

    Where another one answers than the best, those before it cannot be integrated and are no
    alternatives.
    """
    found = growth.found
    answer = growth.start if _stays(growth, polynomial, selection) else found.best.system
    for one in found.judge.final():
        if np.isfinite(one.score) and one.system.structure != answer.structure:
            behind = tuple(
                other
                for other in found.pool
                if other.score > one.score and other.system.structure != one.system.structure
            )
            instead = replace(growth, found=replace(found, best=one, pool=(one, *behind)))
            yield (
                _equations(one.system, selection),
                partial(report_growth, instead, polynomial, selection),
            )


def _front(growth: Growth, selection: Selection) -> pd.DataFrame:
    """The best judged system of each size, each better than all smaller ones."""
    found = growth.found
    n = found.judge.n_rows
    best: dict[int, Verdict] = {}
    for verdict in found.judge.final():
        size = verdict.system.n_terms
        if np.isfinite(verdict.score) and (
            size not in best or verdict.fit.cost < best[size].fit.cost
        ):
            best[size] = verdict
    best[found.best.system.n_terms] = found.best
    rows, lowest = [], np.inf
    for size in sorted(best):
        value = float(deviance(best[size].fit.cost, n))
        if best[size] is not found.best and value > lowest - 1.0:
            continue
        lowest = min(lowest, value)
        rows.append(best[size])
    return front_frame(
        [_equations(one.system, selection) for one in rows],
        [one.system.n_terms for one in rows],
        [one.fit.cost / n for one in rows],
        [one.score for one in rows],
        next(i for i, one in enumerate(rows) if one is found.best),
    )


def _solution(
    growth: Growth, equations: Equations, selection: Selection
) -> tuple[FittedTrajectory, ...]:
    """Calibrated paths; of records that were searched in pieces the denoised states."""
    at = growth.found.judge.records.at
    path, states = growth.found.best.fit.paths, selection.denoised.states
    return tuple(
        FittedTrajectory.of(
            equations, run.t, path[at[i] : at[i + 1]] if growth.whole else states[i], run.u
        )
        for i, run in enumerate(selection.trajectories)
    )
