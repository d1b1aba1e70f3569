"""The original MNN solver (Pervez et al. 2024), a baseline: dense Cholesky or conjugate gradients.

Its quadratic programme has one slack p per row and asks

    minimise  gamma/2 |p|^2 + b^T p   subject to   G^T p = alpha e_0 ,

with G and b the rows of `gpu_solver.backends.mnn_system` and e_0 the column of the shared slack
eps. The multipliers of the constraints are the solution z = (eps, y); eliminating p leaves the
Schur complement  ``G^T G z = G^T b + gamma alpha e_0``. The published solvers factorise it densely
or iterate on it without preconditioner, tolerance 1e-12 and at most 200 iterations, with gamma 0.5
and alpha 0.1; those are the defaults here. Row weights, which MNN does not have, enter as in S-MNN.

y is affine in (d, u): linear but for the contribution of alpha, the operator's ``offset``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.assembly import LeastSquaresRows, rows_of
from gpu_solver.backends.base import relative_pivot_floor
from gpu_solver.backends.memory import available_memory
from gpu_solver.backends.mnn_system import MNNSystem, build_system
from gpu_solver.ode_operator import ODEOperator, hide_failed
from gpu_solver.problem import LinearODEProblem
from gpu_solver.status import SolverStatus, warn_not_converged

__all__ = ["MNNFactor", "factorize_mnn"]

Array = NDArray[np.float64]
Codes = NDArray[np.int64]
#: Solves N z = rhs (unknowns, K); returns z, iterations (K,), relative residual (K,), converged.
Solver = Callable[[Array], tuple[Array, Codes, Array, NDArray[np.bool_]]]


@dataclass(frozen=True, eq=False)
class MNNFactor(ODEOperator):
    """The original MNN's system, ready for many d and u.

    Attributes
    ----------
    systems : tuple of MNNSystem
        One per left-hand side.
    solvers : tuple of callable
        One per left-hand side.
    offset_strength : float
        ``gamma * alpha``.
    iterative : bool
        Whether a solve reports iterations.
    """

    systems: tuple[MNNSystem, ...]
    solvers: tuple[Solver, ...]
    offset_strength: float
    iterative: bool

    def solve_with_report(
        self, d: Array, u: Array
    ) -> tuple[Array, Codes, tuple[Codes, Array] | None]:
        """Solve all right-hand sides of one left-hand side at once."""
        finite = np.isfinite(d).all(axis=(-2, -1)) & np.isfinite(u).all(axis=(-3, -2, -1))
        d, u = np.where(np.isfinite(d), d, 0.0), np.where(np.isfinite(u), u, 0.0)
        batch = np.broadcast_shapes(finite.shape, self.status.shape)
        z, iterations, residual, converged = self._solve(d, u, batch)
        core = (self.rows.n_steps, self.rows.n_variables, self.rows.order + 1)
        status = np.broadcast_to(self.status, batch).copy()
        status[(status < 3) & ~converged] = int(SolverStatus.NOT_CONVERGED)
        status[~np.broadcast_to(finite, batch)] = int(SolverStatus.NON_FINITE_INPUT)
        y = hide_failed(z[..., 1:].reshape(*batch, *core), status, 3)
        return y, status, (iterations, residual) if self.iterative else None

    def slack(self, d: Array, u: Array) -> Array:
        """Return the shared slack eps of the solution, in the shape of the batch."""
        d, u = self._check_d(d), self._check_u(u)
        batch = np.broadcast_shapes(d.shape[:-2], u.shape[:-3], self.status.shape)
        return np.asarray(self._solve(d, u, batch)[0][..., 0])

    def _solve(
        self, d: Array, u: Array, batch: tuple[int, ...]
    ) -> tuple[Array, Codes, Array, NDArray[np.bool_]]:
        def right_hand_side(system: MNNSystem, d: Array, u: Array) -> Array:
            weighted = system.weights[:, None] * system.right_hand_side(d, u)
            rhs = np.asarray(system.matrix.T @ weighted)
            rhs[0] += self.offset_strength
            return rhs

        steps, equations = self.rows.n_steps, self.rows.c.shape[-2]
        d = np.broadcast_to(d, (*batch, steps, equations)).reshape(-1, steps, equations)
        u = np.broadcast_to(u, batch + u.shape[-3:]).reshape(-1, *u.shape[-3:])
        return self._each(batch, right_hand_side, d, u)

    def _each(
        self, batch: tuple[int, ...], right_hand_side: Callable[..., Array], *data: Array
    ) -> tuple[Array, Codes, Array, NDArray[np.bool_]]:
        """Solve every left-hand side for the flattened data that belong to it."""
        owner = np.broadcast_to(np.arange(self.status.size).reshape(self.status.shape), batch)
        owner = owner.ravel()
        z = np.zeros((owner.size, self.systems[0].n_unknowns))
        iterations = np.zeros(owner.size, dtype=np.int64)
        residual = np.zeros(owner.size)
        converged = np.ones(owner.size, dtype=bool)
        for index, (system, solver) in enumerate(zip(self.systems, self.solvers, strict=True)):
            mine = np.flatnonzero(owner == index)
            if not mine.size:
                continue
            rhs = right_hand_side(system, *(part[mine] for part in data))
            answer = solver(rhs)
            z[mine] = answer[0].T
            iterations[mine], residual[mine], converged[mine] = answer[1:]
        return (
            z.reshape(*batch, -1),
            iterations.reshape(batch),
            residual.reshape(batch),
            converged.reshape(batch),
        )

    def _solve_adjoint(self, gradient: Array, batch: tuple[int, ...]) -> Array:
        full = np.broadcast_to(gradient, batch + gradient.shape[-3:])
        flat = full.reshape(int(np.prod(batch)), -1)

        def right_hand_side(system: MNNSystem, part: Array) -> Array:
            return np.concatenate([np.zeros((1, len(part))), part.T])

        z, _, _, converged = self._each(batch, right_hand_side, flat)
        warn_not_converged(converged, "the adjoint iteration")
        return z

    def _adjoint(self, gradient: Array) -> tuple[Array, Array]:
        batch = np.broadcast_shapes(gradient.shape[:-3], self.status.shape)
        g = self._solve_adjoint(gradient, batch)
        dd = np.zeros((*batch, self.rows.n_steps, self.rows.c.shape[-2]))
        du = np.zeros((*batch, *self.rows.initial.shape[-3:]))
        for mine, system in self._groups(batch):
            h = system.weights[:, None] * (system.matrix @ _columns(g, mine))
            _flat(dd, 2)[mine], _flat(du, 3)[mine] = system.split(h)
        return dd, du

    def gradients(
        self, gradient: Array, d: Array, u: Array, y: Array
    ) -> tuple[Array, Array, Array, Array]:
        """dl/dG = rho g^T - h z^T on the entries of G, as for S-MNN."""
        batch = y.shape[:-3]
        z = self._solve(d, u, batch)[0]
        g = self._solve_adjoint(gradient, batch)
        rows = self.rows
        equations = rows.c.shape[-2]
        core = (rows.n_steps, rows.n_variables, rows.order + 1)
        dc = np.zeros((*batch, rows.n_steps, equations, *core[1:]))
        dd = np.zeros((*batch, rows.n_steps, equations))
        du = np.zeros((*batch, *rows.initial.shape[-3:]))
        ds = np.zeros((*batch, rows.n_steps - 1))
        full_d = np.broadcast_to(d, dd.shape)
        full_u = np.broadcast_to(u, du.shape)
        for mine, system in self._groups(batch):
            g_columns, z_columns = _columns(g, mine), _columns(z, mine)
            b = system.right_hand_side(_flat(full_d, 2)[mine], _flat(full_u, 3)[mine])
            weights = system.weights[:, None]
            rho = weights * (b - system.matrix @ z_columns)
            h = weights * (system.matrix @ g_columns)
            _flat(dd, 2)[mine], _flat(du, 3)[mine] = system.split(h)
            _flat(ds, 1)[mine] = system.step_gradient(rho, g_columns, h, z_columns)
            rho_governing = system.split(rho)[0][..., None, None]
            h_governing = system.split(h)[0][..., None, None]
            _flat(dc, 4)[mine] = (
                rho_governing * g_columns[1:].T.reshape(-1, *core)[:, :, None]
                - h_governing * z_columns[1:].T.reshape(-1, *core)[:, :, None]
            )
        return dc, dd, du, ds

    def _groups(self, batch: tuple[int, ...]) -> list[tuple[NDArray[np.intp], MNNSystem]]:
        owner = np.broadcast_to(np.arange(self.status.size).reshape(self.status.shape), batch)
        return [
            (np.flatnonzero(owner.ravel() == index), system)
            for index, system in enumerate(self.systems)
        ]


def _flat(values: Array, trailing: int) -> Array:
    return values.reshape(-1, *values.shape[values.ndim - trailing :])


def _columns(values: Array, mine: NDArray[np.intp]) -> Array:
    """Vectors (..., N) of the chosen problems as columns (N, K)."""
    return _flat(values, 1)[mine].T


def factorize_mnn(
    problem: LinearODEProblem,
    method: str = "mnn_dense",
    *,
    gamma: float = 0.5,
    alpha: float = 0.1,
    memory_limit: float | None = None,
    tolerance: float = 1e-12,
    max_iterations: int = 200,
) -> tuple[MNNFactor, Array, Array]:
    """Prepare the original MNN for a problem's left-hand side.

    Parameters
    ----------
    problem : LinearODEProblem
        With R >= 1.
    method : {"mnn_dense", "mnn_conjugate_gradient"}
    gamma, alpha : float
        Of the quadratic programme. Only their product matters: 0 leaves plain least squares.
    memory_limit : float, optional
        Bytes that the dense matrices may take; by default 80 % of the memory now available.
    tolerance : float
        Conjugate gradients stop at a residual of this part of the right-hand side.
    max_iterations : int
        At most so many conjugate-gradient iterations.

    Returns
    -------
    factor : MNNFactor
    d, u : array
        The problem's right-hand sides in float64, NaN in u replaced by 0.

    Raises
    ------
    ValueError
        If the dense system does not fit in memory, or an option is out of range.
    """
    _check_options(gamma, alpha, tolerance, max_iterations)
    rows, d, u = rows_of(problem.numpy())
    if rows.order < 1:
        raise ValueError(
            f"c must have R >= 1 for the original MNN, got R = {rows.order}: its smoothness rows "
            "are for derivatives below the highest; pad c with zeros."
        )
    batch = np.broadcast_shapes(
        rows.c.shape[:-3],
        rows.s.shape[:-1],
        rows.governing.shape[:-2],
        rows.initial.shape[:-3],
        rows.smooth.shape[:-3],
    )
    count = int(np.prod(batch))
    unknowns = 1 + rows.n_steps * rows.block_size
    dense = method == "mnn_dense"
    if dense:
        _check_memory(count, unknowns, memory_limit)
    status = np.zeros(count, dtype=np.int64)
    systems, solvers = [], []
    for index, parts in enumerate(_one_by_one(rows, batch)):
        c, s, governing, initial, smooth = parts
        if not (np.isfinite(c).all() and np.isfinite(s).all()):
            status[index] = int(SolverStatus.NON_FINITE_INPUT)
            c, s = np.zeros_like(c), np.ones_like(s)
        system = build_system(c, s, governing, initial, smooth, rows.n_variables)
        weighted = system.matrix.T * system.weights
        normal = (weighted @ system.matrix).tocsr()
        solver: Solver
        if dense:
            solver, code = _dense_solver(normal.toarray())
        else:
            solver, code = _IterativeSolver(normal, tolerance, max_iterations), 0
        status[index] = max(status[index], code)
        systems.append(system)
        solvers.append(solver)
    factor = MNNFactor(
        rows=rows,
        status=status.reshape(batch),
        systems=tuple(systems),
        solvers=tuple(solvers),
        offset_strength=float(gamma) * float(alpha),
        iterative=not dense,
    )
    return factor, d, u


def _check_options(gamma: float, alpha: float, tolerance: float, max_iterations: int) -> None:
    for name, value, lowest in (("gamma", gamma, 0), ("tolerance", tolerance, 0)):
        if not value > lowest or not np.isfinite(value):
            raise ValueError(f"{name} must be a positive number, got {value!r}.")
    if not np.isfinite(alpha):
        raise ValueError(f"alpha must be a finite number, got {alpha!r}.")
    whole = isinstance(max_iterations, (int, np.integer)) and not isinstance(max_iterations, bool)
    if not whole or max_iterations < 1:
        raise ValueError(f"max_iterations must be a whole number >= 1, got {max_iterations!r}.")


def _check_memory(count: int, unknowns: int, memory_limit: float | None) -> None:
    # One matrix each to keep, and about two more while one is being built and factorised.
    needed = 8.0 * unknowns * unknowns * (count + 2)
    limit = 0.8 * available_memory() if memory_limit is None else float(memory_limit)
    if needed > limit:
        raise ValueError(
            f"method 'mnn_dense' needs {needed / 1e9:.3g} GB for {count} dense system(s) of "
            f"{unknowns} unknowns, over the limit of {limit / 1e9:.3g} GB; use method 'sweep' "
            "(memory linear in T), 'mnn_conjugate_gradient', a shorter sequence, or raise "
            "memory_limit."
        )


def _one_by_one(rows: LeastSquaresRows, batch: tuple[int, ...]) -> Any:
    """Yield c, s and the squared weights of every left-hand side, all at full size."""
    steps, variables, size = rows.n_steps, rows.n_variables, rows.order + 1
    equations, n = rows.c.shape[-2:]
    full = (
        (rows.c, (steps, equations, n)),
        (rows.s, (steps - 1,)),
        (rows.governing, (steps, equations)),
        (rows.initial, rows.initial.shape[-3:]),
        (rows.smooth, (steps - 1, variables, size)),
    )
    views = [(np.broadcast_to(value, batch + core), core) for value, core in full]
    for index in np.ndindex(*batch):
        yield tuple(value[index] for value, _ in views)


def _dense_solver(normal: Array) -> tuple[Solver, int]:
    from scipy.linalg import LinAlgError, cho_factor

    original = np.diagonal(normal).copy()
    code = 0
    try:
        factor = cho_factor(normal, lower=True, overwrite_a=True, check_finite=False)
        with np.errstate(invalid="ignore", divide="ignore"):
            smallest = (np.square(np.diagonal(factor[0])) / original).min()
        if not np.isfinite(smallest):
            raise LinAlgError("factor is not finite")
        if smallest < relative_pivot_floor(1):
            code = int(SolverStatus.ILL_CONDITIONED)
    except LinAlgError:
        factor = (np.eye(1), True)
        code = int(SolverStatus.NOT_POSITIVE_DEFINITE)
    broken = code == int(SolverStatus.NOT_POSITIVE_DEFINITE)

    return _DenseSolver(None if broken else factor), code


@dataclass(frozen=True, eq=False)
class _DenseSolver:
    """Substitution with a dense Cholesky factor; zeros where there is none."""

    factor: Any

    def __call__(self, rhs: Array) -> tuple[Array, Codes, Array, NDArray[np.bool_]]:
        from scipy.linalg import cho_solve

        columns = rhs.shape[1]
        known = self.factor is not None
        z = cho_solve(self.factor, rhs, check_finite=False) if known else np.zeros_like(rhs)
        return z, np.zeros(columns, np.int64), np.zeros(columns), np.ones(columns, bool)


@dataclass(frozen=True, eq=False)
class _IterativeSolver:
    """Conjugate gradients on all columns at once; finished columns rest."""

    normal: Any
    tolerance: float
    max_iterations: int

    @np.errstate(over="ignore", invalid="ignore")  # the status tells what overflowed
    def __call__(self, rhs: Array) -> tuple[Array, Codes, Array, NDArray[np.bool_]]:
        normal, tolerance = self.normal, self.tolerance
        z = np.zeros_like(rhs)
        residual = rhs.copy()
        direction = rhs.copy()
        squared = np.square(residual).sum(axis=0)
        size = np.sqrt(squared)
        iterations = np.zeros(rhs.shape[1], dtype=np.int64)
        active = squared > 0.0
        for _ in range(self.max_iterations):
            if not active.any():
                break
            product = normal @ direction
            curvature = (direction * product).sum(axis=0)
            active &= curvature > 0.0
            step = np.where(active, squared / np.where(curvature > 0.0, curvature, 1.0), 0.0)
            z += step * direction
            residual -= step * product
            iterations += active
            new = np.square(residual).sum(axis=0)
            ratio = np.where(active, new / np.where(squared > 0.0, squared, 1.0), 0.0)
            direction = residual + ratio * direction
            squared = np.where(active, new, squared)
            active &= np.sqrt(squared) > tolerance * size
        # The recursive residual drifts from the true one; report and judge by the true one.
        true = np.sqrt(np.square(rhs - normal @ z).sum(axis=0))
        relative = np.where(size > 0.0, true / np.where(size > 0.0, size, 1.0), 0.0)
        met = np.sqrt(squared) <= tolerance * size
        return z, iterations, relative, met & (relative <= max(10.0 * tolerance, 1e-10))
