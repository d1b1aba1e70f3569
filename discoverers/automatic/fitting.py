"""Calibrate a system through its ODE on the raw data: coefficients, constants and starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from discoverers.denoising import Denoised
from discoverers.inputs import engine_interpolation
from discoverers.shooting import Record
from discoverers.trajectories import Trajectories

from .systems import System

__all__ = ["Fit", "Records", "calibrate"]

Array = NDArray[np.float64]

FIRST_WINDOW = 40
ITERATIONS = 15
WINDOW_ITERATIONS = 8
DECREASE = 1e-7
MOST_SUBSTEPS = 16
SMALLEST_SHARE = 0.1
"""No measurement is taken to be more exact than this share of the average noise."""


@dataclass(frozen=True, eq=False)
class Records:
    """Measured samples of all runs, one below the other.

    Attributes
    ----------
    runs : tuple of Record
    at : ndarray of shape (runs + 1,)
        Where the runs begin, and the end.
    data : ndarray of shape (N, V)
    share : ndarray of shape (N, V)
        Inverse standard deviation of each measurement in units of the state's average noise; 0
        where nothing was measured.
    starts : ndarray of shape (runs, V)
        Denoised initial states.
    place : ndarray of int, shape (runs, V)
        Where initial states stand among those that are free, -1 where the user gave them.
    """

    runs: tuple[Record, ...]
    at: NDArray[np.int64]
    data: Array
    share: Array
    starts: Array
    place: NDArray[np.int64]
    _stages: dict[int, Array] = field(default_factory=dict, repr=False)

    @classmethod
    def make(cls, trajectories: Trajectories, denoised: Denoised) -> Records:
        """The raw data, gross errors left out, with the variance that the smoother found."""
        runs = tuple(
            Record.make(run.t, run.X, run.u, interpolation=engine_interpolation(run))
            for run in trajectories
        )
        X = np.concatenate([run.X for run in trajectories])
        weight = np.concatenate([run.weight for run in trajectories])[:, None]
        # Of a gross error, and of a derivative that nobody measured, the precision is 0.
        precision = np.concatenate([part for _, part in denoised.measurements])
        seen = ~np.isnan(X) & (weight > 0.0) & (precision > 0.0)
        variance = np.where(seen, 1.0 / np.where(precision > 0.0, precision, 1.0), 0.0)
        variance = variance - denoised.discrepancy**2
        unit = np.maximum(denoised.noise_std, 1e-150) ** 2
        # Where the smoother's own error is all there is, differences of it tell nothing.
        known = unit > 0.1 * denoised.discrepancy**2
        relative = np.where(known, np.clip(variance / unit, SMALLEST_SHARE**2, None), 1.0 / weight)
        share = np.where(seen, 1.0 / np.sqrt(np.where(seen, relative, 1.0)), 0.0)
        given = np.stack([run.x0 for run in trajectories])
        free = np.isnan(given)
        place = np.where(free, np.cumsum(free.ravel()).reshape(free.shape) - 1, -1)
        starts = np.where(free, np.stack([part[0] for part in denoised.states]), given)
        return cls(
            runs,
            np.cumsum([0, *map(len, runs)]).astype(np.int64),
            np.ascontiguousarray(np.where(seen, X, 0.0)),
            np.ascontiguousarray(share),
            np.ascontiguousarray(starts),
            place.astype(np.int64),
        )

    @property
    def n_observed(self) -> NDArray[np.int64]:
        """Measurements of each state, (V,)."""
        return (self.share > 0.0).sum(axis=0).astype(np.int64)

    @property
    def n_rows(self) -> int:
        """Number of measurements."""
        return int(self.n_observed.sum())

    @property
    def longest(self) -> int:
        """Samples of the longest run."""
        return int(np.diff(self.at).max())

    @property
    def times(self) -> Array:
        """Times of all samples."""
        return np.concatenate([run.t for run in self.runs])

    @property
    def inputs(self) -> Array:
        """Inputs at all samples."""
        return np.concatenate([run.u for run in self.runs])

    def stages(self, substeps: int) -> Array:
        """Inputs between the samples, (N, 2 substeps + 1, m); the last row of a run is unused."""
        if substeps not in self._stages:
            parts = []
            for run in self.runs:
                stages = run.stages(substeps)
                parts.append(np.concatenate([stages, np.zeros((1, *stages.shape[1:]))]))
            self._stages[substeps] = np.ascontiguousarray(np.concatenate(parts))
        return self._stages[substeps]


@dataclass(frozen=True, eq=False)
class Fit:
    """A calibrated system.

    Attributes
    ----------
    theta, constants : ndarray of shape (K,) and (m,)
        Known coefficients among them.
    x0 : ndarray of shape (runs, V)
    cost : float
        Sum of squared residuals in units of the noise; infinite where the system could not be
        followed through the records.
    rss : ndarray of shape (V,)
        The same by state.
    paths : ndarray of shape (N, V)
    normal : ndarray of shape (P, P)
        Of coefficients that are not known, constants, free initial states.
    n_free : int
        Coefficients that are not known.
    converged : bool
    substeps : int
        Runge-Kutta steps from sample to sample.
    work : float
        What it took, in operations of the integrator.
    """

    theta: Array
    constants: Array
    x0: Array
    cost: float
    rss: Array
    paths: Array
    normal: Array
    n_free: int
    converged: bool
    substeps: int
    work: float = 0.0

    @property
    def covariance(self) -> Array:
        """Of coefficients that are not known, then constants, shape (P', P')."""
        scale = np.sqrt(np.diagonal(self.normal))
        scale = np.where(scale > 0.0, scale, 1.0)
        values, vectors = np.linalg.eigh(self.normal / np.outer(scale, scale))
        # Directions without information get a huge variance.
        inverse = (vectors / np.maximum(values, 1e-15)) @ vectors.T / np.outer(scale, scale)
        n = self.n_free + len(self.constants)
        return np.asarray(inverse[:n, :n])

    @property
    def errors(self) -> Array:
        """Standard errors of coefficients that are not known, then constants."""
        return np.sqrt(np.maximum(np.diagonal(self.covariance), 0.0))

    @property
    def information(self) -> Array:
        """Of coefficients that are not known, then constants, initial states left free."""
        n = self.n_free + len(self.constants)
        cross, starts = self.normal[n:, :n], self.normal[n:, n:]
        return np.asarray(
            self.normal[:n, :n] - cross.T @ np.linalg.lstsq(starts, cross, rcond=None)[0]
        )


def calibrate(
    system: System,
    records: Records,
    noise_std: Array,
    names: tuple[Sequence[str], Sequence[str]],
    *,
    starts: Array | None = None,
    substeps: int = 1,
    tolerance: float = 1e-7,
    give_up: float = np.inf,
) -> Fit:
    """Least squares over coefficients, constants and initial states.

    Parameters
    ----------
    system : System
        Its numbers are the start.
    records : Records
    noise_std : ndarray of shape (V,)
    names : (state names, input names)
    starts : ndarray of shape (runs, V), optional
        Where initial states start; the denoised ones by default.
    substeps : int, default=1
        Runge-Kutta steps from sample to sample to begin with.
    tolerance : float, default=1e-7
        Integration error relative to a state's size that the steps may leave.
    give_up : float, default=inf
        A fit above this cost that falls slowly ends early.

    Returns
    -------
    Fit
    """
    x0 = records.starts if starts is None else np.where(records.place >= 0, starts, records.starts)
    args = (system, records, noise_std, names, give_up)
    fit = _run(*args, x0, substeps, records.longest, ITERATIONS)
    work = fit.work
    if not np.isfinite(fit.cost):
        # A start that does not survive the whole record is improved on its first samples.
        window = FIRST_WINDOW
        while window < records.longest:
            part = _run(*args, x0, substeps, window, WINDOW_ITERATIONS)
            work += part.work
            if not np.isfinite(part.cost):
                return replace(fit, work=work)
            args = (system.at(part.theta, part.constants), *args[1:])
            x0 = part.x0
            window *= 2
        fit = _run(*args, x0, substeps, records.longest, ITERATIONS)
        work += fit.work
    while np.isfinite(fit.cost) and fit.cost <= give_up and fit.substeps < MOST_SUBSTEPS:
        at = (system.at(fit.theta, fit.constants), *args[1:])
        finer = _run(*at, fit.x0, 2 * fit.substeps, records.longest, 0)
        work += finer.work
        size = np.abs(finer.paths).max(axis=0)
        if np.all(np.abs(finer.paths - fit.paths).max(axis=0) <= tolerance * size):
            break
        fit = _run(*at, fit.x0, 2 * fit.substeps, records.longest, ITERATIONS)
        work += fit.work
    return replace(fit, work=work)


def _run(
    system: System,
    records: Records,
    noise_std: Array,
    names: tuple[Sequence[str], Sequence[str]],
    give_up: float,
    x0: Array,
    substeps: int,
    window: int,
    iterations: int,
) -> Fit:
    from .fit_kernel import calibrate_system

    model = system.model(*names)
    program = model.program
    theta, constants = system.coefficients, system.parameters
    free = np.flatnonzero(model.free).astype(np.int64)
    shift = len(free) + len(constants)
    theta, constants, x0, cost, rss, normal, paths, converged, count = calibrate_system(
        program.code,
        program.numbers,
        program.splines,
        program.n_terms,
        model.term_of,
        model.direction,
        theta,
        free,
        constants,
        system.bounds,
        np.array(x0),
        np.where(records.place >= 0, records.place + shift, -1),
        records.at,
        records.times,
        records.inputs,
        records.stages(substeps),
        records.data,
        records.share / noise_std,
        window,
        iterations,
        DECREASE,
        give_up,
    )
    size = model.n_states * (4 * len(theta) + model.n_states * len(normal))
    work = float(count) * substeps * min(window, records.longest) * len(records.runs) * size
    return Fit(
        theta,
        constants,
        x0,
        float(cost),
        rss,
        paths,
        normal,
        len(free),
        bool(converged),
        substeps,
        work,
    )
