"""Loops over segments of time of one problem: one segment a lane.

As `gpu_solver.fused.loops`, this file works for one size and is written out for others. A segment
lies between two times that stay, its local times 0 and ``times - 1``; those between are eliminated.
Its local time 0 is the last one of the segment before, so a segment gives points to its end only.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit

from gpu_solver.fused.ends import begin_ends, correct_ends, judge_ends  # noqa: F401 - entries
from gpu_solver.fused.lanes import (
    AFTER,
    BAD,
    DESCRIPTOR,
    IGNORED,
    NOWHERE,
    PROBLEMS,
    RUNS,
    SEGMENTS,
    STARTS,
    begin,
)
from gpu_solver.fused.layout import LANES, ROW
from gpu_solver.fused.loops import (
    LOW,
    SQ,
    STATE,
    TRI,
    N,
    Y,
    _layout,
    _steps,
    add_initial,
    back,
    back_correct,
    factor_forward,
    gradients,
    residual_forward,
    stage,
)
from gpu_solver.fused.memory import (
    fill_rows,
    load,
    load_int,
    options,
    pack,
    remain_a_function,
    store,
    store_int,
    unpack,
)
from gpu_solver.fused.passes import CORRECT, FIRST, REDUCE, REMAINDER

open_segment, fill_segment = _steps["open_segment"], _steps["fill_segment"]
close_segment = _steps["close_segment"]
couple, couple_back = _steps["couple"], _steps["couple_back"]
residual_open, residual_close = _steps["residual_open"], _steps["residual_close"]

KEPT = _layout.kept
#: Called from outside.
ENTRIES = ("pass_segments", "gradient_segments", "begin_ends", "correct_ends", "judge_ends")


@njit(**options)
def factor_segments(times, at, moves, initial_times, entries, orders, kept, reduce):
    """Eliminate the inner times; with ``reduce`` find what remains for the ends."""
    remain_a_function()
    c, d, base, s, governing, smooth, weights, u, _, lower, inverse, gain, z, left = at
    move_c, move_d, move_base, move_s, move_governing, move_smooth = moves
    worst, carried = left + TRI * ROW, left + (TRI + 2) * ROW
    now, fill, rhs = kept, kept + TRI * ROW, kept + (TRI + SQ) * ROW
    open_segment(s, smooth, now, left, fill)
    last = times - 1
    keep = 0 if reduce else ROW
    for t in range(1, last):
        if t < initial_times:
            add_initial(weights, u, 0, entries, orders, left, carried, t)
        factor_forward(
            c + t * move_c, governing + t * move_governing, d + t * move_d, base + t * move_base,
            s + t * move_s, smooth + t * move_smooth, left, worst, carried,
            lower + t * LOW * keep, inverse + t * N * keep, gain + t * SQ * keep,
            z + t * N * keep,
        )  # fmt: skip
        if reduce:
            fill_segment(lower, inverse, gain, z, fill, now, rhs)
    if reduce:
        if last < initial_times:
            add_initial(weights, u, 0, entries, orders, left, carried, last)
        close_segment(c + last * move_c, governing + last * move_governing, d + last * move_d,
                      base + last * move_base, left, carried)  # fmt: skip


@njit(**options)
def residual_segments(times, at, moves, initial_times, entries, orders, kept, ends):
    """Substitute the residual of y forward; with ``ends`` find what remains of it for the ends."""
    remain_a_function()
    c, d, base, s, governing, smooth, weights, u, y, lower, inverse, gain, z, left = at
    move_c, move_d, move_base, move_s, move_governing, move_smooth = moves
    carried = left + (TRI + 2) * ROW
    following = carried + N * ROW
    fill, rhs = kept + TRI * ROW, kept + (TRI + SQ) * ROW
    residual_open(s, smooth, y, y + N * ROW, rhs, following)
    last = times - 1
    for t in range(1, last):
        if t < initial_times:
            add_initial(weights, u, y, entries, orders, 0, carried, t)
        residual_forward(
            c + t * move_c, governing + t * move_governing, d + t * move_d, base + t * move_base,
            s + t * move_s, smooth + t * move_smooth, y + t * N * ROW, y + (t + 1) * N * ROW,
            lower + t * LOW * ROW, gain + t * SQ * ROW, carried, following, z + t * N * ROW,
        )  # fmt: skip
    if not ends:
        return
    if last < initial_times:
        add_initial(weights, u, y, entries, orders, 0, carried, last)
    residual_close(c + last * move_c, governing + last * move_governing, d + last * move_d,
                   base + last * move_base, y + last * N * ROW, carried, following)  # fmt: skip
    after = rhs + N * ROW
    fill_rows(after, N, 0.0)
    for t in range(last - 1, 0, -1):
        back(lower + t * LOW * ROW, inverse + t * N * ROW, gain + t * SQ * ROW, z + t * N * ROW,
             after, z + t * N * ROW)  # fmt: skip
        after = z + t * N * ROW
    couple_back(fill, after, rhs)


@njit(**options)
def assign_segments(group, starts_of, n_segments, book):
    """Say which segments a group's lanes have; return how many are its own."""
    lanes = min(LANES, n_segments - group * LANES)
    for lane in range(LANES):
        segment = group * LANES + min(lane, lanes - 1)
        store_int(book + PROBLEMS + 8 * lane, 0)
        store_int(book + SEGMENTS + 8 * lane, segment)
        store_int(book + AFTER + 8 * lane, segment + 1)
        store_int(book + STARTS + 8 * lane, load_int(starts_of + 8 * segment))
    return lanes


@njit(**options)
def pass_segments(first, stop, inputs, results, ends, y_to, starts_of, lengths, n_segments,
                  initial_times, entries, orders, what, bad_segments, work):  # fmt: skip
    """One pass over groups of segments; ``what`` is a sum of constants of `passes`.

    ``ends`` describes the answer (FIRST) or its correction (CORRECT) at the times that stay, one
    row more than segments; y is written at the other times only, because neighbours read those
    that stay. All segments of a group have the length of its first. ``results`` are descriptors of
    what `passes.COUNTS` names, ``bad_segments`` floats that are not 0 where input is not finite.
    """
    book = begin(work)
    here = (book + PROBLEMS, book + STARTS, book + RUNS)
    for group in range(first, stop):
        lanes = assign_segments(group, starts_of, n_segments, book)
        times = load_int(lengths + 8 * group * LANES) + 1
        ours = times if initial_times else 0
        at, moves = stage(inputs, book, times, ours, entries)
        y, lower, inverse, gain, z, left = at[8], at[9], at[10], at[11], at[12], at[13]
        worst, carried = left + TRI * ROW, left + (TRI + 2) * ROW
        x = carried + 2 * N * ROW
        change, size, take = x + N * ROW, x + 2 * N * ROW, x + 3 * N * ROW
        kept = left + STATE * ROW
        fill, rhs = kept + TRI * ROW, kept + (TRI + SQ) * ROW
        at_left = kept + (TRI + SQ + 2 * N) * ROW
        last = times - 1
        fill_rows(left, STATE + KEPT, 0.0)
        fill_rows(worst, 2, np.inf)
        fill_rows(take, 1, 1.0)
        if what & (FIRST | CORRECT):
            problem, runs, bad = book + PROBLEMS, book + RUNS, book + BAD
            pack(ends, N, at_left, 1, problem, book + SEGMENTS, runs, bad)
            pack(ends, N, x, 1, problem, book + AFTER, runs, bad)
        if what & FIRST:
            open_segment(at[3], at[5], kept, left, fill)
            couple(fill, at_left, carried)
        factor_segments(times, at, moves, ours, entries, orders, kept, what & REDUCE != 0)
        if what & FIRST:
            for k in range(N * LANES):
                store(y + 8 * k, load(at_left + 8 * k))
                store(y + last * N * ROW + 8 * k, load(x + 8 * k))
            for t in range(last - 1, 0, -1):
                back(lower + t * LOW * ROW, inverse + t * N * ROW, gain + t * SQ * ROW,
                     z + t * N * ROW, y + (t + 1) * N * ROW, y + t * N * ROW)  # fmt: skip
        elif what & (CORRECT | REMAINDER):
            pack(inputs + Y * DESCRIPTOR, N, y, times, *here, book + BAD)
        if what & CORRECT:
            fill_rows(carried, N, 0.0)
            couple(fill, at_left, carried)
            residual_segments(times, at, moves, ours, entries, orders, kept, False)
            for t in range(last - 1, 0, -1):
                back_correct(lower + t * LOW * ROW, inverse + t * N * ROW, gain + t * SQ * ROW,
                             z + t * N * ROW, x, y + t * N * ROW, take, change, size)  # fmt: skip
        if what & (FIRST | CORRECT):
            unpack(y_to, N, y, 1, last, *here, lanes)
        if what & REMAINDER:
            fill_rows(carried, N, 0.0)
            residual_segments(times, at, moves, ours, entries, orders, kept, True)
        places = (left, kept, fill, carried, rhs, worst, change, size)
        counts = (TRI, TRI, SQ, N, N, 2, N, N)
        for k in range(8):
            result = results + k * DESCRIPTOR
            if load_int(result) != 0:
                segments, nowhere = book + SEGMENTS, book + NOWHERE
                unpack(result, counts[k], places[k], 0, 1, segments, nowhere, book + RUNS, lanes)
        for lane in range(0, 8 * lanes, 8):
            bad = 0.0 if load(book + BAD + lane) == 0.0 else 1.0
            store(bad_segments + 8 * load_int(book + SEGMENTS + lane), bad)


@njit(**options)
def gradient_segments(first, stop, inputs, g_from, outputs, starts_of, lengths, n_segments,
                      work):  # fmt: skip
    """Gradients of c, d and s, but for the first time of all; sums over time are by segment."""
    book = begin(work)
    here = (book + PROBLEMS, book + STARTS, book + RUNS)
    for group in range(first, stop):
        lanes = assign_segments(group, starts_of, n_segments, book)
        times = load_int(lengths + 8 * group * LANES) + 1
        at, moves = stage(inputs, book, times, 0, 1)
        y = at[13] + (STATE + KEPT) * ROW
        pack(inputs + Y * DESCRIPTOR, N, y, times, *here, book + IGNORED)
        pack(g_from, N, at[8], times, *here, book + IGNORED)
        gradients(times, at, moves, y, outputs, book + SEGMENTS, lanes, 1, book)
