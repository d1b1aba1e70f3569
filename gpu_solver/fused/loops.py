"""Loops over time around the traced steps, for groups of lanes: one problem a lane.

This file works for one size of problem, the one named in its first statement. `kernels` in
`gpu_solver.fused.cache` compiles it for others. Everything is an address, in bytes, of rows of
lanes; a row holds one scalar of each lane. What is laid out per time lies one time after the other.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import int64, njit, void

from gpu_solver.fused.emit import steps_for
from gpu_solver.fused.lanes import (
    ACTIVE,
    BAD,
    BASE,
    DESCRIPTOR,
    GOVERNING,
    IGNORED,
    INITIAL,
    NOWHERE,
    PROBLEMS,
    RUNS,
    SMOOTH,
    STARTS,
    C,
    D,
    S,
    U,
    Y,
    assign,
    begin,
    begin_refinement,
    end_refinement,
    judge,
    mean_step,
    report,
)
from gpu_solver.fused.layout import BOOKKEEPING, LANES, ROW, Layout
from gpu_solver.fused.limits import MAX_CORRECTIONS
from gpu_solver.fused.memory import (
    fill_rows,
    load,
    load_int,
    options,
    pack,
    remain_a_function,
    store,
    unpack,
)
from gpu_solver.fused.sweeps import Sizes

SIZES = (1, 2, 1)

V, R, Q = SIZES
_layout = Layout(Sizes(*SIZES))
N, TRI, LOW = _layout.sizes.n, _layout.sizes.triangle, _layout.low
SQ, GRADIENTS, ELIMINATED, STATE = N * N, _layout.gradients, _layout.eliminated, _layout.state
_steps = steps_for(*SIZES)
factor_forward, factor_forward_last = _steps["factor_forward"], _steps["factor_forward_last"]
back, back_last = _steps["back"], _steps["back_last"]
residual_forward = _steps["residual_forward"]
residual_forward_last = _steps["residual_forward_last"]
back_correct, back_correct_last = _steps["back_correct"], _steps["back_correct_last"]
gradient, gradient_step = _steps["gradient"], _steps["gradient_step"]

#: Called from outside.
ENTRIES = ("solve_groups", "adjoint_groups")


@njit(void(*[int64] * 8), **options)
def add_initial(weights, u, y, entries, orders, diagonal, carried, t):
    """Give time t its initial rows: weight on the diagonal, weight times (u - y) on the right.

    There may be no diagonal (0), and no y yet (0).
    """
    remain_a_function()
    for k in range(entries):
        i = (k // orders) * (R + 1) + k % orders
        for lane in range(0, ROW, 8):
            at = lane + (t * entries + k) * ROW
            weight, value = load(weights + at), load(u + at)
            if diagonal != 0:
                place = diagonal + lane + (i * (i + 1) // 2 + i) * ROW
                store(place, load(place) + weight)
            if y != 0:
                value -= load(y + (t * N + i) * ROW + lane)
            place = carried + lane + i * ROW
            store(place, load(place) + weight * value)


@njit(void(*[int64] * 6), **options)
def pack_initial(inputs, entries, rows, weights, u, book):
    """Pack initial rows; NaN in u gets weight 0 and value 0."""
    if rows == 0:
        return
    lanes = (book + PROBLEMS, book + STARTS, book + RUNS)
    bad = book + BAD
    initial = inputs + INITIAL * DESCRIPTOR
    if pack(initial, entries, weights, rows, *lanes, bad) == 0 and rows > 1:
        for k in range(entries * LANES):
            for t in range(1, rows):
                store(weights + t * entries * ROW + 8 * k, load(weights + 8 * k))
    pack(inputs + U * DESCRIPTOR, entries, u, rows, *lanes, book + IGNORED)
    for k in range(rows * entries * LANES):
        value = load(u + 8 * k)
        if value != value:
            store(u + 8 * k, 0.0)
            store(weights + 8 * k, 0.0)
        place = bad + 8 * (k % LANES)
        store(place, load(place) + load(u + 8 * k) * 0.0)


@njit(**options)
def solve_lanes(times, at, moves, initial_times, entries, orders, book):
    """Solve ``M y = base + A^T W^2 b`` for one group of lanes, refined; sets each lane's code."""
    remain_a_function()
    c, d, base, s, governing, smooth, weights, u, y, lower, inverse, gain, z, state = at
    move_c, move_d, move_base, move_s, move_governing, move_smooth = moves
    left, worst = state, state + TRI * ROW
    carried = worst + 2 * ROW
    following, x = carried + N * ROW, carried + 2 * N * ROW
    change, size, take = x + N * ROW, x + 2 * N * ROW, x + 3 * N * ROW
    fill_rows(state, STATE, 0.0)
    fill_rows(worst, 2, np.inf)
    last = times - 1
    for t in range(last):
        if t < initial_times:
            add_initial(weights, u, 0, entries, orders, left, carried, t)
        factor_forward(
            c + t * move_c, governing + t * move_governing, d + t * move_d, base + t * move_base,
            s + t * move_s, smooth + t * move_smooth, left, worst, carried,
            lower + t * LOW * ROW, inverse + t * N * ROW, gain + t * SQ * ROW, z + t * N * ROW,
        )  # fmt: skip
    if last < initial_times:
        add_initial(weights, u, 0, entries, orders, left, carried, last)
    factor_forward_last(
        c + last * move_c, governing + last * move_governing, d + last * move_d,
        base + last * move_base, left, worst, carried,
        lower + last * LOW * ROW, inverse + last * N * ROW, z + last * N * ROW,
    )  # fmt: skip
    back_last(lower + last * LOW * ROW, inverse + last * N * ROW, z + last * N * ROW,
              y + last * N * ROW)  # fmt: skip
    for t in range(last - 1, -1, -1):
        back(lower + t * LOW * ROW, inverse + t * N * ROW, gain + t * SQ * ROW, z + t * N * ROW,
             y + (t + 1) * N * ROW, y + t * N * ROW)  # fmt: skip

    begin_refinement(book)
    for count in range(MAX_CORRECTIONS):
        fill_rows(carried, 2 * N, 0.0)
        fill_rows(change, 2 * N, 0.0)
        for lane in range(0, ROW, 8):
            store(take + lane, load(book + ACTIVE + lane))
        for t in range(last):
            if t < initial_times:
                add_initial(weights, u, y, entries, orders, 0, carried, t)
            residual_forward(
                c + t * move_c, governing + t * move_governing, d + t * move_d,
                base + t * move_base, s + t * move_s, smooth + t * move_smooth,
                y + t * N * ROW, y + (t + 1) * N * ROW, lower + t * LOW * ROW,
                gain + t * SQ * ROW, carried, following, z + t * N * ROW,
            )  # fmt: skip
        if last < initial_times:
            add_initial(weights, u, y, entries, orders, 0, carried, last)
        residual_forward_last(
            c + last * move_c, governing + last * move_governing, d + last * move_d,
            base + last * move_base, y + last * N * ROW, lower + last * LOW * ROW,
            carried, following, z + last * N * ROW,
        )  # fmt: skip
        back_correct_last(lower + last * LOW * ROW, inverse + last * N * ROW, z + last * N * ROW,
                          y + last * N * ROW, take, change, size, x)  # fmt: skip
        for t in range(last - 1, -1, -1):
            back_correct(lower + t * LOW * ROW, inverse + t * N * ROW, gain + t * SQ * ROW,
                         z + t * N * ROW, x, y + t * N * ROW, take, change, size)  # fmt: skip
        if not judge(change, size, N, R + 1, count, book):
            break
    end_refinement(size, worst, N, 1, book)


@njit(int64(*[int64] * 6), **options)
def stage_one(inputs, which, count, to, rows, book):
    """Pack one of a group's inputs, zeros if there is none; return how far apart its times are."""
    remain_a_function()
    source = inputs + which * DESCRIPTOR
    if load_int(source) == 0:
        fill_rows(to, count, 0.0)
        return 0
    lanes = (book + PROBLEMS, book + STARTS, book + RUNS)
    return pack(source, count, to, rows, *lanes, book + BAD) * count * ROW


@njit(**options)
def stage(inputs, book, times, initial_times, entries):
    """Pack a group's inputs; return where everything lies and how far apart the times are."""
    remain_a_function()
    at_c = book + BOOKKEEPING * ROW
    at_d = at_c + times * Q * N * ROW
    at_base = at_d + times * Q * ROW
    at_s = at_base + times * N * ROW
    at_governing = at_s + times * ROW
    at_smooth = at_governing + times * Q * ROW
    at_weights = at_smooth + times * N * ROW
    at_u = at_weights + initial_times * entries * ROW
    at_y = at_u + initial_times * entries * ROW
    at_lower = at_y + times * N * ROW
    at_inverse = at_lower + times * LOW * ROW
    at_gain = at_inverse + times * N * ROW
    at_z = at_gain + times * SQ * ROW
    at_state = at_lower + times * ELIMINATED * ROW
    fill_rows(book + BAD, 1, 0.0)
    moves = (
        stage_one(inputs, C, Q * N, at_c, times, book),
        stage_one(inputs, D, Q, at_d, times, book),
        stage_one(inputs, BASE, N, at_base, times, book),
        stage_one(inputs, S, 1, at_s, times - 1, book),
        stage_one(inputs, GOVERNING, Q, at_governing, times, book),
        stage_one(inputs, SMOOTH, N, at_smooth, times - 1, book),
    )
    pack_initial(inputs, entries, initial_times, at_weights, at_u, book)
    at = (at_c, at_d, at_base, at_s, at_governing, at_smooth, at_weights, at_u, at_y,
          at_lower, at_inverse, at_gain, at_z, at_state)  # fmt: skip
    return at, moves


@njit(**options)
def solve_groups(first, stop, inputs, output, times, n_problems, initial_times, entries, orders,
                 status, work):  # fmt: skip
    """Solve the problems of some groups; writes y and each problem's status."""
    book = begin(work)
    for group in range(first, stop):
        lanes = assign(group, n_problems, book)
        at, moves = stage(inputs, book, times, initial_times, entries)
        mean_step(at[S], moves[S], times, book)
        solve_lanes(times, at, moves, initial_times, entries, orders, book)
        unpack(output, N, at[Y], 0, times, book + PROBLEMS, book + STARTS, book + RUNS, lanes)
        report(status, lanes, book)


@njit(void(*[int64] * 3), **options)
def accumulate(to, source, rows):
    """Add rows to rows."""
    for k in range(rows * LANES):
        store(to + 8 * k, load(to + 8 * k) + load(source + 8 * k))


@njit(**options)
def adjoint_groups(first, stop, inputs, outputs, times, n_problems, initial_times, entries, orders,
                   work):  # fmt: skip
    """Gradients of c, d, u, s for some groups, from y and dl/dy.

    Inputs have y at ``Y`` and dl/dy at ``BASE``. An output with one time gets the sum over times,
    and an output without an address is not computed.
    """
    book = begin(work)
    for group in range(first, stop):
        lanes = assign(group, n_problems, book)
        at, moves = stage(inputs, book, times, initial_times, entries)
        mean_step(at[S], moves[S], times, book)
        c, _, base, s, governing, smooth, weights, _, g, lower, inverse, gain, z, state = at
        y = state + (STATE + GRADIENTS) * ROW
        nothing = y + times * N * ROW
        fill_rows(nothing, initial_times * entries + Q, 0.0)
        without = (c, nothing, base, s, governing, smooth, weights, nothing, g, lower, inverse,
                   gain, z, state)  # fmt: skip
        still = (moves[0], 0 * moves[1], moves[2], moves[3], moves[4], moves[5])
        solve_lanes(times, without, still, initial_times, entries, orders, book)
        here = (book + PROBLEMS, book + STARTS, book + RUNS)
        pack(inputs + Y * DESCRIPTOR, N, y, times, *here, book + IGNORED)
        # What the elimination needed is free by now: the gradients go there.
        gradients(times, at, moves, y, outputs, book + PROBLEMS, lanes, 0, book)
        give_initial(
            outputs + 2 * DESCRIPTOR, weights, g, initial_times, entries, orders, lanes, book
        )


@njit(void(*[int64] * 8), **options)
def give_initial(output, weights, g, initial_times, entries, orders, lanes, book):
    """Gradient of u: the weights, which it replaces, times g."""
    if load_int(output) == 0:
        return
    for t in range(initial_times):
        for k in range(entries):
            i = (k // orders) * (R + 1) + k % orders
            for lane in range(0, ROW, 8):
                place = weights + (t * entries + k) * ROW + lane
                store(place, load(place) * load(g + (t * N + i) * ROW + lane))
    here = (book + PROBLEMS, book + STARTS, book + RUNS)
    unpack(output, entries, weights, 0, initial_times, *here, lanes)


@njit(**options)
def gradients(times, at, moves, y, outputs, rows, lanes, first, book):
    """Gradients of c, d and s of a group whose y and g are known, from local time ``first`` on.

    ``rows``, of integers, says where each lane's sums over time go.
    """
    remain_a_function()
    c, d, _, s, governing, smooth, _, _, g, lower, _, _, _, state = at
    move_c, move_d, _, move_s, move_governing, move_smooth = moves
    dc, dd = lower, lower + times * Q * N * ROW
    ds = dd + times * Q * ROW
    out_c, out_d, out_s = outputs, outputs + DESCRIPTOR, outputs + 3 * DESCRIPTOR
    sum_c = load_int(out_c + 40) == 1 and times > 1
    sum_d = load_int(out_d + 40) == 1 and times > 1
    sum_s = load_int(out_s + 40) == 1 and times > 2
    totals = state + STATE * ROW
    total_c, total_d, total_s = totals, totals + Q * N * ROW, totals + (Q * N + Q) * ROW
    fill_rows(totals, GRADIENTS, 0.0)
    move_dc = 0 if sum_c else Q * N * ROW
    move_dd = 0 if sum_d else Q * ROW
    move_ds = 0 if sum_s else ROW
    if load_int(out_c) != 0 or load_int(out_d) != 0:
        for t in range(first, times):
            gradient(c + t * move_c, governing + t * move_governing, d + t * move_d,
                     y + t * N * ROW, g + t * N * ROW, dc + t * move_dc,
                     dd + t * move_dd)  # fmt: skip
            if sum_c:
                accumulate(total_c, dc, Q * N)
            if sum_d:
                accumulate(total_d, dd, Q)
    if load_int(out_s) != 0:
        for t in range(times - 1):
            gradient_step(s + t * move_s, smooth + t * move_smooth, y + t * N * ROW,
                          y + (t + 1) * N * ROW, g + t * N * ROW, g + (t + 1) * N * ROW,
                          ds + t * move_ds)  # fmt: skip
            if sum_s:
                accumulate(total_s, ds, 1)
    give(out_c, Q * N, dc, total_c, sum_c, first, times, rows, lanes, book)
    give(out_d, Q, dd, total_d, sum_d, first, times, rows, lanes, book)
    give(out_s, 1, ds, total_s, sum_s, 0, times - 1, rows, lanes, book)


@njit(void(*[int64] * 10), **options)
def give(output, count, by_time, summed, is_sum, first, stop, rows, lanes, book):
    """Write a gradient by time, or its sum over times."""
    remain_a_function()
    if load_int(output) == 0:
        return
    if is_sum:
        unpack(output, count, summed, 0, 1, rows, book + NOWHERE, book + RUNS, lanes)
    else:
        here = (book + PROBLEMS, book + STARTS, book + RUNS)
        unpack(output, count, by_time, first, stop, *here, lanes)
