"""Loops over time for many right-hand sides of one left-hand side: one of them a lane.

As `gpu_solver.fused.loops`, this file works for one size and is compiled for others. What all lanes
share, the left-hand side and its factor, has one number where others have a row of lanes. Small
blocks are done for two groups of lanes at a time: what one of them waits for, the other has time to
do, and what they share is read once. Their memories lie ``beside`` bytes apart, alike in layout.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import int64, njit, void

from gpu_solver.fused.emit import steps_for
from gpu_solver.fused.lanes import (
    ACTIVE,
    BAD,
    IGNORED,
    PROBLEMS,
    RUNS,
    STARTS,
    STEP,
    assign,
    begin,
    begin_refinement,
    end_refinement,
    judge,
    report,
)
from gpu_solver.fused.layout import BOOKKEEPING, LANES, ROW, Layout
from gpu_solver.fused.limits import MAX_CORRECTIONS
from gpu_solver.fused.loops import LOW, SIZES, SQ, TRI, N, Q, R, add_initial, give_initial
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

GROUPS = Layout(Sizes(*SIZES)).side_by_side
_one = steps_for(*SIZES, lanes=1)
factor_one, factor_one_last = _one["factor_forward"], _one["factor_forward_last"]
SHARED = frozenset(("c", "governing", "s", "smooth", "lower", "inverse", "gain"))
_steps = steps_for(*SIZES, uniform=SHARED, over_times=True, groups=GROUPS)
substitute_forward = _steps["substitute_forward"]
substitute_forward_last = _steps["substitute_forward_last"]
back, back_last = _steps["back"], _steps["back_last"]
residual_forward = _steps["residual_forward"]
residual_forward_last = _steps["residual_forward_last"]
back_correct, back_correct_last = _steps["back_correct"], _steps["back_correct_last"]
gradient_right = _steps["gradient_right"]

#: What a table of the shared left-hand side has, integers all: addresses of c, governing, s, smooth
#: and, after these, how far apart their times are; addresses of weights and of the factor; and
#: scratch. The mean step is a number in the scratch.
AT_C, AT_GOVERNING, AT_S, AT_SMOOTH, MOVES = 0, 8, 16, 24, 32
AT_WEIGHTS, AT_LOWER, AT_INVERSE, AT_GAIN, AT_WORST, AT_STEP, AT_SCRATCH = range(64, 120, 8)
#: Called from outside.
ENTRIES = ("factor_uniform", "solve_uniform", "adjoint_uniform")


@njit(**options)
def factor_uniform(table, times, initial_times, entries, orders):
    """Eliminate the one left-hand side; leaves the factor and its worst pivots."""
    c, governing = load_int(table + AT_C), load_int(table + AT_GOVERNING)
    s, smooth = load_int(table + AT_S), load_int(table + AT_SMOOTH)
    move_c, move_governing = load_int(table + MOVES), load_int(table + MOVES + 8)
    move_s, move_smooth = load_int(table + MOVES + 16), load_int(table + MOVES + 24)
    weights, worst = load_int(table + AT_WEIGHTS), load_int(table + AT_WORST)
    lower, inverse = load_int(table + AT_LOWER), load_int(table + AT_INVERSE)
    gain, left = load_int(table + AT_GAIN), load_int(table + AT_SCRATCH)
    nothing = left + 8 * TRI
    carried, z = nothing + 8 * (N + Q), nothing + 8 * (2 * N + Q)
    for k in range(TRI + 3 * N + Q):
        store(left + 8 * k, 0.0)
    store(worst, np.inf)
    store(worst + 8, np.inf)
    for t in range(times):
        if t < initial_times:
            for k in range(entries):
                i = (k // orders) * (R + 1) + k % orders
                place = left + 8 * (i * (i + 1) // 2 + i)
                store(place, load(place) + load(weights + 8 * (t * entries + k)))
        if t < times - 1:
            factor_one(c + t * move_c, governing + t * move_governing, nothing, nothing,
                       s + t * move_s, smooth + t * move_smooth, left, worst, carried,
                       lower + t * LOW * 8, inverse + t * N * 8, gain + t * SQ * 8,
                       z)  # fmt: skip
        else:
            factor_one_last(c + t * move_c, governing + t * move_governing, nothing, nothing,
                            left, worst, carried, lower + t * LOW * 8, inverse + t * N * 8,
                            z)  # fmt: skip


@njit(**options)
def solve_lanes(table, times, d, base, move_d, move_base, weights, u, y, state, initial_times,
                entries, orders, book, beside):  # fmt: skip
    """Solve ``M y = base + A^T W^2 b`` for some groups of lanes, refined; sets each lane's code."""
    remain_a_function()
    c, governing = load_int(table + AT_C), load_int(table + AT_GOVERNING)
    s, smooth = load_int(table + AT_S), load_int(table + AT_SMOOTH)
    move_c, move_governing = load_int(table + MOVES), load_int(table + MOVES + 8)
    move_s, move_smooth = load_int(table + MOVES + 16), load_int(table + MOVES + 24)
    lower, inverse = load_int(table + AT_LOWER), load_int(table + AT_INVERSE)
    gain = load_int(table + AT_GAIN)
    carried, following = state, state + N * ROW
    change, size = state + 2 * N * ROW, state + 3 * N * ROW
    x, take = state + 4 * N * ROW, state + 5 * N * ROW
    z = state + (5 * N + 1) * ROW
    last = times - 1
    for at in range(0, GROUPS * beside, beside):
        fill_rows(at + state, 5 * N + 1, 0.0)
    t = 0
    while t < last:
        count = last - t
        if t < initial_times:
            for at in range(0, GROUPS * beside, beside):
                add_initial(at + weights, at + u, 0, entries, orders, 0, at + carried, t)
            count = 1
        substitute_forward(
            count, beside, c + t * move_c, move_c, governing + t * move_governing, move_governing,
            d + t * move_d, move_d, base + t * move_base, move_base, carried,
            lower + t * LOW * 8, LOW * 8, gain + t * SQ * 8, SQ * 8, z + t * N * ROW, N * ROW,
        )  # fmt: skip
        t += count
    end, final = last * N * ROW, lower + last * LOW * 8
    for at in range(0, GROUPS * beside, beside):
        if last < initial_times:
            add_initial(at + weights, at + u, 0, entries, orders, 0, at + carried, last)
        substitute_forward_last(c + last * move_c, governing + last * move_governing,
                                at + d + last * move_d, at + base + last * move_base,
                                at + carried, final, at + z + end)  # fmt: skip
        back_last(final, inverse + last * N * 8, at + z + end, at + y + end)
    t = last - 1
    back(last, beside, lower + t * LOW * 8, -LOW * 8, inverse + t * N * 8, -N * 8,
         gain + t * SQ * 8, -SQ * 8, z + t * N * ROW, -N * ROW, y + end, y + t * N * ROW,
         -N * ROW)  # fmt: skip
    for at in range(0, GROUPS * beside, beside):
        begin_refinement(at + book)
    for correction in range(MAX_CORRECTIONS):
        for at in range(0, GROUPS * beside, beside):
            fill_rows(at + carried, 4 * N, 0.0)
            for lane in range(at, at + ROW, 8):
                store(take + lane, load(book + ACTIVE + lane))
        t = 0
        while t < last:
            count = last - t
            if t < initial_times:
                for at in range(0, GROUPS * beside, beside):
                    add_initial(at + weights, at + u, at + y, entries, orders, 0, at + carried, t)
                count = 1
            residual_forward(
                count, beside, c + t * move_c, move_c, governing + t * move_governing,
                move_governing, d + t * move_d, move_d, base + t * move_base, move_base,
                s + t * move_s, move_s, smooth + t * move_smooth, move_smooth, y + t * N * ROW,
                N * ROW, y + (t + 1) * N * ROW, N * ROW, lower + t * LOW * 8, LOW * 8,
                gain + t * SQ * 8, SQ * 8, carried, following, z + t * N * ROW, N * ROW,
            )  # fmt: skip
            t += count
        for at in range(0, GROUPS * beside, beside):
            if last < initial_times:
                add_initial(at + weights, at + u, at + y, entries, orders, 0, at + carried, last)
            residual_forward_last(
                c + last * move_c, governing + last * move_governing, at + d + last * move_d,
                at + base + last * move_base, at + y + end, final, at + carried, at + following,
                at + z + end,
            )  # fmt: skip
            back_correct_last(final, inverse + last * N * 8, at + z + end, at + y + end, at + take,
                              at + change, at + size, at + x)  # fmt: skip
        t = last - 1
        back_correct(last, beside, lower + t * LOW * 8, -LOW * 8, inverse + t * N * 8, -N * 8,
                     gain + t * SQ * 8, -SQ * 8, z + t * N * ROW, -N * ROW, x, y + t * N * ROW,
                     -N * ROW, take, 0, change, size)  # fmt: skip
        again = False
        for at in range(0, GROUPS * beside, beside):
            if judge(at + change, at + size, N, R + 1, correction, at + book):
                again = True
        if not again:
            break
    for at in range(0, GROUPS * beside, beside):
        end_refinement(at + size, load_int(table + AT_WORST), N, 0, at + book)


@njit(void(*[int64] * 7), **options)
def begin_lanes(table, group, n_problems, weights, initial_times, entries, book):
    """Give a group its problems, the shared weights of initial rows and the mean step."""
    remain_a_function()
    source = load_int(table + AT_WEIGHTS)
    for k in range(initial_times * entries):
        fill_rows(weights + k * ROW, 1, load(source + 8 * k))
    fill_rows(book + STEP, 1, load(load_int(table + AT_STEP)))
    fill_rows(book + BAD, 1, 0.0)
    assign(group, n_problems, book)


@njit(**options)
def solve_uniform(first, stop, table, d_from, u_from, output, times, n_problems, initial_times,
                  entries, orders, status, work, beside):  # fmt: skip
    """Solve for the right-hand sides of some groups; writes y and each one's status."""
    book = begin(work)
    weights = book + BOOKKEEPING * ROW
    u = weights + initial_times * entries * ROW
    nothing = u + initial_times * entries * ROW
    d = nothing + N * ROW
    y = d + times * Q * ROW
    state = y + times * N * ROW
    move_d = 0
    for at in range(0, GROUPS * beside, beside):
        begin(at + book)
        fill_rows(at + nothing, N, 0.0)
    for group in range(first, stop, GROUPS):
        for k in range(GROUPS):
            at = k * beside
            here = at + book
            begin_lanes(table, group + k, n_problems, at + weights, initial_times, entries, here)
            lanes = (here + PROBLEMS, here + STARTS, here + RUNS)
            pack(u_from, entries, at + u, initial_times, *lanes, here + BAD)
            move_d = pack(d_from, Q, at + d, times, *lanes, here + BAD) * Q * ROW
        solve_lanes(table, times, d, nothing, move_d, 0, weights, u, y, state, initial_times,
                    entries, orders, book, beside)  # fmt: skip
        for k in range(min(GROUPS, stop - group)):
            at = k * beside
            here, own = at + book, min(LANES, n_problems - (group + k) * LANES)
            lanes = (here + PROBLEMS, here + STARTS, here + RUNS)
            unpack(output, N, at + y, 0, times, *lanes, own)
            report(status, own, here)


@njit(**options)
def adjoint_uniform(first, stop, table, base_from, d_to, u_to, times, n_problems, initial_times,
                    entries, orders, work, beside):  # fmt: skip
    """Gradients of d, over times or summed, and of u for some groups, from dl/dy."""
    book = begin(work)
    weights = book + BOOKKEEPING * ROW
    nothing = weights + initial_times * entries * ROW
    count = max(initial_times * entries, Q)
    base = nothing + count * ROW
    g = base + times * N * ROW
    state = g + times * N * ROW
    is_sum = load_int(d_to + 40) == 1 and times > 1
    c, governing = load_int(table + AT_C), load_int(table + AT_GOVERNING)
    move_c, move_governing = load_int(table + MOVES), load_int(table + MOVES + 8)
    for at in range(0, GROUPS * beside, beside):
        begin(at + book)
        fill_rows(at + nothing, count, 0.0)
    for group in range(first, stop, GROUPS):
        for k in range(GROUPS):
            at = k * beside
            here = at + book
            begin_lanes(table, group + k, n_problems, at + weights, initial_times, entries, here)
            lanes = (here + PROBLEMS, here + STARTS, here + RUNS)
            pack(base_from, N, at + base, times, *lanes, here + IGNORED)
        solve_lanes(table, times, nothing, base, 0, N * ROW, weights, nothing, g, state,
                    initial_times, entries, orders, book, beside)  # fmt: skip
        for k in range(min(GROUPS, stop - group)):
            at = k * beside
            here, own = at + book, min(LANES, n_problems - (group + k) * LANES)
            lanes = (here + PROBLEMS, here + STARTS, here + RUNS)
            if load_int(d_to) != 0:
                dd, total = at + base, at + state  # both free by now
                fill_rows(total, 2 * Q, 0.0)
                for t in range(times):
                    to = total + Q * ROW if is_sum else dd + t * Q * ROW
                    gradient_right(c + t * move_c, governing + t * move_governing,
                                   at + g + t * N * ROW, to)  # fmt: skip
                    if is_sum:
                        for j in range(Q * LANES):
                            store(total + 8 * j, load(total + 8 * j) + load(to + 8 * j))
                if is_sum:
                    unpack(d_to, Q, total, 0, 1, *lanes, own)
                else:
                    unpack(d_to, Q, dd, 0, times, *lanes, own)
            give_initial(u_to, at + weights, at + g, initial_times, entries, orders, own, here)
