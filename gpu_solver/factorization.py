"""Factorise a linear ODE once, solve it for any number of right-hand sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpu_solver.arrays import to_numpy
from gpu_solver.assembly import LeastSquaresRows, rows_of
from gpu_solver.block_tridiagonal import BlockTridiagonal, BlockTridiagonalFactor
from gpu_solver.problem import LinearODEProblem
from gpu_solver.refinement import refine
from gpu_solver.status import SolverStatus, check_on_failure, raise_for_status

__all__ = ["GreenOperator", "LinearODEFactor", "factorize", "factorize_problem"]

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class GreenOperator:
    """The answer as an explicit linear map of d and u: ``y = on_d d + on_u u``.

    Attributes
    ----------
    on_d : array (..., T, V, R+1, T, Q)
    on_u : array (..., T, V, R+1, T_init, V, R_init+1)
    """

    on_d: Array
    on_u: Array

    def apply(self, d: ArrayLike, u: ArrayLike) -> Array:
        """Return y (..., T, V, R+1) for d (..., T, Q) and u (..., T_init, V, R_init+1)."""
        d, u = np.asarray(d, dtype=np.float64), np.asarray(u, dtype=np.float64)
        answer: Array = np.einsum("...tvraq,...aq->...tvr", self.on_d, d, optimize=True)
        return answer + np.einsum("...tvrawp,...awp->...tvr", self.on_u, u, optimize=True)


@dataclass(frozen=True, eq=False)
class LinearODEFactor:
    """A factorised left-hand side (c, s and weights): solves for many d and u.

    Attributes
    ----------
    rows : LeastSquaresRows
        A and W^2.
    factor : BlockTridiagonalFactor
        The factorised normal matrix.
    status : int array
        Codes of the factorisation, in the batch shape of the left-hand side.
    """

    rows: LeastSquaresRows
    factor: BlockTridiagonalFactor
    status: Codes

    def solve(self, d: ArrayLike, u: ArrayLike, *, on_failure: str = "raise") -> Array:
        """Solve for y (..., T, V, R+1).

        Parameters
        ----------
        d : array (..., T or 1, Q)
            Leading axes are any number of right-hand sides; they broadcast with the batch.
        u : array (..., T_init, V, R_init+1)
            NaN is allowed where the factorisation was told "not measured".
        on_failure : {"raise", "status"}
            "status" returns NaN for problems without an answer.

        Raises
        ------
        ValueError
            If shapes do not fit.
        SolverError
            If a problem has no answer and ``on_failure="raise"``.
        """
        check_on_failure(on_failure)
        y, status = self.solve_with_status(self._check_d(d), self._check_u(u))
        if on_failure == "raise":
            raise_for_status(status, "solve")
        return y

    def adjoint(self, g: ArrayLike, *, on_failure: str = "raise") -> tuple[Array, Array]:
        """Transpose of `solve`: from dl/dy (..., T, V, R+1) to (dl/dd, dl/du).

        Returns
        -------
        dd : array (..., T, Q)
        du : array (..., T_init, V, R_init+1)
        """
        check_on_failure(on_failure)
        gradient = np.asarray(g, dtype=np.float64)
        core = (self.rows.n_steps, self.rows.n_variables, self.rows.order + 1)
        if gradient.shape[-3:] != core:
            raise ValueError(
                f"g must have shape (..., T, V, R+1) = (..., {core}), got {gradient.shape}."
            )
        if not np.isfinite(gradient).all():
            raise ValueError("g must be finite, got NaN or infinity.")
        if on_failure == "raise":
            raise_for_status(self.status, "adjoint")
        h = self.rows.weigh(self.rows.multiply(self.solve_adjoint(gradient)))
        failed = self.status >= int(SolverStatus.NOT_POSITIVE_DEFINITE)
        return _hide(h.governing, failed, 2), _hide(h.initial, failed, 3)

    def green(self, *, memory_limit: float = 2e9) -> GreenOperator:
        """Return the solution operator itself, for T up to a few hundred.

        Parameters
        ----------
        memory_limit : float, default 2e9
            Bytes that the operator may take; its size grows with T**2.

        Raises
        ------
        ValueError
            If it would take more.
        """
        rows = self.rows
        steps, size = rows.n_steps, rows.block_size
        equations, initial = rows.c.shape[-2], rows.initial.shape[-3:]
        n_d, n_u = steps * equations, int(np.prod(initial))
        needed = 8.0 * self.status.size * steps * size * (n_d + n_u)
        if needed > memory_limit:
            raise ValueError(
                f"the Green operator for T = {steps} needs {needed / 1e9:.1f} GB, over "
                f"memory_limit = {memory_limit / 1e9:.1f} GB; use solve() instead."
            )
        lead = (1,) * self.status.ndim
        d = np.eye(n_d).reshape(n_d, *lead, steps, equations)
        u = np.eye(n_u).reshape(n_u, *lead, *initial)
        on_d = self.solve(d, np.zeros(initial))
        on_u = self.solve(np.zeros((1, equations)), u)
        core = (steps, rows.n_variables, rows.order + 1)
        batch = self.status.shape
        return GreenOperator(
            np.moveaxis(on_d, 0, -1).reshape(*batch, *core, steps, equations),
            np.moveaxis(on_u, 0, -1).reshape(*batch, *core, *initial),
        )

    def _check_d(self, d: ArrayLike) -> Array:
        array = np.asarray(to_numpy(d), dtype=np.float64)
        equations = self.rows.c.shape[-2]
        if (
            array.ndim < 2
            or array.shape[-1] != equations
            or array.shape[-2]
            not in (
                1,
                self.rows.n_steps,
            )
        ):
            raise ValueError(
                f"d must have shape (..., T or 1, Q) with T = {self.rows.n_steps}, "
                f"Q = {equations}, got {array.shape}."
            )
        return array

    def _check_u(self, u: ArrayLike) -> Array:
        array = np.asarray(to_numpy(u), dtype=np.float64)
        core = self.rows.initial.shape[-3:]
        if array.ndim < 3 or array.shape[-3:] != core:
            raise ValueError(
                f"u must have shape (..., T_init, V, R_init+1) = (..., "
                f"{', '.join(map(str, core))}) as given to factorize, got {array.shape}."
            )
        unknown = np.isnan(array)
        if unknown.any():
            if (unknown & (self.rows.initial > 0)).any():
                raise ValueError(
                    "u is NaN where factorize() was told that it is measured; pass the pattern "
                    "to factorize(measured=~np.isnan(u))."
                )
            array = np.where(unknown, 0.0, array)
        return array

    def solve_with_status(self, d: Array, u: Array) -> tuple[Array, Codes]:
        """Solve for checked d and u without NaN; problems without an answer are NaN."""
        finite = np.isfinite(d).all(axis=(-2, -1)) & np.isfinite(u).all(axis=(-3, -2, -1))
        if not finite.all():
            d = np.where(np.isfinite(d), d, 0.0)
            u = np.where(np.isfinite(u), u, 0.0)
        beta = self.rows.right_hand_side(d, u)

        def correction(y: Array) -> Array:
            weighted = self.rows.weigh(self.rows.residual(d, u, y))
            return self._normal_solve(self.rows.adjoint(weighted))

        with np.errstate(over="ignore", invalid="ignore"):
            y, status = refine(self._normal_solve(beta), correction, self._scale())
        status = np.maximum(status, self.status)
        status = np.where(finite, status, int(SolverStatus.NON_FINITE_INPUT))
        overflow = ~np.isfinite(y).all(axis=(-3, -2, -1))
        status = np.where(overflow & (status < 3), int(SolverStatus.NON_FINITE_INPUT), status)
        return _hide(y, status >= int(SolverStatus.NOT_POSITIVE_DEFINITE), 3), status

    def solve_with_report(self, d: Array, u: Array) -> tuple[Array, Codes, None]:
        """Return y, status and, as there is no iteration to report on, None."""
        return (*self.solve_with_status(d, u), None)

    def solve_adjoint(self, gradient: Array) -> Array:
        """M^-1 times gradient, refined; values of failed problems are arbitrary."""

        def correction(g: Array) -> Array:
            weighted = self.rows.weigh(self.rows.multiply(g))
            return self._normal_solve(gradient - self.rows.adjoint(weighted))

        with np.errstate(over="ignore", invalid="ignore"):
            return refine(self._normal_solve(gradient), correction, self._scale())[0]

    def gradients(
        self, gradient: Array, d: Array, u: Array, y: Array
    ) -> tuple[Array, Array, Array, Array]:
        """dl/dc, dl/dd, dl/du, dl/ds from dl/dy, in the broadcast shapes of the batch."""
        rows = self.rows
        g = self.solve_adjoint(gradient)
        h = rows.weigh(rows.multiply(g))
        rho = rows.weigh(rows.residual(d, u, y))
        dc, ds = rows.gradients(rho, g, h, y)
        return dc, h.governing, h.initial, ds

    def _scale(self) -> Array:
        step = np.exp(np.log(self.rows.s).mean(axis=-1))
        return step[..., None, None, None] ** np.arange(self.rows.order + 1.0)

    def _normal_solve(self, beta: Array) -> Array:
        core = beta.shape[-3:]
        flat = beta.reshape(*beta.shape[:-2], self.rows.block_size)
        if not np.isfinite(flat).all():
            flat = np.where(np.isfinite(flat), flat, 0.0)
        if self.factor.status.size == 1 and flat.ndim > 2:
            # One matrix for all: its right-hand sides are columns, not problems.
            shape = np.broadcast_shapes(flat.shape[:-2], self.factor.status.shape)
            columns = np.moveaxis(flat.reshape(-1, *flat.shape[-2:]), 0, -1)
            one = self.factor.flat()
            out = np.moveaxis(one.solve(columns, columns=True, on_failure="status"), -1, 0)
            return np.ascontiguousarray(out).reshape(*shape, *core)
        out = self.factor.solve(flat, columns=False, on_failure="status")
        return out.reshape(*out.shape[:-2], *core[:1], *core[1:])


def _hide(values: Array, failed: NDArray[np.bool_], trailing: int) -> Array:
    if not failed.any():
        return values
    return np.where(failed.reshape(failed.shape + (1,) * trailing), np.nan, values)


def factorize(
    c: ArrayLike,
    s: ArrayLike,
    *,
    n_initial_steps: int = 1,
    n_initial_orders: int | None = None,
    measured: ArrayLike | None = None,
    weight_governing: Any = 1.0,
    weight_initial: Any = 1.0,
    weight_smooth: Any = 1.0,
    n_steps: int | None = None,
    method: str = "sweep",
) -> LinearODEFactor:
    """Factorise the left-hand side of a linear ODE, for right-hand sides that come later.

    Parameters
    ----------
    c : array (..., T or 1, Q, V, R+1)
        Coefficients.
    s : array (..., T-1 or 1)
        Positive time steps.
    n_initial_steps : int, default 1
        T_init, how many times u will have values for.
    n_initial_orders : int, optional
        R_init + 1, how many derivatives u will have. By default the order of the ODE: the highest
        derivative that has a nonzero coefficient, and at least 1.
    measured : bool array broadcasting to (..., T_init, V, R_init+1), optional
        False where u will be NaN, that is "not measured". By default all True.
    weight_governing, weight_initial, weight_smooth : float or array
        As in `LinearODEProblem`.
    n_steps : int, optional
        T, needed only when c and s both have a time axis of size 1.
    method : {"sweep", "lapack"}
        The block-tridiagonal algorithm.

    Returns
    -------
    LinearODEFactor
        With ``solve(d, u)``, ``adjoint(g)`` and ``green()``.

    Raises
    ------
    ValueError, TypeError
        As `LinearODEProblem` does.

    Examples
    --------
    >>> import numpy as np
    >>> op = factorize(np.array([[[[1.0, 1.0, 0.0]]]]), np.full(100, 0.01))  # y' + y = d
    >>> y = op.solve(d=np.zeros((1, 1)), u=[[[1.0]]])
    >>> print(y[-1, 0, 0].round(5), np.exp(-1.0).round(5))
    0.36788 0.36788
    """
    c_values = np.array(to_numpy(c), dtype=np.float64)  # a copy: the factor outlives this call
    if c_values.ndim < 4:
        raise ValueError(f"c must have shape (..., T or 1, Q, V, R+1), got {c_values.shape}.")
    if n_initial_orders is None:
        used = np.nonzero(np.any(c_values != 0, axis=tuple(range(c_values.ndim - 1))))[0]
        n_initial_orders = max(int(used[-1]) if used.size else 1, 1)
    for name, value in (
        ("n_initial_steps", n_initial_steps),
        ("n_initial_orders", n_initial_orders),
    ):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"{name} must be a whole number >= 1, got {value!r}.")
    core = (n_initial_steps, c_values.shape[-2], n_initial_orders)
    u = np.zeros(core)
    if measured is not None:
        mask = np.asarray(measured, dtype=bool)
        try:
            mask = np.broadcast_to(mask, np.broadcast_shapes(mask.shape, core))
        except ValueError:
            mask = mask[None]
        if mask.shape[-3:] != core:
            raise ValueError(
                f"measured must broadcast to (..., T_init, V, R_init+1) = (..., {core}), got "
                f"{np.shape(measured)}."
            )
        u = np.where(mask, 0.0, np.nan)
    d = np.zeros((n_steps or 1, c_values.shape[-3]))
    problem = LinearODEProblem(
        c_values, d, u, np.array(to_numpy(s)), weight_governing, weight_initial, weight_smooth
    )
    return factorize_problem(problem, method)[0]


def factorize_problem(
    problem: LinearODEProblem, method: str = "sweep"
) -> tuple[LinearODEFactor, Array, Array]:
    """Factorise a problem's left-hand side in numpy; return it with d and u, float64, no NaN in u.

    Tensors lose their gradient history here: `gpu_solver.autograd` adds it back.
    """
    if problem.is_torch:
        problem = LinearODEProblem(
            *(to_numpy(getattr(problem, name)) for name in "cdus"),
            problem.weight_governing,
            problem.weight_initial,
            problem.weight_smooth,
        )
    rows, d, u = rows_of(problem)
    finite = np.isfinite(rows.c).all(axis=(-3, -2, -1)) & np.isfinite(rows.s).all(axis=-1)
    if not finite.all():
        rows = LeastSquaresRows(
            np.where(np.isfinite(rows.c), rows.c, 0.0),
            np.where(np.isfinite(rows.s), rows.s, 1.0),
            rows.governing,
            rows.initial,
            rows.smooth,
            rows.n_steps,
            rows.n_variables,
            rows.order,
        )
    with np.errstate(over="ignore", invalid="ignore"):
        diagonal, lower = rows.normal_blocks()
        factor = BlockTridiagonal(diagonal, lower).factorize(method)
    status = np.where(finite, factor.status, int(SolverStatus.NON_FINITE_INPUT))
    return LinearODEFactor(rows, factor, status), d, u
