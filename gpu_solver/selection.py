"""Which algorithm and why, and the one entry point that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.diagnosis import blame_input
from gpu_solver.factorization import (
    FUSED_BLOCK,
    FUSED_TIMES,
    factorize_problem,
    lost_digits,
)
from gpu_solver.ode_operator import ODEOperator
from gpu_solver.problem import LinearODEProblem
from gpu_solver.start import judge_start
from gpu_solver.status import (
    SolverStatus,
    check_on_failure,
    raise_for_status,
    warn_not_converged,
    warn_of_start,
)

__all__ = ["METHODS", "BackendChoice", "Solution", "select_backend", "solve"]

METHODS: Mapping[str, str] = {
    "fused": "generated CPU code for small blocks: one problem, or stretch of time, a SIMD lane",
    "sweep": "compiled block Cholesky on the CPU, with refinement; BLAS inside large blocks",
    "lapack": "LAPACK's banded Cholesky on the CPU, with refinement",
    "qr": "orthogonal factorisation of A on the CPU, for ill-conditioned problems; about 4x slower",
    "cuda": "Triton kernels on a CUDA device, from the same steps as 'fused'; needs Triton",
    "cyclic_reduction": "torch operations on any device, differentiable any number of times",
    "mnn_dense": "the original MNN: slack variable, central differences, dense Cholesky, O(T^3)",
    "mnn_conjugate_gradient": "the original MNN solved by conjugate gradients",
}


@dataclass(frozen=True)
class BackendChoice:
    """A method and the reason for it."""

    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class Solution:
    """Answer to a `LinearODEProblem`.

    Attributes
    ----------
    y : array or Tensor (..., T, V, R+1)
        The r-th derivative of variable v at time t; numpy or torch, float32 or float64, as the
        problem was. NaN for problems without an answer, which ``status`` names.
    status : int array (...)
        `SolverStatus` codes.
    method : str
        The algorithm used.
    reason : str
        Why that one.
    iterations, residual : array (...) or None
        For iterative methods: iterations done and the final relative residual, per problem.
    initial_misfit : array (...) or None
        Largest miss of an initial value in parts of that value, or of the state where that is 0.
    """

    y: Any
    status: NDArray[np.int64]
    method: str
    reason: str
    iterations: NDArray[np.int64] | None = None
    residual: NDArray[np.float64] | None = None
    initial_misfit: NDArray[np.float64] | None = None

    def __repr__(self) -> str:
        codes, counts = np.unique(self.status, return_counts=True)
        status = ", ".join(
            SolverStatus(int(code)).name + (f" x {count}" if self.status.ndim else "")
            for code, count in zip(codes, counts, strict=True)
        )
        misfit = self.initial_misfit
        known = np.zeros(0) if misfit is None else misfit[np.isfinite(misfit)]
        met = f", initial values within {known.max():.1e}" if known.size else ""
        return f"Solution(y {tuple(self.y.shape)}, {status}{met}, method {self.method!r})"

    def raise_for_status(self) -> None:
        """Raise `SolverError` if any problem has no answer."""
        raise_for_status(self.status, f"solve with method {self.method!r}")

    @property
    def advice(self) -> tuple[str, ...]:
        """Advice for every kind of status that occurs, in the order of the codes."""
        return tuple(
            f"{SolverStatus(int(code)).name.lower()}: {SolverStatus(int(code)).advice}"
            for code in np.unique(self.status)
        )


def select_backend(problem: LinearODEProblem) -> BackendChoice:
    """Say which method `solve` would take for this problem, and why.

    Examples
    --------
    >>> import numpy as np
    >>> problem = LinearODEProblem(
    ...     np.ones((1, 1, 1, 2)), np.zeros((5000, 1)), np.ones((1, 1, 1)), np.ones(4999))
    >>> select_backend(problem).name
    'fused'
    """
    n = problem.n_variables * (problem.order + 1)
    if problem.is_torch and problem.c.device.type != "cpu":
        return _choose_on_device(problem)
    times = prod(problem.batch_shape) * problem.n_steps
    if n <= FUSED_BLOCK and times >= FUSED_TIMES:
        return BackendChoice(
            "fused",
            f"blocks of {n} unknowns a step at {times} times on the CPU suit generated code, "
            "one problem or stretch of time a SIMD lane",
        )
    if n <= FUSED_BLOCK and _is_compiled(problem):
        return BackendChoice(
            "fused", f"generated code for blocks of {n} unknowns a step is on disk already"
        )
    return BackendChoice(
        "sweep", f"blocks of {n} unknowns a step on the CPU suit compiled block Cholesky"
    )


def _is_compiled(problem: LinearODEProblem) -> bool:
    from gpu_solver.fused.cache import is_on_disk

    return is_on_disk("loops", (problem.n_variables, problem.order, problem.n_equations))


def _choose_on_device(problem: LinearODEProblem) -> BackendChoice:
    device = problem.c.device
    if device.type != "cuda":
        return BackendChoice(
            "cyclic_reduction", f"the tensors are on {device}, where only torch operations run"
        )
    from gpu_solver.cuda.compiled import has_triton
    from gpu_solver.cuda.limits import is_decoupled, reason_against
    from gpu_solver.fused.sweeps import Sizes

    if not has_triton():
        return BackendChoice(
            "cyclic_reduction",
            f"the tensors are on {device} and Triton, which 'cuda' needs, is not installed: torch "
            "operations, which are slower",
        )
    sizes = Sizes(problem.n_variables, problem.order, problem.n_equations)
    decoupled = is_decoupled(problem.c)
    against = reason_against(sizes, decoupled)
    if against:
        return BackendChoice(
            "cyclic_reduction", f"the tensors are on {device} but 'cuda' does not fit: {against}"
        )
    unknowns = sizes.order + 1 if decoupled else sizes.n
    apart = f", {sizes.variables} decoupled variables apart" if decoupled else ""
    return BackendChoice(
        "cuda",
        f"the tensors are on {device} and blocks of {unknowns} unknowns a step suit generated "
        f"kernels{apart}",
    )


def solve(
    problem: LinearODEProblem,
    method: str = "auto",
    *,
    on_failure: str = "raise",
    **options: Any,
) -> Solution:
    """Solve linear ODEs by weighted least squares.

    Parameters
    ----------
    problem : LinearODEProblem
        One or a batch; if it holds tensors the answer is differentiable in c, d, u and s.
    method : str, default "auto"
        A key of ``METHODS``, or "auto": what `select_backend` says, followed by "qr" if that loses
        digits. "cyclic_reduction" runs anywhere and differentiates any number of times; "cuda" runs
        where the tensors are, the others on the CPU, and they differentiate once.
    on_failure : {"raise", "status"}
        What to do about problems without an answer: raise `SolverError`, or return NaN for them
        and say so in ``status``.
    **options
        For "mnn_dense" ``gamma``, ``alpha``, ``memory_limit``; for "mnn_conjugate_gradient"
        ``gamma``, ``alpha``, ``tolerance``, ``max_iterations``. Other methods take none.

    Returns
    -------
    Solution

    Raises
    ------
    TypeError
        If problem is not a `LinearODEProblem`, or the method does not know an option.
    ValueError
        If method or on_failure is unknown, or the method cannot solve this problem: "cuda" takes
        tensors on a CUDA device, "cuda" and "fused" blocks that are small enough to unroll.
    SolverError
        If a problem has no answer and ``on_failure="raise"``.

    Warns
    -----
    RuntimeWarning
        If ``on_failure="raise"`` and an answer misses its initial values, there are fewer of them
        than the order of the equations, or an iterative method did not converge.

    Notes
    -----
    Solutions that grow by more than about 1e6 over the span are damped where the truncation of the
    steps costs more than giving way at the start. For equations of first order that shows in the
    initial values; those of higher order may meet them and leave the solution over the first steps,
    which is not told. Solving with half the steps shows it: the answer changes.

    Examples
    --------
    >>> import numpy as np
    >>> problem = LinearODEProblem.from_ode(  # y'' = -y, y(0) = 1, y'(0) = 0
    ...     c=[[[[1.0, 0.0, 1.0]]]], d=[[0.0]], u=[[[1.0, 0.0]]], s=np.full(100, np.pi / 100))
    >>> print(solve(problem).y[-1, 0, 0].round(6))
    -1.0
    """
    if not isinstance(problem, LinearODEProblem):
        raise TypeError(f"problem must be a LinearODEProblem, got {type(problem).__name__}.")
    check_on_failure(on_failure)
    if method == "auto":
        choice = select_backend(problem)
    elif method in METHODS:
        choice = BackendChoice(method, "asked for")
    else:
        raise ValueError(f"method must be 'auto' or one of {sorted(METHODS)}, got {method!r}.")
    if options and not choice.name.startswith("mnn"):
        raise TypeError(f"method {choice.name!r} takes no options, got {sorted(options)}.")
    iterations = residual = None
    factor: ODEOperator
    if choice.name == "cyclic_reduction":
        y, status = _solve_by_cyclic_reduction(problem)
        if method == "auto" and lost_digits(status):
            # Elsewhere than on the CPU; what is done again there differentiates once.
            return _solve_again_by_qr(problem, choice.name, on_failure)
    elif choice.name == "cuda":
        y, status, choice = _solve_on_device(problem, choice, method == "auto")
    elif choice.name == "fused":
        y, status, choice = _solve_fused(problem, choice, method == "auto")
    else:
        if choice.name.startswith("mnn"):
            from gpu_solver.backends.mnn import factorize_mnn

            factor, d, u = factorize_mnn(problem, choice.name, **options)
        else:
            factor, d, u = factorize_problem(problem, choice.name)
        y, status, report = factor.solve_with_report(d, u)
        if method == "auto" and lost_digits(status):
            choice = BackendChoice("qr", f"{choice.name} lost digits: this problem needs A itself")
            factor, d, u = factorize_problem(problem, "qr")
            y, status, report = factor.solve_with_report(d, u)
        if report is not None:
            iterations, residual = report
        if problem.is_torch:
            from gpu_solver.autograd import attach_gradient

            y = attach_gradient(problem, factor, d, u, y)
    status = blame_input(problem, y, status)
    misfit, status = judge_start(problem, y, status)
    solution = Solution(
        _as_given(y, problem), status, choice.name, choice.reason, iterations, residual, misfit
    )
    if on_failure == "raise":
        solution.raise_for_status()
        warn_of_start(solution.status, f"solve with method {choice.name!r}")
        if iterations is not None:
            warn_not_converged(solution.status != SolverStatus.NOT_CONVERGED, choice.name)
    return solution


def _solve_fused(
    problem: LinearODEProblem, choice: BackendChoice, orthogonal: bool
) -> tuple[Any, NDArray[np.int64], BackendChoice]:
    from gpu_solver.fused.backend import solve_fused
    from gpu_solver.fused.solver import check_size
    from gpu_solver.fused.views import views_of

    check_size(problem.n_variables, problem.order)
    views = views_of(problem)
    y, status, solver = solve_fused(views, orthogonal)
    lost, count = solver.n_orthogonal, len(status)
    if lost == count:
        choice = BackendChoice("qr", "fused lost digits: this problem needs A itself")
    elif lost:
        reason = f"{choice.reason}; {lost} of {count} problems lost digits and were solved by QR"
        choice = BackendChoice("fused", reason)
    batch = problem.batch_shape
    y, status = y.reshape(*batch, *y.shape[1:]), status.reshape(batch)
    if problem.is_torch:
        from gpu_solver.fused.autograd import attach_fused_gradient

        y = attach_fused_gradient(problem, solver, y)
    return y, status, choice


def _solve_again_by_qr(problem: LinearODEProblem, name: str, on_failure: str) -> Solution:
    reason = f"{name} lost digits: this problem needs A itself, on the CPU"
    return replace(solve(problem, "qr", on_failure=on_failure), reason=reason)


def _solve_on_device(
    problem: LinearODEProblem, choice: BackendChoice, orthogonal: bool
) -> tuple[Any, NDArray[np.int64], BackendChoice]:
    if not problem.is_torch:
        raise ValueError(
            "method 'cuda' needs tensors on a CUDA device, got numpy arrays; pass "
            "torch.as_tensor(..., device='cuda'), or let 'auto' choose."
        )
    from gpu_solver.cuda.limits import is_decoupled
    from gpu_solver.cuda.solver import check_device, solve_on_device

    check_device(problem.c.device)
    y, status, lost = solve_on_device(problem, is_decoupled(problem.c), orthogonal)
    if lost and lost == status.size:
        choice = BackendChoice("qr", "cuda lost digits: this problem needs A itself, on the CPU")
    elif lost:
        reason = f"{lost} of {status.size} problems lost digits and were solved by QR on the CPU"
        choice = BackendChoice("cuda", f"{choice.reason}; {reason}")
    return y, status, choice


def _solve_by_cyclic_reduction(problem: LinearODEProblem) -> tuple[Any, NDArray[np.int64]]:
    import torch

    from gpu_solver.autograd import solve_by_cyclic_reduction

    if problem.is_torch:
        return solve_by_cyclic_reduction(problem)
    tensors = LinearODEProblem(
        torch.tensor(problem.c.copy()),
        torch.tensor(problem.d.copy()),
        torch.tensor(problem.u.copy()),
        torch.tensor(problem.s.copy()),
        problem.weight_governing,
        problem.weight_initial,
        problem.weight_smooth,
    )
    y, status = solve_by_cyclic_reduction(tensors)
    return y.numpy(), status


def _as_given(y: Any, problem: LinearODEProblem) -> Any:
    """Bring y to the precision, and for tensors the device, of the problem's data."""
    given = (problem.c, problem.d, problem.u, problem.s)
    single = all(part.dtype.itemsize == 4 for part in given)
    if problem.is_torch:
        y = y.to(problem.c.device)
        return y.float() if single else y
    return y.astype(np.float32) if single else y
