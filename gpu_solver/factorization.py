"""Factorise a linear ODE once, solve it for any number of right-hand sides."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpu_solver.arrays import to_numpy
from gpu_solver.assembly import LeastSquaresRows, rows_of
from gpu_solver.block_tridiagonal import BlockTridiagonal, BlockTridiagonalFactor
from gpu_solver.ode_operator import ODEOperator, hide_failed
from gpu_solver.problem import LinearODEProblem
from gpu_solver.refinement import refine
from gpu_solver.status import SolverStatus

__all__ = ["LinearODEFactor", "factorize", "factorize_problem", "lost_digits"]

#: Blocks up to this size are unrolled by the generated code of `gpu_solver.fused`.
FUSED_BLOCK = 12
#: Times in the whole batch from which that code, compiled once for every size of block and kept on
#: disk, is worth its compilation.
FUSED_TIMES = 2048

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LinearODEFactor(ODEOperator):
    """The factorised normal matrix of a linear ODE; every solve is refined with A's residual.

    Attributes
    ----------
    rows : LeastSquaresRows
        A and W^2.
    status : int array
        Codes of the factorisation, in the batch shape of the left-hand side.
    factor : BlockTridiagonalFactor
        The factorised normal matrix M, with ``log_determinant`` and ``selected_inverse``.
    generated : bool
        Whether `solve` and `adjoint` may leave the factor aside and eliminate again in generated
        code where that is faster; "auto" allows it.
    """

    factor: BlockTridiagonalFactor
    generated: bool = False
    is_linear = True

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
        return hide_failed(y, status, 3), status

    def solve_many(self, d: Array, u: Array) -> tuple[Array, Codes]:
        """As `solve_with_status`, by generated code if this factor may use it and it pays."""
        if not self._prefers_fused(np.broadcast_shapes(d.shape[:-2], u.shape[:-3])):
            return self.solve_with_status(d, u)
        from gpu_solver.fused.solver import solve_views
        from gpu_solver.fused.views import views_of_rows

        views, batch = views_of_rows(self.rows, d, u)
        y, status = solve_views(views)
        y, status = y.reshape(*batch, *y.shape[1:]), status.reshape(batch)
        status = np.maximum(status, self.status)
        return hide_failed(y, status, 3), status

    def _prefers_fused(self, batch: tuple[int, ...]) -> bool:
        """Whether to eliminate again in generated code costs less than to read the factor back."""
        batch = np.broadcast_shapes(batch, self.status.shape)
        times = int(np.prod(batch, dtype=np.int64)) * self.rows.n_steps
        return self.generated and self.rows.block_size <= FUSED_BLOCK and times >= FUSED_TIMES

    def solve_with_report(self, d: Array, u: Array) -> tuple[Array, Codes, None]:
        """Return y, status and, as there is no iteration to report on, None."""
        return (*self.solve_with_status(d, u), None)

    def _adjoint(self, gradient: Array) -> tuple[Array, Array]:
        rows = self.rows
        if self._prefers_fused(gradient.shape[:-3]):
            from gpu_solver.fused.solver import gradients_of
            from gpu_solver.fused.views import views_of_rows

            lead = gradient.shape[:-3]
            d = np.broadcast_to(0.0, (*lead, rows.n_steps, rows.c.shape[-2]))
            u = np.broadcast_to(0.0, (*lead, *rows.initial.shape[-3:]))
            views, batch = views_of_rows(rows, d, u)
            core = gradient.shape[-3:]
            flat = np.broadcast_to(gradient, batch + core).reshape(-1, *core)
            nothing, needs = np.zeros(flat.shape), (False, True, True, False)
            found = gradients_of(views, nothing, flat, needs, (np.float64,) * 4)
            return (
                np.asarray(found.d).reshape(*batch, *d.shape[-2:]),
                np.asarray(found.u).reshape(*batch, *u.shape[-3:]),
            )
        h = self.rows.weigh(self.rows.multiply(self.solve_adjoint(gradient)))
        return h.governing, h.initial

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
    method: str = "auto",
    **options: Any,
) -> ODEOperator:
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
    method : {"auto", "sweep", "lapack", "qr", "mnn_dense", "mnn_conjugate_gradient"}
        "auto" takes block Cholesky in the form that is fastest for these sizes, tries it, and
        takes "qr" if that lost digits. The next three factorise S-MNN's block-tridiagonal matrix,
        and their result also has its ``factor``; "qr" does so without forming it, for
        ill-conditioned problems. The others are the original MNN.
    **options
        For the original MNN, as in `solve`.

    Returns
    -------
    ODEOperator
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
    >>> print(y[-1, 0, 0].round(4), np.exp(-1.0).round(4))
    0.3679 0.3679
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
    if method in ("mnn_dense", "mnn_conjugate_gradient"):
        from gpu_solver.backends.mnn import factorize_mnn

        return factorize_mnn(problem, method, **options)[0]
    if method not in ("auto", "sweep", "lapack", "qr"):
        raise ValueError(
            "method must be 'auto', 'sweep', 'lapack', 'qr', 'mnn_dense' or "
            f"'mnn_conjugate_gradient' for factorize(), got {method!r}."
        )
    if options:
        raise TypeError(f"method {method!r} takes no options, got {sorted(options)}.")
    if method != "auto":
        return factorize_problem(problem, method)[0]
    factor = factorize_problem(problem, "auto")[0]
    # How many digits the factor lost shows only when it is used.
    trial = factor.solve_with_status(np.ones_like(d), np.where(np.isnan(u), 0.0, 1.0))[1]
    if lost_digits(trial):
        return factorize_problem(problem, "qr")[0]
    return replace(factor, generated=True)


def lost_digits(status: Codes) -> bool:
    """Whether rounding in M spoilt an answer, or may be why there is none."""
    codes = (SolverStatus.ILL_CONDITIONED, SolverStatus.NOT_POSITIVE_DEFINITE)
    return bool(np.isin(status, [int(code) for code in codes]).any())


def factorize_problem(
    problem: LinearODEProblem, method: str = "sweep"
) -> tuple[LinearODEFactor, Array, Array]:
    """Factorise a problem's left-hand side in numpy; return it with d and u, float64, no NaN in u.

    Methods are "qr" and those of `BlockTridiagonal.factorize`. For one use of the factor of few
    small blocks "sweep" is best, which loads no compiler.
    Tensors lose their gradient history here: `gpu_solver.autograd` adds it back.
    """
    rows, d, u = rows_of(problem.numpy())
    finite = np.isfinite(rows.c).all(axis=(-3, -2, -1)) & np.isfinite(rows.s).all(axis=-1)
    if not finite.all():
        rows = replace(
            rows,
            c=np.where(np.isfinite(rows.c), rows.c, 0.0),
            s=np.where(np.isfinite(rows.s), rows.s, 1.0),
        )
    with np.errstate(over="ignore", invalid="ignore"):
        system = BlockTridiagonal(*rows.normal_blocks())
        if method == "qr":
            factor = _factorize_by_qr(rows, system)
        else:  # a sweep over large blocks takes BLAS
            large = method == "sweep" and system.block_size > FUSED_BLOCK
            factor = system.factorize("auto" if large else method)
    status = np.where(finite, factor.status, int(SolverStatus.NON_FINITE_INPUT))
    return LinearODEFactor(rows, status, factor), d, u


def _factorize_by_qr(rows: LeastSquaresRows, system: BlockTridiagonal) -> BlockTridiagonalFactor:
    """Put the triangular factor of A in the place of M's Cholesky factor."""
    from gpu_solver.backends.qr import QRBackend

    backend = QRBackend()
    state, status = backend.factorize_rows(rows, system.diagonal)
    finite = np.isfinite(system.diagonal).all(axis=(-3, -2, -1))
    status = status.reshape(system.batch_shape)
    status = np.where(finite, status, int(SolverStatus.NON_FINITE_INPUT))
    return BlockTridiagonalFactor(system, status, "qr", backend, state)
