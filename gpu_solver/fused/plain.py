"""Plain loops for blocks of any size, over addresses: block Cholesky, and checks of arrays.

Small systems are solved, and blocks checked, by these: as machine code on disk they are there at
once, without numba, whose import takes longer than many a small solve.

Notation: the Cholesky factor of M has diagonal blocks L_t and lower blocks B_t = M_{t+1,t} L_t^-T.
Blocks lie row by row, one after the other, problem after problem.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

from typing import Any

import numpy as np
from llvmlite import ir
from numba import int64, njit, void
from numba.core import types

from gpu_solver.fused.emit import with_parameters
from gpu_solver.fused.raw import load, load_int, options, store, store_int

#: Called from outside.
ENTRIES = ("factorize_blocks", "solve_blocks", "asymmetric", "not_finite")


def _square_root(typing_context: Any, value: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # The processor's own: numba's calls the mathematics library, which is not at hand later.
        function = builder.module.declare_intrinsic("llvm.sqrt", [ir.DoubleType()])
        return builder.call(function, arguments)

    return types.float64(types.float64), generate


square_root = with_parameters(_square_root, "square_root", ["value"])


@njit(int64(*[int64] * 5), **options)
def factorize_one(diagonal, lower, steps, n, ratio):
    """Factorise one problem in place; return 0, or 3 if it breaks down, and is abandoned."""
    block, line = 8 * n * n, 8 * n
    smallest = 1.0
    for t in range(steps):
        here, before = diagonal + t * block, lower + (t - 1) * block
        for j in range(n):
            column = here + j * line
            for i in range(j, n):
                row = here + i * line
                original = load(row + 8 * j)
                value = original
                if t > 0:
                    for k in range(0, line, 8):
                        value -= load(before + i * line + k) * load(before + j * line + k)
                for k in range(0, 8 * j, 8):
                    value -= load(row + k) * load(column + k)
                if i == j:
                    if not value > 0.0 or not value < np.inf:
                        return 3
                    smallest = min(smallest, value / original)
                    store(row + 8 * j, square_root(value))
                else:
                    store(row + 8 * j, value / load(column + 8 * j))
                    store(column + 8 * i, 0.0)
        if t < steps - 1:
            for i in range(n):
                row = lower + t * block + i * line
                for j in range(n):
                    column, value = here + j * line, load(row + 8 * j)
                    for k in range(0, 8 * j, 8):
                        value -= load(row + k) * load(column + k)
                    store(row + 8 * j, value / load(column + 8 * j))
    store(ratio, smallest)
    return 0


@njit(void(*[int64] * 7), **options)
def factorize_blocks(diagonal, lower, problems, steps, n, status, ratio):
    """Replace the blocks of M (p, T, n, n), (p, T-1, n, n) by those of its Cholesky factor.

    ``ratio`` (p,) receives the smallest pivot relative to the diagonal entry it came from, a
    measure of the digits lost. A problem that breaks down gets status 3 and is abandoned.
    """
    block = 8 * n * n
    for p in range(problems):
        of_p, below = diagonal + p * steps * block, lower + p * (steps - 1) * block
        code = factorize_one(of_p, below, steps, n, ratio + 8 * p)
        store_int(status + 8 * p, code)


@njit(void(*[int64] * 5), **options)
def subtract_row(to, factor, stride, source, columns):
    """Take a row (columns) of ``source``, times a number of the factor, from a row."""
    weight = load(factor + stride)
    for c in range(0, 8 * columns, 8):
        store(to + c, load(to + c) - weight * load(source + c))


@njit(void(*[int64] * 8), **options)
def solve_blocks(diagonal, lower, which, problems, steps, n, columns, rhs):
    """Overwrite rhs (problems, T, n, K) by the solution; ``which`` names each problem's factor."""
    block, line, wide = 8 * n * n, 8 * n, 8 * columns
    for p in range(problems):
        f = load_int(which + 8 * p)
        own, below = diagonal + f * steps * block, lower + f * (steps - 1) * block
        x = rhs + p * steps * n * wide
        for t in range(steps):
            here, z = own + t * block, x + t * n * wide
            for i in range(n):
                to, row = z + i * wide, here + i * line
                if t > 0:
                    coupling = below + (t - 1) * block + i * line
                    for k in range(n):
                        subtract_row(to, coupling, 8 * k, z + (k - n) * wide, columns)
                for k in range(i):
                    subtract_row(to, row, 8 * k, z + k * wide, columns)
                for c in range(0, wide, 8):
                    store(to + c, load(to + c) / load(row + 8 * i))
        for done in range(steps):
            t = steps - 1 - done
            here, z = own + t * block, x + t * n * wide
            for after in range(n):
                i = n - 1 - after
                to = z + i * wide
                if done > 0:
                    for k in range(n):
                        at = k * line + 8 * i
                        subtract_row(to, below + t * block, at, z + (n + k) * wide, columns)
                for k in range(n - after, n):
                    subtract_row(to, here, k * line + 8 * i, z + k * wide, columns)
                for c in range(0, wide, 8):
                    store(to + c, load(to + c) / load(here + i * line + 8 * i))


@njit(void(*[int64] * 4), **options)
def asymmetric(blocks, count, n, result):
    """Say by 1, and else 0, whether a block (n, n) differs from its transpose.

    Before that, ``result`` is the tolerated difference relative to a block's size.
    """
    tolerance = load(result)
    store(result, 0.0)
    for block in range(count):
        at = blocks + block * n * n * 8
        gap, scale = 0.0, 0.0
        for i in range(n):
            for j in range(i + 1):
                a, b = load(at + 8 * (i * n + j)), load(at + 8 * (j * n + i))
                gap = max(gap, abs(a - b))
                scale = max(scale, max(abs(a), abs(b)))
        if gap > tolerance * scale:
            store(result, 1.0)
            return


@njit(void(*[int64] * 3), **options)
def not_finite(numbers, count, result):
    """Write NaN where a number is not finite, and else 0."""
    a, b, c, d = 0.0, 0.0, 0.0, 0.0  # sums that need not wait for each other
    for k in range(0, count - 3, 4):
        at = numbers + 8 * k
        a += load(at) * 0.0
        b += load(at + 8) * 0.0
        c += load(at + 16) * 0.0
        d += load(at + 24) * 0.0
    for k in range(count // 4 * 4, count):
        a += load(numbers + 8 * k) * 0.0
    store(result, a + b + c + d)
