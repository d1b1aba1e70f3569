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

from gpu_solver.fused.cache import compiled
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
    """One problem of a flat batch, cut into segments."""

    def __init__(self, views: ProblemViews, index: int) -> None:
        one = slice(index, index + 1)
        self.views, self.sizes, self.steps = views, views.sizes, views.n_steps
        n = self.sizes.n
        self.c, self.d, self.s = one_stride(views.c[one]), views.d[one], views.s[one]
        self.governing = views.governing[one]
        self.smooth = one_stride(views.smooth[one])
        self.initial, self.u = one_stride(views.initial[one]), one_stride(views.u[one])
        self.entries, self.orders = self.u.shape[2], views.u.shape[3]
        sizes = (self.sizes.variables, self.sizes.order, self.sizes.equations)
        self.loops, self.module = compiled(*sizes), compiled(*sizes, "segments")
        bytes_a_time = self.loops.workspace(1000, 0, 1) * 8 / 1000
        wanted = int(np.clip(CACHE / bytes_a_time, 32, 400))
        self.segments = cut(self.steps, wanted, self.loops.LANES)
        self.groups = -(-len(self.segments.lengths) // self.loops.LANES)
        self.n = n
        measured = np.isnan(self.u)
        self.initial = np.where(measured, 0.0, self.initial)
        self.u = np.where(measured, 0.0, self.u)
        self.has_later = self.u.shape[1] > 1

    def solve(self, into: Array | None = None) -> tuple[Array, int]:
        """Return y (T, n), written into an array if one is given, and the status code."""
        c0 = np.asarray(self.c[0, 0], dtype=np.float64).reshape(self.sizes.equations, self.n)
        y = np.empty((self.steps, self.n)) if into is None else into
        first = (self.u, self.d[0, 0], c0)  # what no segment looks at
        if all(np.isfinite(part).all() for part in first):
            code = self._solve(y, None)
        else:
            code = int(SolverStatus.NON_FINITE_INPUT)
        if code >= int(SolverStatus.NOT_POSITIVE_DEFINITE):
            y[...] = np.nan
        return y, code

    def adjoint(self, incoming: Array) -> Array:
        """Return M^-1 incoming for incoming (T, n)."""
        g = np.empty((self.steps, self.n))
        self._solve(g, np.ascontiguousarray(incoming, dtype=np.float64))
        return g

    def gradients(
        self, y: Array, g: Array, into: tuple[Array | None, Array | None, Array | None]
    ) -> None:
        """Write dl/dc, dl/dd and dl/ds (1, T or 1, ...), summed over time where that is 1."""
        count, n = len(self.segments.lengths), self.n
        inputs, alive, _ = self._inputs(y, None)
        inputs[2] = self.loops.memory.descriptor(None)
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
        describe = self.loops.memory.descriptor
        outputs = np.array([describe(x) for x in (dc, dd, None, ds)], dtype=np.int64)
        g_from = np.array(describe(g[None]), dtype=np.int64)
        size = self.module.room(int(self.segments.lengths.max()) + 1, 0, 1)

        def work(start: int, stop: int) -> None:
            memory = np.empty(size + self.loops.LANES)
            self.module.gradient_segments(
                start, stop, inputs, g_from, outputs, self.segments.starts, self.segments.lengths,
                count, memory,
            )  # fmt: skip

        run_in_threads(work, self.groups, thread_limit())
        del alive
        # The first time of all belongs to no segment.
        c0 = np.asarray(self.c[0, 0], dtype=np.float64).reshape(-1, n)
        weights = np.asarray(self.governing[0, 0], dtype=np.float64)
        rho, h = weights * (self.d[0, 0] - c0 @ y[0]), weights * (c0 @ g[0])
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

    def _first_row(self, y: Array | None, base: Array | None) -> tuple[Array, Array]:
        """What the rows of the very first time give: block and right-hand side."""
        n, weights = self.n, np.asarray(self.governing[0, 0], dtype=np.float64)
        c = np.asarray(self.c[0, 0], dtype=np.float64).reshape(-1, n)
        at = np.arange(self.entries)
        at = at // self.orders * (self.sizes.order + 1) + at % self.orders
        wanted = np.zeros(len(c)) if base is not None else np.asarray(self.d[0, 0], dtype=float)
        known = np.zeros(self.entries) if base is not None else self.u[0, 0]
        start = np.zeros(n) if y is None else y
        block = c.T @ (weights[:, None] * c)
        block[at, at] += self.initial[0, 0]
        side = c.T @ (weights * (wanted - c @ start))
        side[at] += self.initial[0, 0] * (known - start[at])
        return block, side if base is None else side + base[0]

    def _inputs(self, y: Array | None, base: Array | None) -> tuple[Array, list[Any], int]:
        """Descriptors, what they describe, and how many times have initial rows."""
        d = self.d if base is None else None
        initial: Array | None = None
        u: Array | None = None
        if self.has_later:  # rows for all times, mostly of weight 0
            initial = np.zeros((1, self.steps, self.entries))
            initial[:, : self.initial.shape[1]] = self.initial
            u = np.zeros_like(initial)
            if base is None:
                u[:, : self.u.shape[1]] = self.u
        pieces = [self.c, d, base, self.s[..., None], self.governing, self.smooth, initial, u, y]
        pieces[2] = None if base is None else base[None]
        pieces[8] = None if y is None else y[None]
        if not self.has_later:
            pieces[6] = pieces[7] = np.zeros((1, 1, self.entries))
        describe = self.loops.memory.descriptor
        rows = np.array([describe(piece) for piece in pieces], dtype=np.int64)
        for row, piece in zip(rows, pieces, strict=True):
            if piece is not None and piece.strides[1] == 0:
                row[5] = 1
        return rows, pieces, self.steps if self.has_later else 0

    def _run(self, what: int, y: Array, base: Array | None, ends: Array | None) -> dict[str, Array]:
        module, count = self.module, len(self.segments.lengths)
        inputs, alive, initial_times = self._inputs(y, base)
        names = ("right", "left", "fill", "right_side", "left_side", "worst", "change", "size")
        wanted = {"right_side", "left_side"} if what & (module.REDUCE | module.REMAINDER) else set()
        if what & module.REDUCE:
            wanted |= {"right", "left", "fill", "worst"}
        if what & module.CORRECT:
            wanted |= {"change", "size"}
        found = {
            name: np.zeros((count, 1, entries))
            for name, entries in zip(names, module.COUNTS, strict=True)
            if name in wanted
        }
        describe = self.loops.memory.descriptor
        results = np.array([describe(found.get(name)) for name in names], dtype=np.int64)
        at_ends = np.array(describe(None if ends is None else ends[None]), dtype=np.int64)
        to = np.array(describe(y[None]), dtype=np.int64)
        bad = np.zeros(count, dtype=np.bool_)
        longest = int(self.segments.lengths.max()) + 1
        size = module.room(longest, longest if initial_times else 0, self.entries)

        def work(start: int, stop: int) -> None:
            memory = np.empty(size + self.loops.LANES)
            module.pass_segments(
                start, stop, inputs, results, at_ends, to, self.segments.starts,
                self.segments.lengths, count, initial_times, self.entries, self.orders, what, bad,
                memory,
            )  # fmt: skip

        run_in_threads(work, self.groups, thread_limit())
        del alive
        found["bad"] = bad
        return {name: value.reshape(count, -1) for name, value in found.items()}

    def _solve(self, y: Array, base: Array | None) -> int:
        from gpu_solver.backends import sweep_kernels
        from gpu_solver.backends.base import relative_pivot_floor

        module, n, stays = self.module, self.n, self.segments.stays
        found = self._run(module.REDUCE, y, base, None)
        if found["bad"].any():
            return int(SolverStatus.NON_FINITE_INPUT)
        block, side = self._first_row(None, base)
        diagonal = np.zeros((1, len(stays), n, n))
        diagonal[0, 0] = block
        diagonal[0, 1:] += _symmetric(found["right"], n)
        diagonal[0, :-1] += _symmetric(found["left"], n)
        lower = found["fill"].reshape(1, -1, n, n).copy()
        status, ratio = np.zeros(1, dtype=np.int64), np.ones(1)
        which = np.zeros(1, dtype=np.int64)
        margin, inverse = found["worst"].min(axis=0)
        if not (np.isfinite(diagonal).all() and np.isfinite(lower).all() and inverse > 0.0):
            return int(SolverStatus.NOT_POSITIVE_DEFINITE)
        sweep_kernels.factorize(diagonal, lower, status, ratio)
        if status[0]:
            return int(status[0])

        def ends_of(sides: dict[str, Array], first: Array) -> Array:
            rhs = np.zeros((1, len(stays), n, 1))
            rhs[0, 0, :, 0] = first
            rhs[0, 1:, :, 0] += sides["right_side"]
            rhs[0, :-1, :, 0] += sides["left_side"]
            sweep_kernels.solve(diagonal, lower, which, rhs)
            return rhs[0, :, :, 0]

        ends = ends_of(found, side)
        y[stays] = ends
        sides = self._run(module.FIRST | module.REMAINDER, y, base, ends)
        powers = float(self.s.mean()) ** np.arange(self.sizes.order + 1.0)
        scale = np.tile(powers, self.sizes.variables)
        code, last_own, last_whole, remaining = SolverStatus.OK, 1.0, 1.0, np.inf
        for count in range(self.loops.MAX_CORRECTIONS):
            if count:
                sides = self._run(module.REMAINDER, y, base, None)
            ends = ends_of(sides, self._first_row(y[0], base)[1])
            moved = self._run(module.CORRECT, y, base, ends)
            y[stays] += ends
            change = np.maximum(moved["change"].max(axis=0), np.abs(ends).max(axis=0)) * scale
            size = np.maximum(moved["size"].max(axis=0), np.abs(y[stays]).max(axis=0)) * scale
            largest = size.max()
            with np.errstate(invalid="ignore", divide="ignore"):
                own = np.where(change == 0, 0.0, change / np.maximum(size, 1e-12 * largest)).max()
                whole = np.where(change == 0, 0.0, change / largest).max()
            if count == 0 and whole > self.loops.NOTICEABLE:
                code = SolverStatus.REFINED
            remaining = whole * min(whole / last_whole, 1.0) if whole > 0 else 0.0
            shrunk = own / last_own
            last_own, last_whole = own, whole
            if not (shrunk < 0.5 and own * shrunk > self.loops.NEGLIGIBLE):
                break
        if not np.isfinite(y).all():
            return int(SolverStatus.NOT_POSITIVE_DEFINITE)
        doubtful = not margin > 0.0 or ratio[0] < relative_pivot_floor(n)
        if doubtful or not remaining < self.loops.WORRYING:
            code = SolverStatus.ILL_CONDITIONED
        return int(code)


def _parts(views: ProblemViews, folded: bool) -> list[tuple[slice, ProblemViews]]:
    """Variables that are solved together."""
    if not folded:
        return [(slice(None), views)]
    return [(slice(v, v + 1), one_variable(views, v)) for v in range(views.sizes.variables)]


def solve_by_segments(views: ProblemViews, folded: bool) -> tuple[Array, NDArray[np.int64]]:
    """Solve every problem of a flat batch, one after the other; as `solver.solve_views` does."""
    sizes, steps, count = views.sizes, views.n_steps, views.n_problems
    y = np.empty((count, steps, sizes.variables, sizes.order + 1))
    status = np.zeros(count, dtype=np.int64)
    for variables, part in _parts(views, folded):
        for index in range(count):
            target = y[index][:, variables]
            inside = target.reshape(steps, -1) if target.flags.c_contiguous else None
            answer, code = PartitionedProblem(part, index).solve(inside)
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
        g = np.empty(y.shape[1:])
        for variables, part in parts:
            answer = PartitionedProblem(part, index).adjoint(
                incoming[index][:, variables].reshape(len(g), -1)
            )
            g[:, variables] = answer.reshape(g[:, variables].shape)
        whole = PartitionedProblem(views, index)
        one = slice(index, index + 1)
        wanted = tuple(None if x is None else x[one] for x in (dc, dd, ds))
        flat = y[index].reshape(len(g), -1), g.reshape(len(g), -1)
        whole.gradients(*flat, (wanted[0], wanted[1], wanted[2]))
        if du is not None:
            steps, _, orders = du.shape[1:]
            rows = views.initial[index] * g[:steps, :, :orders]
            du[index] = np.where(np.isnan(views.u[index]), 0.0, rows)


def _symmetric(triangles: Array, n: int) -> Array:
    out = np.zeros((len(triangles), n, n))
    rows, columns = np.tril_indices(n)
    out[:, rows, columns] = triangles
    out[:, columns, rows] = triangles
    return out
