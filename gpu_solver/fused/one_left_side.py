"""Many right-hand sides of one left-hand side: its factor is found once a call and then shared."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.fused.buffers import empty
from gpu_solver.fused.cache import kernels
from gpu_solver.fused.descriptors import address, descriptor, one_stride
from gpu_solver.fused.layout import LANES, Layout
from gpu_solver.fused.threads import run_in_threads, threads_for
from gpu_solver.fused.views import ProblemViews, one_variable

__all__ = ["adjoint_one_left_side", "shares_left_side", "solve_one_left_side"]

Array = NDArray[Any]

#: Fewer right-hand sides leave nothing to share.
FEW = 2 * LANES
#: Fewer times unknowns for a thread cost more to hand over than to do.
WORK_FOR_A_THREAD = 15_000


def shares_left_side(views: ProblemViews) -> bool:
    """Whether all problems have the same left-hand side, measured initial values included."""
    if "shares" not in views.prepared:
        views.prepared["shares"] = _shares(views)
    return bool(views.prepared["shares"])


def _shares(views: ProblemViews) -> bool:
    fixed = (views.c, views.s, views.governing, views.initial, views.smooth)
    if views.n_problems < FEW or any(array.strides[0] for array in fixed):
        return False
    if np.isnan(views.u).any():
        return False
    return all(np.isfinite(array[:1]).all() for array in (views.c, views.s))


class OneLeftSide:
    """The factor that all problems of a flat batch share. It belongs to one call."""

    def __init__(self, views: ProblemViews) -> None:
        # Not the views themselves, which keep this.
        self.d, self.u, self.sizes = views.d, views.u, views.sizes
        self.n_steps, self.n_problems = views.n_steps, views.n_problems
        sizes, steps = self.sizes, views.n_steps
        key = (sizes.variables, sizes.order, sizes.equations)
        self.kernels = kernels("uniform", key)
        parts = (views.c, views.governing, views.s, views.smooth)
        rows = [
            np.ascontiguousarray(part[0, :1] if part.strides[1] == 0 else part[0], np.float64)
            for part in parts
        ]
        moves = [0 if len(row) == 1 else row.nbytes // len(row) for row in rows]
        initial = np.broadcast_to(views.initial[0], views.u.shape[1:])
        weights = np.ascontiguousarray(initial, np.float64)
        n, low = sizes.n, Layout(sizes).low
        scratch = 2 + 1 + sizes.triangle + 3 * n + sizes.equations
        factor = np.empty(steps * (low + n + n * n) + scratch)
        at = factor.ctypes.data
        lower, inverse = at, at + 8 * steps * low
        gain = inverse + 8 * steps * n
        worst = gain + 8 * steps * n * n
        factor[-scratch + 2] = rows[2].mean()
        places = [row.ctypes.data for row in rows]
        table = [*places, *moves, weights.ctypes.data, lower, inverse, gain, worst]
        self._table = np.array([*table, worst + 16, worst + 24], dtype=np.int64)
        self._alive = (rows, weights, factor)
        times, _, orders = views.u.shape[1:]
        entries = sizes.variables * orders
        self._initial = (times, entries, orders)
        self._room = Layout(sizes).uniform_workspace(steps, times, entries)
        self._side_by_side = Layout(sizes).side_by_side
        self.kernels["factor_uniform"](self._table.ctypes.data, steps, *self._initial)

    def solve(self, y: Array) -> NDArray[np.int64]:
        """Write y (problems, T, V, R+1), return status codes."""
        status = np.zeros(self.n_problems, dtype=np.int64)
        d, u = descriptor(one_stride(self.d)), one_stride(self.u)
        arrays = np.array([d, descriptor(u), descriptor(one_stride(y))], dtype=np.int64)
        self._run("solve_uniform", arrays, (address(status),))
        return status

    def adjoint(self, incoming: Array, dd: Array | None, du: Array | None) -> None:
        """Write gradients of d (problems, T or 1, Q) and u from dl/dy."""
        arrays = np.array(
            [
                descriptor(one_stride(incoming)),
                descriptor(dd),
                descriptor(None if du is None else one_stride(du)),
            ],
            dtype=np.int64,
        )
        self._run("adjoint_uniform", arrays, ())

    def _run(self, name: str, arrays: Array, after: tuple[int, ...]) -> None:
        kernel, rows = self.kernels[name], address(arrays)
        first = (address(self._table), rows, rows + 64, rows + 128)
        numbers = (self.n_steps, self.n_problems, *self._initial)

        def work(start: int, stop: int) -> None:
            memory = empty((self._side_by_side * self._room,))
            kernel(start, stop, *first, *numbers, *after, address(memory), 8 * self._room)

        groups = -(-self.n_problems // LANES)
        amount = groups * self.n_steps * self.sizes.n
        run_in_threads(work, groups, threads_for(amount // WORK_FOR_A_THREAD))


def solve_one_left_side(views: ProblemViews, folded: bool, y: Array) -> NDArray[np.int64]:
    """Solve every problem, each variable apart if ``folded``; writes y and returns status codes."""
    sides = _left_sides(views, folded)
    if not folded:
        return sides[0].solve(y)
    return np.max([side.solve(y[:, :, v : v + 1]) for v, side in enumerate(sides)], axis=0)


def _left_sides(views: ProblemViews, folded: bool) -> list[OneLeftSide]:
    """The factor, of each variable if ``folded``, found once for a forward and backward pass."""
    if "one left side" not in views.prepared:
        count = views.sizes.variables
        parts = [one_variable(views, v) for v in range(count)] if folded else [views]
        views.prepared["one left side"] = [OneLeftSide(part) for part in parts]
    sides: list[OneLeftSide] = views.prepared["one left side"]
    return sides


def adjoint_one_left_side(
    views: ProblemViews, folded: bool, incoming: Array, dd: Array | None, du: Array | None
) -> None:
    """Write gradients of d and u of every problem."""
    sides = _left_sides(views, folded)
    if not folded:
        sides[0].adjoint(incoming, dd, du)
        return
    for v, side in enumerate(sides):
        one = slice(v, v + 1)
        side.adjoint(
            incoming[:, :, one],
            None if dd is None else dd[:, :, one],
            None if du is None else du[:, :, one],
        )
