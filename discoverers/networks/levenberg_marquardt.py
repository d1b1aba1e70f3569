"""Levenberg-Marquardt for networks: few parameters or many, with a ridge on the weights.

With more parameters than residuals the normal equations are solved in the residuals' space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

__all__ = ["LeastSquares", "Linearisation", "Outcome", "levenberg_marquardt"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Linearisation:
    """Residuals (N,) and their derivatives (N, P)."""

    residuals: Array
    jacobian: Array


@dataclass(frozen=True)
class Outcome:
    """How a minimisation ended."""

    loss: float
    converged: bool


class LeastSquares(Protocol):
    """What is minimised: squared residuals, and a ridge on the first `n_weights` variables."""

    ridge: float

    @property
    def n_weights(self) -> int:
        """Number of variables that the ridge is on."""
        ...

    def settle(self) -> float | None:
        """Loss at the current point; None where it has none (a blow-up)."""
        ...

    def linearise(self) -> Linearisation:
        """Residuals, without the ridge, and derivatives at the point last settled on."""
        ...

    def point(self) -> Array:
        """The current point, (P,)."""
        ...

    def move(self, point: Array) -> None:
        """Go to another point."""
        ...

    def remember(self) -> Callable[[], None]:
        """A function that brings everything back to how it is now."""
        ...


def levenberg_marquardt(
    problem: LeastSquares,
    iterations: Iterable[int],
    note: Callable[[int, float], bool],
    *,
    tolerance: float = 1e-3,
) -> Outcome:
    """Minimise; the problem ends at the best point.

    Parameters
    ----------
    problem : LeastSquares
    iterations : iterable of int
        Counts; the minimisation ends with it.
    note : callable
        ``note(epoch, loss)`` after every iteration; True stops.
    tolerance : float
        Relative decrease of the loss over five iterations below which it has converged.
    """
    loss = problem.settle()
    if loss is None:
        return Outcome(np.inf, False)
    damping = 1e-3
    past = [loss]
    for epoch in iterations:
        start = problem.point()
        restore = problem.remember()
        weights = np.where(np.arange(len(start)) < problem.n_weights, start, 0.0)
        solver = _Solver(problem.linearise(), problem.ridge, weights)
        accepted: float | None = None
        for _ in range(12):
            problem.move(start + solver.step(damping))
            trial = problem.settle()
            if trial is not None and trial < loss:
                accepted = trial
                break
            restore()
            damping = max(damping, 1e-12) * 5.0
        if accepted is None:
            return Outcome(loss, True)
        loss = accepted
        damping = max(damping / 5.0, 1e-10)
        past.append(loss)
        if note(epoch, loss):
            return Outcome(loss, False)
        if len(past) > 5 and past[-6] - loss < tolerance * loss:
            return Outcome(loss, True)
    return Outcome(loss, False)


class _Solver:
    """Steps of one linearisation for any damping, from one eigendecomposition."""

    def __init__(self, local: Linearisation, ridge: float, weights: Array) -> None:
        J = local.jacobian
        self.J, self.ridge = J, ridge
        self.wide = J.shape[1] > J.shape[0]
        gram = J @ J.T if self.wide else J.T @ J
        self.values, self.vectors = eigh(gram, check_finite=False)
        self.gradient = J.T @ local.residuals + ridge * weights
        # Relative to the mean square of a column, so that a damping means the same for any network.
        self.unit = float(np.trace(gram)) / J.shape[1]

    def step(self, damping: float) -> Array:
        """Change of the parameters that minimises the damped linear model."""
        shift = damping * self.unit + self.ridge
        inverse = 1.0 / (np.maximum(self.values, 0.0) + shift)
        if not self.wide:
            return np.asarray(-self.vectors @ (inverse * (self.vectors.T @ self.gradient)))
        # The same system in the residuals' space, by Woodbury's identity.
        inner = self.vectors @ (inverse * (self.vectors.T @ (self.J @ self.gradient)))
        return np.asarray(-(self.gradient - self.J.T @ inner) / shift)
