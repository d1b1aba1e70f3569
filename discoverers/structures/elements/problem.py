"""Least squares of what was measured over elements' strengths, masses and initial states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from discoverers.shooting import Observation, Path, Record, StateSpaceModel
from discoverers.shooting.residuals import Problem, Unknowns, reduce_run, sequence_window
from discoverers.sparse import NormalEquations

from .model import ElementModel, MomentumObservation

__all__ = ["Measured", "Normal", "Point", "tangent_of"]

Array = NDArray[np.float64]

SPREAD = 0.7
"""Prior standard deviation of the log masses around their mean: a factor of two either way."""

SCALE = 2.0
"""Prior standard deviation of the masses' common log scale."""

DAMPING = 1e-3
SMALLEST_DAMPING = 1e-12
LARGEST_DAMPING = 1e9
MAX_SUBSTEPS = 32

FAIR_TRIAL = 4
SLOW = 0.1
"""A calibration that is far behind is given up if, after so many iterations, one lowers its cost
by less than this share."""


@dataclass(frozen=True, eq=False)
class Point:
    """A model with its numbers.

    Attributes
    ----------
    support : tuple of int
        Elements, as positions among all candidates.
    strengths : ndarray of shape (k,)
    log_masses : ndarray of shape (d,)
    start : ndarray of shape (runs, 2 d)
        Initial positions and velocities.
    """

    support: tuple[int, ...]
    strengths: Array
    log_masses: Array
    start: Array

    def moved_to(self, support: Sequence[int]) -> Point:
        """The same numbers for other elements; new ones start at 0."""
        held = dict(zip(self.support, self.strengths, strict=True))
        return replace(
            self,
            support=tuple(support),
            strengths=np.array([held.get(k, 0.0) for k in support], dtype=np.float64),
        )


@dataclass(frozen=True, eq=False)
class Normal:
    """Gauss-Newton normal equations over strengths, free log masses, then free initial states."""

    matrix: Array
    gradient: Array
    cost: float


@dataclass(frozen=True, eq=False)
class Measured:
    """The records, and what of masses and initial states is unknown.

    Attributes
    ----------
    records : tuple of Record
    observation : Observation
        Of positions and velocities.
    noise_std : ndarray of shape (C,)
    elements : ElementModel
        All candidates.
    free_masses : ndarray of bool, shape (d,)
    free_start : ndarray of bool, shape (runs, 2 d)
    mass_scale : float
        Centre of the prior on the log masses.
    likeness : float
        Weight of the prior that masses are alike.
    substeps : tuple of int
        Per run.
    """

    records: tuple[Record, ...]
    observation: Observation
    noise_std: Array
    elements: ElementModel
    free_masses: NDArray[np.bool_]
    free_start: NDArray[np.bool_]
    mass_scale: float
    likeness: float
    substeps: tuple[int, ...]

    def head(self, window: int) -> Measured:
        """The first samples of each run."""
        return replace(
            self, records=tuple(record.head(min(window, len(record))) for record in self.records)
        )

    @property
    def n_observed(self) -> int:
        """Measured values."""
        return sum(int((~np.isnan(record.y)).sum()) for record in self.records)

    @property
    def n_dof(self) -> int:
        """Number of masses."""
        return self.elements.n_dof

    def with_substeps_for(self, point: Point, tolerance: float = 0.03) -> Measured:
        """With as many steps a sample as keep integration errors below a share of the noise."""
        coarse = replace(self, substeps=(1,) * len(self.records))
        before = coarse.residuals(point)
        while coarse.substeps[0] < MAX_SUBSTEPS:
            fine = replace(coarse, substeps=tuple(2 * steps for steps in coarse.substeps))
            after = fine.residuals(point)
            change = max(
                float(np.sqrt(np.mean((a - b) ** 2))) for a, b in zip(after, before, strict=True)
            )
            if not np.isfinite(change) or change > 15.0 * tolerance:
                coarse, before = fine, after
                continue
            # Of RK4 the finer of the two has a fifteenth of the difference left.
            return fine if change > tolerance else coarse
        return coarse

    def _at(self, point: Point) -> tuple[StateSpaceModel, Array, Array]:
        part = self.elements.select(point.support)
        starts = part.internal(point.start, np.exp(-point.log_masses))
        return part.model, part.coefficients(point.strengths), starts

    def _problem(self, point: Point) -> tuple[Problem, Array, Array]:
        model, theta, starts = self._at(point)
        d = self.n_dof
        moving = (point.start[:, d:] != 0.0) | self.free_start[:, d:]
        masses = np.ones((len(self.records), d), dtype=bool)
        free_x0 = np.hstack([self.free_start[:, :d], moving, masses])
        n = int(model.free.sum())
        problem = Problem(
            model,
            self.records,
            MomentumObservation(self.observation, d, len(self.elements.driven)),
            self.noise_std,
            Unknowns(model.free, free_x0),
            np.zeros(n),
            np.zeros((n, n)),
            self.substeps,
        )
        return problem, theta, starts

    @property
    def _window(self) -> int:
        return sequence_window(self.records)

    def paths(self, point: Point) -> list[Path]:
        """Trajectories in positions, momenta and inverse masses."""
        problem, theta, starts = self._problem(point)
        return problem.paths(theta, starts, self._window, derivatives=False)

    def cost(self, point: Point) -> float:
        """Sum of squared whitened residuals and prior; infinite if a run blows up."""
        problem, theta, starts = self._problem(point)
        with np.errstate(all="ignore"):
            cost = problem.cost(theta, starts, self._window)
        return float(cost) + self._prior(point)[2]

    def prior_cost(self, point: Point) -> float:
        """What `cost` holds for unlikely masses."""
        return self._prior(point)[2]

    def residuals(self, point: Point) -> list[Array]:
        """Whitened residuals of each run (n, C)."""
        problem, theta, starts = self._problem(point)
        paths = problem.paths(theta, starts, self._window, derivatives=False)
        return [
            problem.whitened(record, path) for record, path in zip(self.records, paths, strict=True)
        ]

    def normal(self, point: Point) -> Normal | None:
        """Linearise; None if a run blows up."""
        problem, theta, starts = self._problem(point)
        with np.errstate(all="ignore"):
            reduced = reduce_run(problem, theta, starts, self._window)
        if reduced is None:
            return None
        change = self._change(point, problem.unknowns)
        matrix = change.T @ reduced.matrix @ change
        gradient = change.T @ reduced.gradient
        precision, pull, cost = self._prior(point)
        k = len(point.strengths)
        block = slice(k, k + len(pull))
        matrix[block, block] += precision
        gradient[block] += pull
        return Normal(matrix, gradient, reduced.cost + cost)

    def _prior(self, point: Point) -> tuple[Array, Array, float]:
        """Precision, pull and cost of the prior on the free log masses."""
        d = self.n_dof
        mean = np.full((d, d), 1.0 / d)
        precision = self.likeness * (np.eye(d) - mean) / SPREAD**2 + mean / SCALE**2
        away = point.log_masses - self.mass_scale
        free = self.free_masses
        return (
            precision[np.ix_(free, free)],
            -(precision @ away)[free],
            float(away @ precision @ away),
        )

    def _change(self, point: Point, unknowns: Unknowns) -> Array:
        """Derivatives of the integrator's unknowns by strengths, log masses and initial states."""
        d, k = self.n_dof, len(point.strengths)
        masses = np.flatnonzero(self.free_masses)
        n_masses = len(masses)
        out = np.zeros((unknowns.size, k + n_masses + int(self.free_start.sum())))
        out[:k, :k] = np.eye(k)
        inverse = np.exp(-point.log_masses)
        column_of_mass = {int(i): k + place for place, i in enumerate(masses)}
        row, column = k, k + n_masses
        for run in range(len(self.records)):
            own = {
                int(place): column + offset
                for offset, place in enumerate(np.flatnonzero(self.free_start[run]))
            }
            for place in np.flatnonzero(unknowns.free_x0[run]):
                i = int(place) % d
                if place < d:
                    out[row, own[int(place)]] = 1.0
                elif place < 2 * d:
                    if int(place) in own:
                        out[row, own[int(place)]] = 1.0 / inverse[i]
                    if i in column_of_mass:
                        out[row, column_of_mass[i]] = point.start[run, place] / inverse[i]
                elif i in column_of_mass:
                    out[row, column_of_mass[i]] = -inverse[i]
                row += 1
            column += len(own)
        return out

    def moved(self, point: Point, step: Array) -> Point:
        """The point after a step in the unknowns of `normal`."""
        k, n = len(point.strengths), int(self.free_masses.sum())
        masses, start = point.log_masses.copy(), point.start.copy()
        masses[self.free_masses] += np.clip(step[k : k + n], -1.0, 1.0)
        start[self.free_start] += step[k + n :]
        return Point(point.support, point.strengths + step[:k], masses, start)

    def minimise(
        self,
        point: Point,
        max_iterations: int = 12,
        decrease: float = 1e-3,
        hopeless: float = np.inf,
    ) -> tuple[Point, float, bool]:
        """Levenberg-Marquardt: the point, its cost (infinite if it blows up), converged.

        It is given up when, after some iterations, the cost is above `hopeless` and falls slowly.
        """
        damping, cost = DAMPING, np.inf
        for iteration in range(max_iterations):
            normal = self.normal(point)
            if normal is None:
                return point, np.inf, False
            scale = np.sqrt(np.diagonal(normal.matrix))
            scale = np.where(scale > 0.0, scale, 1.0)
            scaled = normal.matrix / np.outer(scale, scale)
            if len(scaled) == 0:
                return point, normal.cost, True
            while True:
                damped = scaled + damping * np.eye(len(scaled))
                step = np.linalg.solve(damped, normal.gradient / scale) / scale
                trial = self.moved(point, step)
                cost = self.cost(trial)
                if cost <= normal.cost:
                    break
                damping *= 8.0
                if damping > LARGEST_DAMPING:
                    gain = float(step @ normal.gradient)
                    return point, normal.cost, gain <= 1e-6 * max(normal.cost, 1.0)
            point = trial
            damping = max(damping / 10.0, SMALLEST_DAMPING)
            if normal.cost - cost <= decrease * normal.cost + 1e-12:
                return point, cost, True
            slow = normal.cost - cost <= SLOW * normal.cost
            if slow and iteration >= FAIR_TRIAL and cost > hopeless:
                return point, cost, False
        return point, cost, False


def tangent_of(measured: Measured, point: Point) -> NormalEquations | None:
    """The cost as a quadratic in the strengths of all candidates, around a calibrated point.

    Masses and initial states are eliminated: each subset has its best ones.
    """
    every = point.moved_to(range(len(measured.elements.elements)))
    normal = measured.normal(every)
    if normal is None:
        return None
    k = len(every.strengths)
    around = normal.matrix[:k, :k] @ every.strengths
    energy = normal.cost + float(every.strengths @ (2.0 * normal.gradient[:k] + around))
    gram, moment = normal.matrix[:k, :k], normal.gradient[:k] + around
    cross = normal.matrix[:k, k:]
    # The target of the nuisance rows: their gradient, and what the strengths hold at the point.
    rest = normal.gradient[k:] + cross.T @ every.strengths
    inner = normal.matrix[k:, k:]
    if len(rest):
        scale = np.sqrt(np.diagonal(inner))
        scale = np.where(scale > 0.0, scale, 1.0)
        inner = inner / np.outer(scale, scale) + 1e-10 * np.eye(len(rest))
        solved = np.linalg.solve(inner, np.column_stack([cross.T, rest]) / scale[:, None])
        gram = gram - (cross / scale) @ solved[:, :k]
        moment = moment - (cross / scale) @ solved[:, k]
        energy -= float((rest / scale) @ solved[:, k])
    return NormalEquations(gram, moment, energy, measured.n_observed - len(rest))
