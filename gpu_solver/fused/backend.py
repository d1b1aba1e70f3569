"""The fused kernels as a method of `gpu_solver.solve`, with QR for the problems that need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.factorization import LinearODEFactor, factorize_problem
from gpu_solver.fused.solver import Gradients, failures, gradients_of, solve_views
from gpu_solver.fused.views import ProblemViews
from gpu_solver.problem import LinearODEProblem
from gpu_solver.status import SolverStatus

__all__ = ["FusedSolve", "solve_fused"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class _Orthogonal:
    """Problems of the batch that QR solved instead."""

    index: NDArray[np.int64]
    factor: LinearODEFactor
    d: Array
    u: Array


@dataclass(frozen=True, eq=False)
class FusedSolve:
    """What the backward pass of a solve needs besides the answer."""

    views: ProblemViews
    #: Problems without an answer, or None if there are none.
    failed: NDArray[np.bool_] | None = None
    orthogonal: _Orthogonal | None = None

    @property
    def n_orthogonal(self) -> int:
        """How many problems QR solved."""
        return 0 if self.orthogonal is None else len(self.orthogonal.index)

    def gradients(
        self,
        y: Array,
        incoming: Array,
        needs: tuple[bool, bool, bool, bool],
        dtypes: tuple[Any, Any, Any, Any],
    ) -> Gradients:
        """Gradients of c, d, u, s from y and dl/dy, (problems, T, V, R+1) both."""
        found = gradients_of(self.views, y, incoming, needs, dtypes, self.failed)
        if self.orthogonal is None:
            return found
        mine = self.orthogonal
        answered = np.asarray(np.isfinite(y[mine.index]).all(axis=(1, 2, 3)))
        mask = answered[:, None, None, None]
        values = np.where(mask, y[mine.index], 0.0)
        gradient = np.where(mask, incoming[mine.index].astype(np.float64), 0.0)
        parts = mine.factor.gradients(gradient, mine.d, mine.u, values)
        for whole, part in zip((found.c, found.d, found.u, found.s), parts, strict=True):
            if whole is None:
                continue
            if whole.shape[1] == 1:
                part = part.sum(axis=1, keepdims=True)
            whole[mine.index] = part
            whole[mine.index[~answered]] = 0.0
        return found


def solve_fused(
    views: ProblemViews, orthogonal: bool
) -> tuple[Array, NDArray[np.int64], FusedSolve]:
    """Solve on the CPU; with ``orthogonal``, problems that lost digits are solved again by QR.

    Returns
    -------
    y : array (problems, T, V, R+1), float64
        Over the flat batch.
    status : int array (problems)
    solver : FusedSolve
    """
    y, status = solve_views(views)
    if status.max(initial=0) < int(SolverStatus.ILL_CONDITIONED):
        return y, status, FusedSolve(views)
    lost = (status == SolverStatus.ILL_CONDITIONED) | (status == SolverStatus.NOT_POSITIVE_DEFINITE)
    if not (orthogonal and lost.any()):
        return y, status, FusedSolve(views, failures(status))
    index = np.nonzero(lost)[0]
    factor, d, u = factorize_problem(_some(views, index), "qr")
    y[index], status[index] = factor.solve_with_status(d, u)
    return y, status, FusedSolve(views, failures(status), _Orthogonal(index, factor, d, u))


def _some(views: ProblemViews, index: NDArray[np.int64]) -> LinearODEProblem:
    return LinearODEProblem(
        views.c[index],
        views.d[index],
        views.u[index],
        views.s[index],
        np.sqrt(views.governing[index]),
        np.sqrt(views.initial[index]),
        np.sqrt(views.smooth[index]),
    )
