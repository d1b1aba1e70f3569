"""Solves, adjoint solves and gradients of a flat batch as kernel launches, nothing else.

Nothing here waits for the device, and every buffer belongs to the call: launches may be captured
into a CUDA graph.
"""

from __future__ import annotations

from typing import Any

import torch

from gpu_solver.cuda.compiled import compiled
from gpu_solver.cuda.inputs import DeviceBatch
from gpu_solver.cuda.layout import Strided, numbers_of, whole
from gpu_solver.cuda.partition import Partition, solve_by_segments
from gpu_solver.cuda.pieces import BLOCK
from gpu_solver.cuda.sweeps import (
    STATE,
    back_kernel,
    correct_kernel,
    factor_kernel,
    gradient_kernel,
    residual_kernel,
)
from gpu_solver.fused.limits import MAX_CORRECTIONS

__all__ = ["LANES_WANTED", "adjoint", "gradients", "segment_length", "solve"]

#: Lanes that fill a large GPU with one warp for every scheduler: with fewer, time is cut too.
LANES_WANTED = 16_384
#: Cutting shorter segments than this costs more than the lanes are worth.
SHORTEST_SEGMENT = 16
#: Sweeps that are shorter than this are not cut.
SHORT_SEQUENCE = 64
#: Times of a problem that a lane of the gradients takes, at most.
LONGEST_RUN = 64


def segment_length(lanes: int, steps: int) -> int:
    """Intervals of a segment, or 0 for lanes that sweep through all times."""
    if steps < SHORT_SEQUENCE or 2 * lanes >= LANES_WANTED:
        return 0
    wanted = min(LANES_WANTED // lanes, (steps - 1) // SHORTEST_SEGMENT)
    return -(-(steps - 1) // wanted)


def solve(batch: DeviceBatch, length: int | None = None) -> tuple[Any, Any]:
    """Solve every problem.

    Parameters
    ----------
    batch : DeviceBatch
    length : int, optional
        Intervals of a segment of time, 0 for none; by default what `segment_length` says.

    Returns
    -------
    y : Tensor (problems, T, V, R+1), float64
        NaN for problems without an answer.
    status : Tensor (problems), float64
        Codes, on the device.
    """
    y, codes = _sweep(batch, None, length)
    status = codes.reshape(batch.n_problems, batch.parts).amax(dim=1)
    y.masked_fill_((status >= 3.0).reshape(-1, 1, 1, 1), torch.nan)
    return y, status


def adjoint(batch: DeviceBatch, incoming: Any, length: int | None = None) -> Any:
    """M^-1 times dl/dy, (problems, T, V, R+1) both."""
    return _sweep(batch, incoming, length)[0]


def _sweep(batch: DeviceBatch, incoming: Any | None, length: int | None) -> tuple[Any, Any]:
    lanes = batch.n_problems * batch.parts
    if length is None:
        length = segment_length(lanes, batch.steps)
    arrays = batch.for_sweeps(("c", "d", "s", "governing", "smooth", "initial", "u"))
    is_adjoint = incoming is not None
    if is_adjoint:
        del arrays["d"]
        arrays["base"] = batch.swept_answer(incoming)
    if length:
        return solve_by_segments(batch, arrays, Partition(batch.steps, length))
    y = batch.empty()
    _sweep_whole(batch, arrays, y, status := batch.work(lanes))
    return y, status


def _sweep_whole(batch: DeviceBatch, arrays: dict[str, Strided], y: Any, status: Any) -> None:
    """Sweep through all times of every lane, then correct what needs it."""
    sizes, orders, n = batch.swept, batch.orders, batch.swept.n
    is_adjoint = "base" in arrays
    lanes = batch.n_problems * batch.parts
    width = -(-lanes // BLOCK) * BLOCK
    work = batch.work(batch.steps, n * (n - 1) // 2 + 2 * n + n * n, width)
    shape = {"parts": batch.parts, "segments": 1, "length": 0, "T": batch.steps}
    inputs = numbers_of(arrays) | {"initial_times": batch.initial_times}
    answer = numbers_of({"y": batch.swept_answer(y)})
    state = batch.work(len(STATE), lanes)
    factor = compiled(factor_kernel, sizes, orders, is_adjoint)
    factor(lanes, **shape, work=work, state=state, **inputs)
    compiled(back_kernel, sizes)(lanes, **shape, work=work, **answer)
    residual = compiled(residual_kernel, sizes, orders, is_adjoint)
    correct = compiled(correct_kernel, sizes)
    for count in range(MAX_CORRECTIONS):
        residual(lanes, **shape, work=work, state=state, **inputs, **answer)
        correct(lanes, **shape, count=count, work=work, state=state, status=status, **answer)


def gradients(
    batch: DeviceBatch,
    y: Any,
    g: Any,
    status: Any,
    wanted: dict[str, Any],
) -> dict[str, Any]:
    """Gradients of the flat batch from y and g = M^-1 dl/dy.

    ``wanted`` has a dtype for each of c, d, u, s whose gradient is asked for. Where an input is the
    same at all times its gradient is the sum over times.
    """
    found: dict[str, Any] = {}
    steps, count = batch.steps, batch.n_problems
    names: list[str] = [name for name in ("c", "d", "s") if name in wanted]
    if names:
        rows = {"c": steps, "d": steps, "s": steps - 1}
        summed = {x: batch.tensors[x].shape[1] == 1 and rows[x] > 1 for x in names}
        run = min(max(count * steps // (4 * LANES_WANTED), 1), LONGEST_RUN, steps)
        if any(summed.values()):
            run = min(max(run, SHORTEST_SEGMENT), steps)
        segments = -(-steps // run)
        outputs: dict[str, Strided] = {}
        for x in names:
            shape = (count, segments if summed[x] else rows[x], *batch.tensors[x].shape[2:])
            dtype = torch.float64 if summed[x] else wanted[x]
            found[x] = torch.empty(shape, dtype=dtype, device=y.device)
            outputs[f"d{x}"] = whole(found[x], found[x].ndim - 2)
        flags = [tuple(x in part for x in ("c", "d", "s")) for part in (names, _true(summed))]
        kernel = compiled(gradient_kernel, batch.sizes, *flags)
        arrays = batch.for_points(("c", "d", "s", "governing", "smooth"))
        arrays |= {"y": whole(y, 2), "g": whole(g, 2)}
        kernel(
            count * segments,
            parts=1,
            segments=segments,
            length=run,
            T=steps,
            status=status,
            **numbers_of(arrays | outputs),
        )
        for x in _true(summed):
            found[x] = found[x].sum(dim=1, keepdim=True).to(wanted[x])
    if "u" in wanted:
        u = batch.tensors["u"]
        rows_u = batch.tensors["initial"] * g[:, : u.shape[1], :, : u.shape[3]]
        none = torch.isnan(u) | (status >= 3.0).reshape(-1, 1, 1, 1)
        found["u"] = rows_u.masked_fill(none, 0.0).to(wanted["u"])
    return found


def _true(flags: dict[str, bool]) -> list[str]:
    return [name for name, flag in flags.items() if flag]
