"""Laws that switch, such as dry friction: their sensitivities jump where the law does.

The engine differentiates along the trajectory and does not see that a parameter also moves the
moment of the switch. Differences between whole trajectories do.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import sympy
from numpy.typing import NDArray

from discoverers.shooting import Calibration, Observation, StateSpaceModel
from discoverers.shooting.calibration import make_problem
from discoverers.shooting.residuals import Problem, sequence_window

from .chain_model import ChainTask

__all__ = ["polish", "switches"]

Array = NDArray[np.float64]

ITERATIONS = 6
STEP = 0.3
"""Half of the difference that slopes are taken over, in conditional standard errors."""


def switches(model: StateSpaceModel) -> bool:
    """Whether a term of the model jumps."""
    terms = [column.term for column in model.columns]
    return any(isinstance(term, sympy.Basic) and term.has(sympy.sign) for term in terms)


def polish(
    task: ChainTask,
    model: StateSpaceModel,
    fit: Calibration,
    observation: Observation,
    noise_std: Array,
    substeps: int,
) -> Calibration:
    """Go on from a calibration with slopes by differences.

    Returns
    -------
    Calibration
        Not worse than the given one at the same substeps; its covariance is from differences.
    """
    if not np.isfinite(fit.cost):
        return fit
    problem = make_problem(
        model, fit.theta, fit.x0, task.records, observation, noise_std,
        free_theta=fit.free_theta, free_x0=fit.free_x0, substeps=substeps,
    )  # fmt: skip
    work = _Differences(problem, fit)
    vector = problem.unknowns.pack(fit.theta, fit.x0)
    at = work.residuals(vector)
    if at is None or not len(vector):
        return fit
    damping, converged = 1e-3, False
    normal = np.zeros((len(vector), len(vector)))
    for _ in range(ITERATIONS):
        slope = work.slopes(vector)
        if slope is None:
            break
        normal = slope.T @ slope
        scale = np.sqrt(np.where(np.diagonal(normal) > 0.0, np.diagonal(normal), 1.0))
        scaled = normal / np.outer(scale, scale)
        gain = 0.0
        for _ in range(4):
            damped = scaled + damping * np.eye(len(vector))
            step = np.linalg.solve(damped, slope.T @ at / scale) / scale
            there = work.residuals(vector + step)
            if there is not None and there @ there < at @ at:
                gain = 1.0 - float(there @ there) / float(at @ at)
                vector, at, damping = vector + step, there, max(damping / 10.0, 1e-9)
                break
            damping *= 10.0
        if gain < 1e-5:
            converged = True
            break
    return work.report(vector, at, normal, converged)


class _Differences:
    """Residuals of whole trajectories, and their differences."""

    def __init__(self, problem: Problem, fit: Calibration) -> None:
        self.problem, self.fit = problem, fit
        self.window = sequence_window(problem.records)
        size = np.sqrt(np.maximum(np.diagonal(fit.normal), 1e-300))
        self.steps = np.minimum(STEP / size, 1.0)

    def residuals(self, vector: Array) -> Array | None:
        """Whitened (R,); None if a run does not get through."""
        problem = self.problem
        theta, x0 = problem.unknowns.unpack(vector, self.fit.theta, self.fit.x0)
        out = []
        for record, path in zip(
            problem.records,
            problem.paths(theta, x0, self.window, derivatives=False),
            strict=True,
        ):
            if not path.complete:
                return None
            out.append(problem.whitened(record, path).ravel())
        return np.concatenate(out)

    def slopes(self, vector: Array) -> Array | None:
        """Derivatives of the predictions, (R, P), by central differences."""
        columns = []
        for k, step in enumerate(self.steps):
            moved = np.zeros(len(vector))
            moved[k] = step
            low, high = self.residuals(vector - moved), self.residuals(vector + moved)
            if low is None or high is None:
                return None
            columns.append((low - high) / (2.0 * step))
        return np.column_stack(columns)

    def report(self, vector: Array, at: Array, normal: Array, converged: bool) -> Calibration:
        problem = self.problem
        theta, x0 = problem.unknowns.unpack(vector, self.fit.theta, self.fit.x0)
        paths = tuple(problem.paths(theta, x0, self.window, derivatives=False))
        rss = np.zeros(len(problem.noise_std))
        for record, path in zip(problem.records, paths, strict=True):
            rss += ((problem.whitened(record, path) * problem.noise_std) ** 2).sum(axis=0)
        scale = np.sqrt(np.where(np.diagonal(normal) > 0.0, np.diagonal(normal), 1.0))
        inverse = np.linalg.pinv(normal / np.outer(scale, scale), rcond=1e-14, hermitian=True)
        return replace(
            self.fit, theta=theta, x0=x0, cost=float(at @ at), rss=rss, paths=paths,
            normal=normal, covariance=inverse / np.outer(scale, scale),
            converged=self.fit.converged or converged,
        )  # fmt: skip
