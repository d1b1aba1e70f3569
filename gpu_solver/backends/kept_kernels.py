"""The rows between segments: from lanes to a small block-tridiagonal system, and back.

Lanes hold segments in order, problem by problem: lane ``p S + s`` lies between the rows
``stays[s]`` (its a) and ``stays[s + 1]`` (its b) of problem p. ``at_ends`` is the address of
(groups, parts, entries, 8): what the lanes have for a, for b and, if there is a third part,
between them.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit

from gpu_solver.backends.lanes import LANES, ROW, instruction

load, store = instruction("load"), instruction("store")

options = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**options)
def join(own, problems, steps, stays, entries, parts, at_ends, out, between):
    """Sum, for the rows that stay, their own entries (p, T, ...) and what lanes have for them.

    The sum goes to out (p, S+1, ...); a third part of ``at_ends`` to between (p, S, ...).
    """
    last = len(stays) - 1
    for p in range(problems):
        for k in range(last + 1):
            source = own + 8 * (p * steps + stays[k]) * entries
            to = out + 8 * (p * (last + 1) + k) * entries
            group, lane = divmod(p * last + k, LANES)
            after = at_ends + group * parts * entries * ROW + 8 * lane
            group, lane = divmod(p * last + k - 1, LANES)
            before = at_ends + (group * parts + 1) * entries * ROW + 8 * lane
            for e in range(entries):
                value = load(source + 8 * e)
                if k < last:
                    value += load(after + e * ROW)
                if k > 0:
                    value += load(before + e * ROW)
                store(to + 8 * e, value)
            if parts > 2 and k < last:
                to = between + 8 * (p * last + k) * entries
                for e in range(entries):
                    store(to + 8 * e, load(after + (2 * entries + e) * ROW))


@njit(**options)
def settle(found, problems, steps, stays, entries, out, at_ends):
    """Write answers (p, S+1, ...) of the rows that stay to out (p, T, ...) and to lanes' ends."""
    last = len(stays) - 1
    for p in range(problems):
        for k in range(last + 1):
            source = found + 8 * (p * (last + 1) + k) * entries
            to = out + 8 * (p * steps + stays[k]) * entries
            group, lane = divmod(p * last + k, LANES)
            after = at_ends + group * 2 * entries * ROW + 8 * lane
            group, lane = divmod(p * last + k - 1, LANES)
            before = at_ends + (group * 2 + 1) * entries * ROW + 8 * lane
            for e in range(entries):
                value = load(source + 8 * e)
                store(to + 8 * e, value)
                if k < last:
                    store(after + e * ROW, value)
                if k > 0:
                    store(before + e * ROW, value)


@njit(**options)
def judge(worst, bad, state, moved, times, diagonal, n, steps, stays, factor, codes):
    """Say how each problem fared: 0, 2 (digits lost), 3 (not positive definite) or 4 (not finite).

    ``codes`` comes with 3 where the rows between segments broke down; ``factor`` (p, S+1, n, n) is
    theirs. All but ``stays`` and ``codes`` are addresses.
    """
    each, last = max(len(stays) - 1, 1), len(stays)
    share = load(worst + 2 * ROW)
    for p in range(len(codes)):
        code = codes[p]
        for number in range(p * each, (p + 1) * each):
            group, lane = divmod(number, LANES)
            at = worst + group * 3 * ROW + 8 * lane
            if not load(at) > 0.0:
                code = max(code, 3)
            if not load(at + ROW) > 0.0:
                code = max(code, 2)
            end = state + ((group + 1) * times - 1) * moved + 8 * lane
            for i in range(n):  # what is not a number spreads to the last time
                if not np.isfinite(load(end + i * (n + 1) * ROW)):
                    code = max(code, 3)
            if np.isnan(load(bad + group * ROW + 8 * lane)):
                code = 4
        for k in range(last):
            for i in range(n):
                own = load(diagonal + 8 * (((p * steps + stays[k]) * n + i) * n + i))
                pivot = load(factor + 8 * (((p * last + k) * n + i) * n + i))
                if not np.isfinite(own):
                    code = 4
                if not pivot * pivot > share * own:
                    code = max(code, 2)
        codes[p] = code
