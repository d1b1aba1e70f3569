"""From data to equations: denoise, regress, select, and write down what was found.

One way for every estimator whose engine integrates a linear ODE: they differ in the `Integral`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .denoising import Denoised, denoise
from .discovery import Discovery, FittedTrajectory
from .equations import Equations
from .integration import Integral
from .libraries import BoundLibrary
from .regression import (
    EquationFit,
    Regression,
    allow_for_truncation,
    build_regression,
    fit_equation,
    screen_candidates,
)
from .smoothing import smooth_to_slopes
from .sparse import GradedCriterion, ParetoFront, combine
from .trajectories import Trajectories

__all__ = ["discover"]

Array = NDArray[np.float64]


def discover(
    trajectories: Trajectories,
    library: BoundLibrary,
    integral: Integral,
    *,
    window: int,
    gamma: float,
    max_terms: int | None,
    noise_std: Array | None,
) -> Discovery:
    """Discover the equations of measured runs.

    Parameters
    ----------
    trajectories : Trajectories
    library : BoundLibrary
        Candidate terms.
    integral : Integral
        How right-hand sides become states.
    window : int
        Samples between free initial values.
    gamma, max_terms
        See `GradedCriterion` and `search_subsets`.
    noise_std : ndarray of shape (V,) or None
        Known noise.

    Returns
    -------
    Discovery
    """
    began = time.perf_counter()
    denoised = allow_for_truncation(denoise(trajectories, noise_std), integral, window)
    smoothed = time.perf_counter()
    kept = screen_candidates(trajectories, denoised, library, window)
    regression = build_regression(trajectories, denoised, library, kept, integral, window)
    criterion = GradedCriterion.from_degrees(library.degrees, trajectories.n_states, gamma)
    fits = [
        fit_equation(
            regression,
            denoised,
            v,
            np.flatnonzero(library.allowed[v, kept]),
            criterion.restrict(kept),
            max_terms,
        )
        for v in range(trajectories.n_states)
    ]
    coef = np.zeros((trajectories.n_states, len(library)))
    coef_std = np.zeros_like(coef)
    for v, fit in enumerate(fits):
        coef[v, kept[list(fit.search.best)]] = fit.coef
        coef_std[v, kept[list(fit.search.best)]] = fit.coef_std
    front = combine([fit.search for fit in fits], [fit.normal.n_rows for fit in fits])
    selected = time.perf_counter()
    solution = _solution(trajectories, denoised, regression, coef[:, kept])
    history = pd.DataFrame(
        {
            "state": trajectories.state_names,
            "noise_std": denoised.noise_std,
            "smoothness": denoised.smoothness,
            "degrees_of_freedom": denoised.freedom,
            "drift": [fit.drift for fit in fits],
            "supports_tried": [len(fit.search.losses) for fit in fits],
            "n_terms": [len(fit.search.best) for fit in fits],
            "chi2": [fit.chi2 for fit in fits],
            "smoothing_seconds": smoothed - began,
            "selection_seconds": selected - smoothed,
        }
    )
    return Discovery(
        equations=library.equations(coef),
        terms=library.names,
        coef=coef,
        coef_std=coef_std,
        pareto_front=_pareto_frame(front, fits, library, kept),
        noise_std=denoised.noise_std,
        solution=solution,
        history=history,
        converged=True,
        extras={"chi2_": np.array([fit.chi2 for fit in fits])},
    )


def _solution(
    trajectories: Trajectories, denoised: Denoised, regression: Regression, coef: Array
) -> tuple[FittedTrajectory, ...]:
    """States that fit the data and the discovered equations at once."""
    values, slopes = [], []
    for v in range(trajectories.n_states):
        rates = [denoised.time_scale * theta @ coef[v] for theta in regression.features]
        x, dx = smooth_to_slopes(
            denoised.steps,
            [part[:, v] for part in denoised.data],
            [part[:, v] for part in denoised.precision],
            rates,
        )
        if not x:  # the smoother's states stand
            x, dx = tuple(part[:, v] for part in denoised.states), tuple(rates)
        values.append(x)
        slopes.append([part / denoised.time_scale for part in dx])
    return tuple(
        FittedTrajectory(
            t=run.t,
            X=np.stack([value[i] for value in values], axis=1),
            derivative=np.stack([slope[i] for slope in slopes], axis=1),
            u=run.u,
        )
        for i, run in enumerate(trajectories)
    )


def _pareto_frame(
    front: ParetoFront,
    fits: Sequence[EquationFit],
    library: BoundLibrary,
    kept: NDArray[np.intp],
) -> pd.DataFrame:
    """PySR's columns, then ours; one row per total number of terms."""
    systems: list[Equations] = []
    for supports in front.supports:
        coef = np.zeros((len(fits), len(library)))
        for v, (fit, support) in enumerate(zip(fits, supports, strict=True)):
            coef[v, kept[list(support)]] = fit.normal.solve(support)
        systems.append(library.equations(coef))
    n_terms = np.array([sum(map(len, supports)) for supports in front.supports])
    losses = np.array(front.losses)
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
            "criterion": front.scores,
            "selected": np.arange(len(systems)) == front.selected,
        }
    )
