"""Differentiable solves: one torch Function with an analytic backward, and a torch-only route.

With ``g = M^-1 dl/dy``, ``rho = W^2 (b - A y)`` and ``h = W^2 A g`` the gradients are
``dl/dA = rho g^T - h y^T`` and ``dl/db = h``; the gradient of M is never formed. All state of a
call lives in that call: two solves of equal shape never share a buffer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_solver.arrays import sum_to_shape
from gpu_solver.assembly import rows_of
from gpu_solver.backends.cyclic_reduction import factorize_blocks, solve_blocks
from gpu_solver.ode_operator import ODEOperator
from gpu_solver.problem import LinearODEProblem
from gpu_solver.refinement import NOTICEABLE, WORRYING
from gpu_solver.status import SolverStatus

__all__ = ["attach_gradient", "once_differentiable", "solve_by_cyclic_reduction"]

Array = NDArray[np.float64]


class _Solve(torch.autograd.Function):
    """y from (c, d, u, s); the factor that belongs to them comes with the call."""

    @staticmethod
    def forward(
        ctx: Any, c: Any, d: Any, u: Any, s: Any, factor: Any, d64: Array, u64: Array, y64: Array
    ) -> Any:
        ctx.save_for_backward(c, d, u, s)
        ctx.solution = (factor, d64, u64, y64)
        return torch.from_numpy(y64.copy())

    @staticmethod
    def backward(ctx: Any, grad_y: Any) -> Any:
        inputs = ctx.saved_tensors
        factor, d64, u64, y64 = ctx.solution
        with torch.no_grad():
            incoming = grad_y.detach().cpu().double().numpy()
            # A failed problem has no answer, so no gradient either: zero, not NaN, for the rest.
            solved = np.isfinite(y64).all(axis=(-3, -2, -1), keepdims=True)
            y = np.where(solved, y64, 0.0)
            parts = factor.gradients(np.where(solved, incoming, 0.0), d64, u64, y)
            gradients = []
            for tensor, part in zip(inputs, parts, strict=True):
                trailing = part.ndim - solved.ndim + 3
                mask = solved.reshape(solved.shape[:-3] + (1,) * trailing)
                total = sum_to_shape(np.where(mask, part, 0.0), tuple(tensor.shape))
                gradients.append(torch.tensor(total, dtype=tensor.dtype, device=tensor.device))
        if torch.is_grad_enabled():
            gradients = once_differentiable(grad_y, inputs, gradients)
        return (*gradients, None, None, None, None)


class _OnceDifferentiable(torch.autograd.Function):
    """Pass gradients on, and explain itself when somebody differentiates them."""

    @staticmethod
    def forward(ctx: Any, grad_y: Any, c: Any, d: Any, u: Any, s: Any, *gradients: Any) -> Any:
        return tuple(gradient.clone() for gradient in gradients)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise RuntimeError(
            "this solve can be differentiated once only. Second derivatives need "
            'solve(problem, method="cyclic_reduction"), which is slower and differentiates any '
            "number of times."
        )


def once_differentiable(grad_y: Any, inputs: Any, gradients: list[Any]) -> list[Any]:
    """Make gradients (None where not wanted) explain themselves when they are differentiated."""
    found = iter(
        _OnceDifferentiable.apply(grad_y, *inputs, *(g for g in gradients if g is not None))
    )
    return [None if gradient is None else next(found) for gradient in gradients]


def attach_gradient(
    problem: LinearODEProblem, factor: ODEOperator, d: Array, u: Array, y: Array
) -> Any:
    """Make a solution that was found on the CPU differentiable in the problem's tensors.

    Parameters
    ----------
    problem : LinearODEProblem
        Of tensors.
    factor : ODEOperator
        Its factorisation.
    d, u : array
        Its right-hand sides in float64, without NaN.
    y : array (..., T, V, R+1)
        Its solution.

    Returns
    -------
    Tensor (..., T, V, R+1), float64, on the CPU
    """
    return _Solve.apply(problem.c, problem.d, problem.u, problem.s, factor, d, u, y)


def _relative_size(change: Any, y: Any) -> Any:
    """Largest correction relative to the largest value of each problem's trajectory."""
    moved, size = (part.abs().flatten(-3).amax(-1) for part in (change, y))
    return torch.where(moved == 0, torch.zeros_like(moved), moved / size)


def _codes_of(changes: list[Any], codes: Any) -> Any:
    """Say whether corrections were noticeable, and whether they leave a worrying error."""
    if not changes:
        return codes
    codes = torch.where(changes[0] > NOTICEABLE, int(SolverStatus.REFINED), codes)
    last = changes[-1]
    if len(changes) > 1:  # corrections shrink geometrically
        ratio = (last / changes[-2]).clamp(max=1.0)
        last = torch.where(last > 0, last * ratio, last)
    return torch.where(last < WORRYING, codes, int(SolverStatus.ILL_CONDITIONED))


def solve_by_cyclic_reduction(
    problem: LinearODEProblem, refinements: int = 2
) -> tuple[Any, NDArray[np.int64]]:
    """Solve in plain torch operations, on any device, differentiable any number of times.

    Returns
    -------
    y : Tensor (..., T, V, R+1), float64
    status : int array (...)
    """
    rows, d, u = rows_of(problem)
    finite = [torch.isfinite(part) for part in (rows.c, rows.s, d, u)]
    bad = (
        ~finite[0].flatten(-3).all(-1),
        ~finite[1].all(-1),
        ~finite[2].flatten(-2).all(-1),
        ~finite[3].flatten(-3).all(-1),
    )
    clean = [
        torch.where(ok, part, torch.full_like(part, fill))
        for ok, part, fill in zip(finite, (rows.c, rows.s, d, u), (0.0, 1.0, 0.0, 0.0), strict=True)
    ]
    rows = replace(rows, c=clean[0], s=clean[1])
    d, u = clean[2], clean[3]
    diagonal, lower = rows.normal_blocks()
    levels, broken = factorize_blocks(diagonal, lower)

    def normal_solve(beta: Any) -> Any:
        flat = beta.reshape(*beta.shape[:-2], rows.block_size, 1)
        return solve_blocks(levels, flat).reshape_as(beta)

    y = normal_solve(rows.right_hand_side(d, u))
    scale = torch.exp(torch.log(rows.s.detach()).mean(-1))[..., None, None, None]
    scale = scale ** torch.arange(rows.order + 1.0, dtype=scale.dtype, device=scale.device)
    changes = []
    for _ in range(refinements):
        residual = rows.weigh(rows.residual(d, u, y))
        correction = normal_solve(rows.adjoint(residual))
        changes.append(_relative_size(correction.detach() * scale, y.detach() * scale))
        y = y + correction
    shape = y.shape[:-3]
    codes = _codes_of(changes, torch.zeros(shape, dtype=torch.int64, device=y.device))
    codes = torch.where(broken, int(SolverStatus.NOT_POSITIVE_DEFINITE), codes)
    codes = torch.where(
        ~torch.isfinite(y).flatten(-3).all(-1) & (codes < int(SolverStatus.NOT_POSITIVE_DEFINITE)),
        int(SolverStatus.NON_FINITE_INPUT),
        codes,
    )
    for one in bad:
        codes = torch.where(one, int(SolverStatus.NON_FINITE_INPUT), codes)
    failed = codes >= int(SolverStatus.NOT_POSITIVE_DEFINITE)
    y = torch.where(failed[..., None, None, None], torch.full_like(y, torch.nan), y)
    return y, codes.cpu().numpy()
