"""Block Cholesky with SIMD lanes: a lane is a problem or, where these are few, a segment of time.

With few problems the times are cut into segments. The rows between segments stay; all others are
eliminated in every segment at once, which leaves a small block-tridiagonal system of the rows that
stay. Solutions and blocks of the inverse go back the same way. That costs 2.7 times the operations
of a sequential sweep, for which eight lanes make up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.backends.base import BlockTridiagonalBackend, relative_pivot_floor
from gpu_solver.backends.sweep import SweepBackend, SweepState, cholesky, substitute
from gpu_solver.fused.buffers import empty
from gpu_solver.fused.threads import run_in_threads, thread_limit

__all__ = ["SegmentBackend", "SegmentState", "Segments", "cut"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]

LANES = 8
#: Fewer segments a problem do not make up for the fill of their elimination.
FEWEST_SEGMENTS = 4
#: Times that a segment eliminates at least.
SHORTEST_SEGMENT = 4
#: Multiplications, about, of a group of lanes that a second thread is worth.
WORK_FOR_GROUP = 3e6
#: Most groups that few problems are cut into: what threads share.
MOST_GROUPS = 16


@dataclass(frozen=True)
class Segments:
    """Which times each lane eliminates.

    Attributes
    ----------
    problems, starts, lags : int array (groups, 8)
        Problem of each lane (-1: none), first time that it eliminates, and 1 if it has one time
        less than the others.
    times : int
        Most times that a lane eliminates.
    stays : int array (S + 1,)
        Times that are not eliminated; empty if lanes are whole problems.
    """

    problems: Index
    starts: Index
    lags: Index
    times: int
    stays: Index

    @property
    def groups(self) -> int:
        """Number of groups of lanes."""
        return len(self.problems)

    @property
    def lanes(self) -> tuple[Index, Index, Index, int, bool]:
        """What kernels are told of them."""
        return self.problems, self.starts, self.lags, self.times, len(self.stays) > 0


@lru_cache(maxsize=256)
def cut(problems: int, steps: int, groups: int = 1) -> Segments:
    """Spread problems of that many steps over lanes; few problems over this many groups of them.

    Examples
    --------
    >>> cut(1, 24).stays, cut(1, 24).times
    (array([ 0,  5, 11, 17, 23]), 5)
    """
    each = min(LANES * groups // max(problems, 1), (steps - 1) // (SHORTEST_SEGMENT + 1))
    if each < FEWEST_SEGMENTS:
        each, stays = 1, np.empty(0, dtype=np.int64)
        starts, inner = np.zeros(1, dtype=np.int64), np.full(1, steps)
    else:
        stays = (np.arange(each + 1, dtype=np.int64) * (steps - 1)) // each
        starts, inner = stays[:-1] + 1, np.diff(stays) - 1
    groups = -(-problems * each // LANES)
    shape = (groups, LANES)
    problem, segment = np.divmod(np.arange(groups * LANES), each)
    problem[problem >= problems] = -1
    times = int(inner.max())
    lags = (times - inner).astype(np.int64)
    return Segments(
        problem.reshape(shape),
        starts[segment].reshape(shape),
        lags[segment].reshape(shape),
        times,
        stays,
    )


@dataclass(frozen=True)
class SegmentState:
    """Factor of all lanes, and of the rows between segments.

    Attributes
    ----------
    segments : Segments
    shape : tuple of int
        (p, T, n).
    lanes : array (groups, times, n + panel, n, 8)
        L with inverse pivots on its diagonal, above B and, with segments, F.
    kept : SweepState or None
        Factor of the rows that stay.
    """

    segments: Segments
    shape: tuple[int, int, int]
    lanes: Array
    kept: SweepState | None


def _at(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _parts(*sizes: int) -> tuple[list[Array], list[int]]:
    """Uninitialised memory of so many numbers, in one piece: parts at multiples of a row of lanes.

    Their addresses come with them: to ask an array for its own takes a microsecond.
    """
    starts = [0, *accumulate(-(-size // LANES) * LANES for size in sizes)]
    memory = empty((starts[-1] + LANES,))
    address = _at(memory)
    skipped = -address % (8 * LANES) // 8
    parts = [
        memory[skipped + start : skipped + start + size]
        for start, size in zip(starts, sizes, strict=False)
    ]
    return parts, [address + 8 * (skipped + start) for start in starts[:-1]]


def _run(segments: Segments, work: float, task: Callable[[int, int], None]) -> None:
    """Share the groups between threads if that is worth it."""
    if segments.groups == 1 or work < 2 * WORK_FOR_GROUP:
        task(0, segments.groups)
    else:
        run_in_threads(task, segments.groups, thread_limit())


class SegmentBackend(BlockTridiagonalBackend):
    """Eight problems or segments of time at once."""

    name = "segments"
    has_selected_inverse = True
    checks_input = True

    def factorize(self, diagonal: Array, lower: Array) -> tuple[SegmentState, NDArray[np.int64]]:
        """Eliminate all segments, then the rows between them."""
        from gpu_solver.backends import kept_kernels, segment_kernels
        from gpu_solver.backends.tile_kernels import TOOLS

        count, steps, n = diagonal.shape[:3]
        work = float(count * steps * n**3)
        # By the work alone: the same on any number of threads, to the last bit.
        segments = cut(count, steps, min(max(int(work / WORK_FOR_GROUP), 1), MOST_GROUPS))
        ends = len(segments.stays) > 0
        groups, times = segments.groups, segments.times
        high = (3 if ends else 2) * n
        (lanes,), (at_lanes,) = _parts(groups * times * high * n * LANES)
        room = -(-(n * LANES + 2 * n * n) // LANES) * LANES
        parts, (at_ends, at_worst, at_bad, at_room) = _parts(
            groups * 3 * n * n * LANES if ends else 0,
            groups * 3 * LANES,
            groups * LANES,
            max(groups, 1) * room,  # written even for no problem at all
        )
        worst = parts[1].reshape(groups, 3, LANES)
        worst[:, :2] = np.inf
        worst[:, 2] = relative_pivot_floor(n)
        parts[2][...] = 0.0
        parts[3][...] = 0.0
        at_diagonal = _at(diagonal)
        common = (
            at_diagonal, _at(lower), steps, n, *segments.lanes, at_lanes, at_ends, at_worst, at_bad,
        )  # fmt: skip

        def task(first: int, stop: int) -> None:
            segment_kernels.factorize(TOOLS, first, stop, *common, at_room + 8 * first * room)

        _run(segments, work, task)
        status = np.zeros(count, dtype=np.int64)
        stays, kept, at_factor = segments.stays, None, 0
        if ends:
            sizes = [count * (len(stays) - k) * n * n for k in (0, 1)]
            (factor, between), (at_factor, at_between) = _parts(*sizes)
            kept = SweepState(
                factor.reshape(count, len(stays), n, n),
                between.reshape(count, len(stays) - 1, n, n),
            )
            kept_kernels.join(
                at_diagonal, count, steps, stays, n * n, 3, at_ends, at_factor, at_between
            )
            status = cholesky(kept.diagonal, kept.lower)[0]
        kept_kernels.judge(
            at_worst, at_bad, at_lanes, high * n * LANES * 8, times, at_diagonal, n, steps, stays,
            at_factor, status,
        )  # fmt: skip
        lanes = lanes.reshape(groups, times, high, n, LANES)
        return SegmentState(segments, (count, steps, n), lanes, kept), status

    def solve(self, state: SegmentState, which: NDArray[np.int64] | None, rhs: Array) -> Array:
        """Substitute forward in all segments, solve between them, substitute back."""
        count, steps, n = state.shape
        if which is None:
            return self._solve(state, rhs)
        # Every factor has as many right-hand sides: they become columns.
        columns = rhs.shape[-1]
        order = np.argsort(which, kind="stable")
        sides = rhs[order].reshape(count, -1, steps, n, columns)
        wide = np.ascontiguousarray(np.moveaxis(sides, 1, 3)).reshape(count, steps, n, -1)
        found = self._solve(state, wide).reshape(count, steps, n, -1, columns)
        out = np.empty_like(rhs)
        out[order] = np.moveaxis(found, 3, 1).reshape(rhs.shape)
        return out

    def _solve(self, state: SegmentState, rhs: Array) -> Array:
        from gpu_solver.backends import kept_kernels, segment_kernels
        from gpu_solver.backends.tile_kernels import TOOLS

        segments = state.segments
        (count, steps, n), columns = state.shape, rhs.shape[-1]
        groups, times, size = segments.groups, segments.times, n * columns
        out = empty((count, steps, n, columns))
        room = -(-(LANES + size) // LANES) * LANES
        parts, (at_kept, at_ends, at_room) = _parts(
            groups * times * size * LANES, groups * 2 * size * LANES, groups * room
        )
        parts[2][...] = 0.0
        at_rhs, at_out = _at(rhs), _at(out)
        common = (steps, n, columns, *segments.lanes, _at(state.lanes), at_kept, at_ends)

        def forward(first: int, stop: int) -> None:
            segment_kernels.substitute(
                TOOLS, first, stop, at_rhs, *common, at_room + 8 * first * room
            )

        def backward(first: int, stop: int) -> None:
            segment_kernels.substitute_back(
                TOOLS, first, stop, at_out, *common, at_room + 8 * first * room
            )

        work = float(count * steps * n * size)
        _run(segments, work, forward)
        if state.kept is not None:
            stays = segments.stays
            (sides,), (at_sides,) = _parts(count * len(stays) * size)
            where = (count, steps, stays, size)
            kept_kernels.join(at_rhs, *where, 2, at_ends, at_sides, 0)
            blocks = sides.reshape(count, len(stays), n, columns)
            substitute(state.kept.diagonal, state.kept.lower, blocks)
            kept_kernels.settle(at_sides, *where, at_out, at_ends)
        else:
            parts[1][...] = 0.0
        _run(segments, work, backward)
        return out

    def log_determinant(self, state: SegmentState) -> Array:
        """Sum over the pivots."""
        count, _, n = state.shape
        inverse = np.einsum("gtiil->glti", state.lanes[:, :, :n])
        with np.errstate(invalid="ignore", divide="ignore"):
            by_lane = -2.0 * np.log(inverse).sum(axis=(2, 3)).ravel()
        each = max(len(state.segments.stays) - 1, 1)
        total: Array = by_lane[: count * each].reshape(count, each).sum(axis=1)
        return total if state.kept is None else total + SweepBackend().log_determinant(state.kept)

    def selected_inverse(self, state: SegmentState) -> tuple[Array, Array]:
        """Blocks between segments, then of all segments at once, from the last time back."""
        count, steps, n = state.shape
        diagonal = empty((count, steps, n, n))
        lower = empty((count, steps - 1, n, n))
        around, at_stays = self._around(state)
        if at_stays is not None:
            diagonal[:, state.segments.stays] = at_stays
        self._select(state, around, diagonal, lower)
        return diagonal, lower

    def variances(self, state: SegmentState) -> Array:
        """The same sweep, of which the diagonal is kept."""
        count, steps, n = state.shape
        out = empty((count, steps, n))
        around, at_stays = self._around(state)
        if at_stays is not None:
            out[:, state.segments.stays] = np.einsum("ptii->pti", at_stays)
        self._select(state, around, out, None)
        return out

    @staticmethod
    def _around(state: SegmentState) -> tuple[Array, Array | None]:
        """Minus the inverse at the ends (b, a) of every lane's segment, and what it is there."""
        segments, n = state.segments, state.shape[2]
        if state.kept is None:
            (around,), _ = _parts(segments.groups * n * n * LANES)
            around[...] = 0.0
            return around, None
        diagonal, lower = SweepBackend().selected_inverse(state.kept)
        each = len(segments.stays) - 1
        both = np.zeros((segments.groups * LANES, 2 * n, 2 * n))
        used = both[: len(diagonal) * each].reshape(len(diagonal), each, 2 * n, 2 * n)
        used[:, :, :n, :n] = diagonal[:, 1:]
        used[:, :, n:, n:] = diagonal[:, :-1]
        used[:, :, :n, n:] = lower
        used[:, :, n:, :n] = np.swapaxes(lower, -1, -2)
        (around,), _ = _parts(segments.groups * 4 * n * n * LANES)
        by_lane = np.moveaxis(both.reshape(segments.groups, LANES, 2 * n, 2 * n), 1, -1)
        np.negative(by_lane, out=around.reshape(by_lane.shape))
        return around, diagonal

    @staticmethod
    def _select(state: SegmentState, around: Array, out: Array, lower: Array | None) -> None:
        from gpu_solver.backends import segment_kernels
        from gpu_solver.backends.tile_kernels import TOOLS

        segments = state.segments
        count, steps, n = state.shape
        panel = state.lanes.shape[2] - n
        results = (_at(out), 0 if lower is None else _at(lower))
        given = (_at(state.lanes), _at(around))
        room = (panel + 3 * n) * n * LANES
        _memory, (at_room,) = _parts(segments.groups * room)

        def task(first: int, stop: int) -> None:
            segment_kernels.select_inverse(
                TOOLS, first, stop, *results, steps, n, *segments.lanes, *given,
                at_room + 8 * first * room,
            )  # fmt: skip

        _run(segments, float(count * steps * n**3), task)
