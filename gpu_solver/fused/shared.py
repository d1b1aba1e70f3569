"""Many right-hand sides of one left-hand side: the solution operator as one matrix product.

With c, s and weights shared by a batch, y is a fixed linear map of d and u. Where the batch has
more problems than d and u have entries, solving for every unit vector and multiplying costs less
than solving for every problem. Nothing is kept after the call; `gpu_solver.factorize` gives a
factor, which the caller keeps, and which keeps this matrix.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.arrays import is_torch
from gpu_solver.fused.solver import solve_views
from gpu_solver.fused.views import ProblemViews
from gpu_solver.problem import LinearODEProblem
from gpu_solver.status import SolverStatus

__all__ = ["LONGEST", "is_shared", "product", "solve_shared"]

Array = NDArray[Any]

#: The operator grows with the square of T.
LONGEST = 256


def is_shared(problem: LinearODEProblem, views: ProblemViews) -> bool:
    """Whether one operator serves the whole batch, and pays, and c and s need no gradient."""
    columns = views.d[0].size + views.u[0].size
    fixed = (views.c, views.s, views.governing, views.initial, views.smooth)
    if views.n_steps > LONGEST or 2 * columns > views.n_problems:
        return False
    if problem.is_torch and (problem.c.requires_grad or problem.s.requires_grad):
        return False
    return all(array.strides[0] == 0 for array in fixed) and not np.isnan(views.u).any()


def solve_shared(
    problem: LinearODEProblem, views: ProblemViews
) -> tuple[Any, NDArray[np.int64]] | None:
    """Return y (..., T, V, R+1) and status, or None if digits were lost."""
    n_d, n_u = views.d[0].size, views.u[0].size
    count = n_d + n_u

    def share(array: Array) -> Array:
        return np.broadcast_to(array[:1], (count, *array.shape[1:]))

    units = replace(
        views,
        c=share(views.c),
        s=share(views.s),
        d=np.eye(count, n_d).reshape(count, *views.d.shape[1:]),
        u=np.eye(count, n_u, -n_d).reshape(count, *views.u.shape[1:]),
        governing=share(views.governing),
        initial=share(views.initial),
        smooth=share(views.smooth),
        prepared={},
    )
    y, status = solve_views(units)
    worst = int(status.max())
    if worst >= int(SolverStatus.ILL_CONDITIONED):
        return None
    return product(
        y.reshape(count, -1), y.shape[1:], problem.d, problem.u, problem.batch_shape, worst
    )


def product(
    operator: Array, core: tuple[int, ...], d: Any, u: Any, batch: tuple[int, ...], code: int
) -> tuple[Any, NDArray[np.int64]]:
    """Multiply d and u by the transposed operator (entries of d and u, entries of y), in float64.

    Right-hand sides that are not finite make their own problems NaN.
    """
    if is_torch(d) or is_torch(u):
        import torch

        device = d.device if is_torch(d) else u.device
        d, u = (torch.as_tensor(part, device=device).double() for part in (d, u))
        flat = [d.expand(*batch, *d.shape[-2:]).flatten(-2), u.expand(*batch, *u.shape[-3:])]
        x = torch.cat([flat[0], flat[1].flatten(-3)], -1)
        finite = torch.isfinite(x.detach().sum(-1))
        matrix = torch.as_tensor(operator, device=device)
        if bool(finite.all()):
            y = x @ matrix
        else:
            y = torch.where(finite[..., None], x, 0.0) @ matrix
            y = torch.where(finite[..., None], y, torch.nan)
        status = np.where(finite.cpu().numpy(), code, int(SolverStatus.NON_FINITE_INPUT))
        return y.reshape(*batch, *core), status
    parts = [
        np.broadcast_to(part, batch + part.shape[-axes:]).reshape(*batch, -1)
        for part, axes in ((d, 2), (u, 3))
    ]
    values = np.concatenate(parts, axis=-1, dtype=np.float64)
    usable = np.asarray(np.isfinite(values).all(axis=-1))
    answer = np.where(usable[..., None], values, 0.0) @ operator
    answer[~usable] = np.nan
    status = np.where(usable, code, int(SolverStatus.NON_FINITE_INPUT))
    return answer.reshape(*batch, *core), status
