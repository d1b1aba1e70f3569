"""Sequential block Cholesky in compiled loops: the default on CPU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_solver.backends.base import BlockTridiagonalBackend, relative_pivot_floor
from gpu_solver.status import SolverStatus

__all__ = ["SweepBackend", "SweepState"]


@dataclass(frozen=True)
class SweepState:
    """Blocks of the lower Cholesky factor of M, on and below its diagonal."""

    diagonal: NDArray[np.float64]
    lower: NDArray[np.float64]


class SweepBackend(BlockTridiagonalBackend):
    """Block Cholesky from the first step to the last (paper section 3.2), O(T n^3) per problem."""

    name = "sweep"
    has_selected_inverse = True

    def factorize(
        self, diagonal: NDArray[np.float64], lower: NDArray[np.float64]
    ) -> tuple[SweepState, NDArray[np.int64]]:
        """Factorise all problems, one after the other."""
        from gpu_solver.backends import sweep_kernels

        state = SweepState(diagonal.copy(), lower.copy())
        status = np.zeros(len(diagonal), dtype=np.int64)
        pivot_ratio = np.ones(len(diagonal))
        sweep_kernels.factorize(state.diagonal, state.lower, status, pivot_ratio)
        floor = relative_pivot_floor(diagonal.shape[-1])
        status[(status == 0) & (pivot_ratio < floor)] = SolverStatus.ILL_CONDITIONED
        # A failed problem becomes the identity: later sweeps over it stay finite and silent.
        failed = status == SolverStatus.NOT_POSITIVE_DEFINITE
        state.diagonal[failed] = np.eye(diagonal.shape[-1])
        state.lower[failed] = 0.0
        return state, status

    def solve(
        self, state: SweepState, which: NDArray[np.int64], rhs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Substitute forward and backward."""
        from gpu_solver.backends import sweep_kernels

        sweep_kernels.solve(state.diagonal, state.lower, which, rhs)
        return rhs

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
