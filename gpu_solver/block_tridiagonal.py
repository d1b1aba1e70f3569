"""Symmetric positive definite block-tridiagonal systems, and their factorisation as a value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpu_solver.backends.base import BlockTridiagonalBackend
from gpu_solver.backends.checks import all_finite, asymmetric
from gpu_solver.backends.choice import fastest, get_backend
from gpu_solver.status import SolverStatus, check_on_failure, raise_for_status

__all__ = ["BlockTridiagonal", "BlockTridiagonalFactor"]

Array = NDArray[np.float64]


def _as_float64(value: ArrayLike, name: str) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must be an array of real numbers, got dtype {array.dtype}; "
            "convert it to float64 first."
        )
    return array.astype(np.float64, copy=False)


def _read_only(array: Array, batch: tuple[int, ...]) -> Array:
    """A view of blocks with these batch axes, by which nobody can write them."""
    if array.shape[:-3] != batch:
        return np.broadcast_to(array, batch + array.shape[-3:])
    view = array.view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class BlockTridiagonal:
    """The symmetric matrix with blocks M_{t,t} on and M_{t+1,t} below its diagonal.

    Parameters
    ----------
    diagonal : array (..., T, n, n)
        M_{t,t}. Symmetric; only its lower triangle is used by the Cholesky backends.
    lower : array (..., T-1, n, n)
        M_{t+1,t}; M_{t,t+1} is its transpose. Leading axes broadcast against those of
        ``diagonal``: any number of them, one problem each.

    Raises
    ------
    TypeError
        If an argument is not an array of real numbers.
    ValueError
        If the shapes do not fit each other, or ``diagonal`` is not symmetric.

    Notes
    -----
    Values that are not finite are no error here: they are one problem's
    `SolverStatus.NON_FINITE_INPUT`, so that its neighbours are solved all the same.

    Examples
    --------
    >>> import numpy as np
    >>> system = BlockTridiagonal(4.0 * np.ones((3, 1, 1)), -np.ones((2, 1, 1)))
    >>> factor = system.factorize()
    >>> print(factor.solve(system.matmul(np.array([[1.0], [2.0], [3.0]]))).ravel())
    [1. 2. 3.]
    >>> round(float(np.exp(factor.log_determinant())), 6)
    56.0
    """

    diagonal: Array
    lower: Array

    def __post_init__(self) -> None:
        diagonal = _as_float64(self.diagonal, "diagonal")
        lower = _as_float64(self.lower, "lower")
        if (
            diagonal.ndim < 3
            or diagonal.shape[-1] != diagonal.shape[-2]
            or 0 in diagonal.shape[-3:]
        ):
            raise ValueError(
                f"diagonal must have shape (..., T, n, n) with T, n >= 1, got {diagonal.shape}."
            )
        steps, n = diagonal.shape[-3], diagonal.shape[-1]
        if lower.shape[-3:] != (steps - 1, n, n):
            raise ValueError(
                f"lower must have shape (..., T-1, n, n) = (..., {steps - 1}, {n}, {n}) to fit "
                f"diagonal {diagonal.shape}, got {lower.shape}."
            )
        batch = diagonal.shape[:-3]
        try:
            if lower.shape[:-3] != batch:
                batch = np.broadcast_shapes(batch, lower.shape[:-3])
        except ValueError:
            raise ValueError(
                f"the batch axes of diagonal {diagonal.shape} and lower {lower.shape} do not "
                "broadcast; give both the same leading axes."
            ) from None
        if n > 1 and asymmetric(diagonal):
            raise ValueError(
                "diagonal must hold symmetric blocks, got blocks that differ from their transpose "
                "by more than 1e-8 of their size; pass 0.5 * (D + D^T) if that is what you mean."
            )
        object.__setattr__(self, "diagonal", _read_only(diagonal, batch))
        object.__setattr__(self, "lower", _read_only(lower, batch))

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Leading axes: one problem each."""
        return self.diagonal.shape[:-3]

    @property
    def n_steps(self) -> int:
        """Number of block rows, T."""
        return self.diagonal.shape[-3]

    @property
    def block_size(self) -> int:
        """Rows of a block, n."""
        return self.diagonal.shape[-1]

    def matmul(self, x: ArrayLike, *, columns: bool | None = None) -> Array:
        """Multiply M by x (..., T, n) or (..., T, n, K); the result has the same shape."""
        matrix, is_matrix = _columns_last(x, self, columns, "x")
        out = self.diagonal @ matrix
        out[..., 1:, :, :] += self.lower @ matrix[..., :-1, :, :]
        out[..., :-1, :, :] += np.swapaxes(self.lower, -1, -2) @ matrix[..., 1:, :, :]
        return out if is_matrix else out[..., 0]

    def dense(self) -> Array:
        """Return the matrix in full, (..., T n, T n): for oracles and small systems."""
        steps, n = self.n_steps, self.block_size
        out = np.zeros((*self.batch_shape, steps, n, steps, n))
        for t in range(steps):
            out[..., t, :, t, :] = self.diagonal[..., t, :, :]
        for t in range(steps - 1):
            out[..., t + 1, :, t, :] = self.lower[..., t, :, :]
            out[..., t, :, t + 1, :] = np.swapaxes(self.lower[..., t, :, :], -1, -2)
        return out.reshape(*self.batch_shape, steps * n, steps * n)

    def factorize(self, method: str = "auto") -> BlockTridiagonalFactor:
        """Factorise once, for any number of right-hand sides.

        Parameters
        ----------
        method : {"auto", "segments", "sweep", "blocked", "lapack", "cyclic_reduction"}
            "segments" eliminates eight problems, or segments of time of few problems, at once in
            SIMD registers, on all cores. "sweep" is compiled sequential block Cholesky, "blocked"
            the same with BLAS inside the blocks, "lapack" LAPACK's banded Cholesky, without a
            selected inverse, and "cyclic_reduction" runs on torch. "auto" takes "segments" but
            for systems so small that its overhead shows ("sweep") and few problems of large
            blocks ("blocked").

        Returns
        -------
        BlockTridiagonalFactor
            It never raises for numerical reasons here: read ``status``, or let ``solve`` raise.
        """
        batch = self.batch_shape
        if method == "auto":
            method = fastest(math.prod(batch), self.n_steps, self.block_size)
        backend = get_backend(method)
        diagonal = np.ascontiguousarray(self.diagonal).reshape(-1, *self.diagonal.shape[-3:])
        lower = np.ascontiguousarray(self.lower).reshape(len(diagonal), *self.lower.shape[-3:])
        if backend.checks_input or (all_finite(diagonal) and all_finite(lower)):
            state, status = backend.factorize(diagonal, lower)
        else:
            core = (1, 2, 3)
            finite = np.isfinite(diagonal).all(axis=core) & np.isfinite(lower).all(axis=core)
            diagonal, lower = diagonal.copy(), lower.copy()
            diagonal[~finite] = np.eye(self.block_size)
            lower[~finite] = 0.0
            state, status = backend.factorize(diagonal, lower)
            status = np.where(finite, status, int(SolverStatus.NON_FINITE_INPUT))
        status = status.reshape(batch)
        status.flags.writeable = False
        return BlockTridiagonalFactor(self, status, method, backend, state)


def _columns_last(
    x: ArrayLike, system: BlockTridiagonal, columns: bool | None, name: str
) -> tuple[Array, bool]:
    """Return x as (..., T, n, K), and whether it came with its K axis."""
    array = _as_float64(x, name)
    block = (system.n_steps, system.block_size)
    fits_vector = array.ndim >= 2 and array.shape[-2:] == block
    fits_matrix = array.ndim >= 3 and array.shape[-3:-1] == block
    if columns is None and fits_vector and fits_matrix:
        # T = n = K: only the number of axes can tell.
        extra = array.ndim - len(system.batch_shape)
        if extra not in (2, 3):
            raise ValueError(
                f"{name} {array.shape} can be read as vectors or as K columns; say which with "
                "columns=False or columns=True."
            )
        fits_vector, fits_matrix = extra == 2, extra == 3
    wanted = fits_matrix if columns is None else columns
    if not (fits_matrix if wanted else fits_vector):
        raise ValueError(
            f"{name} must have shape (..., T, n) or (..., T, n, K) with (T, n) = {block}, "
            f"got {array.shape}" + ("." if columns is None else f" with columns={columns}.")
        )
    try:
        if (lead := array.shape[: -3 if wanted else -2]) != system.batch_shape:
            np.broadcast_shapes(lead, system.batch_shape)
    except ValueError:
        raise ValueError(
            f"the batch axes of {name} {array.shape} do not broadcast against the system's "
            f"{system.batch_shape}."
        ) from None
    return (array, True) if wanted else (array[..., None], False)


@dataclass(frozen=True, eq=False)
class BlockTridiagonalFactor:
    """A factorised `BlockTridiagonal`: keep it and solve as often as you like.

    Attributes
    ----------
    system : BlockTridiagonal
        The matrix M.
    status : int array, the batch's shape
        `SolverStatus` codes. Operations raise `SolverError` when a problem failed, or with
        ``on_failure="status"`` return NaN for the failed problems alone.
    method : str
        The algorithm that made it.
    """

    system: BlockTridiagonal
    status: NDArray[np.int64]
    method: str
    _backend: BlockTridiagonalBackend = field(repr=False)
    _state: Any = field(repr=False)

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which problems have no factor."""
        return self.status >= int(SolverStatus.NOT_POSITIVE_DEFINITE)

    def flat(self) -> BlockTridiagonalFactor:
        """Return the same factor of a batch of one, without its batch axes."""
        if self.status.size != 1:
            raise ValueError(f"flat() needs a batch of one, got {self.system.batch_shape}.")
        if not self.status.ndim:
            return self
        system = object.__new__(BlockTridiagonal)
        core = self.system.diagonal.shape[-3:]
        object.__setattr__(system, "diagonal", self.system.diagonal.reshape(core))
        object.__setattr__(system, "lower", self.system.lower.reshape(core[0] - 1, *core[1:]))
        return BlockTridiagonalFactor(
            system, self.status.reshape(()), self.method, self._backend, self._state
        )

    def raise_for_status(self) -> None:
        """Raise `SolverError` if any problem has no factor."""
        raise_for_status(self.status, "factorisation")

    def solve(
        self,
        rhs: ArrayLike,
        *,
        refine: int = 0,
        columns: bool | None = None,
        on_failure: str = "raise",
    ) -> Array:
        """Solve M x = rhs.

        Parameters
        ----------
        rhs : array (..., T, n) or (..., T, n, K)
            One vector, or K columns, per problem. Leading axes broadcast against the batch: many
            right-hand sides may share one factor. Must be finite.
        refine : int, default 0
            Steps of iterative refinement with the residual ``rhs - M x``.
        columns : bool or None
            Whether the last axis counts columns; None infers it from the shape, which only fails
            to tell when T = n = K.
        on_failure : {"raise", "status"}
            "status" returns NaN for failed problems, which `status` names.

        Returns
        -------
        array, the shape of rhs broadcast against the batch

        Raises
        ------
        ValueError
            If rhs does not fit or is not finite, or an option is unknown.
        SolverError
            If a problem failed and ``on_failure="raise"``.
        """
        check_on_failure(on_failure)
        if isinstance(refine, bool) or not isinstance(refine, (int, np.integer)) or refine < 0:
            raise ValueError(f"refine must be a whole number >= 0, got {refine!r}.")
        matrix, is_matrix = _columns_last(rhs, self.system, columns, "rhs")
        matrix = np.ascontiguousarray(matrix)
        if not all_finite(matrix):
            raise ValueError("rhs must be finite, got NaN or infinity; remove those entries.")
        if on_failure == "raise":
            self.raise_for_status()
        out = self._solve(matrix)
        for _ in range(refine):
            out = out + self._solve(matrix - self.system.matmul(out, columns=True))
        out = self._hide_failed(out, 3)
        return out if is_matrix else out[..., 0]

    def _solve(self, matrix: Array) -> Array:
        batch, which = self.system.batch_shape, None
        if matrix.shape[:-3] != batch:
            batch = np.broadcast_shapes(matrix.shape[:-3], batch)
        if matrix.shape[:-3] != batch:
            matrix = np.ascontiguousarray(np.broadcast_to(matrix, batch + matrix.shape[-3:]))
        if batch != self.system.batch_shape:
            factors = np.arange(self.status.size).reshape(self.system.batch_shape)
            which = np.ascontiguousarray(np.broadcast_to(factors, batch)).reshape(-1)
        folded = matrix.reshape(-1, *matrix.shape[-3:])
        return self._backend.solve(self._state, which, folded).reshape(matrix.shape)

    def _hide_failed(self, out: Array, trailing: int) -> Array:
        if self.status.max(initial=0) < int(SolverStatus.NOT_POSITIVE_DEFINITE):
            return out
        mask = self.failed.reshape(self.status.shape + (1,) * trailing)
        return np.where(mask, np.nan, out)

    def log_determinant(self, *, on_failure: str = "raise") -> Array:
        """Natural logarithm of det M, in the batch's shape. Raises as `solve` does."""
        check_on_failure(on_failure)
        if on_failure == "raise":
            self.raise_for_status()
        values = self._backend.log_determinant(self._state).reshape(self.status.shape)
        return self._hide_failed(values, 0)

    def selected_inverse(self, *, on_failure: str = "raise") -> tuple[Array, Array]:
        """Blocks of the inverse of M where M has blocks: its variances and lag-one covariances.

        Returns
        -------
        diagonal : array (..., T, n, n)
            Blocks (t, t) of the inverse.
        lower : array (..., T-1, n, n)
            Blocks (t+1, t) of the inverse.

        Raises
        ------
        SolverError
            If a problem failed and ``on_failure="raise"``.
        ValueError
            If the method has no selected inverse ("lapack" and "cyclic_reduction").
        """
        check_on_failure(on_failure)
        if on_failure == "raise":
            self.raise_for_status()
        diagonal, lower = self._backend.selected_inverse(self._state)
        return (
            self._hide_failed(diagonal.reshape(self.system.diagonal.shape), 3),
            self._hide_failed(lower.reshape(self.system.lower.shape), 3),
        )

    def variances(self, *, on_failure: str = "raise") -> Array:
        """Diagonal of the inverse of M, (..., T, n): variances, if M is a precision matrix.

        As ``selected_inverse`` finds it, but faster. Raises as that does.

        Examples
        --------
        >>> import numpy as np
        >>> system = BlockTridiagonal(4.0 * np.ones((2, 1, 1)), np.ones((1, 1, 1)))
        >>> print(system.factorize().variances().ravel().round(4), round(4 / 15, 4))
        [0.2667 0.2667] 0.2667
        """
        check_on_failure(on_failure)
        if on_failure == "raise":
            self.raise_for_status()
        values = self._backend.variances(self._state).reshape(self.system.diagonal.shape[:-1])
        return self._hide_failed(values, 2)
