"""What every factorised left-hand side offers, whatever the algorithm behind it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpu_solver.arrays import is_torch, to_numpy
from gpu_solver.assembly import LeastSquaresRows
from gpu_solver.status import SolverStatus, check_on_failure, raise_for_status, warn_not_converged

__all__ = ["GreenOperator", "ODEOperator", "hide_failed"]

#: Times up to which the explicit solution operator pays.
LONGEST_GREEN = 256

Array = NDArray[np.float64]
Codes = NDArray[np.int64]


def hide_failed(values: Array, status: Codes, trailing: int) -> Array:
    """Put NaN where the problem has no answer; values has ``trailing`` axes after the batch."""
    failed = (status == SolverStatus.NOT_POSITIVE_DEFINITE) | (
        status == SolverStatus.NON_FINITE_INPUT
    )
    if not failed.any():
        return values
    return np.where(failed.reshape(failed.shape + (1,) * trailing), np.nan, values)


@dataclass(frozen=True, eq=False)
class GreenOperator:
    """The answer as an explicit affine map of d and u: ``y = on_d d + on_u u + offset``.

    Attributes
    ----------
    on_d : array (..., T, V, R+1, T, Q)
    on_u : array (..., T, V, R+1, T_init, V, R_init+1)
    offset : array (..., T, V, R+1)
        Zero but for the original MNN.
    """

    on_d: Array
    on_u: Array
    offset: Array

    def apply(self, d: ArrayLike, u: ArrayLike) -> Array:
        """Return y (..., T, V, R+1) for d (..., T, Q) and u (..., T_init, V, R_init+1)."""
        d, u = np.asarray(d, dtype=np.float64), np.asarray(u, dtype=np.float64)
        steps, equations = self.on_d.shape[-2:]
        for name, value, core in (
            ("d", d, (steps, equations)),
            ("u", u, self.on_u.shape[-3:]),
        ):
            if value.shape[-len(core) :] != core:
                raise ValueError(f"{name} must have shape (..., {core}), got {value.shape}.")
        from_d: Array = np.einsum("...tvraq,...aq->...tvr", self.on_d, d, optimize=True)
        from_u: Array = np.einsum("...tvrawp,...awp->...tvr", self.on_u, u, optimize=True)
        return from_d + from_u + self.offset


@dataclass(frozen=True, eq=False)
class ODEOperator(ABC):
    """A factorised left-hand side (c, s and weights): solves for many d and u.

    Attributes
    ----------
    rows : LeastSquaresRows
        Coefficients, steps and squared weights.
    status : int array
        `SolverStatus` codes of the factorisation, in the batch shape of the left-hand side.
    """

    rows: LeastSquaresRows
    status: Codes
    #: Whether y is a linear map of d and u, found to full accuracy.
    is_linear: ClassVar[bool] = False

    @abstractmethod
    def solve_with_report(
        self, d: Array, u: Array
    ) -> tuple[Array, Codes, tuple[Codes, Array] | None]:
        """Return y, status and (iterations, residual) or None, for checked d and u without NaN.

        Problems without an answer are NaN in y.
        """

    @abstractmethod
    def gradients(
        self, gradient: Array, d: Array, u: Array, y: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Return dl/dc, dl/dd, dl/du, dl/ds from dl/dy, not summed over what was broadcast."""

    @abstractmethod
    def _adjoint(self, gradient: Array) -> tuple[Array, Array]:
        """Return dl/dd and dl/du."""

    def solve(self, d: Any, u: Any, *, on_failure: str = "raise") -> Any:
        """Solve for y (..., T, V, R+1).

        Parameters
        ----------
        d : array or Tensor (..., T or 1, Q)
            Leading axes are any number of right-hand sides; they broadcast with the batch. Of one
            left-hand side with T up to 256, many of them are solved by one matrix product. With
            tensors the answer is one, differentiable in d and u.
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

        Warns
        -----
        RuntimeWarning
            If an iterative method did not converge and ``on_failure="raise"``.
        """
        check_on_failure(on_failure)
        checked_d, checked_u = self._check_d(d), self._check_u(u)
        y: Any
        if is_torch(d) or is_torch(u):
            from gpu_solver.operator_autograd import solve_tensors

            y, status = solve_tensors(self, d, u)
        else:
            y, status = self._solve_checked(checked_d, checked_u)
        if on_failure == "raise":
            raise_for_status(status, "solve")
            warn_not_converged(status != SolverStatus.NOT_CONVERGED, "the iteration")
        return y

    def _solve_checked(self, d: Array, u: Array) -> tuple[Array, Codes]:
        """Solve for checked arrays, by one matrix product where that costs less."""
        if self._use_matrix(d.shape, u.shape):
            from gpu_solver.fused.shared import product

            batch = np.broadcast_shapes(d.shape[:-2], u.shape[:-3], self.status.shape)
            wide = np.broadcast_to(d, (*d.shape[:-2], self.rows.n_steps, d.shape[-1]))
            return product(self._matrix, self._core, wide, u, batch, int(self.status.max()))
        return self.solve_many(d, u)

    def solve_many(self, d: Array, u: Array) -> tuple[Array, Codes]:
        """Solve for checked d and u without NaN, in the fastest way there is."""
        y, status, _ = self.solve_with_report(d, u)
        return y, status

    @property
    def _core(self) -> tuple[int, int, int]:
        return self.rows.n_steps, self.rows.n_variables, self.rows.order + 1

    @cached_property
    def _matrix(self) -> Array:
        """Transposed Green operator (entries of d and u, entries of y); belongs to this factor."""
        green = self.green()
        size = int(np.prod(self._core))
        parts = [green.on_d.reshape(size, -1), green.on_u.reshape(size, -1)]
        return np.ascontiguousarray(np.concatenate(parts, axis=1).T)

    def _use_matrix(self, d_shape: tuple[int, ...], u_shape: tuple[int, ...]) -> bool:
        """Whether right-hand sides are so many that the explicit operator pays, or it is there."""
        rows = self.rows
        if not self.is_linear or rows.n_steps > LONGEST_GREEN or self.status.size != 1:
            return False
        if int(self.status.max()) >= int(SolverStatus.ILL_CONDITIONED):
            return False
        batch = np.broadcast_shapes(d_shape[:-2], u_shape[:-3])
        columns = rows.n_steps * rows.c.shape[-2] + int(np.prod(rows.initial.shape[-3:]))
        return "_matrix" in vars(self) or int(np.prod(batch, dtype=np.int64)) * 2 >= columns

    def adjoint(self, g: ArrayLike, *, on_failure: str = "raise") -> tuple[Array, Array]:
        """Apply the transpose of `solve`: from dl/dy (..., T, V, R+1) to (dl/dd, dl/du).

        Returns
        -------
        dd : array (..., T, Q)
        du : array (..., T_init, V, R_init+1)

        Raises
        ------
        ValueError
            If g does not fit or is not finite.
        SolverError
            If a problem has no factor and ``on_failure="raise"``.
        """
        check_on_failure(on_failure)
        gradient = np.asarray(g, dtype=np.float64)
        core = (self.rows.n_steps, self.rows.n_variables, self.rows.order + 1)
        if gradient.shape[-3:] != core:
            raise ValueError(
                f"g must have shape (..., T, V, R+1) with (T, V, R+1) = {core}, "
                f"got {gradient.shape}."
            )
        if not np.isfinite(gradient).all():
            raise ValueError("g must be finite, got NaN or infinity; set those entries to 0.")
        if on_failure == "raise":
            raise_for_status(self.status, "adjoint")
        dd, du = self._adjoint(gradient)
        return hide_failed(dd, self.status, 2), hide_failed(du, self.status, 3)

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
        SolverError
            If a problem has no factor.
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
        no_d, no_u = np.zeros((1, equations)), np.zeros(initial)
        raise_for_status(self.status, "green")
        # Never by a matrix product: this is what makes the matrix.
        offset = self.solve_with_report(no_d, no_u)[0]
        on_d = np.moveaxis(self.solve_with_report(d, no_u)[0] - offset, 0, -1)
        on_u = np.moveaxis(self.solve_with_report(no_d, u)[0] - offset, 0, -1)
        core = (steps, rows.n_variables, rows.order + 1)
        batch = self.status.shape
        return GreenOperator(
            on_d.reshape(*batch, *core, steps, equations),
            on_u.reshape(*batch, *core, *initial),
            offset,
        )

    def _check_d(self, d: Any) -> Array:
        array = np.asarray(to_numpy(d), dtype=np.float64)
        steps, equations = self.rows.n_steps, self.rows.c.shape[-2]
        fits = array.ndim >= 2 and array.shape[-1] == equations and array.shape[-2] in (1, steps)
        if not fits:
            raise ValueError(
                f"d must have shape (..., T or 1, Q) with T = {steps}, Q = {equations}, "
                f"got {array.shape}."
            )
        self._check_batch("d", array.shape[:-2])
        return array

    def _check_u(self, u: Any) -> Array:
        array = np.asarray(to_numpy(u), dtype=np.float64)
        core = self.rows.initial.shape[-3:]
        if array.ndim < 3 or array.shape[-3:] != core:
            raise ValueError(
                f"u must have shape (..., T_init, V, R_init+1) with {core} as given to "
                f"factorize(), got {array.shape}."
            )
        self._check_batch("u", array.shape[:-3])
        unknown = np.isnan(array)
        if unknown.any():
            if (unknown & (self.rows.initial > 0)).any():
                raise ValueError(
                    "u is NaN where factorize() was told that it is measured; pass the pattern "
                    "to factorize(measured=~np.isnan(u))."
                )
            array = np.where(unknown, 0.0, array)
        return array

    def _check_batch(self, name: str, shape: tuple[int, ...]) -> None:
        try:
            np.broadcast_shapes(shape, self.status.shape)
        except ValueError:
            raise ValueError(
                f"the batch axes of {name} {shape} do not broadcast with those of the "
                f"factorisation {self.status.shape}."
            ) from None
