"""Few long sequences: segments of time as SIMD lanes, and a small system for the times between.

Every pass eliminates the inner times of all segments again rather than storing their factor. The
first finds the reduced block-tridiagonal system of the times that stay; the second solves for the
inner times and finds what remains of A's residual for those that stay; the third corrects, and so
on until the corrections are rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.fused import passes as what
from gpu_solver.fused.buffers import empty
from gpu_solver.fused.cache import kernels
from gpu_solver.fused.descriptors import (
    address,
    addresses,
    described,
    descriptor,
    one_stride,
)
from gpu_solver.fused.layout import LANES, Layout
from gpu_solver.fused.threads import run_in_threads, threads_for
from gpu_solver.fused.views import ProblemViews, one_variable
from gpu_solver.status import SolverStatus

__all__ = ["PartitionedProblem", "gradients_by_segments", "solve_by_segments"]

Array = NDArray[Any]

#: Bytes of a group of segments that stay in a core's cache.
CACHE = 700_000
#: Fewer times unknowns squared than this in a pass, for a thread, cost more to hand over.
WORK_FOR_A_THREAD = 20_000


@dataclass(frozen=True)
class _Segments:
    """Where segments start and how many intervals they have; groups of lanes have one length."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def stays(self) -> NDArray[np.int64]:
        """Times that are not eliminated."""
        return np.append(self.starts, self.starts[-1] + self.lengths[-1])


@lru_cache(maxsize=64)
def cut(steps: int, wanted: int, lanes: int) -> _Segments:
    """Cut steps - 1 intervals into groups of equal segments and, for what is over, one more."""
    rows, rest = divmod(steps - 1, lanes)
    if rest == 1:
        rows, rest = rows - 1, rest + lanes  # a segment needs an inner time
    groups = max(rows // wanted, 1)
    each = np.full(groups, rows // groups)
    each[: rows % groups] += 1
    lengths = np.append(np.repeat(each, lanes), [rest] if rest else [])
    lengths = lengths.astype(np.int64)
    return _Segments(np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64), lengths)


class PartitionedProblem:
    """One problem of a flat batch, cut into segments. Its calls share nothing that they write."""

    def __init__(self, views: ProblemViews, index: int) -> None:
        one = slice(index, index + 1)
        self.sizes, self.steps = views.sizes, views.n_steps
        sizes = (self.sizes.variables, self.sizes.order, self.sizes.equations)
        self.kernels, self.layout = kernels("segments", sizes), Layout(self.sizes)
        wanted = min(max(CACHE // (8 * LANES * self.layout.a_time()), 32), 400)
        self.segments = cut(self.steps, wanted, LANES)
        self.stays = self.segments.stays
        self.groups = -(-len(self.segments.lengths) // LANES)
        c, d, s, governing = (part[one] for part in (views.c, views.d, views.s, views.governing))
        u = one_stride(views.u[one])
        measured = ~np.isnan(u)
        initial = np.where(measured, one_stride(views.initial[one]), 0.0)
        u = np.where(measured, u, 0.0)
        self.orders = views.u.shape[3]
        # What the first time of all needs, which is in no segment; in the order of `ends`.
        powers = float(s.mean()) ** np.arange(self.sizes.order + 1.0)
        scale = np.tile(powers, self.sizes.variables)
        self.first = (c[0, 0].ravel(), governing[0, 0], d[0, 0], initial[0, 0], u[0, 0], scale)
        #: How many times may have initial rows in segments.
        self.initial_times = self.steps if u.shape[1] > 1 else 0
        self.entries = u.shape[2]
        if self.initial_times:  # rows for all times, mostly of weight 0
            missing = ((0, 0), (0, self.steps - u.shape[1]), (0, 0))
            initial, u = np.pad(initial, missing), np.pad(u, missing)
        #: What is described, which must live as long.
        self._alive: list[Array] = [initial, u]
        self._no_u = np.zeros(u.shape)
        inputs = (c, d, None, s[..., None], governing, views.smooth[one], initial, u, None)
        self._inputs = np.array([described(x, self._alive) for x in inputs], dtype=np.int64)

    def inputs(self, y: Array, base: Array | None = None) -> NDArray[np.int64]:
        """Descriptors of what a pass reads; for the adjoint, no right-hand side but ``base``."""
        rows = self._inputs.copy()
        rows[8] = descriptor(y[None])
        if base is not None:
            rows[1], rows[2] = descriptor(None), descriptor(base[None])
            rows[7] = descriptor(self._no_u)
        return rows

    def solve(self, into: Array | None = None) -> tuple[Array, int]:
        """Return y (T, n), written into an array if one is given, and the status code."""
        y = empty((self.steps, self.sizes.n)) if into is None else into
        return y, self._solve(y, None)

    def adjoint(self, incoming: Array) -> Array:
        """Return M^-1 incoming for incoming (T, n)."""
        g = empty((self.steps, self.sizes.n))
        self._solve(g, np.ascontiguousarray(incoming))
        return g

    def gradients(
        self, y: Array, g: Array, into: tuple[Array | None, Array | None, Array | None]
    ) -> None:
        """Write dl/dc, dl/dd and dl/ds (1, T or 1, ...), summed over time where that is 1."""
        count, n = len(self.segments.lengths), self.sizes.n
        by_segment: list[Array | None] = []
        for array, entries, times in zip(
            into,
            (self.sizes.equations * n, self.sizes.equations, 1),
            (self.steps, self.steps, self.steps - 1),
            strict=True,
        ):
            if array is None:
                by_segment.append(None)
            elif array.shape[1] == 1 and times > 1:
                by_segment.append(np.zeros((count, 1, entries)))
            else:
                by_segment.append(array.reshape(1, times, entries))
        dc, dd, ds = by_segment
        outputs = np.array([descriptor(x) for x in (dc, dd, None, ds)], dtype=np.int64)
        g_from = np.array(descriptor(g[None]), dtype=np.int64)
        arguments = addresses(
            self.inputs(y), g_from, outputs, self.segments.starts, self.segments.lengths
        )
        room = self.layout.segment_workspace(int(self.segments.lengths.max()) + 1, 0, 1)
        self._in_groups("gradient_segments", room, (*arguments, count))
        # The first time of all belongs to no segment.
        c, weights, d = self.first[:3]
        c = np.asarray(c, np.float64).reshape(-1, n)
        rho, h = weights * (d - c @ y[0]), weights * (c @ g[0])
        first = (np.outer(rho, g[0]) - np.outer(h, y[0]), h, None)
        for array, part, at_first in zip(into, by_segment, first, strict=True):
            if array is None or part is None:
                continue
            if len(part) == count and part.base is None:
                part = part.sum(axis=0)
                array[0, 0] = part.reshape(array.shape[2:])
                if at_first is not None:
                    array[0, 0] += at_first.reshape(array.shape[2:])
            elif at_first is not None:
                array[0, 0] = at_first.reshape(array.shape[2:])

    def _in_groups(self, name: str, room: int, arguments: tuple[int, ...]) -> None:
        """Do groups of segments, on as many threads as it is worth."""
        kernel = self.kernels[name]

        def work(start: int, stop: int) -> None:
            memory = empty((room,))
            kernel(start, stop, *arguments, address(memory))

        amount = self.steps // LANES * self.sizes.n**2
        run_in_threads(work, self.groups, threads_for(amount // WORK_FOR_A_THREAD))

    def _solve(self, y: Array, base: Array | None) -> int:
        """Write the answer or, from ``base``, that of the adjoint system; return its status."""
        inputs = self.inputs(y, base)
        count, n = len(self.segments.lengths), self.sizes.n
        c, governing, d, initial, u, scale = self.first
        if base is None:
            parts = (c, governing, d, initial, u, np.zeros(n), scale)
        else:
            parts = (c, governing, 0.0 * d, initial, 0.0 * u, base[0], scale)
        first = np.concatenate(parts, dtype=np.float64)
        counts = what.counts_of(self.sizes)
        results, bad = np.zeros((count, sum(counts))), np.zeros(count)
        rows = np.repeat(np.array([descriptor(results[:, None])]), len(counts), axis=0)
        rows[1:, 0] += 8 * np.cumsum(counts[:-1])
        matrix, state = np.empty((2 * count + 1) * n**2 + (count + 1) * n), np.zeros(what.STATES)
        ends = np.array(descriptor(matrix[(2 * count + 1) * n**2 :].reshape(1, -1, n)))
        to = np.array(descriptor(y[None]))
        longest = int(self.segments.lengths.max()) + 1
        initial_times = longest if self.initial_times else 0
        room = self.layout.segment_workspace(longest, initial_times, self.entries)
        places = addresses(inputs, rows, ends, to, self.segments.starts, self.segments.lengths)
        numbers = (count, self.initial_times, self.entries, self.orders)
        between = (
            *addresses(first, results, bad, matrix, y, self.stays, state),
            count, n, self.sizes.order + 1, self.sizes.equations, self.entries, self.orders,
        )  # fmt: skip

        def go_over(steps: int, then: str) -> None:
            self._in_groups("pass_segments", room, (*places, *numbers, steps, address(bad)))
            self.kernels[then](*between)

        go_over(what.REDUCE, "begin_ends")
        if state[what.CODE] < int(SolverStatus.NOT_POSITIVE_DEFINITE):
            go_over(what.FIRST | what.REMAINDER, "correct_ends")
            go_over(what.CORRECT, "judge_ends")
            while state[what.AGAIN]:
                go_over(what.REMAINDER, "correct_ends")
                go_over(what.CORRECT, "judge_ends")
        if state[what.CODE] >= int(SolverStatus.NOT_POSITIVE_DEFINITE):
            y[...] = np.nan
        return int(state[what.CODE])


def _parts(views: ProblemViews, folded: bool) -> list[tuple[slice, ProblemViews]]:
    """Variables that are solved together."""
    if not folded:
        return [(slice(None), views)]
    count = views.sizes.variables
    if not views.prepared.get("variables"):
        views.prepared["variables"] = [one_variable(views, v) for v in range(count)]
    return [(slice(v, v + 1), views.prepared["variables"][v]) for v in range(count)]


def _prepared(views: ProblemViews, index: int) -> PartitionedProblem:
    """The problem cut into segments, once for its forward and backward pass."""
    if index not in views.prepared:
        views.prepared[index] = PartitionedProblem(views, index)
    problem: PartitionedProblem = views.prepared[index]
    return problem


def solve_by_segments(views: ProblemViews, folded: bool) -> tuple[Array, NDArray[np.int64]]:
    """Solve every problem of a flat batch, one after the other; as `solver.solve_views` does."""
    sizes, steps, count = views.sizes, views.n_steps, views.n_problems
    y = empty((count, steps, sizes.variables, sizes.order + 1))
    status = np.zeros(count, dtype=np.int64)
    for variables, part in _parts(views, folded):
        for index in range(count):
            target = y[index][:, variables]
            inside = target.reshape(steps, -1) if target.flags.c_contiguous else None
            answer, code = _prepared(part, index).solve(inside)
            if inside is None:
                target[...] = answer.reshape(target.shape)
            status[index] = max(status[index], code)
    return y, status


def gradients_by_segments(
    views: ProblemViews,
    folded: bool,
    y: Array,
    incoming: Array,
    into: tuple[Array | None, Array | None, Array | None, Array | None],
) -> None:
    """Write the gradients of c, d, u and s of every problem; failed ones are left to the caller."""
    dc, dd, du, ds = into
    parts = _parts(views, folded)
    for index in range(views.n_problems):
        if np.isnan(y[index, 0, 0, 0]):
            continue
        g = empty(y.shape[1:])
        for variables, part in parts:
            answer = _prepared(part, index).adjoint(
                incoming[index][:, variables].reshape(len(g), -1)
            )
            g[:, variables] = answer.reshape(g[:, variables].shape)
        whole = _prepared(views, index)
        one = slice(index, index + 1)
        wanted = tuple(None if x is None else x[one] for x in (dc, dd, ds))
        flat = y[index].reshape(len(g), -1), g.reshape(len(g), -1)
        whole.gradients(*flat, (wanted[0], wanted[1], wanted[2]))
        if du is not None:
            steps, _, orders = du.shape[1:]
            rows = views.initial[index] * g[:steps, :, :orders]
            du[index] = np.where(np.isnan(views.u[index]), 0.0, rows)
