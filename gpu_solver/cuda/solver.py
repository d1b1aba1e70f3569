"""Linear ODEs solved where their tensors are, differentiable once, and safe to capture."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_solver.arrays import sum_to_shape
from gpu_solver.autograd import attach_gradient, once_differentiable
from gpu_solver.cuda.compiled import has_triton, is_interpreted
from gpu_solver.cuda.inputs import DeviceBatch, batch_of
from gpu_solver.cuda.launch import adjoint, gradients, solve
from gpu_solver.cuda.layout import device_weight, flat
from gpu_solver.cuda.limits import reason_against
from gpu_solver.factorization import factorize_problem
from gpu_solver.fused.sweeps import Sizes
from gpu_solver.problem import LinearODEProblem
from gpu_solver.status import SolverStatus

__all__ = ["DeviceSolver", "check_device", "solve_on_device"]

_CORE = {"c": 4, "d": 2, "u": 3, "s": 1}


class DeviceSolver:
    """Solver for problems of one shape on a CUDA device, which a CUDA graph may capture.

    `gpu_solver.solve` checks values and tells its status to the host, and for both waits for the
    device. A call of this value only launches kernels and allocates: what can be checked was
    checked when it was made.

    Parameters
    ----------
    problem : LinearODEProblem
        Its weights and shapes count; values of c, d, u and s come with each call.
    decoupled : bool, default False
        Promise that in every call equation q has coefficients of variable q only: then variables
        are solved apart, in blocks of R+1 instead of V(R+1).
    segment : int, optional
        Steps of the segments into which time is cut where problems are few; 0 for no cut. By
        default, as many as fill a large device.

    Raises
    ------
    TypeError
        If the problem is not one of tensors.
    ValueError
        If its tensors are not on a CUDA device, its blocks are too large to unroll, Triton is not
        installed, or variables promised to be decoupled cannot be.

    Examples
    --------
    >>> def train(problem, parameters, build):  # captures one step; replay() then costs one launch
    ...     solver, graph = DeviceSolver(problem), torch.cuda.CUDAGraph()
    ...     with torch.cuda.graph(graph):
    ...         y, status = solver(*build(parameters))
    ...         gradient = torch.autograd.grad(y.square().sum(), parameters)
    ...     return graph, status, gradient
    """

    def __init__(
        self, problem: LinearODEProblem, *, decoupled: bool = False, segment: int | None = None
    ) -> None:
        if not problem.is_torch:
            raise TypeError("problem must hold torch tensors, got numpy arrays; use solve().")
        self.device = problem.c.device
        check_device(self.device)
        self.sizes = Sizes(problem.n_variables, problem.order, problem.n_equations)
        if decoupled and self.sizes.equations != self.sizes.variables:
            raise ValueError(
                f"decoupled needs as many equations as variables, got {self.sizes.equations} and "
                f"{self.sizes.variables}."
            )
        against = reason_against(self.sizes, decoupled)
        if against:
            raise ValueError(f"method 'cuda' cannot solve this: {against}")
        if segment is not None and (segment < 0 or segment == 1):
            raise ValueError(f"segment must be 0, or 2 or more steps, got {segment!r}.")
        steps, q = problem.n_steps, self.sizes.equations
        self.steps, self.batch = steps, problem.batch_shape
        self.decoupled = decoupled and self.sizes.variables > 1
        self.segment = segment
        self._shapes = {name: tuple(getattr(problem, name).shape) for name in "cdus"}
        rows = {
            "governing": (problem.weight_governing, (steps, q)),
            "initial": (problem.weight_initial, tuple(problem.u.shape[-3:])),
            "smooth": (problem.weight_smooth, (steps - 1, problem.n_variables, problem.order + 1)),
        }
        self._weights = {
            name: device_weight(value, core, self.device) for name, (value, core) in rows.items()
        }

    def __call__(self, c: Any, d: Any, u: Any, s: Any) -> tuple[Any, Any]:
        """Launch a solve; its backward pass launches another, and nothing else.

        Parameters
        ----------
        c, d, u, s : Tensor
            Of the shapes of the problem that this was made for, float32 or float64, on its device.
            Values are not looked at: steps must be positive.

        Returns
        -------
        y : Tensor (..., T, V, R+1), float64
            NaN for problems without an answer.
        status : Tensor (...), int64
            `SolverStatus` codes, on the device.

        Raises
        ------
        TypeError
            If a tensor is neither float32 nor float64.
        ValueError
            If a tensor has another shape or is on another device.
        """
        for name, tensor in zip("cdus", (c, d, u, s), strict=True):
            if tuple(tensor.shape) != self._shapes[name] or tensor.device != self.device:
                raise ValueError(
                    f"{name} must have shape {self._shapes[name]} on {self.device}, as when this "
                    f"solver was made, got {tuple(tensor.shape)} on {tensor.device}."
                )
            if tensor.dtype not in (torch.float32, torch.float64):
                raise TypeError(f"{name} must be float32 or float64, got {tensor.dtype}.")
        y, status = _DeviceSolve.apply(c, d, u, s, self)
        return y, status.long()

    def flat_batch(self, c: Any, d: Any, u: Any, s: Any) -> DeviceBatch:
        """Flatten the batch axes of these tensors."""
        given = {"c": c.detach(), "d": d.detach(), "u": u.detach(), "s": s.detach()}
        return batch_of(given, self._weights, self.batch, self.sizes, self.steps, self.decoupled)

    def on_device(self) -> Any:
        """Context in which kernels are launched on the tensors' device."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()


def check_device(device: Any) -> None:
    """Raise `ValueError` if kernels cannot run there."""
    if device.type != "cuda" and not is_interpreted():
        raise ValueError(
            f"method 'cuda' needs tensors on a CUDA device, got them on {device}; move them with "
            ".to('cuda'), or let 'auto' choose."
        )
    if not has_triton():
        raise ValueError(
            "method 'cuda' needs Triton, which is not installed: pip install triton (Linux), or "
            "use 'cyclic_reduction', which needs torch only."
        )


class _DeviceSolve(torch.autograd.Function):
    """y and status from (c, d, u, s); keeps these, and no factor."""

    @staticmethod
    def forward(ctx: Any, c: Any, d: Any, u: Any, s: Any, solver: DeviceSolver) -> tuple[Any, Any]:
        with solver.on_device():
            y, status = solve(solver.flat_batch(c, d, u, s), solver.segment)
        ctx.save_for_backward(c, d, u, s, y, status)
        ctx.solver = solver
        ctx.mark_non_differentiable(status)
        return y.view(*solver.batch, *y.shape[1:]), status.view(solver.batch)

    @staticmethod
    def backward(ctx: Any, grad_y: Any, _: Any) -> Any:
        *inputs, y, status = ctx.saved_tensors
        solver = ctx.solver
        with torch.no_grad(), solver.on_device():
            batch = solver.flat_batch(*inputs)
            incoming = grad_y.double().reshape(y.shape)
            wanted = {}
            for name, tensor, need in zip("cdus", inputs, ctx.needs_input_grad[:4], strict=True):
                whole = tuple(tensor.shape[: -_CORE[name]]) == solver.batch
                if need:  # sums over the batch are done in float64
                    wanted[name] = tensor.dtype if whole else torch.float64
            found = gradients(batch, y, adjoint(batch, incoming, solver.segment), status, wanted)
            parts: list[Any] = []
            for name, tensor in zip("cdus", inputs, strict=True):
                part = found.get(name)
                if part is not None:
                    part = part.reshape(*solver.batch, *part.shape[1:])
                    part = sum_to_shape(part, tuple(tensor.shape)).to(tensor.dtype)
                parts.append(part)
        if torch.is_grad_enabled():
            parts = once_differentiable(grad_y, inputs, parts)
        return (*parts, None)


def solve_on_device(
    problem: LinearODEProblem, decoupled: bool, orthogonal: bool
) -> tuple[Any, NDArray[np.int64], int]:
    """Solve where the tensors are; with ``orthogonal``, what lost digits again by QR on the CPU.

    Returns
    -------
    y : Tensor (..., T, V, R+1), float64
    status : int array (...)
    count : int
        How many problems QR solved.
    """
    solver = DeviceSolver(problem, decoupled=decoupled)
    y, on_device = solver(problem.c, problem.d, problem.u, problem.s)
    status = on_device.cpu().numpy().reshape(-1)
    codes = [int(SolverStatus.ILL_CONDITIONED), int(SolverStatus.NOT_POSITIVE_DEFINITE)]
    lost = np.nonzero(np.isin(status, codes))[0]
    if orthogonal and lost.size:
        some = _some(problem, lost)
        factor, d, u = factorize_problem(some, "qr")
        answer, status[lost], _ = factor.solve_with_report(d, u)
        answer = attach_gradient(some, factor, d, u, answer).to(y.device)
        at = torch.as_tensor(lost, device=y.device)
        y = y.reshape(-1, *y.shape[-3:]).index_copy(0, at, answer).reshape(y.shape)
    return y, status.reshape(problem.batch_shape), lost.size if orthogonal else 0


def _some(problem: LinearODEProblem, index: NDArray[np.int64]) -> LinearODEProblem:
    """Those problems of the flat batch, with their history."""
    batch = problem.batch_shape
    count = int(np.prod(batch, dtype=np.int64))
    at = torch.as_tensor(index, device=problem.c.device)
    tensors = [flat(getattr(problem, name), batch, _CORE[name])[at] for name in "cdus"]
    weights = []
    for name, core in (("governing", 2), ("initial", 3), ("smooth", 3)):
        value = getattr(problem, f"weight_{name}")
        if value.ndim > core:
            rest = value.shape[-core:]
            value = np.broadcast_to(value, batch + rest).reshape(count, *rest)[index]
        weights.append(value)
    return LinearODEProblem(*tensors, *weights)
