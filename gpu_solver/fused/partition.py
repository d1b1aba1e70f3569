"""Few long sequences: segments of time as SIMD lanes, and a small system for the times between.

Every pass eliminates the inner times of all segments again rather than storing their factor. The
first finds the reduced block-tridiagonal system of the times that stay; the second solves for the
inner times and finds what remains of A's residual for those that stay; the third corrects, and so
on until the corrections are rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.fused import passes as what
from gpu_solver.fused.buffers import empty
from gpu_solver.fused.cache import kernels
from gpu_solver.fused.descriptors import descriptor
from gpu_solver.fused.layout import LANES, Layout
from gpu_solver.fused.limits import MAX_CORRECTIONS, NEGLIGIBLE, NOTICEABLE, WORRYING
from gpu_solver.fused.threads import run_in_threads, thread_limit
from gpu_solver.fused.views import ProblemViews, one_stride, one_variable
from gpu_solver.status import SolverStatus

__all__ = ["PartitionedProblem", "gradients_by_segments", "solve_by_segments"]

Array = NDArray[Any]

#: Bytes of a group of segments that stay in a core's cache.
CACHE = 700_000


@dataclass(frozen=True)
class _Segments:
    """Where segments start and how many intervals they have; groups of lanes have one length."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @property
    def stays(self) -> NDArray[np.int64]:
        """Times that are not eliminated."""
        return np.append(self.starts, self.starts[-1] + self.lengths[-1])


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
        self.sizes, self.steps, self.n = views.sizes, views.n_steps, views.sizes.n
        self.c, self.d, self.s = one_stride(views.c[one]), views.d[one], views.s[one]
        self.governing = views.governing[one]
        self.smooth = one_stride(views.smooth[one])
        u = one_stride(views.u[one])
        measured = ~np.isnan(u)
        self.initial = np.where(measured, one_stride(views.initial[one]), 0.0)
        self.u = np.where(measured, u, 0.0)
        self.entries, self.orders = u.shape[2], views.u.shape[3]
        #: How many times may have initial rows in segments: the first time of all is in none.
        self.initial_times = self.steps if u.shape[1] > 1 else 0
        sizes = (self.sizes.variables, self.sizes.order, self.sizes.equations)
        self.kernels, self.layout = kernels("segments", sizes), Layout(self.sizes)
        bytes_a_time = 8 * LANES * self.layout.a_time()
        wanted = int(np.clip(CACHE / bytes_a_time, 32, 400))
        self.segments = cut(self.steps, wanted, LANES)
        self.stays = self.segments.stays
        self.groups = -(-len(self.segments.lengths) // LANES)
        powers = float(self.s.mean()) ** np.arange(self.sizes.order + 1.0)
        self.scale = np.tile(powers, self.sizes.variables)
        # What the first time of all needs.
        self.c0 = np.asarray(self.c[0, 0], dtype=np.float64).reshape(-1, self.n)
        self.d0 = np.asarray(self.d[0, 0], dtype=np.float64)
        self.weights0 = np.asarray(self.governing[0, 0], dtype=np.float64)
        entry = np.arange(self.entries)
        self.at0 = entry // self.orders * (self.sizes.order + 1) + entry % self.orders

    def solve(self, into: Array | None = None) -> tuple[Array, int]:
        """Return y (T, n), written into an array if one is given, and the status code."""
        y = empty((self.steps, self.n)) if into is None else into
        first = (self.u, self.d0, self.c0)  # what no segment looks at
        if all(np.isfinite(part).all() for part in first):
            code = self._solve(y, None)
        else:
            code = int(SolverStatus.NON_FINITE_INPUT)
        if code >= int(SolverStatus.NOT_POSITIVE_DEFINITE):
            y[...] = np.nan
        return y, code

    def adjoint(self, incoming: Array) -> Array:
        """Return M^-1 incoming for incoming (T, n)."""
        g = empty((self.steps, self.n))
        self._solve(g, np.ascontiguousarray(incoming, dtype=np.float64))
        return g

    def gradients(
        self, y: Array, g: Array, into: tuple[Array | None, Array | None, Array | None]
    ) -> None:
        """Write dl/dc, dl/dd and dl/ds (1, T or 1, ...), summed over time where that is 1."""
        count, n = len(self.segments.lengths), self.n
        inputs, alive = self.inputs(y, None)
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
        size = self.layout.segment_workspace(int(self.segments.lengths.max()) + 1, 0, 1)
        arguments = [
            part.ctypes.data
            for part in (inputs, g_from, outputs, self.segments.starts, self.segments.lengths)
        ]

        def work(start: int, stop: int) -> None:
            memory = empty((size,))
            self.kernels["gradient_segments"](start, stop, *arguments, count, memory.ctypes.data)

        run_in_threads(work, self.groups, thread_limit())
        del alive
        # The first time of all belongs to no segment.
        rho, h = self.weights0 * (self.d0 - self.c0 @ y[0]), self.weights0 * (self.c0 @ g[0])
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

    def _first_side(self, y: Array | None, base: Array | None) -> Array:
        """Right-hand side that the rows of the very first time give, or its residual for y."""
        wanted, known = (self.d0, self.u[0, 0]) if base is None else (0.0, 0.0)
        if y is not None:
            wanted, known = wanted - self.c0 @ y, known - y[self.at0]
        side = self.c0.T @ (self.weights0 * np.broadcast_to(wanted, self.weights0.shape))
        side[self.at0] += self.initial[0, 0] * known
        return side if base is None else side + base[0]

    def _first_block(self) -> Array:
        block = self.c0.T @ (self.weights0[:, None] * self.c0)
        block[self.at0, self.at0] += self.initial[0, 0]
        return block

    def inputs(self, y: Array, base: Array | None) -> tuple[Array, list[Any]]:
        """Descriptors of what a pass reads, and what they describe."""
        shape = (1, max(self.initial_times, 1), self.entries)
        initial, u = np.zeros(shape), np.zeros(shape)
        if self.initial_times:  # rows for all times, mostly of weight 0
            initial[:, : self.initial.shape[1]] = self.initial
            if base is None:
                u[:, : self.u.shape[1]] = self.u
        pieces = [
            self.c,
            self.d if base is None else None,
            None if base is None else base[None],
            self.s[..., None],
            self.governing,
            self.smooth,
            initial,
            u,
            y[None],
        ]
        rows = np.array([descriptor(piece) for piece in pieces], dtype=np.int64)
        for row, piece in zip(rows, pieces, strict=True):
            if piece is not None and piece.strides[1] == 0:
                row[5] = 1
        return rows, pieces

    def _solve(self, y: Array, base: Array | None) -> int:
        from gpu_solver.backends.base import relative_pivot_floor

        stays = self.stays
        passes = _Passes(self, y, base)
        passes.run(what.REDUCE)
        if passes.bad.any():
            return int(SolverStatus.NON_FINITE_INPUT)
        margin, inverse = passes.result(what.WORST).min(axis=0)
        reduced = _Reduced(passes, self._first_block()) if inverse > 0.0 else None
        if reduced is None or reduced.failed:
            return int(SolverStatus.NOT_POSITIVE_DEFINITE)
        ends = reduced.solve(passes, self._first_side(None, base))
        y[stays] = ends
        passes.run(what.FIRST | what.REMAINDER, ends)
        code, last_own, last_whole, remaining = SolverStatus.OK, 1.0, 1.0, np.inf
        for count in range(MAX_CORRECTIONS):
            if count:
                passes.run(what.REMAINDER)
            ends = reduced.solve(passes, self._first_side(y[0], base))
            passes.run(what.CORRECT, ends)
            y[stays] += ends
            moved, values = passes.result(what.CHANGE), passes.result(what.SIZE)
            change = np.maximum(moved.max(axis=0), np.abs(ends).max(axis=0)) * self.scale
            size = np.maximum(values.max(axis=0), np.abs(y[stays]).max(axis=0)) * self.scale
            if not np.isfinite(change.sum() + size.sum()):
                return int(SolverStatus.NOT_POSITIVE_DEFINITE)
            own, whole = _relative(change, size)
            if count == 0 and whole > NOTICEABLE:
                code = SolverStatus.REFINED
            remaining = whole * min(whole / last_whole, 1.0) if whole > 0 else 0.0
            shrunk = own / last_own
            last_own, last_whole = own, whole
            useful = count == 0 or shrunk < 0.5
            if not (useful and own * shrunk > NEGLIGIBLE):
                break
        doubtful = not margin > 0.0 or reduced.ratio < relative_pivot_floor(self.n)
        if doubtful or not remaining < WORRYING:
            code = SolverStatus.ILL_CONDITIONED
        return int(code)


def _relative(change: Array, size: Array) -> tuple[float, float]:
    """Largest correction relative to each unknown's own size, and to the largest of all."""
    moved = change > 0.0
    if not moved.any():
        return 0.0, 0.0
    largest = size.max()
    with np.errstate(divide="ignore"):
        own = (change[moved] / np.maximum(size[moved], 1e-12 * largest)).max()
        return float(own), float(change.max() / largest)


class _Passes:
    """The buffers of one call, and passes over all segments that use them."""

    def __init__(self, problem: PartitionedProblem, y: Array, base: Array | None) -> None:
        self.problem = problem
        self.inputs, self._alive = problem.inputs(y, base)
        counts = np.array(what.counts_of(problem.sizes))
        self._first = np.concatenate([[0], np.cumsum(counts)])
        count = len(problem.segments.lengths)
        self._results = np.zeros((count, int(self._first[-1])))
        self.bad = np.zeros(count)
        whole = np.array(descriptor(self._results[:, None]), dtype=np.int64)
        self._outputs = np.repeat(whole[None], len(counts), axis=0)
        self._outputs[:, 0] += 8 * self._first[:-1]
        self._to = np.array(descriptor(y[None]), dtype=np.int64)
        longest = int(problem.segments.lengths.max()) + 1
        initial = longest if problem.initial_times else 0
        self._room = problem.layout.segment_workspace(longest, initial, problem.entries)
        self._threads = thread_limit()

    def run(self, steps: int, ends: Array | None = None) -> None:
        """Do a pass; ``ends`` (times that stay, n) is their answer or its correction."""
        problem, segments = self.problem, self.problem.segments
        at_ends = np.array(descriptor(None if ends is None else ends[None]), dtype=np.int64)
        arguments = [
            part.ctypes.data
            for part in (
                self.inputs,
                self._outputs,
                at_ends,
                self._to,
                segments.starts,
                segments.lengths,
            )
        ]
        numbers = problem.initial_times, problem.entries, problem.orders

        def work(start: int, stop: int) -> None:
            memory = empty((self._room,))
            problem.kernels["pass_segments"](
                start, stop, *arguments, len(segments.lengths), *numbers, steps,
                self.bad.ctypes.data, memory.ctypes.data,
            )  # fmt: skip

        run_in_threads(work, problem.groups, self._threads)

    def result(self, which: int) -> Array:
        """What the last pass found, by segment (segments, entries)."""
        return self._results[:, self._first[which] : self._first[which + 1]]


class _Reduced:
    """The factorised system of the times that stay."""

    def __init__(self, passes: _Passes, first_block: Array) -> None:
        problem, n = passes.problem, passes.problem.n
        count = len(problem.stays)
        rows, columns = np.tril_indices(n)
        diagonal = np.zeros((count, n, n))
        diagonal[0] = first_block
        diagonal[1:, rows, columns] += passes.result(what.RIGHT)
        diagonal[:-1, rows, columns] += passes.result(what.LEFT)
        lower = np.ascontiguousarray(passes.result(what.FILL))
        self.ratio = -1.0
        self._diagonal, self._lower = diagonal, lower
        self._numbers = diagonal.ctypes.data, lower.ctypes.data, count, n
        if np.isfinite(diagonal.sum() + lower.sum()):
            result = np.empty(1)
            problem.kernels["factor_reduced"](*self._numbers, result.ctypes.data)
            self.ratio = float(result[0])

    @property
    def failed(self) -> bool:
        """Whether the matrix is not positive definite."""
        return not self.ratio > 0.0

    def solve(self, passes: _Passes, first_side: Array) -> Array:
        """Solve for the sides that the last pass found and that of the first time of all."""
        rhs = np.zeros(self._diagonal.shape[:2])
        rhs[0] = first_side
        rhs[1:] += passes.result(what.RIGHT_SIDE)
        rhs[:-1] += passes.result(what.LEFT_SIDE)
        passes.problem.kernels["solve_reduced"](*self._numbers, rhs.ctypes.data)
        return rhs


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
