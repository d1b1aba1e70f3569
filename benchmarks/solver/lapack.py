"""LAPACK's banded Cholesky on one sequence of one variable, with its own assembly."""

from __future__ import annotations

from collections.abc import Mapping
from math import factorial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from benchmarks.solver.cases import Inputs

__all__ = ["assemble", "assemble_and_solve", "solve_only"]

Array = NDArray[np.float64]


def assemble(c: Array, d: Array, u: Array, s: Array) -> tuple[Array, Array]:
    """Return A'A in LAPACK's lower banded form and A'b, for V = 1, Q = 1, unit weights.

    Parameters
    ----------
    c : array (T, 1, 1, R+1)
    d : array (T, 1)
    u : array (1, 1, R_init+1)
    s : array (T-1,)

    Returns
    -------
    band : array (2 (R+1), T (R+1))
    beta : array (T (R+1),)
    """
    steps, orders = c.shape[0], c.shape[-1]
    rows = c[:, 0, 0, :]
    taylor = np.array(
        [[1.0 / factorial(k - r) if k >= r else 0.0 for k in range(orders)] for r in range(orders)]
    )
    signs = (-1.0) ** np.arange(orders)
    gram = taylor.T @ taylor
    powers = [s ** float(k) for k in range(2 * orders - 1)]
    band = np.zeros((2 * orders, steps, orders))
    for j in range(orders):
        for i in range(j, orders):
            diagonal = rows[:, i] * rows[:, j]
            own = powers[i + j] * (gram[i, j] + (i == j))
            diagonal[:-1] += own
            diagonal[1:] += own * (signs[i] * signs[j])
            band[i - j, :, j] = diagonal
        for i in range(orders):  # rows of the next step's block, columns of this one's
            next_step = taylor[i, j] + taylor[j, i] * signs[i] * signs[j]
            band[orders + i - j, :-1, j] = -powers[i + j] * next_step
    for r in range(u.shape[-1]):
        band[0, 0, r] += 1.0
    beta = rows * d
    beta[0, : u.shape[-1]] += u[0, 0]
    return band.reshape(2 * orders, -1), beta.ravel()


def assemble_and_solve(inputs: Inputs) -> Any:
    """Time assembly, a solve for y and a solve for the adjoint, with no refinement."""
    shape = inputs.upstream.shape
    adjoint_side = inputs.upstream.ravel()

    def step() -> tuple[Any, Mapping[str, Any]]:
        band, beta = assemble(inputs.c, inputs.d, inputs.u, inputs.s)
        y = solveh_banded(band, beta, lower=True, check_finite=False)
        g = solveh_banded(band, adjoint_side, lower=True, check_finite=False)
        return y.reshape(shape), _gradients(inputs, g.reshape(shape))

    return step


def solve_only(inputs: Inputs) -> Any:
    """Time the two solves alone."""
    shape = inputs.upstream.shape
    band, beta = assemble(inputs.c, inputs.d, inputs.u, inputs.s)
    adjoint_side = inputs.upstream.ravel()

    def step() -> tuple[Any, Mapping[str, Any]]:
        y = solveh_banded(band, beta, lower=True, check_finite=False)
        g = solveh_banded(band, adjoint_side, lower=True, check_finite=False)
        return y.reshape(shape), _gradients(inputs, g.reshape(shape))

    return step


def _gradients(inputs: Inputs, g: Array) -> Mapping[str, Any]:
    dd = np.einsum("tvr,tqvr->tq", g, inputs.c)
    return {"d": dd, "u": g[:1, :, : inputs.u.shape[-1]]}
