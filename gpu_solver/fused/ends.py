"""Between passes over segments: the times that stay, and whether corrections still help.

All functions take the same addresses: ``first``, what the first time of all needs, which is in no
segment (see below); ``results``, a row of what a pass found for every segment, in the order of
`passes`; ``bad``, a number for every segment that is not 0 where input is not finite; ``matrix``,
room for the blocks of the reduced matrix, those below its diagonal, and its answer, which is read
by the next pass; the answer ``y`` at all times; ``stays``, the times that stay, one more than
``segments``; ``state``, numbers that live as long as a solve. The rest are numbers: n unknowns a
time, ``size`` of which belong to a variable, governing ``equations``, and ``entries`` of u a time,
``orders`` of which belong to a variable. They are known at run time only: with them as constants,
LLVM 22 left out iterations of `solve_reduced`.
"""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import float64, int64, njit, void

from gpu_solver.fused.limits import MAX_CORRECTIONS, NEGLIGIBLE, NOTICEABLE, WORRYING
from gpu_solver.fused.passes import (
    AGAIN,
    CHANGE,
    CODE,
    FILL,
    LEFT,
    LEFT_SIDE,
    RIGHT,
    RIGHT_SIDE,
    SIZE,
    STATES,
    WORST,
)
from gpu_solver.fused.raw import load, load_int, options, store
from gpu_solver.fused.reduced import factor_reduced, solve_reduced
from gpu_solver.status import SolverStatus

#: Places in ``state`` besides those of `passes`.
TAKEN, OWN, WHOLE, DOUBTFUL = range(2, STATES)
OK, REFINED, ILL_CONDITIONED = (int(code) for code in list(SolverStatus)[:3])
NOT_POSITIVE_DEFINITE = int(SolverStatus.NOT_POSITIVE_DEFINITE)
NON_FINITE_INPUT = int(SolverStatus.NON_FINITE_INPUT)
EPSILON = 2.0**-52

_TAKES = [int64] * 13


@njit(int64(*[int64] * 3), **options)
def place(which, n, segment):
    """Where a result of a segment is, in bytes from the first."""
    triangle = n * (n + 1) // 2
    at = segment * (2 * triangle + n * n + 4 * n + 2)
    if which > RIGHT:
        at += triangle
    if which > LEFT:
        at += triangle
    if which > FILL:
        at += n * n
    if which > RIGHT_SIDE:
        at += n
    if which > LEFT_SIDE:
        at += n
    if which > WORST:
        at += 2
    if which > CHANGE:
        at += n
    return 8 * at


@njit(void(*[int64] * 8), **options)
def first_side(first, n, size, equations, entries, orders, y, rhs):
    """Right-hand side of the first time of all, or with an answer y its residual.

    ``first`` has c, weights of the governing rows and d, weights of initial rows and u, what is
    added to the right-hand side, and what brings every unknown to one size.
    """
    governing = first + 8 * equations * n
    d, initial = governing + 8 * equations, governing + 16 * equations
    u, base = initial + 8 * entries, initial + 16 * entries
    for i in range(n):
        store(rhs + 8 * i, load(base + 8 * i))
    for q in range(equations):
        row = first + 8 * q * n
        misfit = load(d + 8 * q)
        if y != 0:
            for i in range(n):
                misfit -= load(row + 8 * i) * load(y + 8 * i)
        misfit *= load(governing + 8 * q)
        for i in range(n):
            at = rhs + 8 * i
            store(at, load(at) + load(row + 8 * i) * misfit)
    for k in range(entries):
        i = k // orders * size + k % orders
        misfit = load(u + 8 * k)
        if y != 0:
            misfit -= load(y + 8 * i)
        at = rhs + 8 * i
        store(at, load(at) + load(initial + 8 * k) * misfit)


@njit(void(*[int64] * 10), **options)
def solve_ends(first, results, matrix, y, segments, n, size, equations, entries, orders):
    """Solve for the sides that the last pass found; y is 0 if there is no answer yet."""
    block, line = 8 * n * n, 8 * n
    rhs = matrix + (2 * segments + 1) * block
    first_side(first, n, size, equations, entries, orders, y, rhs)
    for k in range(segments):
        left, right = results + place(LEFT_SIDE, n, k), results + place(RIGHT_SIDE, n, k)
        before, after = rhs + k * line, rhs + (k + 1) * line
        for i in range(0, line, 8):
            store(before + i, load(before + i) + load(left + i))
            store(after + i, load(right + i))
    solve_reduced(matrix, matrix + (segments + 1) * block, segments + 1, n, rhs)


@njit(float64(*[int64] * 9), **options)
def factor_ends(first, results, matrix, segments, n, size, equations, entries, orders):
    """Put the reduced matrix together and factorise it; return its smallest relative pivot."""
    block, line = 8 * n * n, 8 * n
    lower = matrix + (segments + 1) * block
    for k in range((segments + 1) * n * n):
        store(matrix + 8 * k, 0.0)
    for k in range(segments):
        before, after = matrix + k * block, matrix + (k + 1) * block
        left, right = results + place(LEFT, n, k), results + place(RIGHT, n, k)
        fill = results + place(FILL, n, k)
        for i in range(n):
            for j in range(i + 1):
                at, entry = i * line + 8 * j, 8 * (i * (i + 1) // 2 + j)
                store(before + at, load(before + at) + load(left + entry))
                store(after + at, load(right + entry))
        for i in range(0, block, 8):
            store(lower + k * block + i, load(fill + i))
    governing = first + 8 * equations * n
    initial = governing + 16 * equations
    for q in range(equations):
        row, weight = first + 8 * q * n, load(governing + 8 * q)
        for i in range(n):
            for j in range(i + 1):
                at = matrix + i * line + 8 * j
                store(at, load(at) + weight * load(row + 8 * i) * load(row + 8 * j))
    for k in range(entries):
        at = matrix + (k // orders * size + k % orders) * (line + 8)
        store(at, load(at) + load(initial + 8 * k))
    finite = 0.0
    for k in range((2 * segments + 1) * n * n):
        finite += load(matrix + 8 * k) * 0.0
    if finite != 0.0:
        return -1.0
    # The place of the answer takes the smallest pivot for now.
    result = matrix + (2 * segments + 1) * block
    factor_reduced(matrix, lower, segments + 1, n, result)
    return load(result)


@njit(void(*_TAKES), **options)
def begin_ends(first, results, bad, matrix, y, stays, state,
               segments, n, size, equations, entries, orders):  # fmt: skip
    """After the pass that reduces: factorise, and find the first answer at the times that stay."""
    for k in range(STATES):
        store(state + 8 * k, 0.0)
    finite = 0.0
    for k in range(equations * (n + 2) + 2 * entries + 2 * n):
        finite += load(first + 8 * k) * 0.0
    for k in range(segments):
        finite += load(bad + 8 * k)
    if finite != 0.0:
        store(state + 8 * CODE, NON_FINITE_INPUT)
        return
    margin, inverse, doubtful = np.inf, np.inf, 0.0
    for k in range(segments):
        worst = results + place(WORST, n, k)
        margin, inverse = min(margin, load(worst)), min(inverse, load(worst + 8))
        doubtful += load(worst) * 0.0
        finite += load(worst + 8) * 0.0
    ratio = -1.0
    if inverse > 0.0 and finite == 0.0:
        ratio = factor_ends(first, results, matrix, segments, n, size, equations, entries, orders)
    if not ratio > 0.0:
        store(state + 8 * CODE, NOT_POSITIVE_DEFINITE)
        return
    if not margin > 0.0 or doubtful != 0.0 or ratio < 16 * n * EPSILON:
        store(state + 8 * DOUBTFUL, 1.0)
    store(state + 8 * OWN, 1.0)
    store(state + 8 * WHOLE, 1.0)
    solve_ends(first, results, matrix, 0, segments, n, size, equations, entries, orders)
    ends = matrix + (2 * segments + 1) * 8 * n * n
    for k in range(segments + 1):
        for i in range(n):
            at = load_int(stays + 8 * k) * n + i
            store(y + 8 * at, load(ends + 8 * (k * n + i)))


@njit(void(*_TAKES), **options)
def correct_ends(first, results, bad, matrix, y, stays, state,
                 segments, n, size, equations, entries, orders):  # fmt: skip
    """After a pass that finds what remains: find the correction at the times that stay."""
    solve_ends(first, results, matrix, y, segments, n, size, equations, entries, orders)


@njit(void(*_TAKES), **options)
def judge_ends(first, results, bad, matrix, y, stays, state,
               segments, n, size, equations, entries, orders):  # fmt: skip
    """After a pass that corrects: correct the times that stay, and judge the correction.

    It is seen relative to each unknown's own size, and to the largest of all.
    """
    ends = matrix + (2 * segments + 1) * 8 * n * n
    scale = first + 8 * (equations * (n + 2) + 2 * entries + n)
    for k in range(segments + 1):
        for i in range(n):
            at = y + 8 * (load_int(stays + 8 * k) * n + i)
            store(at, load(at) + load(ends + 8 * (k * n + i)))
    largest, moved, own, finite = 0.0, 0.0, 0.0, 0.0
    for look in range(2):  # the largest of all must be known first
        for i in range(n):
            change, value = 0.0, 0.0
            for k in range(segments + 1):
                correction = load(ends + 8 * (k * n + i))
                answer = load(y + 8 * (load_int(stays + 8 * k) * n + i))
                change, value = max(change, abs(correction)), max(value, abs(answer))
                finite += (correction + answer) * 0.0
            for k in range(segments):
                correction = load(results + place(CHANGE, n, k) + 8 * i)
                answer = load(results + place(SIZE, n, k) + 8 * i)
                change, value = max(change, correction), max(value, answer)
                finite += (correction + answer) * 0.0
            change, value = change * load(scale + 8 * i), value * load(scale + 8 * i)
            largest, moved = max(largest, value), max(moved, change)
            if look == 1 and change > 0.0:
                own = max(own, change / max(value, 1e-12 * largest))
    store(state + 8 * AGAIN, 0.0)
    if finite != 0.0:
        store(state + 8 * CODE, NOT_POSITIVE_DEFINITE)
        return
    whole = moved / largest if moved > 0.0 else 0.0
    taken = load(state + 8 * TAKEN)
    if taken == 0.0 and whole > NOTICEABLE:
        store(state + 8 * CODE, REFINED)
    remaining = whole * min(whole / load(state + 8 * WHOLE), 1.0) if whole > 0.0 else 0.0
    shrunk = own / load(state + 8 * OWN)
    store(state + 8 * TAKEN, taken + 1.0)
    store(state + 8 * OWN, own)
    store(state + 8 * WHOLE, whole)
    useful = taken + 1.0 < MAX_CORRECTIONS and (taken == 0.0 or shrunk < 0.5)
    if useful and own * shrunk > NEGLIGIBLE:
        store(state + 8 * AGAIN, 1.0)
    elif load(state + 8 * DOUBTFUL) != 0.0 or not remaining < WORRYING:
        store(state + 8 * CODE, ILL_CONDITIONED)
