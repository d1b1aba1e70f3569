"""The right answer, computed another way: sparse A itself, refined in extended precision."""

from __future__ import annotations

from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu

from benchmarks.solver.cases import Inputs

__all__ = ["Answer", "relative_error", "solve_exactly"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Answer:
    """y and the gradients of ``sum(upstream * y)`` for one problem."""

    y: Array
    c: Array
    d: Array
    u: Array
    s: Array


def _rows(c: Array, s: Array, n_initial: int, slope: bool) -> sparse.csr_matrix:
    """A of one problem with unit weights, or its derivative by each row's own step."""
    steps, equations, variables, orders = c.shape
    size = variables * orders
    parts = []  # (row, column, value), row counted within its kind
    t, v = np.meshgrid(np.arange(steps - 1), np.arange(variables), indexing="ij")
    count = 0
    for forward in (True, False):
        here, there = (t, t + 1) if forward else (t + 1, t)
        for r in range(orders):
            row = count + t * variables + v
            for k in range(r, orders):
                sign = 1.0 if forward or (k - r) % 2 == 0 else -1.0
                power = k * s ** max(k - 1, 0) if slope else s**k
                value = sign * power / factorial(k - r)
                column = here * size + v * orders + k
                parts.append((row, column, np.broadcast_to(value[:, None], t.shape)))
            power = r * s ** max(r - 1, 0) if slope else s**r
            column = there * size + v * orders + r
            parts.append((row, column, np.broadcast_to(-power[:, None], t.shape)))
            count += (steps - 1) * variables
    if not slope:
        time, equation, column = np.indices((steps, equations, size))
        governing = count + time * equations + equation
        parts.append((governing, time * size + column, c.reshape(steps, equations, size)))
        count += steps * equations
        variable, derivative = np.indices((variables, n_initial))
        initial = count + variable * n_initial + derivative
        parts.append((initial, variable * orders + derivative, np.ones(initial.shape)))
        count += variables * n_initial
    row, column, value = (np.concatenate([p[i].ravel() for p in parts]) for i in range(3))
    return sparse.csr_matrix((value, (row, column)), shape=(count, steps * size))


def solve_exactly(inputs: Inputs, index: tuple[int, ...], refinements: int = 5) -> Answer:
    """Solve one problem of a batch and differentiate it.

    The augmented system ``[I A; A' 0]`` never squares the condition number, and residuals are
    taken in extended precision, so the answer is right to about 1e-15.

    Parameters
    ----------
    inputs : Inputs
        The batch; unit weights, one initial time.
    index : tuple of int
        Which problem.
    refinements : int, default 5
        Corrections in extended precision.

    Returns
    -------
    Answer
    """
    batch = inputs.upstream.shape[:-3]
    steps = inputs.upstream.shape[-3]
    c = np.broadcast_to(inputs.c, (*batch, steps, *inputs.c.shape[-3:]))[index]
    s = np.broadcast_to(inputs.s, (*batch, steps - 1))[index]
    d = np.broadcast_to(inputs.d, (*batch, steps, inputs.d.shape[-1]))[index]
    u = np.broadcast_to(inputs.u, (*batch, *inputs.u.shape[-3:]))[index]
    A = _rows(c, s, u.shape[-1], slope=False)
    count, unknowns = A.shape
    augmented = sparse.bmat([[sparse.identity(count), A], [A.T, None]], format="csc")
    factor = splu(augmented)
    exact = augmented.tocsr().astype(np.longdouble)

    def solve(right: Array) -> NDArray[np.longdouble]:
        solution = factor.solve(right).astype(np.longdouble)
        for _ in range(refinements):
            residual = right - exact @ solution
            solution = solution + factor.solve(np.asarray(residual, dtype=np.float64))
        return solution

    n_smooth = count - d.size - u.size
    b = np.concatenate([np.zeros(n_smooth), d.ravel(), u.ravel()])
    both = solve(np.concatenate([b, np.zeros(unknowns)]))
    rho, y = both[:count], both[count:]
    both = solve(np.concatenate([np.zeros(count), inputs.upstream[index].ravel()]))
    h, g = both[:count], -both[count:]
    slope = _rows(c, s, u.shape[-1], slope=True).astype(np.longdouble)
    by_row = rho[:n_smooth] * (slope @ g) - h[:n_smooth] * (slope @ y)
    # Rows are (direction, derivative, step, variable): sum what belongs to a step.
    ds = by_row.reshape(-1, steps - 1, c.shape[-2]).sum(axis=(0, 2))
    per_time = (steps, 1, -1)
    dc = (
        rho[n_smooth : n_smooth + d.size].reshape(steps, -1, 1) * g.reshape(per_time)
        - h[n_smooth : n_smooth + d.size].reshape(steps, -1, 1) * y.reshape(per_time)
    ).reshape(c.shape)
    parts = (y.reshape(inputs.upstream.shape[-3:]), dc)
    rest = (h[n_smooth : n_smooth + d.size].reshape(d.shape), h[n_smooth + d.size :], ds)
    y64, dc64, dd64, du64, ds64 = (np.asarray(p, dtype=np.float64) for p in (*parts, *rest))
    return Answer(y64, dc64, dd64, du64.reshape(u.shape), ds64)


def relative_error(found: Array, right: Array) -> float:
    """Largest error over the largest value."""
    return float(np.abs(found - right).max() / np.abs(right).max())
