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
from gpu_solver.fused.descriptors import descriptor, flat_descriptor
from gpu_solver.fused.layout import LANES, Layout
from gpu_solver.fused.one_left_side import (
    adjoint_one_left_side,
    shares_left_side,
    solve_one_left_side,
)
from gpu_solver.fused.partition import gradients_by_segments, solve_by_segments
from gpu_solver.fused.sweeps import Sizes
from gpu_solver.fused.threads import run_in_threads, thread_limit
from gpu_solver.fused.views import ProblemViews, is_decoupled, one_stride
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
        plan = _Plan(views, folded)
        inputs, output = plan.inputs(), np.array(plan.describe(y, 2))
        status = np.zeros(plan.n_lanes, dtype=np.int64)
        plan.run("solve_groups", (inputs, output), (status,))
        if plan.folded:
            status = status.reshape(views.n_problems, -1).max(axis=1)
    failed = status >= int(SolverStatus.NOT_POSITIVE_DEFINITE)
    if failed.any():
        y[failed] = np.nan
    return y, status


def gradients_of(
    views: ProblemViews,
    y: Array,
    incoming: Array,
    needs: tuple[bool, bool, bool, bool],
    dtypes: tuple[Any, Any, Any, Any],
) -> Gradients:
    """Gradients from the answer y and dl/dy.

    ``needs`` and ``dtypes`` are those of c, d, u, s. Problems without an answer get zeros.
    """
    folded = is_decoupled(views)
    shapes = (views.c.shape, views.d.shape, views.u.shape, views.s.shape)
    found = [
        empty(shape, dtype) if need else None
        for shape, dtype, need in zip(shapes, dtypes, needs, strict=True)
    ]
    dc, dd, du, ds = found
    if _by_segments(views, folded):
        gradients_by_segments(views, folded, y, incoming, (dc, dd, du, ds))
        return _without_failed(y, Gradients(dc, dd, du, ds))
    if not needs[0] and not needs[3] and shares_left_side(views):
        adjoint_one_left_side(views, folded, incoming, dd, du)
        return _without_failed(y, Gradients(None, dd, du, None))
    # c's zeros have gradients too, so variables stay together if those are wanted.
    plan = _Plan(views, folded and not needs[0])
    inputs = plan.inputs(base=incoming, y=y)
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
    plan.run("adjoint_groups", (inputs, outputs), ())
    if ds is not None and steps_apart is not None and plan.folded:
        ds = steps_apart.sum(axis=1).astype(ds.dtype, copy=False)
    return _without_failed(y, Gradients(dc, dd, du, ds))


def _without_failed(y: Array, gradients: Gradients) -> Gradients:
    """Zero gradients where there is no answer."""
    failed = np.isnan(y[:, 0, 0, 0])
    if failed.any():
        for part in (gradients.c, gradients.d, gradients.u, gradients.s):
            if part is not None:
                part[failed] = 0.0
    return gradients


def _by_segments(views: ProblemViews, folded: bool) -> bool:
    """Whether stretches of time make better lanes than problems."""
    lanes = views.n_problems * (views.sizes.variables if folded else 1)
    few = lanes <= FEW_PROBLEMS and views.n_steps >= SHORT_SEQUENCE
    return few or views.n_steps > LONG_SEQUENCE


class _Plan:
    """How a flat batch is laid out over lanes."""

    def __init__(self, views: ProblemViews, folded: bool) -> None:
        self.views, self.folded = views, folded
        #: Copies of inputs, which live as long as this.
        self.copies: list[Array] = []
        self.parts = views.sizes.variables if folded else 1
        self.sizes = Sizes(1, views.sizes.order, 1) if folded else views.sizes
        self.n_lanes = views.n_problems * self.parts
        sizes, initial = self.sizes, views.u.shape[1:]
        entries = sizes.variables * initial[2]
        self.numbers = (views.n_steps, self.n_lanes, initial[0], entries, initial[2])
        self.workspace = Layout(sizes).workspace(views.n_steps, initial[0], entries)

    def describe(self, array: Array | None, variable_axis: int | None) -> tuple[int, ...]:
        """Descriptor of an array, by variable along that axis if folded."""
        if array is None:
            return descriptor(None)
        if self.folded and variable_axis is not None:
            flat = array[..., None] if array.ndim == 3 else array
            found = descriptor(flat, variable_axis)
            return found if array.strides[1] else (*found[:5], 1, *found[6:])
        return self._described(array)

    def _described(self, array: Array) -> tuple[int, ...]:
        """Descriptor of an array, or of a copy where its entries lie unevenly."""
        found = flat_descriptor(array)
        if found is None:
            array = one_stride(array)
            self.copies.append(array)
            found = descriptor(array)
            found = found if array.strides[1] else (*found[:5], 1, *found[6:])
        return found

    def inputs(self, base: Array | None = None, y: Array | None = None) -> NDArray[np.int64]:
        """Descriptors of all inputs; what they describe lives in the views, or in ``copies``."""
        views = self.views
        c = np.diagonal(views.c, axis1=2, axis2=3).swapaxes(2, 3) if self.folded else views.c
        arrays = (c, views.d, base, views.governing, views.smooth, views.initial, views.u, y)
        rows = [self.describe(array, 2) for array in arrays]
        # All variables of a problem have its steps.
        rows.insert(3, (*self._described(views.s)[:6], self.parts, 0))
        return np.array(rows, dtype=np.int64)

    def run(self, name: str, before: tuple[Array, ...], after: tuple[Array, ...]) -> None:
        """Do all groups of lanes, on as many threads as it is worth."""
        sizes = self.sizes
        kernel = kernels("loops", (sizes.variables, sizes.order, sizes.equations))[name]
        first = [array.ctypes.data for array in before]
        last = [array.ctypes.data for array in after]

        def work(start: int, stop: int) -> None:
            memory = empty((self.workspace,))
            kernel(start, stop, *first, *self.numbers, *last, memory.ctypes.data)

        groups = (self.n_lanes + LANES - 1) // LANES
        amount = groups * self.views.n_steps * sizes.n**2
        run_in_threads(work, groups, min(thread_limit(), 1 + amount // WORK_FOR_A_THREAD))
