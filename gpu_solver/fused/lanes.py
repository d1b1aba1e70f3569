"""What a group of lanes keeps about itself: problems, status, how far refinement has come."""
# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

from numba import boolean, int64, njit, void

from gpu_solver.fused.layout import LANES, ROW
from gpu_solver.fused.limits import NEGLIGIBLE, NOTICEABLE, WORRYING
from gpu_solver.fused.memory import load, load_int, options, remain_a_function, store, store_int

#: Order of the descriptors of inputs, and bytes of one.
C, D, BASE, S, GOVERNING, SMOOTH, INITIAL, U, Y = range(9)
DESCRIPTOR = 64
#: Rows at the beginning of a group's memory: of integers, which problem and time a lane begins
#: with, where its numbers are, its status, and zeros; of numbers, what is NaN for bad input, the
#: mean step, whether refinement goes on, and how far it came; of integers, which segment a lane
#: has, and which comes after it.
PROBLEMS, STARTS, RUNS, CODES, NOWHERE = (ROW * k for k in range(5))
BAD, IGNORED, STEP, ACTIVE, OWN, WHOLE, EXPECTED = (ROW * k for k in range(5, 12))
SEGMENTS, AFTER = 12 * ROW, 13 * ROW


@njit(int64(int64), **options)
def begin(work):
    """First whole row of a group's memory, where its bookkeeping is."""
    book = (work + ROW - 1) // ROW * ROW
    for lane in range(0, ROW, 8):
        store_int(book + STARTS + lane, 0)
        store_int(book + NOWHERE + lane, 0)
    return book


@njit(int64(*[int64] * 3), **options)
def assign(group, n_problems, book):
    """Say which problems a group's lanes have, repeating the last; return how many are its own."""
    for lane in range(LANES):
        store_int(book + PROBLEMS + 8 * lane, min(group * LANES + lane, n_problems - 1))
    return min(LANES, n_problems - group * LANES)


@njit(void(*[int64] * 4), **options)
def mean_step(s, move, times, book):
    """Mean time step of every lane."""
    rows = times - 1 if move else 1
    for lane in range(0, ROW, 8):
        total = 0.0
        for t in range(rows):
            total += load(s + t * ROW + lane)
        store(book + STEP + lane, total / rows)


@njit(void(int64), **options)
def begin_refinement(book):
    """Before the first correction: every lane is to be corrected, by all."""
    for lane in range(0, ROW, 8):
        store_int(book + CODES + lane, 0)
        store(book + ACTIVE + lane, 1.0)
        store(book + OWN + lane, 1.0)
        store(book + WHOLE + lane, 1.0)
        store(book + EXPECTED + lane, 1.0)


@njit(boolean(*[int64] * 6), **options)
def judge(change, size, n, orders, steps_taken, book):
    """Look at a correction of every lane; return whether another one is worth while.

    Keeps the last relative correction by derivative and of the trajectory, and the error expected
    to be left.
    """
    remain_a_function()
    again = False
    for lane in range(0, ROW, 8):
        if load(book + ACTIVE + lane) == 0.0:
            continue
        step = load(book + STEP + lane)
        largest, weight = 0.0, 1.0
        for k in range(n):
            weight = 1.0 if k % orders == 0 else weight * step
            largest = max(largest, load(size + k * ROW + lane) * weight)
        own, whole = 0.0, 0.0
        for k in range(n):
            weight = 1.0 if k % orders == 0 else weight * step
            moved = load(change + k * ROW + lane) * weight
            if moved != 0.0:
                mine = load(size + k * ROW + lane) * weight
                own = max(own, moved / max(mine, 1e-12 * largest))
                whole = max(whole, moved / largest)
        if steps_taken == 0 and whole > NOTICEABLE:
            store_int(book + CODES + lane, 1)
        shrunk = own / load(book + OWN + lane)
        left = whole * min(whole / load(book + WHOLE + lane), 1.0) if whole > 0.0 else 0.0
        store(book + EXPECTED + lane, left)
        store(book + OWN + lane, own)
        store(book + WHOLE + lane, whole)
        if (steps_taken == 0 or shrunk < 0.5) and own * shrunk > NEGLIGIBLE:
            again = True
        else:
            store(book + ACTIVE + lane, 0.0)
    return again


@njit(void(*[int64] * 5), **options)
def end_refinement(size, worst, n, spread, book):
    """Set the lanes' codes; rows of ``worst`` are lanes, or with ``spread`` 0 one for all."""
    for lane in range(0, ROW, 8):
        at = worst + lane * spread
        if not load(book + EXPECTED + lane) < WORRYING or not load(at) > 0.0:
            store_int(book + CODES + lane, 2)
        finite = 0.0
        for k in range(n):
            finite += load(size + k * ROW + lane) * 0.0
        smallest = load(at + (ROW if spread else 8))
        if finite != 0.0 or not smallest > 0.0:
            store_int(book + CODES + lane, 3)


@njit(void(*[int64] * 3), **options)
def report(status, lanes, book):
    """Write the lanes' codes to their problems."""
    for lane in range(0, 8 * lanes, 8):
        code = load_int(book + CODES + lane) if load(book + BAD + lane) == 0.0 else 4
        store_int(status + 8 * load_int(book + PROBLEMS + lane), code)
