"""Stage 2: which candidate terms the data pay for, by regression on integrals of the terms.

With the coefficients of the ODE fixed, the solution of the mechanistic network is linear in the
right-hand side: ``y' = theta(x) xi`` makes y linear in xi. So the raw data are regressed on the
integrated candidate terms, evaluated at denoised states: the residual is the white measurement
noise plus a slow drift from the features' own errors, and supports compare by likelihood.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .constraints import Rules
from .denoising import Denoised
from .inputs import input_between_samples, integrate_between_samples
from .integration import Integral, integrate_stretches
from .libraries import BoundLibrary
from .sparse import GradedCriterion, NormalEquations, SubsetSearch, search_subsets
from .sparse.bounded import bounded_step
from .sparse.criterion import deviance
from .sparse.search import forward_support
from .stretches import integrated_stretches, trial_share, trial_stretches
from .trajectories import Trajectories
from .whitening import Windows, split_windows, whitened_for_drifts

__all__ = [
    "EquationFit",
    "Regression",
    "allow_for_truncation",
    "build_regression",
    "fit_equation",
    "screen_candidates",
]

Array = NDArray[np.float64]

DRIFTS = (0.0, *10.0 ** np.arange(-4.0, 2.01, 0.5))
"""Variance the drift gains in a step, in units of the noise variance of one datum."""

MAX_CANDIDATES = 400
"""Beyond this the normal equations, quadratic in the candidates, are screened first."""

TRUNCATION_FACTOR = 5.0

LONGEST_WINDOW = 256
"""Stretches of long records hold enough windows up to this length."""

MARGIN = 64

BOUNDED_POOL = 200
"""Supports, the best without bounds first, that are fitted within them."""

REFERENCE_DRIFT = 1e-2
REFERENCE_SIZE = 12
POOL_SIZE = 60


@dataclass(frozen=True, eq=False)
class Regression:
    """The regression problem of all equations.

    Attributes
    ----------
    features : tuple of ndarray of shape (n, K)
        Candidate terms at the denoised states, per run.
    integrals : tuple of ndarray of shape (n, K)
        The same integrated over time, in the user's units.
    windows : tuple of Windows
        Where initial values are free, per run.
    elapsed : tuple of ndarray of shape (n,)
        Time in steps.
    """

    features: tuple[Array, ...]
    integrals: tuple[Array, ...]
    windows: tuple[Windows, ...]
    elapsed: tuple[Array, ...]

    def thinned(self) -> Regression:
        """The same with windows spread evenly over long records: enough to choose a drift."""
        share = trial_share(sum(int(windows.valid.sum()) for windows in self.windows))
        if share == 1.0:
            return self
        return replace(self, windows=tuple(windows.thinned(share) for windows in self.windows))

    def normal_equations(self, denoised: Denoised, state: int, drift: float) -> NormalEquations:
        """Normal equations of one state's equation for a drift in units of the noise variance."""
        return self.by_drift(denoised, state, [drift])[drift]

    def by_drift(
        self, denoised: Denoised, state: int, drifts: Sequence[float]
    ) -> dict[float, NormalEquations]:
        """Normal equations of one state's equation for several drifts."""
        precision = np.concatenate([part[:, state] for part in denoised.precision])
        unit = 1.0 / float(np.median(precision[precision > 0]))
        pooled: list[NormalEquations] = []
        for i, windows in enumerate(self.windows):
            columns = np.column_stack([self.integrals[i], denoised.data[i][:, state]])
            parts = whitened_for_drifts(
                windows,
                columns,
                denoised.precision[i][:, state],
                self.elapsed[i],
                [drift * unit for drift in drifts],
            )
            pooled = (
                [one + other for one, other in zip(pooled, parts, strict=True)] if pooled else parts
            )
        if not pooled:
            raise ValueError("a regression needs at least one run.")
        return dict(zip(drifts, pooled, strict=True))


@dataclass(frozen=True, eq=False)
class EquationFit:
    """The chosen right-hand side of one state.

    Attributes
    ----------
    search : SubsetSearch
        Everything that was tried.
    normal : NormalEquations
        For the drift that was chosen.
    coef, coef_std : ndarray of shape (K,)
        Coefficients of all candidates and their standard errors, 0 where inactive or known.
    known : ndarray of shape (K,)
        Coefficients that were given, 0 elsewhere.
    chi2 : float
        Mean squared residual in units of the noise variance, without allowance for drift: about 1
        if the library holds the truth and the denoised states are good.
    drift : float
    bounds : ndarray of shape (2, K)
        Lower and upper bounds of the coefficients, infinite where there are none.
    """

    search: SubsetSearch
    normal: NormalEquations
    coef: Array
    coef_std: Array
    known: Array
    chi2: float
    drift: float
    bounds: Array

    def coef_of(self, support: Sequence[int]) -> Array:
        """Coefficients (K,) of another support, known ones included."""
        coef = self.known.copy()
        coef[list(support)] = _solved(self.normal, support, self.bounds)
        return coef


def allow_for_truncation(denoised: Denoised, integral: Integral, window: int) -> Denoised:
    """Lower the data's precision by the error of the integral on the data's own slopes.

    The error, left in windows with a free level, is judged by the more accurate reference. It is
    systematic where noise is independent, so it counts fivefold: else terms that mimic it pay.
    """
    totals = np.zeros(denoised.noise_std.shape)
    count = 0
    trial = trial_stretches(denoised.precision) if window <= LONGEST_WINDOW else []
    for run, rows in trial or [(i, slice(0, len(part))) for i, part in enumerate(denoised.slopes)]:
        # Beyond the ends of a stretch, for the integral is worse at its own.
        low = max(rows.start - MARGIN, 0)
        slopes = denoised.slopes[run][low : rows.stop + MARGIN]
        steps = denoised.steps[run][low : low + len(slopes) - 1]
        stretches = integrated_stretches(integral, steps)
        error = integrate_stretches(integral, stretches, steps, slopes) - integrate_stretches(
            integral.reference, stretches, steps, slopes
        )
        windows = split_windows(stretches, window).within(rows.start - low, rows.stop - low)
        for inside, valid in zip(windows.index, windows.valid, strict=True):
            part = error[inside[valid]]
            totals += ((part - part.mean(axis=0)) ** 2).sum(axis=0)
            count += len(part)
    variance = TRUNCATION_FACTOR**2 * totals / count
    precision = tuple(
        np.where(part > 0, part / (1.0 + part * variance), 0.0) for part in denoised.precision
    )
    return replace(denoised, precision=precision)


def screen_candidates(
    trajectories: Trajectories, denoised: Denoised, library: BoundLibrary, window: int
) -> NDArray[np.intp]:
    """Indices of the candidates worth a place in the normal equations.

    All of them up to 400. Of more, those of degree 0 and 1 and, for each state, those whose
    integrals correlate best with it window by window (sure independence screening, Fan & Lv 2008).

    Raises
    ------
    ValueError
        If a term is not finite at some state: it is named.
    """
    n_states, n_terms = library.allowed.shape
    moment, norm = np.zeros((n_states, n_terms)), np.zeros((n_states, n_terms))
    for run, states, data, precision in zip(
        trajectories, denoised.states, denoised.data, denoised.precision, strict=True
    ):
        theta = library.evaluate(states, run.u)
        library.check_finite(theta)
        if n_terms <= MAX_CANDIDATES:
            continue
        areas = 0.5 * (theta[1:] + theta[:-1]) * np.diff(run.t)[:, None]
        integrated = np.concatenate([np.zeros((1, n_terms)), np.cumsum(areas, axis=0)])
        for rows in np.array_split(np.arange(len(theta)), max(1, round(len(theta) / window))):
            for v in range(n_states):
                weight = precision[rows, v] / max(float(precision[rows, v].sum()), 1e-300)
                columns = integrated[rows] - weight @ integrated[rows]
                target = data[rows, v] - weight @ data[rows, v]
                moment[v] += (precision[rows, v] * target) @ columns
                norm[v] += precision[rows, v] @ columns**2
    if n_terms <= MAX_CANDIDATES:
        return np.arange(n_terms)
    gain = np.where(library.allowed & (norm > 0), moment**2 / np.where(norm > 0, norm, 1.0), -1.0)
    best = np.argsort(-gain, axis=1, kind="stable")[:, : MAX_CANDIDATES // n_states]
    return np.union1d(np.flatnonzero(library.degrees <= 1), best.ravel())


def build_regression(
    trajectories: Trajectories,
    denoised: Denoised,
    library: BoundLibrary,
    kept: NDArray[np.intp],
    integral: Integral,
    window: int,
) -> Regression:
    """Evaluate and integrate the candidate terms ``kept`` at the denoised states."""
    features, integrals, windows, elapsed = [], [], [], []
    for run, states, slopes, steps in zip(
        trajectories, denoised.states, denoised.slopes, denoised.steps, strict=True
    ):
        theta = library.evaluate(states, run.u)[:, kept]
        stretches = integrated_stretches(integral, steps)
        signal = input_between_samples(run)
        if signal is None:
            integrated = denoised.time_scale * integrate_stretches(
                integral, stretches, steps, theta
            )
        else:
            integrated = integrate_between_samples(
                run,
                signal,
                states,
                slopes / denoised.time_scale,
                lambda X, u: library.evaluate(X, u)[:, kept],
            )
        features.append(theta)
        integrals.append(integrated)
        windows.append(split_windows(stretches, window))
        elapsed.append(np.concatenate([[0.0], np.cumsum(steps)]))
    return Regression(tuple(features), tuple(integrals), tuple(windows), tuple(elapsed))


def fit_equation(
    regression: Regression,
    denoised: Denoised,
    state: int,
    candidates: NDArray[np.intp],
    criterion: GradedCriterion,
    max_terms: int | None,
    rules: Rules | None = None,
) -> EquationFit:
    """Choose drift and terms together, by likelihood and charges, for one state's equation.

    The drift is first judged with a rich reference model, so that missing terms do not pass for
    drift; then with the best supports found so far, until it stays: a term that only mimics drift
    costs its charge where drift is free.
    """
    rules = rules or Rules.none(len(denoised.noise_std), regression.features[0].shape[1])
    given = np.flatnonzero(rules.fixed[state]).tolist()
    known = np.where(rules.fixed[state], rules.known[state], 0.0)

    def normals_of(windows: Regression, drifts: Sequence[float]) -> dict[float, NormalEquations]:
        found = windows.by_drift(denoised, state, drifts)
        return {one: normal.given(given, known[given]) for one, normal in found.items()}

    trial = regression.thinned()
    normals = normals_of(trial, DRIFTS)
    reference = normals[REFERENCE_DRIFT]
    everything = np.setdiff1d(candidates, given)
    candidates, required = _telling(reference, everything, rules.required[state])
    size = min(REFERENCE_SIZE, max(1, reference.n_rows // 5))
    support = forward_support(reference, candidates.tolist(), size)

    drift = min(DRIFTS, key=lambda value: _fit_cost(normals[value], support))
    tried: set[float] = set()
    pool: set[tuple[int, ...]] = set()
    while drift not in tried:
        tried.add(drift)
        search = search_subsets(
            normals[drift], criterion, candidates.tolist(), max_terms, required=required
        )
        pool.update(sorted(search.scores, key=lambda one: search.scores[one])[:POOL_SIZE])
        drift = min(DRIFTS, key=lambda value: _best_score(normals[value], criterion, pool))
    if trial is not regression:
        normals = normals_of(regression, sorted({0.0, drift}))
        candidates, required = _telling(normals[drift], everything, rules.required[state])
    normal = normals[drift]
    search = search_subsets(normal, criterion, candidates.tolist(), max_terms, required=required)
    bounds = np.stack([rules.lower[state], rules.upper[state]])
    search = _within_bounds(search, normal, criterion, bounds)
    best = list(search.best)
    freedom = max(normal.n_rows - len(best), 1)
    # Selection makes errors look smaller than they are: 1.1 is what held-out coverage asks for.
    variance = (
        1.1**2
        * max(1.0, search.losses[search.best] / freedom)
        * np.diagonal(normal.covariance(best))
    )
    coef_std = np.zeros(len(known))
    coef_std[best] = np.sqrt(variance)
    chi2 = normals[0.0].loss_at(best, _solved(normal, best, bounds)) / freedom
    fit = EquationFit(search, normal, known, coef_std, known, chi2, drift, bounds)
    return replace(fit, coef=fit.coef_of(best))


def _solved(normal: NormalEquations, support: Sequence[int], bounds: Array) -> Array:
    """Coefficients of the best fit on a support that keep their bounds (2, K)."""
    free, index = normal.solve(support), list(support)
    if not index:
        return free
    gram, (lower, upper) = normal.gram[np.ix_(index, index)], bounds[:, index]
    return bounded_step(gram, normal.moment[index], 0.0, lower, upper, free)


def _telling(
    normal: NormalEquations, candidates: NDArray[np.intp], required: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], list[int]]:
    """Candidates that say something, and those of them that are required.

    A term that vanishes on the data, or is constant in every window, says nothing.
    """
    candidates = candidates[normal.column_norms[candidates] > 0.0]
    candidates = candidates[np.diagonal(normal.gram)[candidates] > 0.0]
    return candidates, [one for one in candidates.tolist() if required[one]]


def _within_bounds(
    search: SubsetSearch,
    normal: NormalEquations,
    criterion: GradedCriterion,
    bounds: Array,
) -> SubsetSearch:
    """The search with the best support where coefficients keep their bounds.

    A bound can only raise a score: past the first support that beats all without, none is better.
    """
    if not np.isfinite(bounds).any():
        return search
    charges = criterion.charges(normal.n_rows)
    best, lowest, least = search.best, np.inf, np.inf
    for support in sorted(search.scores, key=lambda one: search.scores[one])[:BOUNDED_POOL]:
        if search.scores[support] >= lowest:
            break
        loss = normal.loss_at(support, _solved(normal, support, bounds))
        score = float(deviance(loss, normal.n_rows)) + float(charges[list(support)].sum())
        if score < lowest:
            best, lowest, least = support, score, loss
    return replace(
        search,
        best=best,
        losses={**search.losses, best: least},
        scores={**search.scores, best: lowest},
    )


def _fit_cost(normal: NormalEquations, support: tuple[int, ...]) -> float:
    return float(deviance(normal.loss(support), normal.n_rows)) + normal.log_determinant


def _best_score(
    normal: NormalEquations, criterion: GradedCriterion, pool: set[tuple[int, ...]]
) -> float:
    """Lowest -2 log likelihood plus charges of the supports in the pool."""
    charges = criterion.charges(normal.n_rows)
    lowest = np.inf
    for size in {len(one) for one in pool}:
        listed = [one for one in pool if len(one) == size]
        supports = np.array(listed, dtype=np.intp).reshape(len(listed), size)
        scores = deviance(normal.losses(supports), normal.n_rows) + charges[supports].sum(axis=1)
        lowest = min(lowest, float(scores.min()))
    return lowest + normal.log_determinant
