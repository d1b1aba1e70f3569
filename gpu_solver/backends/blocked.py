"""Sequential block Cholesky with BLAS and LAPACK inside the blocks: for large blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gpu_solver.backends.base import relative_pivot_floor
from gpu_solver.backends.sweep import SweepBackend, SweepState, mark_failures
from gpu_solver.fused.threads import run_in_threads, thread_limit

__all__ = ["BlockedBackend"]

Array = NDArray[np.float64]

#: Multiplications below which a second thread costs more than it saves.
WORK_FOR_THREAD = 3e7


def _at(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def _run(count: int, work: float, task: Callable[[int, int], None]) -> None:
    if count == 1 or work < WORK_FOR_THREAD:
        task(0, count)
    else:
        run_in_threads(task, count, thread_limit())


class BlockedBackend(SweepBackend):
    """The sweep, with one call of BLAS or LAPACK for each product of blocks."""

    name = "blocked"

    def factorize(self, diagonal: Array, lower: Array) -> tuple[SweepState, NDArray[np.int64]]:
        """Factorise all problems; several at once if there are cores."""
        from gpu_solver.backends import blocked_kernels as kernels

        count, steps, n = diagonal.shape[:3]
        state = SweepState(diagonal.copy(), lower.copy())
        status, ratio = np.zeros(count, dtype=np.int64), np.ones(count)
        origin = np.ascontiguousarray(np.einsum("ptii->pti", diagonal))

        def task(first: int, stop: int) -> None:
            kernels.factorize(
                kernels.ROUTINES, kernels.ARGUMENTS, first, stop, _at(state.diagonal),
                _at(state.lower), origin, steps, kernels.numbers(n), status, ratio,
            )  # fmt: skip

        _run(count, float(count * steps * n**3), task)
        if status.any() or ratio.min(initial=1.0) < relative_pivot_floor(n):
            mark_failures(state, status, ratio, diagonal, lower)
        return state, status

    def solve(self, state: SweepState, which: NDArray[np.int64] | None, rhs: Array) -> Array:
        """Substitute forward and backward."""
        from gpu_solver.backends import blocked_kernels as kernels

        count, steps, n, columns = rhs.shape
        factors = np.arange(count) if which is None else which
        out = rhs.copy()

        def task(first: int, stop: int) -> None:
            kernels.solve(
                kernels.ROUTINES, kernels.ARGUMENTS, first, stop, _at(state.diagonal),
                _at(state.lower), factors, _at(out), steps, kernels.numbers(n, columns),
            )  # fmt: skip

        _run(count, float(count * steps * n**2 * columns), task)
        return out

    def selected_inverse(self, state: SweepState) -> tuple[Array, Array]:
        """Sweep backward for the blocks of the inverse."""
        from gpu_solver.backends import blocked_kernels as kernels

        count, steps, n = state.diagonal.shape[:3]
        out, lower = np.empty_like(state.diagonal), np.empty_like(state.lower)

        def task(first: int, stop: int) -> None:
            room = np.empty((n, n))
            kernels.select_inverse(
                kernels.ROUTINES, kernels.ARGUMENTS, first, stop, _at(state.diagonal),
                _at(state.lower), _at(out), _at(lower), steps, kernels.numbers(n), _at(room),
            )  # fmt: skip

        _run(count, float(count * steps * n**3), task)
        return out, lower
