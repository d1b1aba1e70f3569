"""Few long sequences on a device: segments of time as lanes, and systems for the times between."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any

import torch

from gpu_solver.cuda import segments as kernels
from gpu_solver.cuda.compiled import compiled
from gpu_solver.cuda.inputs import DeviceBatch
from gpu_solver.cuda.layout import Strided, numbers_of
from gpu_solver.cuda.pieces import BLOCK
from gpu_solver.fused.limits import MAX_CORRECTIONS, WORRYING

__all__ = ["Partition", "solve_by_segments"]

#: A system of so few times is swept through by one lane.
SHORT_CHAIN = 32
#: Longest segments of the systems for the times between segments.
LONGEST_SEGMENT = 64


@dataclass(frozen=True)
class Partition:
    """How times are cut: segments of ``length`` intervals, the last of which may reach too far."""

    times: int
    length: int

    @property
    def count(self) -> int:
        """Segments."""
        return -(-(self.times - 1) // self.length)


def _width(lanes: int) -> int:
    return -(-lanes // BLOCK) * BLOCK


class _Level:
    """One system of blocks, cut into segments or swept through as a whole."""

    def __init__(self, batch: DeviceBatch, wholes: int, before: Any, times: int) -> None:
        self.batch, self.wholes, self.before, self.times = batch, wholes, before, times
        self.sizes, n = batch.swept, batch.swept.n
        rows = n * (n - 1) // 2 + 2 * n + n * n
        short = times <= SHORT_CHAIN
        length = min(max(isqrt(times), 4), LONGEST_SEGMENT)
        self.cut = None if short else Partition(times, length)
        self.x = batch.work(n, wholes * times)
        if self.cut is None:
            self.worst = batch.work(2, _width(wholes))
            self.work = batch.work(times, rows, _width(wholes))
            self.next = None
            self._run(kernels.eliminate_chain, work=self.work, worst=self.worst)
            return
        width = _width(wholes * self.cut.count)
        self.worst = batch.work(2, width)
        self.work = batch.work(self.cut.length, rows + n * n, width)
        self.ends = batch.work(kernels.rows_of_ends(self.sizes)["total"], width)
        self._run(kernels.eliminate_blocks, work=self.work, ends=self.ends, worst=self.worst)
        segments = {"segments": self.cut.count, "length": self.cut.length}
        carry = compiled(kernels.fill, self.sizes)
        carry(wholes * self.cut.count, parts=1, **segments, work=self.work, ends=self.ends)
        self.next = _Level(batch, wholes, self.ends, self.cut.count + 1)

    def _run(self, write: Any, **given: Any) -> None:
        count, length = (1, 0) if self.cut is None else (self.cut.count, self.cut.length)
        common = {"before": self.before, "N": self.times, "width_b": self.before.shape[1]}
        compiled(write, self.sizes)(
            self.wholes * count, parts=1, segments=count, length=length, **common, **given
        )

    def solve(self, state: Any) -> Any:
        """Solve for the right-hand sides that lie in ``before``; returns x (n, wholes * times)."""
        to = {"x_out": self.x, "width_o": self.x.shape[1]}
        if self.next is None or self.cut is None:
            self._run(kernels.solve_chain, work=self.work, state=state, **to)
            return self.x
        self._run(kernels.forward_blocks, work=self.work, ends=self.ends, state=state)
        x = self.next.solve(state)
        self._run(
            kernels.back_blocks, work=self.work, state=state, ends_x=x, width_x=x.shape[1], **to
        )
        return self.x

    def worst_pivots(self) -> list[Any]:
        """The worst pivots of this and all following levels, (2, wholes) each."""
        lanes = self.wholes * (1 if self.cut is None else self.cut.count)
        mine = self.worst[:, :lanes].reshape(2, self.wholes, -1).amin(dim=2)
        return [mine] + ([] if self.next is None else self.next.worst_pivots())


def solve_by_segments(
    batch: DeviceBatch, arrays: dict[str, Strided], cut: Partition
) -> tuple[Any, Any]:
    """Solve with the right-hand side ``d`` and u of the arrays, or with ``base`` if they have it.

    Returns
    -------
    y : Tensor (problems, T, V, R+1)
    status : Tensor (problems * parts)
    """
    is_adjoint = "base" in arrays
    sizes, n = batch.swept, batch.swept.n
    wholes = batch.n_problems * batch.parts
    lanes = wholes * cut.count
    width = _width(lanes)
    work = batch.work(cut.length, n * (n - 1) // 2 + 2 * n + 2 * n * n, width)
    ends = batch.work(kernels.rows_of_ends(sizes)["total"], width)
    worst, moved = batch.work(3, width), batch.work(2 * n, width)
    y = batch.zeros(*batch.empty().shape)
    answer = {"y": batch.swept_answer(y)}
    common = {"parts": batch.parts, "segments": cut.count, "length": cut.length, "T": cut.times}
    initial = {"initial_times": batch.initial_times}
    only_right = {"d", "base"}
    left = {k: v for k, v in arrays.items() if not (is_adjoint and k in only_right)}
    eliminate = compiled(kernels.eliminate_rows, sizes, batch.orders, is_adjoint)
    eliminate(lanes, **common, **initial, work=work, ends=ends, worst=worst, **numbers_of(left))
    shape = {name: common[name] for name in ("parts", "segments", "length")}
    compiled(kernels.fill, sizes)(lanes, **shape, work=work, ends=ends)
    level = _Level(batch, wholes, ends, cut.count + 1)
    forward = compiled(kernels.forward_rows, sizes, batch.orders, is_adjoint)
    back, judge = compiled(kernels.back_rows, sizes), compiled(kernels.judge_kernel, sizes)
    state = batch.zeros(5, wholes)
    state[:4] = 1.0
    step = batch.tensors["s"].double().mean(dim=1)
    both = numbers_of(arrays | answer)
    for count in range(-1, MAX_CORRECTIONS):  # y starts as zero: the first correction is the answer
        forward(lanes, **common, **initial, work=work, ends=ends, state=state, **both)
        x = level.solve(state)
        back(
            lanes,
            **common,
            work=work,
            ends_x=x,
            width_x=x.shape[1],
            moved=moved,
            state=state,
            **numbers_of(answer),
        )
        if count < 0:
            continue
        largest = moved[:, :lanes].reshape(2 * n, wholes, cut.count).amax(dim=2)
        judge(
            wholes,
            parts=batch.parts,
            segments=1,
            length=0,
            moved=largest,
            state=state,
            step=step,
            count=count,
        )
    found = worst[:, :lanes].reshape(3, wholes, cut.count)
    pivots = torch.stack([found[:2].amin(dim=2), *level.worst_pivots()]).amin(dim=0)
    first = y[:, 0].reshape(batch.n_problems, batch.parts, -1).flatten(0, 1).sum(dim=1)
    last = y[:, -1].reshape(batch.n_problems, batch.parts, -1).flatten(0, 1).sum(dim=1)
    return y, _codes(state, pivots, found[2].sum(dim=1), first + last)


def _codes(state: Any, pivots: Any, check: Any, ends: Any) -> Any:
    """Status codes from corrections, pivots, whether input is finite, and answers at the ends."""
    remaining, code = state[3], state[4]
    sound = (remaining < WORRYING) & (pivots[0] > 0.0)
    # torch.where would copy a number from the host, which no CUDA graph can capture.
    code = code.masked_fill(~sound, 2.0)
    answered = torch.isfinite(ends) & (pivots[1] > 0.0) & torch.isfinite(remaining)
    code = code.masked_fill(~answered, 3.0)
    return code.masked_fill(check != 0.0, 4.0)
