"""What the automatic library found, written down as a `Discovery`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray

from discoverers.denoising import Denoised
from discoverers.discovery import Discovery, FittedTrajectory
from discoverers.equations import Equations
from discoverers.formatting import term_name
from discoverers.reporting import TIED, alternatives_frame, front_frame
from discoverers.sparse.criterion import deviance
from discoverers.trajectories import Trajectories

from .growth import Growth
from .judge import Verdict

__all__ = ["constants_frame", "report_growth", "with_alternatives"]

Array = NDArray[np.float64]


def report_growth(
    growth: Growth, polynomial: Discovery, trajectories: Trajectories, denoised: Denoised
) -> Discovery:
    """Put the grown system in the place of the polynomial stage's."""
    found = growth.found
    best, judge = found.best, found.judge
    states, inputs = trajectories.state_names, trajectories.input_names
    equations = best.system.equations(states, inputs)
    names, coef, coef_std = _table(best, (*states, *inputs))
    noise_std = judge.noise_left(best)
    chi2 = (noise_std / judge.noise_std) ** 2
    # What was chosen among near-equals counts as the best.
    lowest = found.pool[0].score
    others = [one for one in found.pool if one is not best]
    systems = [one.system.equations(states, inputs) for one in (best, *others)]
    history = polynomial.history.assign(
        noise_std=noise_std,
        n_terms=[len(law) for law in best.system.laws],
        chi2=chi2,
        terms_tried=growth.n_tried,
        systems_calibrated=found.n_judged,
    )
    return replace(
        polynomial,
        equations=equations,
        terms=names,
        coef=coef,
        coef_std=coef_std,
        pareto_front=_front(growth, trajectories),
        noise_std=noise_std,
        solution=_solution(growth, equations, trajectories, denoised),
        history=history,
        converged=best.fit.converged,
        extras={
            **polynomial.extras,
            "chi2_": chi2,
            "alternatives_": alternatives_frame(systems, [lowest, *(one.score for one in others)]),
            "identifiable_": not any(one.score <= lowest + TIED for one in others),
            "constants_": _constants(best, states),
        },
    )


def _table(best: Verdict, variables: tuple[str, ...]) -> tuple[tuple[str, ...], Array, Array]:
    """Names of the terms, coefficients and standard errors, (V, K)."""
    symbols = [sympy.Symbol(name) for name in variables]
    names: dict[str, int] = {}
    entries = []
    errors = iter(best.fit.errors.tolist())
    for state, law in enumerate(best.system.laws):
        for one in law:
            name = term_name(sympy.N(one.expr(), 6), symbols)
            place = names.setdefault(name, len(names))
            entries.append((state, place, one.coefficient, next(errors)))
    coef = np.zeros((len(best.system.laws), max(len(names), 1)))
    std = np.zeros_like(coef)
    for state, place, value, error in entries:
        # A power of 2.0000001 reads as a square does.
        coef[state, place] += value
        std[state, place] = np.hypot(std[state, place], error)
    return tuple(names) or ("1",), coef, std


def constants_frame(rows: Sequence[tuple[str, str, float, float]] = ()) -> pd.DataFrame:
    """Constants inside of terms: equation, term, value p, standard error."""
    return pd.DataFrame(list(rows), columns=["equation", "term", "p", "p_std"])


def _constants(best: Verdict, states: tuple[str, ...]) -> pd.DataFrame:
    errors = iter(best.fit.errors[len(best.fit.theta) :].tolist())
    return constants_frame(
        [
            (name, str(one.template.expr), one.parameter, next(errors))
            for name, law in zip(states, best.system.laws, strict=True)
            for one in law
            if one.template.has_parameter
        ]
    )


def with_alternatives(
    growth: Growth, polynomial: Discovery, trajectories: Trajectories
) -> Discovery:
    """The polynomial stage's system, which stays, with what came close in the larger library."""
    pool = growth.found.pool
    names = trajectories.state_names, trajectories.input_names
    lowest = pool[0].score
    others = [one for one in pool if one is not growth.found.best]
    systems = [polynomial.equations, *(one.system.equations(*names) for one in others)]
    scores = [lowest, *(one.score for one in others)]
    tied = any(one.score <= lowest + TIED for one in others)
    return replace(
        polynomial,
        extras={
            **polynomial.extras,
            "alternatives_": alternatives_frame(systems, scores),
            "identifiable_": polynomial.extras["identifiable_"] and not tied,
        },
    )


def _front(growth: Growth, trajectories: Trajectories) -> pd.DataFrame:
    """The best judged system of each size, each better than all smaller ones."""
    found = growth.found
    n = found.judge.n_rows
    best: dict[int, Verdict] = {}
    for verdict in found.judge.seen.values():
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
        [one.system.equations(trajectories.state_names, trajectories.input_names) for one in rows],
        [one.system.n_terms for one in rows],
        [one.fit.cost / n for one in rows],
        [one.score for one in rows],
        next(i for i, one in enumerate(rows) if one is found.best),
    )


def _solution(
    growth: Growth, equations: Equations, trajectories: Trajectories, denoised: Denoised
) -> tuple[FittedTrajectory, ...]:
    """Calibrated paths; of records that were searched in pieces the denoised states."""
    rate = equations.lambdify()
    at = growth.found.judge.records.at
    out = []
    for i, run in enumerate(trajectories):
        path = growth.found.best.fit.paths
        X = path[at[i] : at[i + 1]] if growth.whole else denoised.states[i]
        slope = rate(X, run.u) if run.u.size else rate(X)
        out.append(FittedTrajectory(t=run.t, X=X, derivative=slope, u=run.u))
    return tuple(out)
