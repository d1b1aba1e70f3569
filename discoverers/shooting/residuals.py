"""Whitened residuals of all runs and their Jacobian, reduced to normal equations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .model import StateSpaceModel
from .observation import Observation
from .paths import Path, integrate
from .signal import Record

__all__ = ["Problem", "Reduced", "Unknowns", "reduce_run"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Unknowns:
    """Which coefficients and initial states are estimated, and where they sit in the vector.

    The vector holds the free coefficients, then the free initial states run by run; constants,
    which all runs share, only with the first.

    Attributes
    ----------
    free_theta : ndarray of bool, shape (K,)
    free_x0 : ndarray of bool, shape (runs, n_s)
    constant : ndarray of bool, shape (n_s,), optional
        States that all runs share: they are free if they are so in the first run. None by default.
    """

    free_theta: NDArray[np.bool_]
    free_x0: NDArray[np.bool_]
    constant: NDArray[np.bool_] | None = None

    @property
    def n_theta(self) -> int:
        """Number of free coefficients."""
        return int(self.free_theta.sum())

    @cached_property
    def positions(self) -> NDArray[np.intp]:
        """Place of every initial state in the vector, -1 where it is known, (runs, n_s)."""
        own = self.free_x0.copy()
        if self.constant is not None:
            own[1:, self.constant] = False
        out = np.full(own.shape, -1, dtype=np.intp)
        out[own] = self.n_theta + np.arange(int(own.sum()))
        if self.constant is not None:
            out[1:, self.constant] = out[0, self.constant]
        return out

    @property
    def size(self) -> int:
        """Number of unknowns P."""
        return int(max(self.n_theta, self.positions.max(initial=-1) + 1))

    def columns(self, run: int) -> NDArray[np.intp]:
        """Positions, in the vector, of the unknowns that one run depends on."""
        own = self.positions[run]
        return np.concatenate([np.arange(self.n_theta), own[own >= 0]]).astype(np.intp)

    def free_states(self, run: int) -> NDArray[np.bool_]:
        """Initial states of one run that are estimated, (n_s,)."""
        return np.asarray(self.positions[run] >= 0)

    def pack(self, theta: Array, x0: Array) -> Array:
        """Vector (P,) from coefficients (K,) and initial states (runs, n_s)."""
        out = np.zeros(self.size)
        out[: self.n_theta] = theta[self.free_theta]
        free = self.positions >= 0
        # The first run comes last: constants are taken from it.
        for places, states, mask in zip(self.positions[::-1], x0[::-1], free[::-1], strict=True):
            out[places[mask]] = states[mask]
        return out

    def unpack(self, vector: Array, theta: Array, x0: Array) -> tuple[Array, Array]:
        """Coefficients and initial states with the free entries replaced."""
        theta, x0 = theta.copy(), x0.copy()
        theta[self.free_theta] = vector[: self.n_theta]
        free = self.positions >= 0
        x0[free] = vector[self.positions[free]]
        return theta, x0

    def spread(self, values: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
        """Values (P,) by coefficient (K,) and by initial state (runs, n_s), 0 where known."""
        theta, x0 = np.zeros(len(self.free_theta)), np.zeros(shape)
        return self.unpack(values, theta, x0)


@dataclass(frozen=True, eq=False)
class Problem:
    """What stays the same while a model is calibrated.

    Attributes
    ----------
    model : StateSpaceModel
    records : tuple of Record
    observation : Observation
    noise_std : ndarray of shape (C,)
    unknowns : Unknowns
    prior_mean, prior_precision : ndarray of shape (n_theta,) and (n_theta, n_theta)
        Gaussian prior on the free coefficients; a zero matrix is none.
    substeps : tuple of int
        Per run.
    """

    model: StateSpaceModel
    records: tuple[Record, ...]
    observation: Observation
    noise_std: Array
    unknowns: Unknowns
    prior_mean: Array
    prior_precision: Array
    substeps: tuple[int, ...]

    def paths(self, theta: Array, x0: Array, window: int, *, derivatives: bool) -> list[Path]:
        """Integrate every run over at most its first `window` samples."""
        return [
            self.path(run, theta, x0, window, derivatives=derivatives)
            for run in range(len(self.records))
        ]

    def path(self, run: int, theta: Array, x0: Array, window: int, *, derivatives: bool) -> Path:
        """Integrate one run over at most its first `window` samples."""
        record = self.records[run]
        return integrate(
            self.model,
            theta,
            x0[run],
            record if window >= len(record) else record.head(window),
            free_theta=self.unknowns.free_theta if derivatives else None,
            free_x0=self.unknowns.free_states(run) if derivatives else None,
            substeps=self.substeps[run],
        )

    def prior_cost(self, theta: Array) -> float:
        """``(theta - mean)^T precision (theta - mean)`` of the free coefficients."""
        away = theta[self.unknowns.free_theta] - self.prior_mean
        return float(away @ self.prior_precision @ away)

    def cost(self, theta: Array, x0: Array, window: int) -> float:
        """Sum of squared whitened residuals and prior; infinite if a run does not get through."""
        total = self.prior_cost(theta)
        for run, record in enumerate(self.records):
            path = self.path(run, theta, x0, window, derivatives=False)
            if not path.complete:
                return np.inf
            residual = self.whitened(record, path)
            total += float(np.vdot(residual, residual))
        return total if np.isfinite(total) else np.inf

    def whitened(self, record: Record, path: Path) -> Array:
        """Residuals (n, C) in units of the noise, 0 where nothing was measured."""
        n = len(path.X)
        predicted = self.observation.values(path.X, path.F, record.u[:n])
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = (record.y[:n] - predicted) * self._scale(record, n)
        return np.where(np.isnan(record.y[:n]), 0.0, scaled)

    def jacobian(self, record: Record, path: Path) -> Array:
        """Derivatives of the whitened predictions, (n, C, p), 0 where nothing was measured."""
        n = len(path.X)
        slope = self.observation.sensitivities(path.X, path.F, record.u[:n], path.dX, path.dF)
        scale = np.where(np.isnan(record.y[:n]), 0.0, self._scale(record, n))
        return np.asarray(slope * scale[:, :, None])

    def _scale(self, record: Record, n: int) -> Array:
        return np.asarray(np.sqrt(record.weight[:n, None]) / self.noise_std)


@dataclass(frozen=True, eq=False)
class Reduced:
    """Normal equations of the Gauss-Newton step: ``matrix @ step = gradient``.

    `paths` are those of the runs, without sensitivities.
    """

    matrix: Array
    gradient: Array
    cost: float
    paths: tuple[Path, ...]


def reduce_run(problem: Problem, theta: Array, x0: Array, window: int) -> Reduced | None:
    """Linearise all runs over a window; None if a run does not get through it."""
    unknowns = problem.unknowns
    matrix = np.zeros((unknowns.size, unknowns.size))
    gradient = np.zeros(unknowns.size)
    n_theta = unknowns.n_theta
    matrix[:n_theta, :n_theta] += problem.prior_precision
    away = theta[unknowns.free_theta] - problem.prior_mean
    gradient[:n_theta] -= problem.prior_precision @ away
    cost = problem.prior_cost(theta)
    paths = []
    for run, record in enumerate(problem.records):
        path = problem.path(run, theta, x0, window, derivatives=True)
        if not path.complete:
            return None
        columns = unknowns.columns(run)
        residual = problem.whitened(record, path).ravel()
        # Sensitivities that grow beyond numbers are told by the matrix, not by warnings.
        with np.errstate(over="ignore", invalid="ignore"):
            slope = problem.jacobian(record, path).reshape(len(residual), -1)
            matrix[np.ix_(columns, columns)] += slope.T @ slope
            gradient[columns] += slope.T @ residual
        cost += float(residual @ residual)
        paths.append(path.without_sensitivities())
    if not (np.isfinite(cost) and np.isfinite(matrix).all()):
        return None
    return Reduced(matrix, gradient, cost, tuple(paths))


def sequence_window(records: Sequence[Record]) -> int:
    """Samples of the longest record."""
    return max(len(record) for record in records)
