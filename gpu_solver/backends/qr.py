"""Orthogonal factorisation of the least-squares rows: for problems too ill-conditioned for M."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpu_solver.arrays import pad_end
from gpu_solver.assembly import LeastSquaresRows, taylor_matrix
from gpu_solver.backends.sweep import SweepBackend, SweepState
from gpu_solver.status import SolverStatus

__all__ = ["QRBackend"]


class QRBackend(SweepBackend):
    """Substitution as in the sweep, with a factor that `factorize_rows` found from A itself."""

    name = "qr"

    def factorize_rows(
        self, rows: LeastSquaresRows, normal: NDArray[np.float64]
    ) -> tuple[SweepState, NDArray[np.int64]]:
        """Factorise finite rows, broadcast to the batch of M's diagonal blocks ``normal``.

        Returns as `factorize` does.
        """
        from gpu_solver.backends import qr_kernels

        batch = normal.shape[:-3]
        steps, variables, size = rows.n_steps, rows.n_variables, rows.order + 1
        n = rows.block_size
        initial = pad_end(pad_end(np.sqrt(rows.initial), -1, size), -3, steps)

        def full(value: NDArray[np.float64], *core: int) -> NDArray[np.float64]:
            return np.array(np.broadcast_to(value, batch + core), order="C").reshape(-1, *core)

        equations = rows.c.shape[-2]
        c = full(rows.c, steps, equations, n)
        diagonal = np.zeros((len(c), steps, n, n))
        lower = np.zeros((len(c), steps - 1, n, n))
        qr_kernels.factorize(
            c,
            full(rows.s, steps - 1),
            full(np.sqrt(rows.governing), steps, equations),
            full(initial, steps, variables, size).reshape(-1, steps, n),
            full(np.sqrt(rows.smooth), steps - 1, variables, size).reshape(-1, steps - 1, n),
            taylor_matrix(rows.order),
            diagonal,
            lower,
        )
        # A pivot is what is left of its column once the earlier unknowns are taken out.
        columns = np.diagonal(normal, axis1=-2, axis2=-1).reshape(-1, steps, n)
        pivots = np.diagonal(diagonal, axis1=-2, axis2=-1)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            pivot_ratio = (pivots / np.sqrt(columns)).min(axis=(-2, -1))
        eps = np.finfo(np.float64).eps
        status = np.zeros(len(c), dtype=np.int64)
        status[~(pivot_ratio > 1000 * n * eps)] = int(SolverStatus.ILL_CONDITIONED)
        finite = np.isfinite(diagonal).all(axis=(1, 2, 3)) & np.isfinite(lower).all(axis=(1, 2, 3))
        failed = ~(pivot_ratio > 10 * n * eps) | ~finite
        status[failed] = int(SolverStatus.NOT_POSITIVE_DEFINITE)
        diagonal[failed] = np.eye(n)
        lower[failed] = 0.0
        return SweepState(diagonal, lower), status
