"""A factor's solve for tensors, differentiable in the right-hand sides d and u."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_solver.arrays import is_torch, sum_to_shape
from gpu_solver.ode_operator import ODEOperator

__all__ = ["solve_tensors"]


class _SolveWithFactor(torch.autograd.Function):
    """y from d and u; differentiable once."""

    @staticmethod
    def forward(ctx: Any, d: Any, u: Any, operator: ODEOperator, y: Any) -> Any:
        ctx.operator, ctx.shapes = operator, (tuple(d.shape), tuple(u.shape))
        ctx.solved = np.isfinite(y).all(axis=(-3, -2, -1), keepdims=True)
        return torch.from_numpy(y)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Any) -> Any:
        incoming = np.where(ctx.solved, grad_y.detach().numpy(), 0.0)
        parts = ctx.operator.adjoint(incoming, on_failure="status")
        found = [
            torch.from_numpy(np.array(sum_to_shape(np.nan_to_num(part), shape)))
            for part, shape in zip(parts, ctx.shapes, strict=True)
        ]
        return (*found, None, None)


def solve_tensors(operator: ODEOperator, d: Any, u: Any) -> tuple[Any, NDArray[np.int64]]:
    """Solve for d and u of which one at least is a tensor; they were checked before.

    Returns
    -------
    y : Tensor (..., T, V, R+1)
        float32 if all tensors given are.
    status : int array (...)
    """
    given = [part for part in (d, u) if is_torch(part)]
    device = given[0].device
    single = all(part.dtype == torch.float32 for part in given)
    d, u = (torch.as_tensor(part).to("cpu", torch.float64) for part in (d, u))
    u = torch.where(torch.isnan(u), torch.zeros((), dtype=u.dtype), u)
    with torch.no_grad():
        use_matrix = operator._use_matrix(tuple(d.shape), tuple(u.shape))
    if use_matrix:
        from gpu_solver.fused.shared import product

        shapes = (tuple(d.shape[:-2]), tuple(u.shape[:-3]), operator.status.shape)
        wide = d.expand(*d.shape[:-2], operator.rows.n_steps, d.shape[-1])
        batch = np.broadcast_shapes(*shapes)
        code = int(operator.status.max())
        y, status = product(operator._matrix, operator._core, wide, u, batch, code)
    else:
        values, status = operator.solve_many(d.detach().numpy(), u.detach().numpy())
        y = _SolveWithFactor.apply(d, u, operator, values)
    y = y.to(device)
    return (y.float() if single else y), status
