"""Whether an answer starts where it was told to, and whether it was told enough.

The least squares give way where it costs least. If steps are too long for the equations, or
solutions grow without bound, that is at the initial values, without any loss of digits.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.arrays import is_torch, to_numpy
from gpu_solver.problem import LinearODEProblem
from gpu_solver.status import SolverStatus

__all__ = ["judge_start"]

#: Initial values that are missed by more than this part of themselves are worth telling.
TOLERANCE = 1e-3
#: Initial values below this part of the trajectory count as that.
NOTHING = 1e-7
#: Least divisor.
SMALLEST = 1e-300

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


def judge_start(problem: LinearODEProblem, y: Any, status: Codes) -> tuple[Array, Codes]:
    """Compare an answer's first values with those that were given.

    Parameters
    ----------
    problem : LinearODEProblem
        What was asked.
    y : array or Tensor (..., T, V, R+1)
        The answer.
    status : int array (...)
        What is known of it.

    Returns
    -------
    misfit : array (...)
        Largest miss of an initial value in parts of that value, or of the state where that is 0;
        NaN without an answer.
    status : int array (...)
        With ``UNDERDETERMINED`` where fewer values are given than the equations' order, and
        ``INITIAL_VALUES_MISSED`` where just enough are given and they are missed, in place of
        ``OK``, ``REFINED`` and ``ILL_CONDITIONED``. Not where equations outnumber variables:
        those are data to be smoothed.
    """
    u = to_numpy(problem.u)
    times, _, orders = u.shape[-3:]
    first = to_numpy(y.detach()[..., :times, :, :] if problem.is_torch else y[..., :times, :, :])
    with np.errstate(invalid="ignore", over="ignore"):
        miss = np.abs(first[..., :orders] - u)
        known = ~np.isnan(u)
        if not problem.weight_initial.all():
            known = known & (problem.weight_initial > 0)
            miss = np.where(known, miss, np.nan)
        size = np.abs(u)
        if not size.all():
            size = np.where(u == 0, _local_size(problem, first, orders), size)
        misfit = _largest(miss / np.maximum(size, SMALLEST), 3)
        if problem.n_equations > problem.n_variables:
            return misfit, status
        count = _count(known)
        enough = type(count) is int and count >= problem.n_variables * _highest_order(problem)
        if enough and not (misfit > TOLERANCE).any():
            return misfit, status  # the usual case
        surplus = count - _freedom(problem)
        solved = status <= int(SolverStatus.ILL_CONDITIONED)
        wanting = solved & (surplus < 0)
        missed = solved & (surplus == 0) & (misfit > TOLERANCE)
    if missed.any():
        misfit[missed] = _misfit_by_trajectory(problem, y, miss, missed)
        missed &= misfit > TOLERANCE
    if wanting.any() or missed.any():
        status = np.where(wanting, int(SolverStatus.UNDERDETERMINED), status)
        status = np.where(missed, int(SolverStatus.INITIAL_VALUES_MISSED), status)
    return misfit, status


def _largest(values: Array, axes: int) -> Array:
    """Maximum over the last axes, NaN left out; many short ones side by side, which is faster."""
    batch = values.shape[:-axes]
    columns = np.ascontiguousarray(values.reshape(prod(batch), -1).T)
    return np.asarray(np.fmax.reduce(columns, axis=0)).reshape(batch)


def _count(known: NDArray[np.bool_]) -> Any:
    """How many initial values each problem has."""
    return prod(known.shape[-3:]) if known.all() else known.sum(axis=(-3, -2, -1))


def _local_size(problem: LinearODEProblem, first: Array, orders: int) -> Array:
    """Size of each variable at the first times, brought to each derivative by the first step."""
    step = to_numpy(problem.s[..., :1]).astype(np.float64)
    step = step.reshape(-1)[0] if step.size == 1 else step[..., None, None]
    size = _largest(np.abs(first) * step ** np.arange(first.shape[-1]), 1)
    return np.asarray(size[..., None] / step ** np.arange(orders))


def _highest_order(problem: LinearODEProblem) -> int:
    """Order of the highest derivative that any of the equations has at first."""
    first = to_numpy(problem.c[..., 0, :, :, :])
    present = np.flatnonzero(first.reshape(-1, first.shape[-1]).any(axis=0))
    return int(present.max(initial=0))


def _freedom(problem: LinearODEProblem) -> Any:
    """How many initial values the equations leave open, by the terms that they have at first."""
    present = to_numpy(problem.c[..., 0, :, :, :]) != 0
    one = present.reshape(-1, *present.shape[-3:])[0]
    if present.ndim > 3 and (present == one).all():  # as a rule, the problems of a batch are alike
        present = one
    orders = present * np.arange(present.shape[-1])
    by_variable = orders.max(axis=(-3, -1)).sum(axis=-1)
    return np.minimum(by_variable, orders.max(axis=(-2, -1)).sum(axis=-1))


def _misfit_by_trajectory(
    problem: LinearODEProblem, y: Any, miss: Array, which: NDArray[np.bool_]
) -> Array:
    """Misfit of some problems, beside the size and the time scale of each variable's trajectory.

    A start from rest, or next to it, is not missed for being rounded.
    """
    index = np.nonzero(which.reshape(-1))[0]
    part = y.reshape(-1, *y.shape[-3:])
    part = part.detach()[index.tolist()] if is_torch(part) else part[index]
    largest = to_numpy(part.abs().amax(1)) if is_torch(part) else np.abs(part).max(axis=1)
    u = np.broadcast_to(to_numpy(problem.u), (*which.shape, *problem.u.shape[-3:]))
    given = np.abs(np.nan_to_num(u.reshape(-1, *u.shape[-3:])[index].astype(np.float64)))
    orders = u.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        # y^(r) in units of y, through the trajectory's own time scale.
        to_y = np.nan_to_num(largest[..., :1] / largest[..., :orders], posinf=0.0)[:, None]
        start = (given * to_y).max(axis=(-3, -1))
        whole = largest[..., 0]
        size = np.where(start > 0, np.maximum(start, NOTHING * whole), whole)
        missed = miss.reshape(-1, *miss.shape[-3:])[index] * to_y
        return _largest(missed / np.maximum(size, SMALLEST)[:, None, :, None], 3)
