"""Which terms the rows pay for, allowing for noise in the terms themselves.

Three things set this regression apart from least squares on rows. Each row has its own variance,
which depends on frequency and wave number and on the equation itself, so it is estimated in turn
with the equation.
Noise in the terms biases least squares towards zero: its share of the normal equations, known from
simulated noise, is taken out (Fuller, Measurement Error Models, 1987). And a term's charge counts
measured cells, not rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from discoverers.sparse import GradedCriterion, NormalEquations, SubsetSearch, search_subsets
from discoverers.sparse.search import Support

from .candidates import Candidates
from .weakform import WeakRows

__all__ = ["CellCriterion", "EquationFit", "fit_equation", "row_variance"]

Array = NDArray[np.float64]

MAX_ROUNDS = 8
MIN_ROUNDS = 3

MISFIT = 1.5
"""Mean squared residual, in units of what noise explains, from which on others are considered."""

VARIANCE_STEPS = 200
VARIANCE_BINS = 20

MOST_NOISE = 0.8
"""A combination of terms with a larger share of noise in its square is not told from noise."""

UNTOLD = 1e-3
"""Weight that is left to such a combination: its coefficient costs nothing and gains nothing."""


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

    Weights of 1, frequency**2 and wavenumber**2, **4, ... are non-negative and maximise the
    likelihood of normal rows, by multiplicative steps that never lower it (Févotte & Idier, Neural
    Computation 23, 2011).
    """
    total = float(squares.mean())
    if total == 0.0:
        return np.full(len(squares), np.finfo(float).tiny ** 0.5)
    shapes = [np.ones(len(squares)), frequency**2]
    shapes += [wavenumber ** (2 * j) for j in range(1, order + 1)]
    columns: Array = np.stack([shape / max(float(shape.max()), 1e-300) for shape in shapes], axis=1)
    bins = _ranked(frequency) * VARIANCE_BINS + _ranked(wavenumber)
    count = np.bincount(bins)
    filled = count > 0
    sums = [np.bincount(bins, column)[filled] for column in columns.T]
    inside = np.stack(sums, axis=1) / count[filled, None]
    mean = np.bincount(bins, squares)[filled] / count[filled]
    weights = np.full(columns.shape[1], total)
    for _ in range(VARIANCE_STEPS):
        inverse = 1.0 / (inside @ weights + 1e-12 * total)
        above = inside.T @ (count[filled] * mean * inverse**2)
        weights *= np.sqrt(above / (inside.T @ (count[filled] * inverse) + 1e-300))
    return columns @ weights + 1e-12 * total


def _ranked(values: Array) -> NDArray[np.intp]:
    """Bin of each value: by value while there are few different ones, else by rank."""
    distinct, index = np.unique(values.round(9), return_inverse=True)
    return index * min(VARIANCE_BINS, len(distinct)) // len(distinct)


def fit_equation(
    rows: Sequence[WeakRows],
    state: int,
    candidates: Candidates,
    allowed: NDArray[np.intp],
    criterion: CellCriterion,
    max_terms: int | None,
) -> EquationFit:
    """Choose the terms of one state's equation.

    Parameters
    ----------
    rows : sequence of WeakRows, one per run
    state : int
    candidates : Candidates
    allowed : ndarray of int
        Candidates that may be chosen.
    criterion : CellCriterion
    max_terms : int or None

    Returns
    -------
    EquationFit
    """
    variances = [_rate_variance(part, state) for part in rows]
    count = sum(len(part.rates) for part in rows)
    limit = max(MISFIT, 1.0 + 6.0 * np.sqrt(2.0 / count))
    offset, before, starts = 0.0, None, tuple[Support, ...]()
    for rounds in range(1, MAX_ROUNDS + 1):
        normal, plain = _normal_equations(rows, state, variances, offset)
        usable = allowed[np.diagonal(plain)[allowed] > 0.0]
        search = search_subsets(normal, criterion, usable.tolist(), max_terms, starts)
        best = search.best
        found = _weigh(rows, state, best, normal.solve(best), candidates.order)
        settled = best == before
        if settled and rounds >= MIN_ROUNDS:
            break
        before = best
        if found.misfit > limit * count and not starts:
            simple, found = _likelier(rows, state, candidates, usable, criterion, max_terms)
            starts = (simple,)
        variances, offset = found.variances, found.offset
    coef = normal.solve(best)
    freedom = max(count - len(best), 1)
    errors = _errors(rows, state, best, coef, normal, variances)
    return EquationFit(search, normal, coef, errors, found.misfit / freedom, rounds, settled)


def _errors(
    rows: Sequence[WeakRows],
    state: int,
    best: Support,
    coef: Array,
    normal: NormalEquations,
    variances: Sequence[Array],
) -> Array:
    """Standard errors of coefficients from the residuals themselves.

    Weights are the larger of two estimates of the variance, so they say little about errors. Rows
    against orthonormal test functions have independent noise, whatever its size: their squared
    residuals, noise in the terms included, give the scatter of the estimate without a model
    (White, Econometrica 48, 1980), each as it is of a fit without its row (MacKinnon and White,
    J. Econometrics 29, 1985): rows that the fit follows would pass as exact.
    """
    columns = list(best)
    if not columns:
        return np.zeros(0)
    inverse = np.linalg.pinv(normal.gram[np.ix_(best, best)], hermitian=True)
    scatter = np.zeros((len(best), len(best)))
    for part, variance in zip(rows, variances, strict=True):
        features = part.features[:, columns]
        left = (part.rates[:, state] - features @ coef) / variance
        leverage = np.einsum("ni,ij,nj->n", features, inverse, features) / variance
        influence = features * (left / np.maximum(1.0 - leverage, 0.1))[:, None]
        scatter += influence.T @ influence
    covariance = inverse @ scatter @ inverse
    return np.sqrt(np.maximum(np.diagonal(covariance), 0.0))


@dataclass(frozen=True, eq=False)
class _Weighed:
    """What one equation makes of the rows.

    Attributes
    ----------
    variances : list of ndarray of shape (n,), one per run
        Of the rows: what noise explains, and what the equation misses.
    offset : float
        Squares that noise in the terms adds to the residual, in units of the variance.
    misfit, log_noise : float
        Squared residuals in units of the variance that noise explains, and the log of that.
    """

    variances: list[Array]
    offset: float
    misfit: float
    log_noise: float


def _weigh(
    rows: Sequence[WeakRows], state: int, best: Support, coef: Array, order: int
) -> _Weighed:
    columns = list(best)
    variances: list[Array] = []
    offset = misfit = log_noise = 0.0
    for part in rows:
        noise = part.rate_noise[:, :, state] - part.feature_noise[:, :, columns] @ coef
        squares = (part.rates[:, state] - part.features[:, columns] @ coef) ** 2
        place = part.frequency, part.wavenumber, order
        known = row_variance((noise**2).mean(axis=0), *place)
        # The rates' own noise is known; smooth shapes may miss rows where there is no other.
        known = np.maximum(known, 0.5 * (part.uncertainty[state] * part.frequency) ** 2)
        # Misfit counts as variance too, or terms that mimic it would pay.
        variance = np.maximum(known, row_variance(squares, *place))
        added = (noise**2 - part.rate_noise[:, :, state] ** 2).mean(axis=0)
        variances.append(variance)
        offset += float((added / variance).sum())
        misfit += float((squares / known).sum())
        log_noise += float(np.log(known).sum())
    return _Weighed(variances, offset, misfit, log_noise)


def _likelier(
    rows: Sequence[WeakRows],
    state: int,
    candidates: Candidates,
    allowed: NDArray[np.intp],
    criterion: CellCriterion,
    max_terms: int | None,
) -> tuple[Support, _Weighed]:
    """The equation within simpler libraries that noise explains best.

    A wrong equation with large coefficients brings so much noise into the rows that it passes in
    its own light, and others do not. So each is weighed by its own noise here.
    """
    charges = criterion.charges(0)
    scored: dict[Support, tuple[float, _Weighed]] = {}
    for part in candidates.simpler:
        usable = np.intersect1d(part, allowed).tolist()
        variances, offset = [_rate_variance(one, state) for one in rows], 0.0
        for _ in range(MIN_ROUNDS):
            normal, _ = _normal_equations(rows, state, variances, offset)
            best = search_subsets(normal, criterion, usable, max_terms).best
            found = _weigh(rows, state, best, normal.solve(best), candidates.order)
            cost = found.misfit + found.log_noise + float(charges[list(best)].sum())
            scored[best] = min(scored.get(best, (np.inf, found)), (cost, found), key=_first)
            variances, offset = found.variances, found.offset
    best = min(scored, key=lambda support: scored[support][0])
    return best, scored[best][1]


def _first(pair: tuple[float, _Weighed]) -> float:
    return pair[0]


def _rate_variance(part: WeakRows, state: int) -> Array:
    """Variance of rows before any equation is known: that of the rates alone."""
    variance = (part.uncertainty[state] * part.frequency) ** 2
    return variance + 1e-3 * np.median(variance)


def _normal_equations(
    rows: Sequence[WeakRows],
    state: int,
    variances: Sequence[Array],
    offset: float,
    columns: Sequence[int] | slice = slice(None),
) -> tuple[NormalEquations, Array]:
    """Normal equations without the terms' noise, and the Gram matrix with it."""
    pooled: NormalEquations | None = None
    noise_gram, noise_moment = 0.0, 0.0
    for part, variance in zip(rows, variances, strict=True):
        weight = 1.0 / np.sqrt(variance)
        one = NormalEquations.from_rows(
            part.features[:, columns] * weight[:, None], part.rates[:, state] * weight
        )
        pooled = one if pooled is None else pooled + one
        noise = part.feature_noise[:, :, columns] * weight[:, None]
        replicas, n, size = noise.shape
        noise = noise.reshape(replicas * n, size)
        target = (part.rate_noise[:, :, state] * weight).reshape(replicas * n)
        noise_gram = noise_gram + noise.T @ noise / replicas
        noise_moment = noise_moment + noise.T @ target / replicas
    if pooled is None:
        raise ValueError("a regression needs at least one run.")
    gram, moment = _without_noise(
        pooled.gram, pooled.moment, np.asarray(noise_gram), np.asarray(noise_moment)
    )
    corrected = replace(pooled, gram=gram, moment=moment, energy=pooled.energy + offset)
    return corrected, pooled.gram


def _without_noise(
    gram: Array, moment: Array, noise_gram: Array, noise_moment: Array
) -> tuple[Array, Array]:
    """Normal equations less the noise's share, in directions where both matrices are diagonal.

    A direction that is nearly all noise says nothing: its moment would only tell how one noise
    explains another.
    """
    scale = np.sqrt(np.maximum(np.diagonal(gram), 0.0))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(gram / np.outer(scale, scale))
    roots = np.sqrt(np.maximum(values, 1e-12))
    whitener = vectors / roots
    shares, turn = np.linalg.eigh(whitener.T @ (noise_gram / np.outer(scale, scale)) @ whitener)
    back = (vectors * roots) @ turn
    told = shares <= MOST_NOISE
    weights = np.where(told, 1.0 - shares, UNTOLD)
    projected = np.where(told, (whitener @ turn).T @ ((moment - noise_moment) / scale), 0.0)
    return (back * weights) @ back.T * np.outer(scale, scale), back @ projected * scale
