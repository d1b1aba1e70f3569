"""The fused solve as a torch function: it keeps the inputs and the answer, and nothing else."""

from __future__ import annotations

from typing import Any

import torch

from gpu_solver.arrays import sum_to_shape
from gpu_solver.autograd import once_differentiable
from gpu_solver.fused.backend import FusedSolve
from gpu_solver.problem import LinearODEProblem

__all__ = ["attach_fused_gradient"]


class _FusedSolve(torch.autograd.Function):
    """y from (c, d, u, s), found beforehand."""

    @staticmethod
    def forward(ctx: Any, c: Any, d: Any, u: Any, s: Any, solver: FusedSolve, y: Any) -> Any:
        answer = torch.from_numpy(y)
        ctx.save_for_backward(c, d, u, s, answer)
        ctx.solver = solver
        # Converted in here, so that dl/dy comes back in single precision, which the kernels read.
        single = all(part.dtype is torch.float32 for part in (c, d, u, s))
        return answer.float() if single else answer

    @staticmethod
    def backward(ctx: Any, grad_y: Any) -> Any:
        *inputs, answer = ctx.saved_tensors
        views = ctx.solver.views
        shape = (views.n_problems, *answer.shape[-3:])
        batch = tuple(answer.shape[:-3])
        # No tensor below has a history: all are made from numpy's arrays.
        # A sum over a broadcast axis is done in float64; else the gradient is final as found.
        dtypes = tuple(
            "float32" if x.dtype is torch.float32 and x.shape[:-core] == batch else "float64"
            for x, core in zip(inputs, (4, 2, 3, 1), strict=True)
        )
        found = ctx.solver.gradients(
            answer.detach().numpy().reshape(shape),
            grad_y.detach().numpy().reshape(shape),
            tuple(ctx.needs_input_grad[:4]),
            dtypes,
        )
        gradients: list[Any] = []
        for tensor, part in zip(inputs, (found.c, found.d, found.u, found.s), strict=True):
            if part is None:
                gradients.append(None)
                continue
            found_part = torch.from_numpy(part)
            if part.shape != tensor.shape:
                whole = found_part.reshape(*batch, *part.shape[1:])
                found_part = sum_to_shape(whole, tuple(tensor.shape))
            gradients.append(found_part.to(device=tensor.device, dtype=tensor.dtype))
        if torch.is_grad_enabled():
            gradients = once_differentiable(grad_y, inputs, gradients)
        return (*gradients, None, None)


def attach_fused_gradient(problem: LinearODEProblem, solver: FusedSolve, y: Any) -> Any:
    """Make an answer (..., T, V, R+1), which no one else holds, differentiable."""
    return _FusedSolve.apply(problem.c, problem.d, problem.u, problem.s, solver, y)
