"""From measured fields to chosen terms: denoise, integrate, regress, state by state."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import sympy
from numpy.typing import NDArray

from discoverers.sparse import GradedCriterion, combine

from .candidates import Candidates
from .denoising import Denoised, denoise_field
from .equations import PDEEquations
from .fields import Fields
from .regression import CellCriterion, EquationFit, fit_equation
from .weakform import weak_rows

__all__ = ["FieldSelection", "select_field_terms"]

Array = NDArray[np.float64]

CLOSE = 6.0
"""Scores within this of the best are reported as alternatives."""

TIED = 2.0
"""Scores within this of the best are as good: the data do not tell which law is right."""

MOST_ALTERNATIVES = 20


@dataclass(frozen=True, eq=False)
class FieldSelection:
    """What the regression made of the data.

    Attributes
    ----------
    fields : Fields
    candidates : Candidates
    denoised : tuple of Denoised, one per run
    fits : tuple of EquationFit, one per state
    n_rows : int
    seconds : tuple of two floats
        Spent on denoising and on the regression.
    """

    fields: Fields
    candidates: Candidates
    denoised: tuple[Denoised, ...]
    fits: tuple[EquationFit, ...]
    n_rows: int
    seconds: tuple[float, float]

    def expand(self, parts: Sequence[Array], supports: Sequence[Sequence[int]]) -> Array:
        """Coefficients on supports among all candidates, shape (V, K)."""
        out = np.zeros((len(self.fits), len(self.candidates)))
        for v, (part, support) in enumerate(zip(parts, supports, strict=True)):
            out[v, list(support)] = part
        return out

    def equations(self, supports: Sequence[Sequence[int]]) -> PDEEquations:
        """Equations with the best coefficients on the given supports."""
        symbols = self.candidates.symbols
        sides = []
        for fit, support in zip(self.fits, supports, strict=True):
            coef = fit.normal.solve(support)
            parts = (float(c) * symbols[k] for c, k in zip(coef, support, strict=True))
            sides.append(sympy.Add(*parts))
        return PDEEquations(sides, self.fields.state_names)

    @property
    def best(self) -> list[tuple[int, ...]]:
        """The chosen support of each state."""
        return [fit.search.best for fit in self.fits]

    def alternatives(self) -> pd.DataFrame:
        """Systems that differ from the best in one equation and score within 6 of it."""
        rows: list[tuple[float, list[tuple[int, ...]]]] = [(0.0, self.best)]
        for v, fit in enumerate(self.fits):
            lowest = fit.search.scores[fit.search.best]
            for support, score in fit.search.scores.items():
                if support != fit.search.best and score - lowest <= CLOSE:
                    rows.append((score - lowest, [*self.best[:v], support, *self.best[v + 1 :]]))
        rows = sorted(rows, key=lambda row: row[0])[:MOST_ALTERNATIVES]
        behind = np.array([row[0] for row in rows])
        weights = np.exp(-0.5 * behind)
        systems = [self.equations(supports) for _, supports in rows]
        return pd.DataFrame(
            {
                "equation": [str(system) for system in systems],
                "equations": systems,
                "score_behind": behind,
                "weight": weights / weights.sum(),
            }
        )

    def pareto_front(self) -> pd.DataFrame:
        """Best systems by number of terms: PySR's columns, then ours."""
        front = combine([fit.search for fit in self.fits], [self.n_rows for _ in self.fits])
        systems = [self.equations(supports) for supports in front.supports]
        n_terms = np.array([sum(map(len, supports)) for supports in front.supports])
        gain = np.zeros(len(systems))
        gain[1:] = -np.diff(np.log(np.maximum(front.losses, 1e-300))) / np.diff(n_terms)
        return pd.DataFrame(
            {
                "complexity": n_terms,
                "loss": front.losses,
                "score": gain,
                "equation": [str(system) for system in systems],
                "sympy_format": [tuple(system) for system in systems],
                "lambda_format": [system.symbolic.lambdify() for system in systems],
                "criterion": front.scores,
                "selected": np.arange(len(systems)) == front.selected,
            }
        )

    def history(self) -> pd.DataFrame:
        """One row per state: what each stage did."""
        return pd.DataFrame(
            {
                "state": self.fields.state_names,
                "noise_std": self.noise_std,
                "rows": self.n_rows,
                "supports_tried": [len(fit.search.losses) for fit in self.fits],
                "n_terms": [len(support) for support in self.best],
                "chi2": [fit.chi2 for fit in self.fits],
                "rounds": [fit.rounds for fit in self.fits],
                "denoising_seconds": self.seconds[0],
                "selection_seconds": self.seconds[1],
            }
        )

    @property
    def noise_std(self) -> Array:
        """Noise of each state over all runs, shape (V,)."""
        return np.sqrt(np.mean([one.noise_std**2 for one in self.denoised], axis=0))

    @property
    def identifiable(self) -> bool:
        """Whether no other support scores as well as the chosen ones."""
        return all(
            score - fit.search.scores[fit.search.best] > TIED
            for fit in self.fits
            for support, score in fit.search.scores.items()
            if support != fit.search.best
        )


def select_field_terms(
    fields: Fields,
    candidates: Candidates,
    *,
    periodic: bool | None,
    noise_std: Array | None,
    allowed: NDArray[np.bool_],
    gamma: float,
    max_terms: int | None,
    random: np.random.Generator,
) -> FieldSelection:
    """Denoise the runs, integrate the candidates and choose terms.

    Parameters
    ----------
    fields : Fields
    candidates : Candidates
    periodic : bool or None
        None decides from the data, for all runs alike.
    noise_std : ndarray of shape (V,) or None
    allowed : ndarray of bool, shape (V, K)
    gamma, max_terms
        See `GradedCriterion` and `search_subsets`.
    random : numpy.random.Generator

    Returns
    -------
    FieldSelection
    """
    began = time.perf_counter()
    denoised = tuple(denoise_field(run, periodic, noise_std) for run in fields)
    if len({one.periodic for one in denoised}) > 1:
        denoised = tuple(denoise_field(run, False, noise_std) for run in fields)
    smoothed = time.perf_counter()
    rows = [weak_rows(one, candidates, random) for one in denoised]
    criterion = CellCriterion(
        GradedCriterion.from_degrees(candidates.degrees, fields.n_states, gamma),
        sum(part.n_cells for part in rows),
    )
    fits = tuple(
        fit_equation(rows, v, candidates, np.flatnonzero(allowed[v]), criterion, max_terms)
        for v in range(fields.n_states)
    )
    return FieldSelection(
        fields=fields,
        candidates=candidates,
        denoised=denoised,
        fits=fits,
        n_rows=sum(len(part.rates) for part in rows),
        seconds=(smoothed - began, time.perf_counter() - smoothed),
    )
