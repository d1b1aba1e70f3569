"""Solves and gradients of a flat batch by the fused kernels: assembly, elimination, substitution.

Nothing is stored but the answer: the backward pass eliminates again, which costs less than reading
a factor back from memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.fused.buffers import empty
from gpu_solver.fused.cache import kernels
from gpu_solver.fused.descriptors import address, addresses, described, descriptor
from gpu_solver.fused.layout import LANES, Layout
from gpu_solver.fused.one_left_side import (
    adjoint_one_left_side,
    shares_left_side,
    solve_one_left_side,
)
from gpu_solver.fused.partition import gradients_by_segments, solve_by_segments
from gpu_solver.fused.sweeps import Sizes
from gpu_solver.fused.threads import run_in_threads, threads_for
from gpu_solver.fused.views import ProblemViews, is_decoupled
from gpu_solver.status import SolverStatus

__all__ = ["LARGEST_BLOCK", "Gradients", "check_size", "gradients_of", "solve_views"]

Array = NDArray[Any]

#: Unrolled code for more unknowns a step than this compiles slowly and runs no faster.
LARGEST_BLOCK = 12
#: Fewer times unknowns squared than this for a thread cost more to hand over than to do.
WORK_FOR_A_THREAD = 10_000
#: Up to so many problems leave most lanes empty, unless their sequences are this short.
FEW_PROBLEMS, SHORT_SEQUENCE = 3, 512
#: Sequences longer than this do not stay in the cache as a whole.
LONG_SEQUENCE = 16_384


@dataclass(frozen=True, eq=False)
class Gradients:
    """dl/dc, dl/dd, dl/du, dl/ds of a flat batch, or None where not asked for.

    Where an input is the same at all times its gradient is summed over times.
    """

    c: Array | None
    d: Array | None
    u: Array | None
    s: Array | None


def check_size(variables: int, order: int) -> None:
    """Raise `ValueError` if blocks are too large to unroll."""
    n = variables * (order + 1)
    if n > LARGEST_BLOCK:
        raise ValueError(
            f"method 'fused' unrolls blocks of up to {LARGEST_BLOCK} unknowns a step, got {n}; "
            "use 'sweep' or 'lapack', or let 'auto' choose."
        )


def solve_views(views: ProblemViews) -> tuple[Array, NDArray[np.int64]]:
    """Solve every problem.

    Returns
    -------
    y : array (problems, T, V, R+1)
        NaN for problems without an answer.
    status : int array (problems)
    """
    sizes, steps = views.sizes, views.n_steps
    folded = is_decoupled(views)
    if _by_segments(views, folded):
        return solve_by_segments(views, folded)
    y = empty((views.n_problems, steps, sizes.variables, sizes.order + 1))
    if shares_left_side(views):
        status = solve_one_left_side(views, folded, y)
    else:
        plan = _plan(views, folded)
        inputs, output = plan.inputs(), np.array(plan.describe(y, 2))
        status = np.zeros(plan.n_lanes, dtype=np.int64)
        plan.run("solve_groups", (inputs, output), (status,))
        if plan.folded:
            status = status.reshape(views.n_problems, -1).max(axis=1)
    failed = failures(status)
    if failed is not None:
        y[failed] = np.nan
    return y, status


def failures(status: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Which problems have no answer, or None if all have one."""
    if status.max(initial=0) < int(SolverStatus.NOT_POSITIVE_DEFINITE):
        return None
    failed: NDArray[np.bool_] = status >= int(SolverStatus.NOT_POSITIVE_DEFINITE)
    return failed


def gradients_of(
    views: ProblemViews,
    y: Array,
    incoming: Array,
    needs: tuple[bool, bool, bool, bool],
    dtypes: tuple[Any, Any, Any, Any],
    failed: NDArray[np.bool_] | None = None,
) -> Gradients:
    """Gradients from the answer y and dl/dy.

    ``needs`` and ``dtypes`` are those of c, d, u, s. Problems without an answer, which ``failed``
    tells, get zeros.
    """
    folded = is_decoupled(views)
    shapes = (views.c.shape, views.d.shape, views.u.shape, views.s.shape)
    dc, dd, du, ds = (
        empty(shape, dtype) if need else None
        for shape, dtype, need in zip(shapes, dtypes, needs, strict=True)
    )
    if _by_segments(views, folded):
        gradients_by_segments(views, folded, y, incoming, (dc, dd, du, ds))
    elif not needs[0] and not needs[3] and shares_left_side(views):
        adjoint_one_left_side(views, folded, incoming, dd, du)
    else:
        # c's zeros have gradients too, so variables stay together if those are wanted.
        plan = _plan(views, folded and not needs[0])
        steps_apart = ds
        if plan.folded and ds is not None:
            steps_apart = np.empty((views.n_problems, views.sizes.variables, ds.shape[1]))
        outputs = np.array(
            [
                plan.describe(dc, None),
                plan.describe(dd, 2),
                plan.describe(du, 2),
                plan.describe(steps_apart, 1),
            ]
        )
        plan.run("adjoint_groups", (plan.inputs(incoming, y), outputs), ())
        if ds is not None and steps_apart is not None and plan.folded:
            ds = steps_apart.sum(axis=1).astype(ds.dtype, copy=False)
    if failed is not None:
        for part in (dc, dd, du, ds):
            if part is not None:
                part[failed] = 0.0
    return Gradients(dc, dd, du, ds)


def _by_segments(views: ProblemViews, folded: bool) -> bool:
    """Whether stretches of time make better lanes than problems."""
    lanes = views.n_problems * (views.sizes.variables if folded else 1)
    few = lanes <= FEW_PROBLEMS and views.n_steps >= SHORT_SEQUENCE
    return few or views.n_steps > LONG_SEQUENCE


def _plan(views: ProblemViews, folded: bool) -> _Plan:
    """The plan, once for a forward and backward pass."""
    if ("plan", folded) not in views.prepared:
        views.prepared["plan", folded] = _Plan(views, folded)
    plan: _Plan = views.prepared["plan", folded]
    return plan


class _Plan:
    """How a flat batch is laid out over lanes."""

    def __init__(self, views: ProblemViews, folded: bool) -> None:
        self.folded, self.n_steps = folded, views.n_steps
        self.parts = views.sizes.variables if folded else 1
        self.sizes = Sizes(1, views.sizes.order, 1) if folded else views.sizes
        self.n_lanes = views.n_problems * self.parts
        sizes, initial = self.sizes, views.u.shape[1:]
        self.kernels = kernels("loops", (sizes.variables, sizes.order, sizes.equations))
        entries = sizes.variables * initial[2]
        self.numbers = (views.n_steps, self.n_lanes, initial[0], entries, initial[2])
        self.workspace = Layout(sizes).workspace(views.n_steps, initial[0], entries)
        c = np.diagonal(views.c, axis1=2, axis2=3).swapaxes(2, 3) if folded else views.c
        #: Copies of inputs, which live as long as this.
        self._copies: list[Array] = []
        arrays = (c, views.d, None, views.governing, views.smooth, views.initial, views.u, None)
        rows = [self.describe(array, 2) for array in arrays]
        # All variables of a problem have its steps.
        rows.insert(3, (*described(views.s, self._copies)[:6], self.parts, 0))
        self._inputs = np.array(rows, dtype=np.int64)

    def describe(self, array: Array | None, variable_axis: int | None) -> tuple[int, ...]:
        """Descriptor of an array, by variable along that axis if folded."""
        if self.folded and variable_axis is not None and array is not None:
            return descriptor(array[..., None] if array.ndim == 3 else array, variable_axis)
        return described(array, self._copies)

    def inputs(self, base: Array | None = None, y: Array | None = None) -> NDArray[np.int64]:
        """Descriptors of all inputs; what they describe lives elsewhere."""
        rows = self._inputs.copy()
        rows[2], rows[8] = self.describe(base, 2), self.describe(y, 2)
        return rows

    def run(self, name: str, before: tuple[Array, ...], after: tuple[Array, ...]) -> None:
        """Do all groups of lanes, on as many threads as it is worth."""
        kernel = self.kernels[name]
        first, last = addresses(*before), addresses(*after)

        def work(start: int, stop: int) -> None:
            memory = empty((self.workspace,))
            kernel(start, stop, *first, *self.numbers, *last, address(memory))

        groups = (self.n_lanes + LANES - 1) // LANES
        amount = groups * self.n_steps * self.sizes.n**2
        run_in_threads(work, groups, threads_for(amount // WORK_FOR_A_THREAD))
