"""A problem's arrays as the fused kernels take them: views (problems, times, ...), not copies."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_solver.arrays import to_numpy
from gpu_solver.assembly import LeastSquaresRows
from gpu_solver.fused.sweeps import Sizes
from gpu_solver.problem import LinearODEProblem

__all__ = [
    "ProblemViews",
    "is_decoupled",
    "one_variable",
    "views_of",
    "views_of_rows",
]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class ProblemViews:
    """Arrays (problems, times or 1, V, ...) of a flat batch, and the sizes they belong to.

    ``c`` (B, T or 1, Q, V, R+1), ``d`` (B, T or 1, Q), ``s`` (B, T-1 or 1), ``u`` and ``initial``
    (B, T_init, V, R_init+1), ``governing`` (B, T or 1, Q), ``smooth`` (B, T-1 or 1, V, R+1). The
    last three are squared weights.
    """

    c: Array
    d: Array
    u: Array
    s: Array
    governing: Array
    initial: Array
    smooth: Array
    sizes: Sizes
    n_steps: int
    #: What was worked out about these arrays, for the backward pass too; never answers.
    prepared: dict[Any, Any] = field(default_factory=dict, repr=False)

    @property
    def n_problems(self) -> int:
        """Problems of the flat batch."""
        return int(self.c.shape[0])


def views_of(problem: LinearODEProblem) -> ProblemViews:
    """Flatten the batch axes of a problem on the CPU, copying only where numpy has to."""
    batch = problem.batch_shape
    count = prod(batch)
    steps, equations = problem.n_steps, problem.n_equations
    variables, size = problem.n_variables, problem.order + 1
    initial_core = tuple(problem.u.shape[-3:])

    def weight(value: Array, core: tuple[int, ...]) -> Array:
        value = np.square(value).reshape((1,) * max(len(core) - value.ndim, 0) + value.shape)
        rows = value.shape[-len(core)]
        if value.size == 1:
            return _repeated(value, (count, rows, *core[1:]), 0)
        return _flat(_broadcast_core(value, (rows, *core[1:])), batch, len(core))

    return ProblemViews(
        c=_flat(to_numpy(problem.c), batch, 4),
        d=_flat(to_numpy(problem.d), batch, 2),
        u=_flat(to_numpy(problem.u), batch, 3),
        s=_flat(to_numpy(problem.s), batch, 1),
        governing=weight(problem.weight_governing, (steps, equations)),
        initial=weight(problem.weight_initial, initial_core),
        smooth=weight(problem.weight_smooth, (steps - 1, variables, size)),
        sizes=Sizes(variables, size - 1, equations),
        n_steps=steps,
    )


def views_of_rows(rows: LeastSquaresRows, d: Array, u: Array) -> tuple[ProblemViews, Any]:
    """The problems with that left-hand side and right-hand sides without NaN; and their batch."""
    core = (rows.n_variables, rows.order + 1)
    c = rows.c.reshape(*rows.c.shape[:-1], *core)
    governing = _broadcast_core(rows.governing, (rows.governing.shape[-2], rows.c.shape[-2]))
    smooth = _broadcast_core(rows.smooth, (rows.smooth.shape[-3], *core))
    initial = _broadcast_core(rows.initial, u.shape[-3:])
    parts = ((c, 4), (d, 2), (u, 3), (rows.s, 1), (governing, 2), (initial, 3), (smooth, 3))
    batch = np.broadcast_shapes(*(part.shape[:-axes] for part, axes in parts))
    c, d, u, s, governing, initial, smooth = (_flat(part, batch, axes) for part, axes in parts)
    sizes = Sizes(core[0], rows.order, rows.c.shape[-2])
    return ProblemViews(c, d, u, s, governing, initial, smooth, sizes, rows.n_steps), batch


def _broadcast_core(value: Array, core: tuple[int, ...]) -> Array:
    return np.broadcast_to(value, value.shape[: -len(core)] + core)


def _flat(value: Array, batch: tuple[int, ...], core: int) -> Array:
    """Batch axes folded into one, as a view where they are all there or all missing."""
    mine, rest = value.shape[:-core], value.shape[-core:]
    count = prod(batch)
    if mine == batch and value.flags.carray:
        return value.reshape(count, *rest)
    if all(size == 1 for size in mine):
        if value.flags.c_contiguous:
            return _repeated(value, (count, *rest), core)
        return np.broadcast_to(value.reshape(rest), (count, *rest))
    return np.require(np.broadcast_to(value, batch + rest).reshape(count, *rest), None, "A")


def _repeated(value: Array, shape: tuple[int, ...], core: int) -> Array:
    """Contiguous values of the last ``core`` axes, the same along those before; as a view."""
    strides = value.strides[value.ndim - core :]
    return np.ndarray(shape, value.dtype, value, 0, (0,) * (len(shape) - core) + strides)


def is_decoupled(views: ProblemViews) -> bool:
    """Whether equation q has coefficients of variable q only, so that variables are problems."""
    sizes = views.sizes
    if sizes.variables == 1 or sizes.equations != sizes.variables:
        return False
    other = ~np.eye(sizes.variables, dtype=bool)
    if views.c[0, 0][other].any():  # the usual case, told by a glance
        return False
    same = views.c if views.c.strides[0] else views.c[:1]
    pairs = zip(*np.nonzero(other), strict=True)
    return not any((same[:, :, q, v] != 0).any() for q, v in pairs)


def one_variable(views: ProblemViews, v: int) -> ProblemViews:
    """The problems of one variable of decoupled ones."""
    one = slice(v, v + 1)
    return ProblemViews(
        c=views.c[:, :, one, one],
        d=views.d[:, :, one],
        u=views.u[:, :, one],
        s=views.s,
        governing=views.governing[:, :, one],
        initial=views.initial[:, :, one],
        smooth=views.smooth[:, :, one],
        sizes=Sizes(1, views.sizes.order, 1),
        n_steps=views.n_steps,
    )
