"""Loops over time around the traced steps, for groups of lanes: one problem a lane.

This file works for one size of problem, the one named in its first statement. `compiled` in
`gpu_solver.fused.cache` writes it out for others. Everything is an address, in bytes, of rows of
lanes; a row holds one scalar of each lane. What is laid out per time lies one time after the other.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit

from gpu_solver.fused import memory
from gpu_solver.fused.emit import LANES, ROW, steps_for
from gpu_solver.fused.memory import fill_rows, load, pack, store, unpack

SIZES = (1, 2, 1)

V, R, Q = SIZES
N = V * (R + 1)
TRI, LOW, SQ = N * (N + 1) // 2, N * (N - 1) // 2, N * N
_steps = steps_for(*SIZES)
factor_forward, factor_forward_last = _steps["factor_forward"], _steps["factor_forward_last"]
back, back_last = _steps["back"], _steps["back_last"]
residual_forward = _steps["residual_forward"]
residual_forward_last = _steps["residual_forward_last"]
back_correct, back_correct_last = _steps["back_correct"], _steps["back_correct_last"]
gradient, gradient_step = _steps["gradient"], _steps["gradient_step"]

#: Order of the descriptors of inputs.
C, D, BASE, S, GOVERNING, SMOOTH, INITIAL, U, Y = range(9)
#: A relative correction whose square, the error expected after it, is below this ends refinement.
NEGLIGIBLE, NOTICEABLE, WORRYING, MAX_CORRECTIONS = 1e-14, 1e-12, 1e-9, 3
#: Rows of a time's gradients of c, d and s.
GRADIENTS = Q * N + Q + 1
#: Rows of a time's elimination, whose place the gradients take later.
ELIMINATED = max(LOW + N + SQ + N, GRADIENTS)
#: Rows for what is kept from one time to the next.
STATE = TRI + 2 + 5 * N + 1

options = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**options)
def add_initial(weights, u, y, times, entries, orders, diagonal, carried, t, with_diagonal):
    """Give time t its initial rows: weight on the diagonal, weight times (u - y) on the right."""
    if t >= times:
        return
    for k in range(entries):
        i = (k // orders) * (R + 1) + k % orders
        for lane in range(LANES):
            at = 8 * lane + (t * entries + k) * ROW
            weight = load(weights + at)
            value = load(u + at)
            if with_diagonal:
                place = diagonal + 8 * lane + (i * (i + 1) // 2 + i) * ROW
                store(place, load(place) + weight)
            else:
                value -= load(y + (t * N + i) * ROW + 8 * lane)
            place = carried + 8 * lane + i * ROW
            store(place, load(place) + weight * value)


@njit(**options)
def pack_initial(inputs, entries, rows, weights, u, problems, starts, bad):
    """Pack initial rows; NaN in u gets weight 0 and value 0."""
    if rows == 0:
        return
    ignored = np.zeros(LANES)
    if pack(inputs[INITIAL], entries, weights, rows, problems, starts, bad) == 0 and rows > 1:
        for k in range(entries * LANES):
            for t in range(1, rows):
                store(weights + t * entries * ROW + 8 * k, load(weights + 8 * k))
    pack(inputs[U], entries, u, rows, problems, starts, ignored)
    for k in range(rows * entries * LANES):
        value = load(u + 8 * k)
        if value != value:
            store(u + 8 * k, 0.0)
            store(weights + 8 * k, 0.0)
        bad[k % LANES] += load(u + 8 * k) * 0.0


@njit(**options)
def judge(change, size, step, steps_taken, sizes, codes, active):
    """Look at a correction of every lane; return whether another one is worth while.

    ``sizes`` (3, lanes) keeps the last relative correction by derivative and of the trajectory,
    and the error expected to be left.
    """
    again = False
    for lane in range(LANES):
        if active[lane] == 0.0:
            continue
        largest = 0.0
        for k in range(N):
            weight = step[lane] ** (k % (R + 1))
            largest = max(largest, load(size + k * ROW + 8 * lane) * weight)
        own, whole = 0.0, 0.0
        for k in range(N):
            weight = step[lane] ** (k % (R + 1))
            moved = load(change + k * ROW + 8 * lane) * weight
            if moved != 0.0:
                mine = load(size + k * ROW + 8 * lane) * weight
                own = max(own, moved / max(mine, 1e-12 * largest))
                whole = max(whole, moved / largest)
        if steps_taken == 0 and whole > NOTICEABLE:
            codes[lane] = 1
        shrunk = own / sizes[0, lane]
        sizes[2, lane] = whole * min(whole / sizes[1, lane], 1.0) if whole > 0.0 else 0.0
        sizes[0, lane], sizes[1, lane] = own, whole
        if (steps_taken == 0 or shrunk < 0.5) and own * shrunk > NEGLIGIBLE:
            again = True
        else:
            active[lane] = 0.0
    return again


@njit(**options)
def solve_lanes(times, at, moves, initial_times, entries, orders, step, codes):
    """Solve ``M y = base + A^T W^2 b`` for one group of lanes, refined; sets each lane's code."""
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
        add_initial(weights, u, y, initial_times, entries, orders, left, carried, t, True)
        factor_forward(
            c + t * move_c, governing + t * move_governing, d + t * move_d, base + t * move_base,
            s + t * move_s, smooth + t * move_smooth, left, worst, carried,
            lower + t * LOW * ROW, inverse + t * N * ROW, gain + t * SQ * ROW, z + t * N * ROW,
        )  # fmt: skip
    add_initial(weights, u, y, initial_times, entries, orders, left, carried, last, True)
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

    active = np.ones(LANES)
    sizes = np.ones((3, LANES))
    codes[:] = 0
    for count in range(MAX_CORRECTIONS):
        fill_rows(carried, 2 * N, 0.0)
        fill_rows(change, 2 * N, 0.0)
        for lane in range(LANES):
            store(take + 8 * lane, active[lane])
        for t in range(last):
            add_initial(weights, u, y, initial_times, entries, orders, left, carried, t, False)
            residual_forward(
                c + t * move_c, governing + t * move_governing, d + t * move_d,
                base + t * move_base, s + t * move_s, smooth + t * move_smooth,
                y + t * N * ROW, y + (t + 1) * N * ROW, lower + t * LOW * ROW,
                gain + t * SQ * ROW, carried, following, z + t * N * ROW,
            )  # fmt: skip
        add_initial(weights, u, y, initial_times, entries, orders, left, carried, last, False)
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
        if not judge(change, size, step, count, sizes, codes, active):
            break
    for lane in range(LANES):
        if not sizes[2, lane] < WORRYING or not load(worst + 8 * lane) > 0.0:
            codes[lane] = 2
        finite = 0.0
        for k in range(N):
            finite += load(size + k * ROW + 8 * lane) * 0.0
        if finite != 0.0 or not load(worst + ROW + 8 * lane) > 0.0:
            codes[lane] = 3


@njit(**options)
def stage(inputs, work, times, initial_times, entries, problems, starts, bad):
    """Pack a group's inputs; return where everything lies and how far apart the times are."""
    counts = (Q * N, Q, N, 1, Q, N)
    base = memory.aligned(work)
    at_c = base
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
    places = (at_c, at_d, at_base, at_s, at_governing, at_smooth)
    moves = np.zeros(6, np.int64)
    for k in range(6):
        if inputs[k, 0] == 0:
            fill_rows(places[k], counts[k], 0.0)
            continue
        rows = times - 1 if k in (S, SMOOTH) else times
        varies = pack(inputs[k], counts[k], places[k], rows, problems, starts, bad)
        moves[k] = varies * counts[k] * ROW
    pack_initial(inputs, entries, initial_times, at_weights, at_u, problems, starts, bad)
    at = (at_c, at_d, at_base, at_s, at_governing, at_smooth, at_weights, at_u, at_y,
          at_lower, at_inverse, at_gain, at_z, at_state)  # fmt: skip
    return at, (moves[0], moves[1], moves[2], moves[3], moves[4], moves[5])


def workspace(times, initial_times, entries):
    """Numbers that a group needs; with some left over for y and the zeros of the adjoint."""
    a_time = Q * N + Q + N + 1 + Q + N + N + ELIMINATED + N
    rows = times * a_time + 3 * initial_times * entries + STATE + GRADIENTS + Q + 2
    return rows * LANES


@njit(**options)
def mean_step(s, move, times, step):
    """Mean time step of every lane."""
    rows = times - 1 if move else 1
    for lane in range(LANES):
        total = 0.0
        for t in range(rows):
            total += load(s + t * ROW + 8 * lane)
        step[lane] = total / rows


@njit(**options)
def assign(group, n_problems, problems):
    """Say which problems a group's lanes have, repeating the last; return how many are its own."""
    for lane in range(LANES):
        problems[lane] = min(group * LANES + lane, n_problems - 1)
    return min(LANES, n_problems - group * LANES)


@njit(**options)
def solve_groups(first, stop, inputs, output, times, n_problems, initial_times, entries, orders,
                 status, work):  # fmt: skip
    """Solve the problems of some groups; writes y and each problem's status."""
    problems, starts = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    codes, step = np.zeros(LANES, np.int64), np.zeros(LANES)
    for group in range(first, stop):
        lanes = assign(group, n_problems, problems)
        bad = np.zeros(LANES)
        at, moves = stage(inputs, work, times, initial_times, entries, problems, starts, bad)
        mean_step(at[S], moves[S], times, step)
        solve_lanes(times, at, moves, initial_times, entries, orders, step, codes)
        unpack(output, N, at[Y], 0, times, problems, starts, lanes)
        for lane in range(lanes):
            status[problems[lane]] = codes[lane] if bad[lane] == 0.0 else 4


@njit(**options)
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
    problems, starts = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    codes, step = np.zeros(LANES, np.int64), np.zeros(LANES)
    for group in range(first, stop):
        lanes = assign(group, n_problems, problems)
        bad = np.zeros(LANES)
        at, moves = stage(inputs, work, times, initial_times, entries, problems, starts, bad)
        mean_step(at[S], moves[S], times, step)
        c, _, base, s, governing, smooth, weights, _, g, lower, inverse, gain, z, state = at
        y = state + (STATE + GRADIENTS) * ROW
        nothing = y + times * N * ROW
        fill_rows(nothing, initial_times * entries + Q, 0.0)
        without = (c, nothing, base, s, governing, smooth, weights, nothing, g, lower, inverse,
                   gain, z, state)  # fmt: skip
        still = (moves[0], 0 * moves[1], moves[2], moves[3], moves[4], moves[5])
        solve_lanes(times, without, still, initial_times, entries, orders, step, codes)
        pack(inputs[Y], N, y, times, problems, starts, bad)
        # What the elimination needed is free by now: the gradients go there.
        gradients(times, at, moves, y, outputs, problems, problems, starts, lanes, 0)
        if outputs[2, 0] != 0:
            for t in range(initial_times):
                for k in range(entries):
                    i = (k // orders) * (R + 1) + k % orders
                    for lane in range(LANES):
                        place = weights + (t * entries + k) * ROW + 8 * lane
                        store(place, load(place) * load(g + (t * N + i) * ROW + 8 * lane))
            unpack(outputs[2], entries, weights, 0, initial_times, problems, starts, lanes)


@njit(**options)
def gradients(times, at, moves, y, outputs, problems, rows, starts, lanes, first):  # fmt: skip
    """Gradients of c, d and s of a group whose y and g are known, from local time ``first`` on.

    ``rows`` says where each lane's sums over time go.
    """
    c, d, _, s, governing, smooth, _, _, g, lower, _, _, _, state = at
    move_c, move_d, _, move_s, move_governing, move_smooth = moves
    dc, dd = lower, lower + times * Q * N * ROW
    ds = dd + times * Q * ROW
    sum_c = outputs[0, 5] == 1 and times > 1
    sum_d = outputs[1, 5] == 1 and times > 1
    sum_s = outputs[3, 5] == 1 and times > 2
    totals = state + STATE * ROW
    total_c, total_d, total_s = totals, totals + Q * N * ROW, totals + (Q * N + Q) * ROW
    fill_rows(totals, GRADIENTS, 0.0)
    move_dc = 0 if sum_c else Q * N * ROW
    move_dd = 0 if sum_d else Q * ROW
    move_ds = 0 if sum_s else ROW
    if outputs[0, 0] != 0 or outputs[1, 0] != 0:
        for t in range(first, times):
            gradient(c + t * move_c, governing + t * move_governing, d + t * move_d,
                     y + t * N * ROW, g + t * N * ROW, dc + t * move_dc,
                     dd + t * move_dd)  # fmt: skip
            if sum_c:
                accumulate(total_c, dc, Q * N)
            if sum_d:
                accumulate(total_d, dd, Q)
    if outputs[3, 0] != 0:
        for t in range(times - 1):
            gradient_step(s + t * move_s, smooth + t * move_smooth, y + t * N * ROW,
                          y + (t + 1) * N * ROW, g + t * N * ROW, g + (t + 1) * N * ROW,
                          ds + t * move_ds)  # fmt: skip
            if sum_s:
                accumulate(total_s, ds, 1)
    for k in range(4):
        if k == 2 or outputs[k, 0] == 0:
            continue
        count = (Q * N, Q, 0, 1)[k]
        if (sum_c, sum_d, False, sum_s)[k]:
            unpack(
                outputs[k], count, (total_c, total_d, 0, total_s)[k], 0, 1, rows, starts * 0, lanes
            )
        else:
            begin, end = (0, times - 1) if k == 3 else (first, times)
            unpack(outputs[k], count, (dc, dd, 0, ds)[k], begin, end, problems, starts, lanes)
