"""Block Cholesky of many segments of time at once, one segment a SIMD lane.

A lane eliminates ``times`` block rows that follow each other. It may lie between two rows a and b
that stay: then the coupling with a fills in, and a panel of blocks [B; F], to the next row and to
a, is kept beside L. Lanes without such ends (whole problems) keep [B] alone. With the rows W_t of
M stacked as ``[M_tt; M_{t+1,t}; fill]``, eliminating time t is

    [L; B; F] = W_t L^-T,   W_{t+1} -= [B B^T; 0; F B^T],   a -= F F^T .

State, by group of lanes and time: ``(n + panel) x n`` rows of lanes, L with inverse pivots above
[B; F]. Matrices lie row by row; ``line`` is the bytes of one. Addresses are integers, so that one
compilation serves every size and layout; compiled code is kept on disk.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit

from gpu_solver.backends.lanes import LANES, ROW, calling, instruction

# What `tile_kernels.TOOLS` holds the addresses of, in its order.
PRODUCT, FACTORIZE, FORWARD, BACKWARD, GATHER, SCATTER, COPY, ZERO = range(8)
subtract_product, factorize_panel = calling(13), calling(7)
forward, backward = calling(8), calling(8)
gather, scatter = calling(4), calling(3)
copy, zero = calling(9), calling(2)
load, store = instruction("load"), instruction("store")

options = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**options)
def aim(addresses, base, group, k, problems, starts, lags, stride, limit, spare):
    """Point every lane at its problem's block of its k-th time, or at ``spare`` if it has none."""
    for lane in range(LANES):
        t = starts[group, lane] + k - lags[group, lane]
        missing = problems[group, lane] < 0 or t >= limit or k < lags[group, lane]
        at = base + (problems[group, lane] * limit + t) * stride
        addresses[lane] = spare if missing else at
    return addresses.ctypes.data


@njit(**options)
def factorize(tools, first, stop, diagonal, lower, steps, n, problems, starts, lags, times, ends,
              state, at_ends, worst, bad, work):  # fmt: skip
    """Eliminate the segments of groups ``first`` to ``stop``.

    ``diagonal`` and ``lower`` are addresses of M's blocks (p, T, n, n), (p, T-1, n, n).
    ``problems``, ``starts`` and ``lags`` (groups, 8) say for each lane its problem (-1: none), the
    first time that it eliminates, and whether it has one time less, so that its first is a dummy.
    With ``ends`` what remains for the rows that stay goes to ``at_ends`` (groups, 3, n, n, 8):
    what a and b get, and M_ba. ``worst`` (groups, 3, 8) and ``bad`` (groups, 8) are of the
    pivots and of values that are not finite. ``work`` is zeros.
    """
    product = tools[PRODUCT]
    line, size = n * ROW, 8 * n * n
    block = n * line
    panel = 2 * n if ends else n
    moved = block + panel * line
    origin, unit = work, work + line
    nothing = unit + size
    for i in range(n):
        store(unit + 8 * i * (n + 1), 1.0)
    addresses = np.zeros(LANES, np.int64)
    for group in range(first, stop):
        base = state + group * times * moved
        of_a = at_ends + group * 3 * block
        worst_here, bad_here = worst + group * 3 * ROW, bad + group * ROW
        if ends:
            zero(tools[ZERO], of_a, 3 * n * n)
        for k in range(times):
            w = base + k * moved
            b, f = w + block, w + 2 * block
            here = aim(addresses, diagonal, group, k, problems, starts, lags, size, steps, unit)
            gather(tools[GATHER], here, n * n, w, bad_here)
            here = aim(addresses, lower, group, k, problems, starts, lags, size, steps - 1, nothing)
            gather(tools[GATHER], here, n * n, b, bad_here)
            copy(tools[COPY], origin, ROW, 0, w, line + ROW, 0, n, 1, 0)
            if ends and k < 2:
                # The coupling of the first time that is none of the dummies with a: M_{t,a}^T.
                zero(tools[ZERO], f, n * n)
                for lane in range(LANES):
                    problem = problems[group, lane]
                    if problem < 0 or k != lags[group, lane]:
                        continue
                    at = lower + (problem * (steps - 1) + starts[group, lane] - 1) * size
                    check = load(bad_here + 8 * lane)
                    for i in range(n):
                        for j in range(n):
                            value = load(at + 8 * (i * n + j))
                            check += value * 0.0
                            store(f + j * line + i * ROW + 8 * lane, value)
                    store(bad_here + 8 * lane, check)
            elif ends:
                zero(tools[ZERO], f, n * n)
            if k:
                o, g = b - moved, f - moved  # B and F of the time before
                subtract_product(product, w, line, ROW, n, n, o, line, ROW, o, line, ROW, n, 1)
                if ends:
                    subtract_product(product, f, line, ROW, n, n, g, line, ROW, o, line, ROW, n, 0)
            factorize_panel(tools[FACTORIZE], product, w, line, n, panel, origin, worst_here)
            if ends:
                subtract_product(product, of_a, line, ROW, n, n, f, line, ROW, f, line, ROW, n, 1)
        if ends:
            b, f = base + times * moved - 2 * block, base + times * moved - block
            of_b, between = of_a + block, of_a + 2 * block
            subtract_product(product, of_b, line, ROW, n, n, b, line, ROW, b, line, ROW, n, 1)
            subtract_product(product, between, line, ROW, n, n, b, line, ROW, f, line, ROW, n, 0)


@njit(**options)
def substitute(tools, first, stop, rhs, steps, n, columns, problems, starts, lags, times, ends,
               state, kept, at_ends, zeros):  # fmt: skip
    """Substitute forward; rhs is the address of (p, T, n, K).

    ``kept`` (groups, times, n, K, 8) gets L^-1 of the right-hand sides; ``at_ends`` (groups, 2, n,
    K, 8) what they mean for a and b. ``zeros`` are a row of lanes and n K numbers more.
    """
    product = tools[PRODUCT]
    line, width, size = n * ROW, columns * ROW, 8 * n * columns
    block, slab = n * line, n * width
    moved = (3 if ends else 2) * block
    addresses = np.zeros(LANES, np.int64)
    for group in range(first, stop):
        of_a = at_ends + group * 2 * slab
        of_b = of_a + slab
        zero(tools[ZERO], of_a, 2 * n * columns)
        for k in range(times):
            l = state + (group * times + k) * moved  # noqa: E741
            z = kept + (group * times + k) * slab
            here = aim(addresses, rhs, group, k, problems, starts, lags, size, steps, zeros + ROW)
            gather(tools[GATHER], here, n * columns, z, zeros)
            if k:
                subtract_product(product, z, width, ROW, n, columns, l - moved + block, line, ROW,
                                 z - slab, ROW, width, n, 0)  # fmt: skip
            forward(tools[FORWARD], product, l, line, n, z, width, ROW, columns)
            if ends:
                subtract_product(product, of_a, width, ROW, n, columns, l + 2 * block, line, ROW,
                                 z, ROW, width, n, 0)  # fmt: skip
        if ends:
            b = state + ((group + 1) * times) * moved - 2 * block
            z = kept + ((group + 1) * times - 1) * slab
            subtract_product(product, of_b, width, ROW, n, columns, b, line, ROW,
                             z, ROW, width, n, 0)  # fmt: skip


@njit(**options)
def substitute_back(tools, first, stop, out, steps, n, columns, problems, starts, lags, times,
                    ends, state, kept, at_ends, waste):  # fmt: skip
    """Substitute back from the answers at a and b; out is the address of (p, T, n, K)."""
    product = tools[PRODUCT]
    line, width, size = n * ROW, columns * ROW, 8 * n * columns
    block, slab = n * line, n * width
    moved = (3 if ends else 2) * block
    addresses = np.zeros(LANES, np.int64)
    for group in range(first, stop):
        x_a = at_ends + group * 2 * slab
        after = x_a + slab
        for k in range(times - 1, -1, -1):
            l = state + (group * times + k) * moved  # noqa: E741
            z = kept + (group * times + k) * slab
            if ends or k < times - 1:
                subtract_product(product, z, width, ROW, n, columns, l + block, ROW, line,
                                 after, ROW, width, n, 0)  # fmt: skip
            if ends:
                subtract_product(product, z, width, ROW, n, columns, l + 2 * block, ROW, line,
                                 x_a, ROW, width, n, 0)  # fmt: skip
            backward(tools[BACKWARD], product, l, line, n, z, width, ROW, columns)
            here = aim(addresses, out, group, k, problems, starts, lags, size, steps, waste)
            scatter(tools[SCATTER], here, n * columns, z)
            after = z


@njit(**options)
def select_inverse(tools, first, stop, out, out_lower, steps, n, problems, starts, lags, times,
                   ends, state, around, work):  # fmt: skip
    """Sweep back for blocks of the inverse S; out and out_lower are addresses like M's.

    ``around`` (groups, panel, panel, 8) holds minus S of the rows b and a. With G = [B; F] and R
    the rows that it couples to, S_Rt = -S_RR G L^-1 and S_tt = L^-T (1 + G^T S_RR G) L^-1.
    Everything here is minus S: then all products are subtracted.
    Without out_lower (0) out (p, T, n) gets the diagonal of S alone.
    """
    product = tools[PRODUCT]
    line, size = n * ROW, 8 * n * n
    block = n * line
    panel = 2 * n if ends else n
    wide = panel * ROW
    moved = block + panel * line
    beside, own = work, work + panel * line
    staged = own + block
    waste = staged + block
    addresses = np.zeros(LANES, np.int64)
    for group in range(first, stop):
        near = around + group * panel * wide
        to_a, from_a = near + n * wide, near + n * ROW
        for k in range(times - 1, -1, -1):
            l = state + (group * times + k) * moved  # noqa: E741
            g = l + block
            zero(tools[ZERO], beside, (panel + n) * n)
            subtract_product(product, beside, line, ROW, panel, n, near, wide, ROW,
                             g, ROW, line, panel, 0)  # fmt: skip
            for i in range(n):
                for lane in range(LANES):
                    store(own + i * (line + ROW) + 8 * lane, -1.0)
            subtract_product(product, own, line, ROW, n, n, g, ROW, line,
                             beside, ROW, line, panel, 0)  # fmt: skip
            backward(tools[BACKWARD], product, l, line, n, beside, ROW, line, panel + n)
            backward(tools[BACKWARD], product, l, line, n, own, line, ROW, n)
            for i in range(n):
                copy(tools[COPY], near + i * wide, 0, ROW, own + i * line, 0, ROW, 1, i + 1, 0)
                copy(tools[COPY], near + i * ROW, wide, 0, own + i * line, ROW, 0, i, 1, 0)
            if ends:
                copy(tools[COPY], to_a, wide, ROW, beside + block, line, ROW, n, n, 0)
                copy(tools[COPY], from_a, ROW, wide, beside + block, line, ROW, n, n, 0)
            if out_lower == 0:
                copy(tools[COPY], staged, ROW, 0, near, wide + ROW, 0, n, 1, 1)
                here = aim(addresses, out, group, k, problems, starts, lags, 8 * n, steps, waste)
                scatter(tools[SCATTER], here, n, staged)
                continue
            copy(tools[COPY], staged, line, ROW, near, wide, ROW, n, n, 1)
            here = aim(addresses, out, group, k, problems, starts, lags, size, steps, waste)
            scatter(tools[SCATTER], here, n * n, staged)
            copy(tools[COPY], staged, line, ROW, beside, line, ROW, n, n, 1)
            here = aim(
                addresses, out_lower, group, k, problems, starts, lags, size, steps - 1, waste
            )
            scatter(tools[SCATTER], here, n * n, staged)
            if ends and k < 2:
                for lane in range(LANES):
                    if problems[group, lane] < 0 or k != lags[group, lane]:
                        continue
                    at = problems[group, lane] * (steps - 1) + starts[group, lane] - 1
                    for i in range(n):
                        for j in range(n):
                            value = -load(beside + block + j * line + i * ROW + 8 * lane)
                            store(out_lower + at * size + 8 * (i * n + j), value)
