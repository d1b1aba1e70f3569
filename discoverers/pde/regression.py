"""Which terms the rows pay for, allowing for noise in the terms themselves.

Three things set this regression apart from least squares on rows. Each row has its own variance,
which depends on frequency and wave number and on the equation itself, so it is estimated in turn
with the equation. Noise in the terms biases least squares towards zero: its share of the normal
equations, known from simulated noise, is taken out (Fuller, Measurement Error Models, 1987). And a
term's charge counts measured cells, not rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from discoverers.sparse import GradedCriterion, NormalEquations, SubsetSearch, search_subsets

from .weakform import WeakRows

__all__ = ["CellCriterion", "EquationFit", "fit_equation", "row_variance"]

Array = NDArray[np.float64]

MAX_ROUNDS = 6
MIN_ROUNDS = 3

MOST_NOISE = 0.8
"""Noise is taken out of no combination of terms beyond this share of its square: rows cannot tell
such a combination from noise, and without the bound its coefficient could be anything."""

INFLATION = 1.1
"""Selection makes errors look smaller than they are."""


@dataclass(frozen=True, eq=False)
class CellCriterion:
    """The graded criterion with the number of measured cells in place of the number of rows.

    Attributes
    ----------
    graded : GradedCriterion
    n_cells : int
    """

    graded: GradedCriterion
    n_cells: int

    def charges(self, n_rows: int) -> Array:
        """Charge of each candidate term, shape (K,); the number of rows is not used."""
        return self.graded.charges(self.n_cells)


@dataclass(frozen=True, eq=False)
class EquationFit:
    """The chosen right-hand side of one state.

    Attributes
    ----------
    search : SubsetSearch
    normal : NormalEquations
    coef, coef_std : ndarray of shape (k,)
        Coefficients of ``search.best`` and their standard errors.
    chi2 : float
        Mean squared residual in units of the variance that measurement noise explains.
    rounds : int
        Rounds of variance and selection.
    converged : bool
        Whether the last two rounds chose the same terms.
    """

    search: SubsetSearch
    normal: NormalEquations
    coef: Array
    coef_std: Array
    chi2: float
    rounds: int
    converged: bool


def row_variance(squares: Array, frequency: Array, wavenumber: Array, order: int) -> Array:
    """Variance of rows (n,) as a sum of powers of frequency and wave number, from their squares.

    Weights of 1, frequency**2 and wavenumber**2, **4, ... are non-negative; they are fitted to the
    squared residuals in proportion to the variance itself.
    """
    total = float(squares.mean())
    if total == 0.0:
        return np.full(len(squares), np.finfo(float).tiny ** 0.5)
    shapes = [np.ones(len(squares)), frequency**2]
    shapes += [wavenumber ** (2 * j) for j in range(1, order + 1)]
    columns = np.stack([shape / max(float(shape.max()), 1e-300) for shape in shapes], axis=1)
    variance = np.full(len(squares), total)
    for _ in range(8):
        weights, _ = nnls(columns / variance[:, None], squares / variance)
        variance = np.maximum(columns @ weights, 1e-12 * total)
    return variance


def fit_equation(
    rows: Sequence[WeakRows],
    state: int,
    order: int,
    allowed: NDArray[np.intp],
    criterion: CellCriterion,
    max_terms: int | None,
) -> EquationFit:
    """Choose the terms of one state's equation.

    Parameters
    ----------
    rows : sequence of WeakRows, one per run
    state : int
    order : int
        Highest derivative among the candidates.
    allowed : ndarray of int
        Candidates that may be chosen.
    criterion : CellCriterion
    max_terms : int or None

    Returns
    -------
    EquationFit
    """
    variances = [_rate_variance(part, state) for part in rows]
    offset, before = 0.0, None
    for rounds in range(1, MAX_ROUNDS + 1):
        normal, plain = _normal_equations(rows, state, variances, offset)
        usable = allowed[np.diagonal(plain)[allowed] > 0.0]
        search = search_subsets(normal, criterion, usable.tolist(), max_terms)
        best = list(search.best)
        coef = normal.solve(best)
        settled = search.best == before
        if settled and rounds >= MIN_ROUNDS:
            break
        before = search.best
        # Misfit counts as variance, or terms that mimic it would pay; noise counts in any case.
        by_noise = [_noise_variance(part, state, best, coef, order) for part in rows]
        variances = [
            np.maximum(known, _residual_variance(part, state, best, coef, order))
            for part, known in zip(rows, by_noise, strict=True)
        ]
        offset = sum(
            _noise_energy(part, state, best, coef, variance)
            for part, variance in zip(rows, variances, strict=True)
        )
    by_noise = [_noise_variance(part, state, best, coef, order) for part in rows]
    count = sum(len(part.rates) for part in rows)
    freedom = max(count - len(best), 1)
    misfit = sum(
        float((_residual(part, state, best, coef) ** 2 / known).sum())
        for part, known in zip(rows, by_noise, strict=True)
    )
    index = np.ix_(best, best)
    inverse = np.linalg.pinv(normal.gram[index], hermitian=True)
    scale = INFLATION**2 * max(1.0, search.losses[search.best] / freedom)
    covariance = scale * inverse @ plain[index] @ inverse
    errors = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    return EquationFit(search, normal, coef, errors, misfit / freedom, rounds, settled)


def _residual(part: WeakRows, state: int, best: list[int], coef: Array) -> Array:
    return part.rates[:, state] - part.features[:, best] @ coef


def _noise(part: WeakRows, state: int, best: list[int], coef: Array) -> Array:
    """What the simulated noise adds to the residual, shape (replicas, n)."""
    return part.rate_noise[:, :, state] - part.feature_noise[:, :, best] @ coef


def _rate_variance(part: WeakRows, state: int) -> Array:
    """Variance of rows before any equation is known: that of the rates alone."""
    variance = (part.uncertainty[state] * part.frequency) ** 2
    return variance + 1e-3 * np.median(variance)


def _noise_variance(part: WeakRows, state: int, best: list[int], coef: Array, order: int) -> Array:
    squares = (_noise(part, state, best, coef) ** 2).mean(axis=0)
    variance = row_variance(squares, part.frequency, part.wavenumber, order)
    # The rates' own noise is known; smooth shapes may miss the few rows where there is no other.
    return np.maximum(variance, 0.5 * (part.uncertainty[state] * part.frequency) ** 2)


def _residual_variance(
    part: WeakRows, state: int, best: list[int], coef: Array, order: int
) -> Array:
    squares = _residual(part, state, best, coef) ** 2
    return row_variance(squares, part.frequency, part.wavenumber, order)


def _noise_energy(
    part: WeakRows, state: int, best: list[int], coef: Array, variance: Array
) -> float:
    """Squares that noise in the terms adds to the residual: no equation can take them away."""
    total = _noise(part, state, best, coef) ** 2 - part.rate_noise[:, :, state] ** 2
    return float((total.mean(axis=0) / variance).sum())


def _normal_equations(
    rows: Sequence[WeakRows], state: int, variances: Sequence[Array], offset: float
) -> tuple[NormalEquations, Array]:
    """Normal equations without the terms' noise, and the Gram matrix with it."""
    pooled: NormalEquations | None = None
    noise_gram, noise_moment = 0.0, 0.0
    for part, variance in zip(rows, variances, strict=True):
        weight = 1.0 / np.sqrt(variance)
        one = NormalEquations.from_rows(
            part.features * weight[:, None], part.rates[:, state] * weight
        )
        pooled = one if pooled is None else pooled + one
        replicas, n, size = part.feature_noise.shape
        columns = (part.feature_noise * weight[:, None]).reshape(replicas * n, size)
        target = (part.rate_noise[:, :, state] * weight).reshape(replicas * n)
        noise_gram = noise_gram + columns.T @ columns / replicas
        noise_moment = noise_moment + columns.T @ target / replicas
    if pooled is None:
        raise ValueError("a regression needs at least one run.")
    corrected = replace(
        pooled,
        gram=pooled.gram - _bounded_noise(pooled.gram, np.asarray(noise_gram)),
        moment=pooled.moment - noise_moment,
        energy=pooled.energy + offset,
    )
    return corrected, pooled.gram


def _bounded_noise(gram: Array, noise: Array) -> Array:
    """The noise's Gram matrix, at most `MOST_NOISE` of the whole in every direction."""
    scale = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    roots = np.sqrt(np.maximum(values, 1e-12))
    whitener = vectors / roots
    shares, directions = np.linalg.eigh(whitener.T @ (noise / np.outer(scale, scale)) @ whitener)
    back = (vectors * roots) @ directions
    return (back * np.minimum(shares, MOST_NOISE)) @ back.T * np.outer(scale, scale)
