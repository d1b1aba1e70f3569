"""Search for the terms of coupled laws, every serious candidate calibrated through the ODE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from discoverers.shooting import (
    Calibration,
    Observation,
    Record,
    StateSpaceModel,
    calibrate,
    integrate,
    tangent,
)
from discoverers.sparse.criterion import deviance
from discoverers.sparse.normal_equations import NormalEquations
from discoverers.sparse.search import search_subsets

__all__ = ["FIRST_SUBSTEPS", "Candidate", "Search", "Setting", "Support"]

Array = NDArray[np.float64]
Support = tuple[int, ...]

MAX_ITERATIONS = 25
WARM_ITERATIONS = 12
MOST_TERMS = 12
ROUNDS = 6
BATCH = 8
FIRST_SUBSTEPS = 2
MAX_SUBSTEPS = 8

STEP_SHARE = 0.1
"""Errors of integration below this share of the noise are not looked after."""

STALLED = 50.0
"""Of the score: a calibration that stopped early goes on if it is no further from the best."""

IMPROVEMENT = 0.5
"""Of the score: less is a draw, and a draw does not lead to another round."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What the candidates are calibrated to.

    Attributes
    ----------
    records : tuple of Record
    observation : Observation
    noise_std : ndarray of shape (C,)
    x0 : ndarray of shape (runs, n_s)
        Initial states, and where they are free their start.
    free_x0 : ndarray of bool, shape (runs, n_s)
    window : int
        First window of a calibration that is not warm, in samples.
    """

    records: tuple[Record, ...]
    observation: Observation
    noise_std: Array
    x0: Array
    free_x0: NDArray[np.bool_]
    window: int

    @property
    def n_rows(self) -> int:
        """Number of measured values."""
        return int(sum((~np.isnan(record.y)).sum() for record in self.records))


@dataclass(frozen=True, eq=False)
class Candidate:
    """A set of terms, calibrated.

    Attributes
    ----------
    support : tuple of int
        Free columns, in increasing order.
    theta : ndarray of shape (F,)
        Coefficients of all free columns, 0 outside of the support.
    x0 : ndarray of shape (runs, n_s)
    cost, score : float
    converged : bool
    """

    support: Support
    theta: Array
    x0: Array
    cost: float
    score: float
    converged: bool


@dataclass(eq=False)
class Search:
    """Candidates over one set of columns.

    Parameters
    ----------
    model : StateSpaceModel
        With all columns; those with a fixed value are always in.
    charges : ndarray of shape (F,)
        Of each free column, see `graded_charges`.
    setting : Setting
    locked : tuple of int
        Free columns that are in every candidate.
    groups : ndarray of int, shape (F,), optional
        Equation of each free column.
    most_each : int, optional
        Largest number of free terms in one equation.
    substeps : int
    most : int
        Largest number of free terms altogether.
    found : dict of Support to Candidate
        What was calibrated so far.
    tried : dict of Support to int
        How often each was.
    """

    model: StateSpaceModel
    charges: Array
    setting: Setting
    locked: Support = ()
    groups: NDArray[np.intp] | None = None
    most_each: int | None = None
    substeps: int = FIRST_SUBSTEPS
    most: int = MOST_TERMS
    found: dict[Support, Candidate] = field(default_factory=dict)
    tried: dict[Support, int] = field(default_factory=dict)

    @property
    def best(self) -> Candidate | None:
        """The candidate with the lowest score that was calibrated to the end."""
        finite = [c for c in self.found.values() if np.isfinite(c.score)]
        return min(finite, key=lambda candidate: candidate.score, default=None)

    def score(self, cost: float, support: Sequence[int]) -> float:
        """Deviance and charges; infinite for infinite cost."""
        if not np.isfinite(cost):
            return np.inf
        return float(deviance(cost, self.setting.n_rows) + self.charges[list(support)].sum())

    def full(self, theta: Array) -> Array:
        """Coefficients of all columns (K,) from those of the free ones (F,)."""
        out = self.model.fixed_theta.copy()
        out[self._places] = theta
        return out

    def calibrated(
        self, support: Sequence[int], theta: Array, x0: Array | None = None, *, grow: bool = False
    ) -> Candidate:
        """Calibrate a set of terms from a start, and keep what is best for it.

        `theta` (F,) starts the coefficients. With `grow` the calibration begins on the first
        window. A calibration that stalls is kept only until a better one comes along.
        """
        chosen = tuple(sorted({*support, *self.locked}))
        fit = self._calibration(chosen, theta, x0, grow)
        full = np.zeros(len(self.charges))
        full[list(chosen)] = fit.theta[fit.free_theta]
        score = self.score(fit.cost, chosen)
        found = Candidate(chosen, full, fit.x0, fit.cost, score, fit.converged)
        held = self.found.get(chosen)
        self.tried[chosen] = self.tried.get(chosen, 0) + 1
        if held is None or found.score < held.score:
            self.found[chosen] = found
            return found
        return held

    def _calibration(
        self, chosen: Support, theta: Array, x0: Array | None, grow: bool
    ) -> Calibration:
        fixed = np.flatnonzero(~self.model.free)
        columns = np.sort(np.concatenate([fixed, self._places[list(chosen)]])).astype(int)
        full = self.full(theta)
        setting = self.setting
        with np.errstate(all="ignore"):
            return calibrate(
                self.model.select(columns.tolist()),
                full[columns],
                setting.x0 if x0 is None else x0,
                setting.records,
                setting.observation,
                setting.noise_std,
                free_x0=setting.free_x0,
                windows=max(setting.window, 3 * len(chosen)) if grow else None,
                max_iterations=MAX_ITERATIONS if grow else WARM_ITERATIONS,
                substeps=self.substeps,
            )

    @property
    def _places(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.model.free)

    def quadratic(self, around: Candidate) -> NormalEquations | None:
        """What the cost looks like around a candidate, in all coefficients."""
        full = self.full(around.theta)
        setting = self.setting
        with np.errstate(all="ignore"):
            return tangent(
                self.model,
                full,
                around.x0,
                setting.records,
                setting.observation,
                setting.noise_std,
                free_x0=setting.free_x0,
                substeps=self.substeps,
            )

    def improve(self, around: Candidate, count: int = BATCH) -> Candidate:
        """Calibrate the most promising other sets of terms, seen from a candidate.

        Returns the best candidate of the sets tried, which may be `around` itself.
        """
        normal = self.quadratic(around)
        if normal is None:
            return around
        best = around
        for support in self._promising(normal, around, count):
            theta = np.zeros(len(self.charges))
            theta[list(support)] = normal.solve(support)
            made = self.calibrated(support, theta, around.x0)
            if self._suspicious(made, around):
                # The step to the quadratic's minimum may have been too long.
                near = np.zeros(len(self.charges))
                near[list(support)] = around.theta[list(support)]
                made = self.calibrated(support, near, around.x0)
            if not made.converged and made.score < best.score + STALLED:
                made = self.calibrated(support, made.theta, made.x0)
            if made.score < best.score:
                best = made
        return best

    @staticmethod
    def _suspicious(made: Candidate, around: Candidate) -> bool:
        """Whether a calibration cannot be the minimum: a larger law that explains less."""
        nested = set(around.support) <= set(made.support)
        return not np.isfinite(made.cost) or (nested and made.cost > around.cost)

    def _promising(self, normal: NormalEquations, around: Candidate, count: int) -> list[Support]:
        result = search_subsets(
            normal,
            _Charges(self.charges),
            [k for k in range(normal.n_columns) if normal.gram[k, k] > 0.0],
            self.most,
            starts=[around.support],
            required=self.locked,
        )
        ranked = sorted(result.scores, key=lambda support: result.scores[support])
        size = len(around.support)
        fresh = [s for s in ranked if self.tried.get(s, 0) < 2 and self._allowed(s)]
        near = [s for s in fresh if len(set(s) ^ set(around.support)) <= 2 and len(s) <= size + 1]
        half = count // 2
        return list(dict.fromkeys([*fresh[:half], *near[: count - half]]))

    def _allowed(self, support: Support) -> bool:
        if not set(self.locked) <= set(support):
            return False
        if self.most_each is None or self.groups is None:
            return True
        sizes = np.bincount(self.groups[list(support)], minlength=1)
        return bool(sizes.max() <= self.most_each)

    def descend(self, start: Candidate, rounds: int = ROUNDS) -> Candidate:
        """Improve until a round brings nothing."""
        best = start
        for _ in range(rounds):
            better = self.improve(best)
            if better.score >= best.score - IMPROVEMENT:
                return min(better, best, key=lambda candidate: candidate.score)
            best = better
        return best

    def pruned(self, start: Candidate) -> Candidate:
        """Leave out terms one by one while the score falls, whatever was made of that before.

        From the calibrated larger law the smaller one is close, so that a calibration of it that
        stalled earlier cannot keep a term in.
        """
        best = start
        while True:
            smaller = [
                self._settled([k for k in best.support if k != term], best)
                for term in best.support
                if term not in self.locked
            ]
            lowest = min(smaller, key=lambda candidate: candidate.score, default=best)
            if lowest.score >= best.score:
                return best
            best = lowest

    def _settled(self, support: Sequence[int], near: Candidate) -> Candidate:
        theta = np.zeros(len(self.charges))
        theta[list(support)] = near.theta[list(support)]
        made = self.calibrated(support, theta, near.x0)
        if not made.converged and made.score < near.score + STALLED:
            made = self.calibrated(support, made.theta, made.x0)
        return made

    def refine_steps(self, around: Candidate) -> bool:
        """Make the steps small enough for a candidate; whether they had to be changed."""
        needed = self.needed_substeps(around)
        if needed <= self.substeps:
            return False
        self.substeps = needed
        self.found.clear()
        self.tried.clear()
        return True

    def states(self, candidate: Candidate) -> list[Array]:
        """States along the records, (n, n_s) each."""
        full = self.full(candidate.theta)
        return [
            integrate(self.model, full, start, record, substeps=self.substeps).X
            for start, record in zip(candidate.x0, self.setting.records, strict=True)
        ]

    def needed_substeps(self, around: Candidate) -> int:
        """Substeps at which halving the steps changes the prediction by little of the noise."""
        full = self.full(around.theta)
        needed = self.substeps
        setting = self.setting
        for start, record in zip(around.x0, setting.records, strict=True):
            coarse = self._predicted(full, start, record, needed)
            while needed < MAX_SUBSTEPS:
                fine = self._predicted(full, start, record, 2 * needed)
                with np.errstate(all="ignore"):
                    change = np.sqrt(np.nanmean((fine - coarse) ** 2, axis=0))
                if not np.all(change > STEP_SHARE * setting.noise_std):
                    break
                needed, coarse = 2 * needed, fine
        return needed

    def _predicted(self, theta: Array, start: Array, record: Record, substeps: int) -> Array:
        path = integrate(self.model, theta, start, record, substeps=substeps)
        return self.setting.observation.values(path.X, path.F, record.u)


@dataclass(frozen=True, eq=False)
class _Charges:
    values: Array

    def charges(self, n_rows: int) -> Array:
        return self.values

    def restrict(self, kept: NDArray[np.intp]) -> _Charges:
        return _Charges(self.values[kept])
