"""Operations on small matrices of lanes, of any size, made of tiles.

Each is compiled once, as a function of integers (addresses, strides in bytes, counts), and called
at its address by the kernels of `segment_kernels`: compiling it again with each of those would
take three times as long. `TOOLS` holds the addresses; ``product`` is the one of `subtract_product`.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN202

import numpy as np
from numba import cfunc, types

from gpu_solver.backends.lanes import LANES, ROW, TILE, calling, instruction

__all__ = ["TOOLS"]

multiply_tile = instruction("multiply_tile")
factor_tile = instruction("factor_tile")
solve_tile = instruction("solve_tile")
solve_transposed_tile = instruction("solve_transposed_tile")
gather_eight = instruction("gather_eight")
scatter_eight = instruction("scatter_eight")
copy_row, negate_row = instruction("copy_row"), instruction("negate_row")
zero_row = instruction("zero_row")
load = instruction("load")
store = instruction("store")
load_integer = instruction("load_integer")
call_product = calling(13)


def _compiled(count):
    return cfunc(types.void(*[types.intp] * count), cache=True, error_model="numpy")


@_compiled(13)
def subtract_product(c, ci, cj, rows, columns, a, ai, ak, b, bj, bk, depth, lower):
    """``C -= A B^T`` by tiles; with ``lower`` only tiles that touch the lower triangle of C.

    ``ci`` and ``cj`` are the strides of C over its rows and columns, and so on; A is
    (rows, depth) and B (columns, depth).
    """
    for i in range(0, rows, TILE):
        end = min(columns, i + TILE) if lower else columns
        for j in range(0, end, TILE):
            multiply_tile(
                min(TILE, rows - i), min(TILE, columns - j), c + i * ci + j * cj, ci, cj,
                a + i * ai, ai, ak, b + j * bj, bj, bk, depth,
            )  # fmt: skip


@_compiled(7)
def factorize(product, w, line, n, below, origin, worst):
    """Of W (n + below, n), whose head is symmetric: its head's factor L, and the rest times L^-T.

    Rows are ``line`` bytes apart. L gets inverse pivots on its diagonal; ``origin`` and ``worst``
    as in `lanes.factor_tile`.
    """
    for j in range(0, n, TILE):
        size = min(TILE, n - j)
        corner = w + j * (line + ROW)
        if j:
            call_product(product, corner, line, ROW, n + below - j, size, w + j * line, line, ROW,
                         w + j * line, line, ROW, j, 0)  # fmt: skip
        factor_tile(size, corner, line, origin + j * ROW, worst)
        rest = n + below - j - size
        solve_tile(size, corner + size * line, ROW, line, rest, corner, line)


@_compiled(8)
def forward(product, l, line, n, x, step, apart, columns):  # noqa: E741
    """``x <- L^-1 x`` for vectors ``apart`` bytes apart, whose elements are ``step`` apart."""
    for j in range(0, n, TILE):
        size = min(TILE, n - j)
        if j:
            call_product(product, x + j * step, step, apart, size, columns, l + j * line, line, ROW,
                         x, apart, step, j, 0)  # fmt: skip
        solve_tile(size, x + j * step, step, apart, columns, l + j * (line + ROW), line)


@_compiled(8)
def backward(product, l, line, n, x, step, apart, columns):  # noqa: E741
    """``x <- L^-T x``."""
    for j in range((n - 1) // TILE * TILE, -1, -TILE):
        size, end = min(TILE, n - j), min(j + TILE, n)
        if end < n:
            call_product(product, x + j * step, step, apart, size, columns,
                         l + end * line + j * ROW, ROW, line, x + end * step, apart, step, n - end,
                         0)  # fmt: skip
        solve_transposed_tile(size, x + j * step, step, apart, columns, l + j * (line + ROW), line)


@_compiled(9)
def copy(to, ti, tj, source, si, sj, rows, columns, negative):
    """``C = A`` or, if ``negative``, ``C = -A``."""
    for i in range(rows):
        for j in range(columns):
            if negative:
                negate_row(to + i * ti + j * tj, source + i * si + j * sj)
            else:
                copy_row(to + i * ti + j * tj, source + i * si + j * sj)


@_compiled(2)
def zero(to, rows):
    """Set rows of lanes to 0."""
    for k in range(rows):
        zero_row(to + k * ROW)


@_compiled(4)
def gather(addresses, count, to, bad):
    """Copy ``count`` numbers of every lane's own memory to rows of lanes.

    ``addresses`` is where the address of each lane's memory is; ``bad`` (a row of lanes) becomes
    NaN where a number is not finite.
    """
    if count >= LANES:
        for k in range(0, count - LANES + 1, LANES):
            gather_eight(addresses, 8 * k, to + k * ROW, bad)
        if count % LANES:  # once more, up to the end
            k = count - LANES
            gather_eight(addresses, 8 * k, to + k * ROW, bad)
        return
    for lane in range(LANES):
        source = load_integer(addresses + 8 * lane)
        check = load(bad + 8 * lane)
        for k in range(count):
            value = load(source + 8 * k)
            check += value * 0.0
            store(to + k * ROW + 8 * lane, value)
        store(bad + 8 * lane, check)


@_compiled(3)
def scatter(addresses, count, source):
    """Copy rows of lanes to every lane's own memory."""
    if count >= LANES:
        for k in range(0, count - LANES + 1, LANES):
            scatter_eight(addresses, 8 * k, source + k * ROW)
        if count % LANES:
            k = count - LANES
            scatter_eight(addresses, 8 * k, source + k * ROW)
        return
    for lane in range(LANES):
        to = load_integer(addresses + 8 * lane)
        for k in range(count):
            store(to + 8 * k, load(source + k * ROW + 8 * lane))


#: Addresses of the compiled functions, in this order.
TOOLS = np.array(
    [
        each.address
        for each in (
            subtract_product,
            factorize,
            forward,
            backward,
            gather,
            scatter,
            copy,
            zero,
        )
    ],
    dtype=np.int64,
)
