"""LAPACK's banded Cholesky through SciPy: independent of the sweep, and good for large blocks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpu_solver.backends.base import BlockTridiagonalBackend, relative_pivot_floor
from gpu_solver.status import SolverStatus

__all__ = ["LapackBackend"]


class LapackBackend(BlockTridiagonalBackend):
    """Banded Cholesky (pbtrf, pbtrs) with 2n - 1 bands below the diagonal, one problem a call."""

    name = "lapack"

    def factorize(
        self, diagonal: NDArray[np.float64], lower: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Factorise problem by problem; the state is the banded factors (problems, 2n, T n)."""
        from scipy.linalg import LinAlgError, cholesky_banded

        problems, _, n = diagonal.shape[:3]
        bands = _to_bands(diagonal, lower)
        status = np.zeros(problems, dtype=np.int64)
        factors = np.zeros_like(bands)
        for p in range(problems):
            try:
                factors[p] = cholesky_banded(bands[p], lower=True)
            except LinAlgError:
                status[p] = int(SolverStatus.NOT_POSITIVE_DEFINITE)
                factors[p, 0] = 1.0
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = (np.square(factors[:, 0]) / bands[:, 0]).min(axis=-1)
        small = (status == 0) & ~(ratio > relative_pivot_floor(n))
        status[small] = int(SolverStatus.ILL_CONDITIONED)
        return factors, status

    def solve(
        self,
        state: NDArray[np.float64],
        which: NDArray[np.int64] | None,
        rhs: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Back-substitute, right-hand side by right-hand side."""
        from scipy.linalg import cho_solve_banded

        steps, n, columns = rhs.shape[1:]
        out = np.empty_like(rhs)
        for p, factor in enumerate(range(len(rhs)) if which is None else which):
            flat = rhs[p].reshape(steps * n, columns)
            out[p] = cho_solve_banded((state[factor], True), flat).reshape(steps, n, columns)
        return out

    def log_determinant(self, state: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the pivots."""
        return np.asarray(2.0 * np.log(state[:, 0]).sum(axis=-1))


def _to_bands(diagonal: NDArray[np.float64], lower: NDArray[np.float64]) -> NDArray[np.float64]:
    """Lower banded storage: entry (k, j) is M[j + k, j]."""
    problems, steps, n = diagonal.shape[:3]
    bands = np.zeros((problems, 2 * n, steps, n))
    for j in range(n):
        for i in range(j, n):
            bands[:, i - j, :, j] = diagonal[:, :, i, j]
        for i in range(n):
            bands[:, n + i - j, :-1, j] = lower[:, :, i, j]
    return bands.reshape(problems, 2 * n, steps * n)
