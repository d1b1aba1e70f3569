"""Calibrate a model's coefficients and initial states through its ODE, on growing windows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .model import StateSpaceModel
from .observation import Observation
from .paths import STEP_TOLERANCE, Path, automatic_substeps
from .residuals import Problem, Reduced, Unknowns, reduce_run, sequence_window
from .signal import Record

__all__ = ["Calibration", "calibrate", "inverse", "make_problem"]

Array = NDArray[np.float64]

DAMPING = 1e-3
SMALLEST_DAMPING = 1e-12
LARGEST_DAMPING = 1e10
DECREASE = 1e-9
"""Relative decrease of the cost below which an iteration has converged."""

WINDOW_ITERATIONS = 12
"""Iterations spent on a window that is not yet the whole record."""

WINDOW_DECREASE = 1e-3


@dataclass(frozen=True, eq=False)
class Calibration:
    """A calibrated model.

    Attributes
    ----------
    theta : ndarray of shape (K,)
    x0 : ndarray of shape (runs, n_s)
    cost : float
        Sum of squared residuals in units of the noise, and the prior; infinite where the model
        could not be integrated through the records.
    rss, n_observed : ndarray of shape (C,)
        Sum of squared residuals in the channels' units (weighted), and how many there are.
    paths : tuple of Path
        Without sensitivities.
    normal, covariance : ndarray of shape (P, P)
        Of the free coefficients, then the free initial states run by run (constants, which all
        runs share, only with the first); the covariance is the inverse, for residuals of the given
        `noise_std`.
    unknowns : Unknowns
        What was estimated, and where it sits in the covariance.
    converged : bool
    n_iterations : int
    message : str
        What to do if it has not converged; else empty.
    """

    theta: Array
    x0: Array
    cost: float
    rss: Array
    n_observed: NDArray[np.int64]
    paths: tuple[Path, ...]
    normal: Array
    covariance: Array
    unknowns: Unknowns
    converged: bool
    n_iterations: int
    message: str = ""

    @property
    def free_theta(self) -> NDArray[np.bool_]:
        """Coefficients that were estimated, (K,)."""
        return self.unknowns.free_theta

    @property
    def free_x0(self) -> NDArray[np.bool_]:
        """Initial states that were estimated, (runs, n_s)."""
        return self.unknowns.positions >= 0

    @property
    def theta_std(self) -> Array:
        """Standard errors of the coefficients (K,); 0 where fixed."""
        return self._errors[0]

    @property
    def x0_std(self) -> Array:
        """Standard errors of the initial states (runs, n_s); 0 where known."""
        return self._errors[1]

    @property
    def _errors(self) -> tuple[Array, Array]:
        variance = np.maximum(np.diagonal(self.covariance), 0.0)
        return self.unknowns.spread(np.sqrt(variance), self.x0.shape)


def calibrate(
    model: StateSpaceModel,
    theta: ArrayLike,
    x0: ArrayLike,
    records: Sequence[Record],
    observation: Observation,
    noise_std: ArrayLike,
    *,
    free_theta: NDArray[np.bool_] | None = None,
    free_x0: ArrayLike | None = None,
    prior_mean: ArrayLike | None = None,
    prior_precision: ArrayLike | None = None,
    windows: int | None = None,
    max_iterations: int = 40,
    substeps: int | None = None,
    step_tolerance: float = STEP_TOLERANCE,
) -> Calibration:
    """Least squares of the observed channels over coefficients and initial states.

    Levenberg-Marquardt on single shooting with exact sensitivities. With `windows` it starts on
    the first samples of each run and doubles them, so that a poor start does not have to survive
    the whole record at once.

    Parameters
    ----------
    model : StateSpaceModel
    theta : array-like of shape (K,)
        Start of the free coefficients; those of fixed columns are taken from the model.
    x0 : array-like of shape (runs, n_s) or (n_s,)
        Initial states, or their start where they are free.
    records : sequence of Record
    observation : Observation
    noise_std : array-like of shape (C,)
        Standard deviation of each channel's noise.
    free_theta : ndarray of bool, shape (K,), optional
        Coefficients to estimate; those that the model leaves free by default.
    free_x0 : array-like of bool, shape (runs, n_s) or (n_s,), optional
        Initial states to estimate; none by default.
    prior_mean, prior_precision : array-like of shape (n,), (n, n), optional
        Gaussian prior on the n free coefficients.
    windows : int, optional
        First window in samples; None works on whole records at once.
    max_iterations : int, default=40
        On the whole records.
    substeps : int, optional
        RK4 steps from sample to sample; None finds by doubling, at the start and again at the
        end, how many are needed.
    step_tolerance : float, default=1e-7
        Integration error, relative to a state's size, that such a number of steps may leave.

    Returns
    -------
    Calibration
        Always: a model that blows up has infinite cost and `converged` False.

    Examples
    --------
    >>> import numpy as np
    >>> from discoverers.shooting import Column, Observation, Record, StateSpaceModel, calibrate
    >>> t = np.linspace(0.0, 2.0, 21)
    >>> model = StateSpaceModel(["x"], [], [Column("x", {"x": 1.0})])
    >>> observed = Observation.linear(["x"], states=[[1.0]])
    >>> record = Record.make(t, 3.0 * np.exp(-0.5 * t))
    >>> fit = calibrate(model, [0.0], [1.0], [record], observed, [0.01], free_x0=[True])
    >>> fit.theta.round(6), fit.x0.round(6)
    (array([-0.5]), array([[3.]]))
    """
    theta = np.where(model.free, np.asarray(theta, dtype=np.float64), model.fixed_theta)
    starts = np.array(
        np.broadcast_to(np.asarray(x0, dtype=np.float64), (len(records), model.n_states))
    )
    problem = make_problem(
        model,
        theta,
        starts,
        records,
        observation,
        noise_std,
        free_theta=free_theta,
        free_x0=free_x0,
        prior_mean=prior_mean,
        prior_precision=prior_precision,
        substeps=substeps,
        step_tolerance=step_tolerance,
    )
    whole = sequence_window(records)
    used = 0
    for window in _windows(windows, whole):
        end = _minimise(problem, theta, starts, window, WINDOW_ITERATIONS, WINDOW_DECREASE)
        theta, starts, used = end.theta, end.x0, used + end.iterations
    end = _minimise(problem, theta, starts, whole, max_iterations, DECREASE)
    used += end.iterations
    if substeps is None:
        needed = _substeps(model, end.theta, end.x0, records, step_tolerance)
        if any(new > old for new, old in zip(needed, problem.substeps, strict=True)):
            problem = _with_substeps(problem, needed)
            end = _minimise(problem, end.theta, end.x0, whole, max_iterations, DECREASE)
            used += end.iterations
    return _report(problem, end, used)


def make_problem(
    model: StateSpaceModel,
    theta: Array,
    x0: Array,
    records: Sequence[Record],
    observation: Observation,
    noise_std: ArrayLike,
    *,
    free_theta: NDArray[np.bool_] | None,
    free_x0: ArrayLike | None,
    prior_mean: ArrayLike | None = None,
    prior_precision: ArrayLike | None = None,
    substeps: int | None = None,
    step_tolerance: float = STEP_TOLERANCE,
) -> Problem:
    """Bring the arguments of a calibration into one value."""
    free = model.free if free_theta is None else np.asarray(free_theta, dtype=bool)
    start = np.zeros(x0.shape, dtype=bool)
    if free_x0 is not None:
        start = np.array(np.broadcast_to(np.asarray(free_x0, dtype=bool), x0.shape))
    n = int(free.sum())
    return Problem(
        model,
        tuple(records),
        observation,
        np.broadcast_to(np.asarray(noise_std, dtype=np.float64), (len(observation.channels),)),
        Unknowns(free, start, model.constant),
        np.zeros(n) if prior_mean is None else np.asarray(prior_mean, dtype=np.float64),
        np.zeros((n, n)) if prior_precision is None else np.asarray(prior_precision, float),
        _substeps(model, theta, x0, records, step_tolerance)
        if substeps is None
        else (substeps,) * len(records),
    )


def _substeps(
    model: StateSpaceModel,
    theta: Array,
    x0: Array,
    records: Sequence[Record],
    tolerance: float,
) -> tuple[int, ...]:
    # The first samples show the step that a run needs; its whole length only costs time.
    return tuple(
        automatic_substeps(model, theta, start, record.head(min(len(record), 200)), tolerance)
        for start, record in zip(x0, records, strict=True)
    )


def _with_substeps(problem: Problem, substeps: tuple[int, ...]) -> Problem:
    return replace(problem, substeps=substeps)


def _windows(first: int | None, whole: int) -> Iterator[int]:
    window = whole if first is None else max(first, 2)
    while window < whole:
        yield window
        window *= 2


@dataclass(frozen=True, eq=False)
class _End:
    """Where a minimisation stopped; `reduced` is None if the model does not get through there."""

    theta: Array
    x0: Array
    iterations: int
    converged: bool
    reduced: Reduced | None


def _minimise(
    problem: Problem, theta: Array, x0: Array, window: int, max_iterations: int, decrease: float
) -> _End:
    """Levenberg-Marquardt over a window."""
    unknowns = problem.unknowns
    damping = DAMPING
    here = reduce_run(problem, theta, x0, window)
    for iteration in range(max_iterations):
        if here is None or unknowns.size == 0:
            return _End(theta, x0, iteration, here is not None, here)
        vector = unknowns.pack(theta, x0)
        scale = np.sqrt(np.diagonal(here.matrix))
        scale = np.where(scale > 0.0, scale, 1.0)
        matrix = here.matrix / np.outer(scale, scale)
        there: Reduced | None = None
        for attempt in count():
            step = _solve(matrix, here.gradient / scale, damping) / scale
            trial = unknowns.unpack(vector + step, theta, x0)
            # Most first attempts are kept, and are linearised next: sensitivities at once cost
            # less than another integration.
            if attempt == 0:
                there = reduce_run(problem, *trial, window)
                cost = np.inf if there is None else there.cost
            else:
                there, cost = None, problem.cost(*trial, window)
            if cost <= here.cost:
                break
            damping *= 8.0
            if damping > LARGEST_DAMPING:
                # No step in any direction lowers the cost: rounding is all that is left of it.
                gain = float(step @ here.gradient)
                settled = gain <= 1e-6 * max(here.cost, 1.0)
                return _End(theta, x0, iteration + 1, settled, here)
        theta, x0 = trial
        damping = max(damping / 10.0, SMALLEST_DAMPING)
        settled = here.cost - cost <= decrease * here.cost + 1e-12
        here = reduce_run(problem, theta, x0, window) if there is None else there
        if settled:
            return _End(theta, x0, iteration + 1, True, here)
    return _End(theta, x0, max_iterations, False, here)


def _solve(matrix: Array, gradient: Array, damping: float) -> Array:
    damped = matrix + damping * np.eye(len(matrix))
    try:
        return np.asarray(np.linalg.solve(damped, gradient))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.lstsq(damped, gradient, rcond=None)[0])


def _report(problem: Problem, end: _End, n_iterations: int) -> Calibration:
    reduced, converged = end.reduced, end.converged
    size = problem.unknowns.size
    if reduced is None:
        whole = sequence_window(problem.records)
        paths = tuple(problem.paths(end.theta, end.x0, whole, derivatives=False))
        matrix, covariance, cost, converged = (
            np.zeros((size, size)), np.full((size, size), np.inf), np.inf, False,
        )  # fmt: skip
    else:
        paths, cost = reduced.paths, reduced.cost
        matrix, covariance = reduced.matrix, inverse(reduced.matrix)
    channels = len(problem.observation.channels)
    rss, observed = np.zeros(channels), np.zeros(channels, dtype=np.int64)
    for record, path in zip(problem.records, paths, strict=True):
        residual = problem.whitened(record, path) * problem.noise_std
        rss += (residual**2).sum(axis=0)
        observed += (~np.isnan(record.y)).sum(axis=0)
    message = ""
    if cost == np.inf:
        message = "The model blows up before the end of the records; use other terms or starts."
    elif not converged:
        message = "The calibration did not converge; more iterations or fewer terms may help."
    return Calibration(
        end.theta, end.x0, cost, rss, observed, paths, matrix, covariance,
        problem.unknowns, converged, n_iterations, message,
    )  # fmt: skip


def inverse(matrix: Array) -> Array:
    """Inverse after Jacobi scaling; directions without information get a huge variance."""
    if len(matrix) == 0:
        return matrix
    scale = np.sqrt(np.diagonal(matrix))
    scale = np.where(scale > 0.0, scale, 1.0)
    values, vectors = np.linalg.eigh(matrix / np.outer(scale, scale))
    values = np.maximum(values, 1e-15)
    return np.asarray((vectors / values) @ vectors.T / np.outer(scale, scale))
