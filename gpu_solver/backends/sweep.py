"""Sequential block Cholesky in compiled loops: for small systems, and in support of others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_solver.backends.base import BlockTridiagonalBackend, relative_pivot_floor
from gpu_solver.fused.cache import ANY_SIZE, kernels
from gpu_solver.fused.descriptors import address, addresses
from gpu_solver.status import SolverStatus

__all__ = ["SweepBackend", "SweepState", "cholesky", "mark_failures", "substitute"]


@dataclass(frozen=True)
class SweepState:
    """Blocks of the lower Cholesky factor of M, on and below its diagonal."""

    diagonal: NDArray[np.float64]
    lower: NDArray[np.float64]


class SweepBackend(BlockTridiagonalBackend):
    """Block Cholesky from the first step to the last (paper section 3.2), O(T n^3) per problem."""

    name = "sweep"
    has_selected_inverse = True
    checks_input = True

    def factorize(
        self, diagonal: NDArray[np.float64], lower: NDArray[np.float64]
    ) -> tuple[SweepState, NDArray[np.int64]]:
        """Factorise all problems, one after the other."""
        state = SweepState(diagonal.copy(), lower.copy())
        status, pivot_ratio = cholesky(state.diagonal, state.lower)
        if status.any() or pivot_ratio.min(initial=1.0) < relative_pivot_floor(diagonal.shape[-1]):
            mark_failures(state, status, pivot_ratio, diagonal, lower)
        return state, status

    def solve(
        self, state: SweepState, which: NDArray[np.int64] | None, rhs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Substitute forward and backward."""
        out = rhs.copy()
        substitute(state.diagonal, state.lower, out, which)
        return out

    def log_determinant(self, state: SweepState) -> NDArray[np.float64]:
        """Sum over the pivots."""
        pivots = np.diagonal(state.diagonal, axis1=-2, axis2=-1)
        return 2.0 * np.log(pivots).sum(axis=(-2, -1))

    def selected_inverse(
        self, state: SweepState
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sweep backward for the blocks of the inverse."""
        from gpu_solver.backends import sweep_kernels

        diagonal = np.empty_like(state.diagonal)
        lower = np.empty_like(state.lower)
        sweep_kernels.selected_inverse(state.diagonal, state.lower, diagonal, lower)
        return diagonal, lower


def cholesky(
    diagonal: NDArray[np.float64], lower: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Replace contiguous blocks (p, T, n, n), (p, T-1, n, n) by those of their Cholesky factor.

    Returns
    -------
    status : int array (p,)
        3 for a problem that breaks down, and is abandoned; else 0.
    pivot_ratio : array (p,)
        Smallest pivot relative to the diagonal entry it came from: a measure of the digits lost.
    """
    problems, steps, n = diagonal.shape[:3]
    status, pivot_ratio = np.zeros(problems, dtype=np.int64), np.ones(problems)
    kernels("plain", ANY_SIZE)["factorize_blocks"](
        *addresses(diagonal, lower), problems, steps, n, *addresses(status, pivot_ratio)
    )
    return status, pivot_ratio


def substitute(
    diagonal: NDArray[np.float64],
    lower: NDArray[np.float64],
    rhs: NDArray[np.float64],
    which: NDArray[np.int64] | None = None,
) -> None:
    """Overwrite contiguous rhs (m, T, n, K) by the solution; ``which`` (m,) are the factors."""
    problems, steps, n, columns = rhs.shape
    factors = np.arange(problems) if which is None else np.ascontiguousarray(which, np.int64)
    kernels("plain", ANY_SIZE)["solve_blocks"](
        *addresses(diagonal, lower, factors), problems, steps, n, columns, address(rhs)
    )


def mark_failures(
    state: SweepState,
    status: NDArray[np.int64],
    pivot_ratio: NDArray[np.float64],
    diagonal: NDArray[np.float64],
    lower: NDArray[np.float64],
) -> None:
    """Tell why problems broke down, or that they lost digits, and make their factors harmless."""
    n = diagonal.shape[-1]
    status[(status == 0) & (pivot_ratio < relative_pivot_floor(n))] = SolverStatus.ILL_CONDITIONED
    failed = status == SolverStatus.NOT_POSITIVE_DEFINITE
    for p in np.flatnonzero(failed):
        if not (np.isfinite(diagonal[p]).all() and np.isfinite(lower[p]).all()):
            status[p] = int(SolverStatus.NON_FINITE_INPUT)
    # A failed problem becomes the identity: later sweeps over it stay finite and silent.
    state.diagonal[failed] = np.eye(n)
    state.lower[failed] = 0.0
