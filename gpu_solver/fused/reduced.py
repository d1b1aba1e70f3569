"""The small system of the times between segments: block L D L^T of one matrix, over addresses.

Blocks of n x n numbers, row by row, lie one after the other. The factor has unit L_t with D_t on
its diagonal and, below these blocks, ``X_t = M_{t+1,t} L_t^-T``.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import int64, njit, void

from gpu_solver.fused.raw import load, options, store


@njit(void(*[int64] * 5), **options)
def factor_reduced(diagonal, lower, count, n, result):
    """Replace the blocks of M by those of its factor.

    ``result`` gets the smallest pivot relative to the diagonal entry that it came from, a measure
    of the digits lost; 0 or less, or NaN, if M is not positive definite.
    """
    block, line = 8 * n * n, 8 * n
    smallest = 1.0
    for t in range(count):
        here, before = diagonal + t * block, lower + (t - 1) * block
        above = here - block
        for j in range(n):
            for i in range(j, n):
                row, column = line * i, line * j
                original = load(here + row + 8 * j)
                value = original
                if t > 0:
                    for k in range(n):
                        pivot = load(above + line * k + 8 * k)
                        value -= load(before + row + 8 * k) * load(before + column + 8 * k) / pivot
                for k in range(j):
                    pivot = load(here + line * k + 8 * k)
                    value -= load(here + row + 8 * k) * load(here + column + 8 * k) * pivot
                if i == j:
                    smallest = min(smallest, value / original)
                    if not value > 0.0 or not value < np.inf:
                        store(result, -1.0)
                        return
                    store(here + row + 8 * j, value)
                else:
                    store(here + row + 8 * j, value / load(here + column + 8 * j))
        if t < count - 1:
            for i in range(n):
                row = lower + t * block + line * i
                for j in range(n):
                    value = load(row + 8 * j)
                    for k in range(0, 8 * j, 8):
                        value -= load(row + k) * load(here + line * j + k)
                    store(row + 8 * j, value)
    store(result, smallest)


@njit(void(*[int64] * 5), **options)
def solve_reduced(diagonal, lower, count, n, rhs):
    """Replace a right-hand side (count, n) by the solution."""
    block, line = 8 * n * n, 8 * n
    for t in range(count):
        here, z = diagonal + t * block, rhs + t * line
        for i in range(n):
            value = load(z + 8 * i)
            if t > 0:
                row, above = lower + (t - 1) * block + line * i, here - block
                for k in range(n):
                    scaled = load(z - line + 8 * k) / load(above + line * k + 8 * k)
                    value -= load(row + 8 * k) * scaled
            for k in range(0, 8 * i, 8):
                value -= load(here + line * i + k) * load(z + k)
            store(z + 8 * i, value)
    for t in range(count - 1, -1, -1):
        here, z = diagonal + t * block, rhs + t * line
        for i in range(n - 1, -1, -1):
            value = load(z + 8 * i)
            if t < count - 1:
                for k in range(n):
                    value -= load(lower + t * block + line * k + 8 * i) * load(z + line + 8 * k)
            value /= load(here + line * i + 8 * i)
            for k in range(i + 1, n):
                value -= load(here + line * k + 8 * i) * load(z + 8 * k)
            store(z + 8 * i, value)
