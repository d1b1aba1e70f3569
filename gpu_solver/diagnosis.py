"""Why there is no answer: the problem, or numbers in it whose products overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.arrays import to_numpy
from gpu_solver.problem import LinearODEProblem
from gpu_solver.status import SolverStatus

__all__ = ["blame_input"]

#: Squares of larger numbers are no float64.
LARGEST = 1e153


def blame_input(problem: LinearODEProblem, y: Any, status: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tell matrices that are not positive definite from input that makes them overflow.

    Parameters
    ----------
    problem : LinearODEProblem
        What was asked.
    y : array or Tensor (..., T, V, R+1)
        The answer.
    status : int array (...)
        What the method said.

    Returns
    -------
    int array (...)
        ``NON_FINITE_INPUT`` in place of ``NOT_POSITIVE_DEFINITE`` where squares of c, d, u or of
        powers of s overflow. An iteration that ended in NaN has no answer, and gets one of the two.
    """
    if status.max(initial=0) < SolverStatus.NOT_POSITIVE_DEFINITE:  # the usual case
        return status
    unsolved = status == SolverStatus.NOT_POSITIVE_DEFINITE
    stopped = status == SolverStatus.NOT_CONVERGED
    status = status.copy()
    if stopped.any():
        lost = stopped & ~np.isfinite(to_numpy(y)).all(axis=(-3, -2, -1))
        status[lost] = int(SolverStatus.NOT_POSITIVE_DEFINITE)
        unsolved = unsolved | lost
    status[unsolved & _overflows(problem)] = int(SolverStatus.NON_FINITE_INPUT)
    return status


def _overflows(problem: LinearODEProblem) -> NDArray[np.bool_]:
    found = np.zeros(problem.batch_shape, dtype=bool)
    for name, core, power in (("c", 4, 1), ("d", 2, 1), ("u", 3, 1), ("s", 1, problem.order)):
        size = np.abs(to_numpy(getattr(problem, name)).astype(np.float64))
        with np.errstate(over="ignore"):
            largest = np.nanmax(size, axis=tuple(range(-core, 0)), initial=0.0) ** power
        found |= largest > LARGEST
    return found
