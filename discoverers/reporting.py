"""What was found, written down as a `Discovery`: equations, errors, front, history."""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice, takewhile
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .denoising import Denoised
from .discovery import Discovery, FittedTrajectory
from .equations import Equations
from .exceptions import IdentifiabilityWarning, MisfitWarning, OutlierWarning
from .identifiability import entangled_terms
from .refinement import AFTER_SELECTION, Refined
from .regression import EquationFit
from .selection import Selection
from .sparse import combine
from .sparse.search import Support
from .trajectories import Trajectories

__all__ = [
    "MISFIT",
    "TIED",
    "alternatives_frame",
    "front_frame",
    "others_refined",
    "others_selected",
    "outliers_frame",
    "report_refined",
    "report_selection",
    "warn_of_ambiguity",
    "warn_of_misfit",
    "warn_of_outliers",
]

Array = NDArray[np.float64]

CLOSE = 6.0
"""Scores within this of the best are reported as alternatives."""

MOST_LISTED = 50
"""Other laws of the regression that are listed: of many states each may have several."""

MISFIT = 1.5
"""Mean squared residual, in units of the noise, above which equations do not explain the data."""

FEWEST = 8
"""Measurements of a state, over all runs, below which a law cannot be told from others."""

TIED = 2.0
"""Scores within this of the best are as good: the data do not tell which law is right."""


def report_selection(selection: Selection) -> Discovery:
    """Write down the regression's choice."""
    fits = selection.fits
    front = combine([fit.search for fit in fits], [fit.normal.n_rows for fit in fits])
    systems = []
    for supports in front.supports:
        coef = np.zeros(selection.coef.shape)
        for v, (fit, support) in enumerate(zip(fits, supports, strict=True)):
            coef[v] = fit.coef_of(support)
        systems.append(selection.equations(coef))
    coef = selection.expand(selection.coef)
    equations = selection.equations(selection.coef)
    ranked = islice(_ranked(selection), MOST_LISTED)
    close = list(takewhile(lambda one: one[1] <= CLOSE, ranked))
    return Discovery(
        equations=equations,
        terms=selection.candidates.names,
        coef=coef,
        coef_std=selection.expand(selection.coef_std),
        pareto_front=front_frame(
            systems,
            [sum(map(len, supports)) for supports in front.supports],
            front.losses,
            front.scores,
            front.selected,
        ),
        noise_std=selection.by_column(selection.denoised.noise_std),
        solution=_solution(selection, equations, selection.states),
        history=_history(
            selection,
            selection.by_state(selection.denoised.noise_std),
            selection.worst(selection.chi2),
            coef,
        ),
        converged=True,
        extras={
            "chi2_": selection.worst(selection.chi2),
            "alternatives_": alternatives_frame(
                [equations, *(one.equations(one.coef) for one, _ in close)],
                [0.0, *(behind for _, behind in close)],
            ),
            **_verdict(
                selection,
                equations,
                _entangled(selection),
                tied=any(behind <= TIED for _, behind in close),
            ),
        },
    )


def report_refined(selection: Selection, refined: Refined) -> Discovery:
    """Write down the joint fit's choice."""
    coef = selection.expand(refined.coef)
    equations = selection.equations(refined.coef)
    front = refined.front()
    close = refined.alternatives(CLOSE)
    return Discovery(
        equations=equations,
        terms=selection.candidates.names,
        coef=coef,
        coef_std=selection.expand(refined.coef_std),
        pareto_front=front_frame(
            [selection.equations(row.coef) for row in front],
            [row.n_terms for row in front],
            [row.loss for row in front],
            [row.score for row in front],
            next(i for i, row in enumerate(front) if row.selected),
        ),
        noise_std=selection.by_column(refined.noise_std),
        solution=_solution(selection, equations, refined.states),
        history=_history(
            selection,
            selection.by_state(refined.noise_std),
            selection.worst(refined.chi2),
            coef,
        ).assign(
            link_level=refined.link_level,
            systems_fitted=refined.n_fitted,
            refinement_seconds=refined.seconds,
        ),
        converged=refined.converged,
        extras={
            "chi2_": selection.worst(refined.chi2),
            "alternatives_": alternatives_frame(
                [selection.equations(part) for part, _ in close],
                [score for _, score in close],
            ),
            **_verdict(
                selection, equations, refined.entangled, tied=len(refined.alternatives(TIED)) > 1
            ),
        },
    )


def others_selected(
    selection: Selection,
) -> Iterator[tuple[Equations, Callable[[], Discovery]]]:
    """Other systems of the regression, the best first, and what makes each the answer.

    Paths start from the denoised states, and chi2_ grows as the regression's residuals do.
    """
    for other, _ in _ranked(selection):
        yield selection.equations(other.coef), partial(report_selection, other)


def _ranked(selection: Selection) -> Iterator[tuple[Selection, float]]:
    """Other systems that the regression tried, the best first, and how far each is behind."""
    ranked = [
        sorted(fit.search.scores, key=fit.search.scores.__getitem__) for fit in selection.fits
    ]

    def total(places: tuple[int, ...]) -> float:
        chosen = zip(selection.fits, ranked, places, strict=True)
        return sum(fit.search.scores[supports[place]] for fit, supports, place in chosen)

    best = sum(fit.search.scores[fit.search.best] for fit in selection.fits)
    first = (0,) * len(ranked)
    waiting, seen = [(total(first), first)], {first}
    while waiting:
        score, places = heapq.heappop(waiting)
        supports = [supports[place] for supports, place in zip(ranked, places, strict=True)]
        if any(one != fit.search.best for one, fit in zip(supports, selection.fits, strict=True)):
            fits = tuple(map(_with_support, selection.fits, supports))
            yield replace(selection, fits=fits, states=selection.denoised.states), score - best
        for v, place in enumerate(places):
            following = (*places[:v], place + 1, *places[v + 1 :])
            if place + 1 < len(ranked[v]) and following not in seen:
                seen.add(following)
                heapq.heappush(waiting, (total(following), following))


def _with_support(fit: EquationFit, support: Support) -> EquationFit:
    search = fit.search
    grown = search.losses[support] / max(search.losses[search.best], 1e-300)
    freedom = max(fit.normal.n_rows - len(support), 1)
    scale = max(1.0, search.losses[support] / freedom) * AFTER_SELECTION**2
    std = np.zeros(len(fit.coef))
    if support:
        std[list(support)] = np.sqrt(scale * np.diagonal(fit.normal.covariance(support)))
    return replace(
        fit,
        search=replace(search, best=support),
        coef=fit.coef_of(support),
        coef_std=std,
        chi2=fit.chi2 * grown,
    )


def others_refined(
    selection: Selection, refined: Refined
) -> Iterator[tuple[Equations, Callable[[], Discovery | None]]]:
    """Other systems of the joint fit, the best first, and what makes each the answer."""

    def answer(make: Callable[[], Refined | None]) -> Discovery | None:
        instead = make()
        return None if instead is None else report_refined(selection, instead)

    for coef, make in refined.others():
        yield selection.equations(coef), partial(answer, make)


def _entangled(selection: Selection) -> NDArray[np.bool_]:
    """Terms of the regression's choice that the data do not tell apart, (V', K')."""
    out = np.zeros(selection.coef.shape, dtype=bool)
    for v, fit in enumerate(selection.fits):
        best = list(fit.search.best)
        out[v, best] = entangled_terms(fit.coef[best], fit.normal.gram[np.ix_(best, best)])
    return out


def _verdict(
    selection: Selection, equations: Equations, entangled: NDArray[np.bool_], *, tied: bool
) -> dict[str, Any]:
    """Whether the data settle the equations, and the terms that they do not tell apart."""
    rows, columns = np.nonzero(selection.expand(entangled.astype(np.float64)))
    terms = tuple(
        (equations.state_names[row], selection.candidates.names[column])
        for row, column in zip(rows, columns, strict=True)
    )
    settled = not (tied or terms or too_few(selection.denoised))
    return {"identifiable_": settled, "entangled_": terms}


def too_few(denoised: Denoised) -> bool:
    """Whether a state was measured so rarely, over all runs, that any law would do."""
    measured = [n for n in _measurements(denoised) if n]
    return bool(measured) and min(measured) < FEWEST


def _measurements(denoised: Denoised) -> list[int]:
    """Measurements of each state over all runs."""
    precision = np.concatenate([part for _, part in denoised.measurements])
    return [int(n) for n in np.count_nonzero(precision, axis=0)]


def warn_of_ambiguity(found: Discovery) -> None:
    """Warn of equations, or terms of them, that the data do not settle."""
    others = int((found.extras["alternatives_"]["score_behind"] <= TIED).sum()) - 1
    terms = found.extras.get("entangled_", ())
    texts = []
    if others:
        texts.append(
            f"The data do not settle the equations: {others} other system(s) in alternatives_ "
            "describe them about as well. Add a run from another initial state, a longer or "
            "denser record, or leave terms that cannot be out of the library."
        )
    if terms:
        listed = ", ".join(f"{term} in the equation of {name}" for name, term in terms)
        texts.append(
            f"The data tell only a combination of {listed}: each coefficient could have the other "
            "sign, though not all at once. Add a run on which these terms differ (another initial "
            "state, force or frequency), or say the value of one of them (`Known`, `Forbidden`)."
        )
    if not texts and not found.extras.get("identifiable_", True):
        texts.append(
            f"Fewer than {FEWEST} measurements of a state tell neither its noise nor its law: "
            "others may describe them as well. Add samples or runs."
        )
    if texts:
        warnings.warn(" ".join(texts), IdentifiabilityWarning, stacklevel=6)


def warn_of_misfit(found: Discovery, trajectories: Trajectories) -> None:
    """Warn of equations that do not explain the data to within the noise."""
    # On short records chi2 itself, and the noise that it is measured in, are uncertain.
    limit = max(MISFIT, 1.0 + 6.0 * np.sqrt(2.0 / trajectories.n_samples))
    poor = [
        f"{name} ({value:.3g})"
        for name, value in zip(found.equations.state_names, found.extras["chi2_"], strict=True)
        if value > limit
    ]
    if poor:
        warnings.warn(
            f"The equations leave more than the noise unexplained: chi2 is above {limit:.2g} for "
            f"{', '.join(poor)}. The law may need terms outside the library, a state that was not "
            "measured, or denser samples; try a richer `library`.",
            MisfitWarning,
            stacklevel=6,
        )


def outliers_frame(trajectories: Trajectories, denoised: Denoised) -> pd.DataFrame:
    """One row per measurement that was left out: run, time, state, value, and what was expected."""
    rows = [
        (run_id, run.t[i], trajectories.state_names[v], run.X[i, v], states[i, v])
        for run_id, run, states, mask in zip(
            trajectories.ids, trajectories, denoised.states, denoised.outliers, strict=True
        )
        for i, v in zip(*np.nonzero(mask), strict=True)
    ]
    return pd.DataFrame(rows, columns=["trajectory", "t", "state", "value", "expected"])


def warn_of_outliers(outliers: pd.DataFrame, trajectories: Trajectories) -> None:
    """Tell how many measurements were left out."""
    if outliers.empty:
        return
    counts = outliers["state"].value_counts(sort=False)
    listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
    measured = sum(int(run.measured.sum()) for run in trajectories)
    warnings.warn(
        f"{len(outliers)} of {measured} measurements contradict their neighbours and were left out "
        f"as gross errors ({listed}); outliers_ lists them. Pass outliers='keep' if they are real.",
        OutlierWarning,
        stacklevel=6,
    )


def _solution(
    selection: Selection, equations: Equations, states: Sequence[Array]
) -> tuple[FittedTrajectory, ...]:
    return tuple(
        FittedTrajectory.of(equations, run.t, x, run.u)
        for run, x in zip(selection.trajectories, selection.placed(states), strict=True)
    )


def _history(selection: Selection, noise_std: Array, chi2: Array, coef: Array) -> pd.DataFrame:
    """One row per state: what each stage did."""
    return pd.DataFrame(
        {
            "state": selection.by_state(np.array(selection.trajectories.state_names)),
            "noise_std": noise_std,
            "smoothness": selection.by_state(selection.denoised.smoothness),
            "degrees_of_freedom": selection.by_state(selection.denoised.freedom),
            "drift": selection.reported(np.array([fit.drift for fit in selection.fits])),
            "supports_tried": selection.reported(
                np.array([len(fit.search.losses) for fit in selection.fits])
            ),
            "n_terms": np.count_nonzero(coef, axis=1),
            "chi2": chi2,
            "smoothing_seconds": selection.denoised.seconds,
            "selection_seconds": selection.seconds,
        }
    )


def alternatives_frame(systems: Sequence[Equations], scores: Sequence[float]) -> pd.DataFrame:
    """Systems with their scores above the best and their weights, the best first."""
    behind = np.array(scores) - min(scores)
    weights = np.exp(-0.5 * behind)
    frame = pd.DataFrame(
        {
            "equation": [str(system) for system in systems],
            "equations": list(systems),
            "score_behind": behind,
            "weight": weights / weights.sum(),
        }
    )
    return frame.sort_values("score_behind", kind="stable", ignore_index=True)


def front_frame(
    systems: Sequence[Equations],
    n_terms: Sequence[int],
    losses: Sequence[float],
    scores: Sequence[float],
    selected: int,
) -> pd.DataFrame:
    """PySR's columns, then ours; one row per total number of terms."""
    safe = np.log(np.maximum(losses, 1e-300))
    gain = np.zeros(len(losses))
    gain[1:] = -np.diff(safe) / np.diff(n_terms)
    return pd.DataFrame(
        {
            "complexity": n_terms,
            "loss": losses,
            "score": gain,
            "equation": [str(system) for system in systems],
            "sympy_format": [tuple(system) for system in systems],
            "lambda_format": [system.lambdify() for system in systems],
            "criterion": scores,
            "selected": np.arange(len(systems)) == selected,
        }
    )
