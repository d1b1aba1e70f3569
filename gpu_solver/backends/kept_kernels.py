"""The rows between segments: from lanes to a small block-tridiagonal system, and back.

Lanes hold segments in order, problem by problem: lane ``p S + s`` lies between the rows
``stays[s]`` (its a) and ``stays[s + 1]`` (its b) of problem p.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201

import numpy as np
from numba import njit

from gpu_solver.backends.lanes import LANES, instruction

load, store = instruction("load"), instruction("store")

options = {"cache": True, "nogil": True, "error_model": "numpy"}


@njit(**options)
def join(diagonal, steps, stays, at_ends, blocks, lower):
    """Fill blocks (p, S+1, n, n), lower (p, S, n, n) from M's at an address, and from the lanes."""
    problems, count, n = blocks.shape[0], blocks.shape[1], blocks.shape[2]
    for p in range(problems):
        for k in range(count):
            for i in range(n):
                for j in range(n):
                    at = ((p * steps + stays[k]) * n + i) * n + j
                    value = load(diagonal + 8 * at)
                    if k < count - 1:
                        group, lane = divmod(p * (count - 1) + k, LANES)
                        value += at_ends[group, 0, i, j, lane]
                        lower[p, k, i, j] = at_ends[group, 2, i, j, lane]
                    if k > 0:
                        group, lane = divmod(p * (count - 1) + k - 1, LANES)
                        value += at_ends[group, 1, i, j, lane]
                    blocks[p, k, i, j] = value


@njit(**options)
def judge(worst, bad, state, moved, times, diagonal, steps, stays, factor, codes):
    """Say how each problem fared: 0, 2 (digits lost), 3 (not positive definite) or 4 (not finite).

    ``codes`` comes with 3 where the rows between segments broke down; ``factor`` is theirs.
    """
    problems, n = len(codes), factor.shape[-1]
    each = max(len(stays) - 1, 1)
    for p in range(problems):
        code = codes[p]
        for number in range(p * each, (p + 1) * each):
            group, lane = divmod(number, LANES)
            if not worst[group, 0, lane] > 0.0:
                code = max(code, 3)
            if not worst[group, 1, lane] > 0.0:
                code = max(code, 2)
            if len(stays) == 0:
                last = state + ((group + 1) * times - 1) * moved
                for i in range(n):  # what is not a number spreads to the last time
                    if not np.isfinite(load(last + (i * n + i) * 8 * LANES + 8 * lane)):
                        code = max(code, 3)
            if np.isnan(bad[group, lane]):
                code = 4
        for k in range(len(stays)):
            for i in range(n):
                own = load(diagonal + 8 * (((p * steps + stays[k]) * n + i) * n + i))
                if not np.isfinite(own):
                    code = 4
                if not factor[p, k, i, i] ** 2 > worst[0, 2, 0] * own:
                    code = max(code, 2)
        codes[p] = code


@njit(**options)
def spread(rhs, steps, stays, at_ends, sides):
    """Right-hand sides (p, S+1, n, K) of the rows that stay."""
    problems, count, n, columns = sides.shape
    for p in range(problems):
        for k in range(count):
            at = rhs + 8 * (p * steps + stays[k]) * n * columns
            for i in range(n):
                for j in range(columns):
                    sides[p, k, i, j] = load(at + 8 * (i * columns + j))
            if k < count - 1:
                group, lane = divmod(p * (count - 1) + k, LANES)
                for i in range(n):
                    for j in range(columns):
                        sides[p, k, i, j] += at_ends[group, 0, i, j, lane]
            if k > 0:
                group, lane = divmod(p * (count - 1) + k - 1, LANES)
                for i in range(n):
                    for j in range(columns):
                        sides[p, k, i, j] += at_ends[group, 1, i, j, lane]


@njit(**options)
def settle(found, out, steps, stays, at_ends):
    """Write answers (p, S+1, n, K) of the rows that stay to out, and to the ends of lanes."""
    problems, count, n, columns = found.shape
    for p in range(problems):
        for k in range(count):
            at = out + 8 * (p * steps + stays[k]) * n * columns
            for i in range(n):
                for j in range(columns):
                    value = found[p, k, i, j]
                    store(at + 8 * (i * columns + j), value)
                    if k < count - 1:
                        group, lane = divmod(p * (count - 1) + k, LANES)
                        at_ends[group, 0, i, j, lane] = value
                    if k > 0:
                        group, lane = divmod(p * (count - 1) + k - 1, LANES)
                        at_ends[group, 1, i, j, lane] = value
