"""Block Cholesky whose work inside the blocks is done by BLAS and LAPACK.

SciPy's routines are called at their addresses, `ROUTINES`, without a return to Python between
blocks. They see the transposes of our row-by-row matrices: L is their upper triangle U = L^T, and
B_t = M_{t+1,t} L^-T is their X_t = B_t^T.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit
from numba.extending import get_cython_function_address

from gpu_solver.backends.lanes import calling, instruction

__all__ = ["ARGUMENTS", "ROUTINES", "factorize", "numbers", "select_inverse", "solve"]

load, store = instruction("load"), instruction("store")
multiply, multiply_own, solve_triangular = calling(13), calling(10), calling(11)
cholesky, invert = calling(5), calling(5)

GEMM, SYRK, TRSM, POTRF, POTRI = range(5)
#: Their addresses, in this order.
ROUTINES = np.array(
    [
        get_cython_function_address("scipy.linalg.cython_blas", f"d{x}")
        for x in ("gemm", "syrk", "trsm")
    ]
    + [
        get_cython_function_address("scipy.linalg.cython_lapack", f"d{x}")
        for x in ("potrf", "potri")
    ],
    dtype=np.int64,
)
#: What their arguments point to: letters, and the numbers 1, -1 and 0.
_LETTERS = np.frombuffer(b"LRUNT", dtype=np.uint8)
_SCALARS = np.array([1.0, -1.0, 0.0])
ARGUMENTS = np.array(
    [_LETTERS.ctypes.data + k for k in range(5)] + [_SCALARS.ctypes.data + 8 * k for k in range(3)],
    dtype=np.int64,
)
LEFT, RIGHT, UPPER, PLAIN, TRANSPOSED, ONE, MINUS, NIL = range(8)

options = {"cache": True, "nogil": True, "error_model": "numpy"}


def numbers(n: int, columns: int = 1) -> np.ndarray:
    """The integers that arguments point to: n, K, and a place for what a routine reports."""
    return np.array([n, columns, 0], dtype=np.int32)


@njit(**options)
def factorize(
    routines, arguments, first, stop, diagonal, lower, origin, steps, integers, status, ratio
):
    """Overwrite M's blocks, at addresses, by those of its Cholesky factor.

    ``origin`` (p, T, n) is M's diagonal, ``ratio`` (p,) the smallest pivot relative to it.
    """
    n = int(integers[0])
    at_n = integers.ctypes.data
    size = 8 * n * n
    upper, plain, transposed = arguments[UPPER], arguments[PLAIN], arguments[TRANSPOSED]
    one, minus = arguments[ONE], arguments[MINUS]
    for p in range(first, stop):
        smallest = 1.0
        for t in range(steps):
            own = diagonal + (p * steps + t) * size
            beside = lower + (p * (steps - 1) + t) * size
            if t:
                multiply_own(
                    routines[SYRK],
                    upper,
                    transposed,
                    at_n,
                    at_n,
                    minus,
                    beside - size,
                    at_n,
                    one,
                    own,
                    at_n,
                )
            cholesky(routines[POTRF], upper, at_n, own, at_n, at_n + 8)
            if integers[2] != 0:
                status[p] = 3
                break
            for i in range(n):
                pivot = load(own + 8 * i * (n + 1))
                if not np.isfinite(pivot):
                    status[p] = 3
                smallest = min(smallest, pivot * pivot / origin[p, t, i])
            if t < steps - 1:
                solve_triangular(
                    routines[TRSM],
                    arguments[LEFT],
                    upper,
                    transposed,
                    plain,
                    at_n,
                    at_n,
                    one,
                    own,
                    at_n,
                    beside,
                    at_n,
                )
        ratio[p] = smallest


@njit(**options)
def solve(routines, arguments, first, stop, diagonal, lower, which, rhs, steps, integers):
    """Overwrite rhs (problems, T, n, K), at an address; ``which`` names each problem's factor."""
    n, columns = int(integers[0]), int(integers[1])
    at_n, at_k = integers.ctypes.data, integers.ctypes.data + 4
    size, wide = 8 * n * n, 8 * n * columns
    right, upper, plain, transposed = (
        arguments[RIGHT],
        arguments[UPPER],
        arguments[PLAIN],
        arguments[TRANSPOSED],
    )
    one, minus = arguments[ONE], arguments[MINUS]
    for p in range(first, stop):
        for t in range(steps):
            own = diagonal + (which[p] * steps + t) * size
            beside = lower + (which[p] * (steps - 1) + t) * size
            x = rhs + (p * steps + t) * wide
            if t:
                multiply(
                    routines[GEMM],
                    plain,
                    plain,
                    at_k,
                    at_n,
                    at_n,
                    minus,
                    x - wide,
                    at_k,
                    beside - size,
                    at_n,
                    one,
                    x,
                    at_k,
                )
            solve_triangular(
                routines[TRSM], right, upper, plain, plain, at_k, at_n, one, own, at_n, x, at_k
            )
        for t in range(steps - 1, -1, -1):
            own = diagonal + (which[p] * steps + t) * size
            beside = lower + (which[p] * (steps - 1) + t) * size
            x = rhs + (p * steps + t) * wide
            if t < steps - 1:
                multiply(
                    routines[GEMM],
                    plain,
                    transposed,
                    at_k,
                    at_n,
                    at_n,
                    minus,
                    x + wide,
                    at_k,
                    beside,
                    at_n,
                    one,
                    x,
                    at_k,
                )
            solve_triangular(
                routines[TRSM], right, upper, transposed, plain, at_k, at_n, one, own, at_n, x, at_k
            )


@njit(**options)
def select_inverse(
    routines, arguments, first, stop, diagonal, lower, out, out_lower, steps, integers, room
):
    """Blocks (t, t) and (t+1, t) of the inverse, to addresses, from the last time to the first.

    With G = B L^-1:  S_{t+1,t} = -S_{t+1,t+1} G  and  S_tt = (L L^T)^-1 - G^T S_{t+1,t}.
    """
    n = int(integers[0])
    at_n = integers.ctypes.data
    size = 8 * n * n
    upper, plain, transposed = arguments[UPPER], arguments[PLAIN], arguments[TRANSPOSED]
    one, minus, nil = arguments[ONE], arguments[MINUS], arguments[NIL]
    for p in range(first, stop):
        for t in range(steps - 1, -1, -1):
            own = diagonal + (p * steps + t) * size
            beside = lower + (p * (steps - 1) + t) * size
            here = out + (p * steps + t) * size
            below = out_lower + (p * (steps - 1) + t) * size
            for k in range(n * n):
                store(here + 8 * k, load(own + 8 * k))
            invert(routines[POTRI], upper, at_n, here, at_n, at_n + 8)
            for i in range(n):
                for j in range(i):  # their upper triangle is our lower one
                    store(here + 8 * (j * n + i), load(here + 8 * (i * n + j)))
            if t == steps - 1:
                continue
            for k in range(n * n):
                store(room + 8 * k, load(beside + 8 * k))
            solve_triangular(
                routines[TRSM],
                arguments[LEFT],
                upper,
                plain,
                plain,
                at_n,
                at_n,
                one,
                own,
                at_n,
                room,
                at_n,
            )
            multiply(
                routines[GEMM],
                plain,
                plain,
                at_n,
                at_n,
                at_n,
                minus,
                room,
                at_n,
                here + size,
                at_n,
                nil,
                below,
                at_n,
            )
            multiply(
                routines[GEMM],
                plain,
                transposed,
                at_n,
                at_n,
                at_n,
                minus,
                room,
                at_n,
                below,
                at_n,
                one,
                here,
                at_n,
            )
            for i in range(n):
                for j in range(i):
                    mean = 0.5 * (load(here + 8 * (i * n + j)) + load(here + 8 * (j * n + i)))
                    store(here + 8 * (i * n + j), mean)
                    store(here + 8 * (j * n + i), mean)
